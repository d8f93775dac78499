"""What names an mm_struct in events: its address in, the number that rss_stat's `mm_id` is for it out.

The kernel hides addresses behind a keyed hash (lib/vsprintf.c, ptr_to_hashval; mm/memory.c, mm_ptr_to_hash in
include/trace/events/kmem.h), and a dump holds the key: so each mm that is in the dump is known in the trace, too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError

U64 = npt.NDArray[np.uint64]

_BEGIN = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def siphash(words: U64, key: tuple[int, int]) -> U64:
    """SipHash-2-4 of single 64-bit words, as the kernel's siphash_1u64 (lib/siphash.c).

    >>> hex(int(siphash(np.array([0x0706050403020100], "u8"), (0x0706050403020100, 0x0F0E0D0C0B0A0908))[0]))
    '0x93f5f5799a932462'
    """
    v0, v1, v2, v3 = (
        np.full(len(words), word ^ key[place % 2], dtype=np.uint64) for place, word in enumerate(_BEGIN)
    )

    def rotate(value: U64, bits: int) -> U64:
        turned: U64 = value << np.uint64(bits) | value >> np.uint64(64 - bits)
        return turned

    def rounds(count: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0, v2 = v0 + v1, v2 + v3
            v1, v3 = rotate(v1, 13) ^ v0, rotate(v3, 16) ^ v2
            v0, v2 = rotate(v0, 32) + v3, v2 + v1
            v1, v3 = rotate(v1, 17) ^ v2, rotate(v3, 21) ^ v0
            v2 = rotate(v2, 32)

    for word in (words.astype(np.uint64), np.full(len(words), 8 << 56, dtype=np.uint64)):
        v3 = v3 ^ word
        rounds(2)
        v0 = v0 ^ word
    v2 = v2 ^ np.uint64(0xFF)
    rounds(4)
    return v0 ^ v1 ^ v2 ^ v3


def mm_ids(kernel: Kernel, mms: U64) -> U64 | None:
    """The `mm_id` of each mm_struct by its address; None where the dump lacks the key."""
    place = kernel.find_symbol("ptr_key")
    if place is None:
        return None
    try:
        key = kernel.word("ptr_key"), int.from_bytes(kernel.read(place + 8, 8), "little")
    except KernlabError:
        return None
    return siphash(mms, key) & np.uint64(0xFFFFFFFF)

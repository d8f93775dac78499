"""The ORC tables of the kernel and of its modules, as they lie in memory (arch/x86/kernel/unwind_orc.c)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.orc import ENTRY, OrcTable, decode
from kernlab.debuginfo.types import StructType
from kernlab.linux import kernel_modules

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: Bytes of an address: it is kept as its distance from where that stands.
_IP = 4


@fact
def orc_tables(kernel: Kernel) -> OrcTable | None:
    """All of them in one, ascending; None in a kernel that has none (CONFIG_UNWINDER_ORC is off).

    Entries that the dump lacks are told: there frames are guessed.
    """
    kind = kernel.type_or_none("struct orc_entry")
    start, stop = (kernel.find_symbol(f"__{end}_orc_unwind_ip") for end in ("start", "stop"))
    entries = kernel.find_symbol("__start_orc_unwind")
    if not isinstance(kind, StructType) or start is None or stop is None or entries is None:
        return None
    first = [(start, entries, max(stop - start, 0) // _IP)]
    places = np.array([*first, *_of_modules(kernel)], dtype=np.uint64)
    found = [_read(kernel, *place) for place in places.tolist()]
    ip, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return decode(ip, rows, kind)


def _of_modules(kernel: Kernel) -> list[tuple[int, int, int]]:
    """Where each module's addresses and entries lie, and how many they are."""
    if not kernel_modules.has_modules(kernel):
        return []
    module = kernel_modules.loaded(kernel)
    if not module.has("arch.num_orcs"):
        return []
    arch = module.follow("arch")
    count, ip, entries = arch["num_orcs"], arch["orc_unwind_ip"], arch["orc_unwind"]
    usable = (count > 0).true & ip.true & entries.true
    counts = kernel.budget.counts(count.int64.where(usable).filled(0), _IP + ENTRY, "entries of ORC tables")
    return [
        (int(ip.values[row]), int(entries.values[row]), int(counts[row]))
        for row in np.flatnonzero(counts).tolist()
    ]


def _read(kernel: Kernel, start: int, entries: int, count: int) -> tuple[U64, U8]:
    """The addresses and entries of one table that can be read, uint64[m] and uint8[m, ENTRY]."""
    count = kernel.budget.count(count, _IP + ENTRY, "entries of an ORC table")
    row = np.arange(count, dtype=np.uint64)
    where = np.uint64(start) + row * np.uint64(_IP)
    distance, readable = kernel.words(where, _IP, "addresses of ORC tables")
    rows, status = kernel.gather(np.uint64(entries) + row * np.uint64(ENTRY), ENTRY, "entries of ORC tables")
    ip = where + distance.astype(np.uint32).view(np.int32).astype(np.int64).view(np.uint64)
    # An entry that is lost must not be covered by the one before it: there nothing is known.
    return ip[readable], np.where((status == 0)[:, None], rows, np.uint8(0))[readable]

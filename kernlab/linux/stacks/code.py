"""Where the kernel's code lies, which addresses in it lie right behind a call, and which can be returned to so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.linux import kernel_modules
from kernlab.linux.made_symbols import made_symbols

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: The image's code; what ran at boot only is gone, but idle tasks still return to it (kernel/extable.c,
#: __kernel_text_address).
_IMAGE = (("_stext", "_etext"), ("_sinittext", "_einittext"))

#: x86-64's longest call: ff /2 with a SIB byte and 32 bits of displacement. arm64's have 4 bytes.
_LONGEST_CALL, _ARM64_CALL = 7, 4
#: e8 rel32; and what a probe puts in the place of an instruction's first byte.
_CALL, _INT3 = 0xE8, 0xCC
#: What becomes of the call of a static call without function, and of ftrace's: a NOP (arch/x86/include/asm/nops.h, of
#: 64-bit CPUs of old, too, before v5.13), or a zeroing of the result (arch/x86/kernel/static_call.c).
_NO_CALL = tuple(map(bytes.fromhex, ("0f1f440000", "6666666690", "2e2e2e31c0", "66664831c0")))


#: Bit 55 of an address tells the kernel's half, whatever lies in the bits of a signature (arm64).
_HALF = np.uint64(1 << 55)
_VA_BITS = 48


@dataclass(frozen=True, slots=True)
class Code:
    """M stretches of code [start, end), uint64[m] each, ascending and apart."""

    start: U64
    end: U64

    def holds(self, addresses: U64) -> Mask:
        """Which addresses uint64[n] lie in code: bool[n]."""
        if not len(self.start):
            return np.zeros(len(addresses), dtype=bool)
        at = np.searchsorted(self.start, addresses, side="right") - 1
        inside: Mask = (at >= 0) & (addresses < self.end[at])
        return inside


@fact
def kernel_code(kernel: Kernel) -> Code:
    """The code of the image and of modules, and what was made at run time: BPF, trampolines, probes' instructions."""
    ranges = [
        (first, last)
        for edges in _IMAGE
        if (first := kernel.symbols.get(edges[0])) and (last := kernel.symbols.get(edges[1]))
    ]
    if not ranges:
        ranges = [(kernel.layout.image_start, kernel.layout.image_end)]
    parts = [np.array(ranges, dtype=np.uint64), np.stack(kernel_modules.code_ranges(kernel), axis=1)]
    parts += [
        np.stack([made.addresses, made.addresses + made.sizes], axis=1)
        for made in made_symbols(kernel)
        if made.sizes is not None and not made.gone
    ]
    every = np.concatenate(parts)
    every = every[every[:, 0] < every[:, 1]]
    every = every[np.argsort(every[:, 0], kind="stable")]
    start, end = every[:, 0], np.maximum.accumulate(every[:, 1])
    apart = np.ones(len(start), dtype=bool)
    apart[1:] = start[1:] > end[:-1]
    begins = np.flatnonzero(apart)
    return Code(start[begins], end[np.append(begins, len(end))[1:] - 1])


def has_frame_records(kernel: Kernel) -> bool:
    """Is this a kernel of arm64? Its threads save their registers in a cpu_context."""
    return kernel.types.has_member("struct thread_struct", "cpu_context")


def signature_bits(kernel: Kernel) -> int:
    """The bits that the signature of an address of code may take (arm64's pointer authentication); 0: no signatures."""
    if not has_frame_records(kernel):
        return 0
    # Without signatures these bits are what the sign says anyway.
    bits = kernel.vmcoreinfo.number("VA_BITS") or _VA_BITS
    return kernel.vmcoreinfo.number("KERNELPACMASK") or (1 << 64) - (1 << bits)


def without_signatures(addresses: U64, bits: int) -> U64:
    """Addresses uint64[…] as they were before they were signed (ptrauth_strip_kernel_insn_pac)."""
    signed = np.uint64(bits)
    return np.where(addresses & _HALF != 0, addresses | signed, addresses & ~signed) if bits else addresses


def behind_call(kernel: Kernel, addresses: U64) -> tuple[Mask, Mask]:
    """Which addresses uint64[n] lie right behind a call, by the code that the dump has: (bool[n], bool[n]).

    The second is where that code tells it: not where the dump lacks it, where it ran at boot only and is gone, and
    where a call may have been patched away while somebody was in it.
    """
    arm64 = has_frame_records(kernel)
    size = _ARM64_CALL if arm64 else _LONGEST_CALL
    rows, status = kernel.gather(addresses - np.uint64(size), size, what="")
    read = status == 0
    called, patched = _arm64_calls(rows) if arm64 else _x86_calls(kernel, rows, addresses)
    called &= read
    return called, called | read & ~patched & ~_ran_at_boot(kernel, addresses)


def is_return_address(kernel: Kernel, addresses: U64) -> Mask:
    """Which of uint64[n] can be a return address: right behind a call, or in code of which it is not known.

    A call may stand in code that nothing lists (programs of classic BPF).
    """
    distinct, back = np.unique(addresses, return_inverse=True)
    called, known = behind_call(kernel, distinct)
    # Behind a function's last call may be the end of the code.
    good: Mask = called | ~known & kernel_code(kernel).holds(distinct - np.uint64(1))
    return good[back]


def _ran_at_boot(kernel: Kernel, addresses: U64) -> Mask:
    """Which addresses are of the code that is given back when the kernel has booted."""
    start, end = (kernel.symbols.get(name) for name in _IMAGE[1])
    if start is None or end is None:
        return np.zeros(len(addresses), dtype=bool)
    inside: Mask = (addresses > np.uint64(start)) & (addresses <= np.uint64(end))
    return inside


def _x86_calls(kernel: Kernel, rows: U8, addresses: U64) -> tuple[Mask, Mask]:
    """Which of uint8[n, 7] end in a call: e8 rel32 (to a function, a thunk or a static call), or ff /2; which may have.

    The second are those where a probe's int3 stands in the place of its first byte, or what a call of nothing becomes.
    """
    code = kernel_code(kernel)
    distance = np.ascontiguousarray(rows[:, -4:]).view("<i4")[:, 0].astype(np.int64).view(np.uint64)
    target = addresses + distance
    leads = code.holds(target)
    # Thunks against ITS lie on pages of their own behind the image, which nothing lists (its_allocate_thunk, v6.15).
    other = np.flatnonzero((rows[:, -5] == _CALL) & ~leads & (target >= np.uint64(kernel.layout.image_end)))
    if len(other):
        leads[other] = kernel.gather(target[other], 1, what="")[1] == 0
    found, patched = ((rows[:, -5] == first) & leads for first in (_CALL, _INT3))
    for gone in _NO_CALL:
        patched |= (rows[:, -len(gone) :] == np.frombuffer(gone, dtype=np.uint8)).all(axis=1)
    # Before v6.12 the start of a CPU pushed where to return to, and called by a far return (lretq; head_64.S).
    found |= (rows[:, -2] == 0x48) & (rows[:, -1] == 0xCB)
    for length in range(2, _LONGEST_CALL + 1):
        opcode, modrm = rows[:, -length], rows[:, -length + 1]
        mode, register, where = modrm >> 6, modrm >> 3 & 7, modrm & 7
        has_sib = (mode != 3) & (where == 4)
        sib = rows[:, -length + 2] if length > 2 else np.zeros(len(rows), dtype=np.uint8)
        wide = (mode == 2) | ((mode == 0) & ((where == 5) | (has_sib & (sib & 7 == 5))))
        bytes_of = 2 + has_sib + np.where(mode == 1, 1, 0) + np.where(wide, 4, 0)
        fits = (register == 2) & (bytes_of == length)
        found |= (opcode == 0xFF) & fits
        patched |= (opcode == _INT3) & fits
    return found, patched


def _arm64_calls(rows: U8) -> tuple[Mask, Mask]:
    """Which of uint8[n, 4] are a bl, a blr, or a blr that authenticates its pointer; which may have been one."""
    word = np.ascontiguousarray(rows).view("<u4")[:, 0]
    called: Mask = (word & 0xFC00_0000 == 0x9400_0000) | (word & 0xFEFF_F000 == 0xD63F_0000)
    # ftrace's call became a NOP again, or a probe's brk stands there.
    patched: Mask = (word == 0xD503_201F) | (word & 0xFFE0_001F == 0xD420_0000)
    return called, patched

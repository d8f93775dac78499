"""Code that the kernel made at run time, of which no ORC table tells: what is known of how frames leave it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.linux.made_symbols import bpf_code, ftrace_trampolines

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: include/linux/ftrace.h, FTRACE_OPS_FL_SAVE_REGS, for a kernel whose types do not name it.
_SAVE_REGS = 1 << 2


@dataclass(frozen=True, slots=True)
class MadeCode:
    """M stretches of such code [start, end), ascending: uint64[m] each; of those that are a copy of other code
    `original` uint64[m] is where that begins, 0 of BPF's programs and trampolines."""

    start: U64
    end: U64
    original: U64

    def originals(self, ip: U64) -> U64:
        """Addresses uint64[n], those in a copy as the same places in what it is a copy of.

        Mirrors orc_ftrace_find (arch/x86/kernel/unwind_orc.c).
        """
        at, inside = self._find(ip)
        copied = inside & (self.original[at] != 0) if len(self.start) else inside
        return np.where(copied, ip - self.start[at] + self.original[at], ip) if copied.any() else ip

    def is_bpf(self, ip: U64) -> Mask:
        """Which of the addresses uint64[n] lie in BPF code, which always has a frame pointer: bool[n]."""
        at, inside = self._find(ip)
        return inside & (self.original[at] == 0) if len(self.start) else inside

    def _find(self, ip: U64) -> tuple[npt.NDArray[np.int64], Mask]:
        if not len(self.start):
            return np.zeros(len(ip), dtype=np.int64), np.zeros(len(ip), dtype=bool)
        at = np.maximum(np.searchsorted(self.start, ip, side="right").astype(np.int64) - 1, 0)
        return at, (ip >= self.start[at]) & (ip < self.end[at])


@fact
def made_code(kernel: Kernel) -> MadeCode:
    """All of it that a kernel lists; what cannot be read is told."""
    start, size = bpf_code(kernel)
    copy, length, original = _copies(kernel)
    start, size = np.concatenate([start, copy]), np.concatenate([size, length])
    original = np.concatenate([np.zeros(len(start) - len(original), dtype=np.uint64), original])
    order = np.argsort(start, kind="stable")
    return MadeCode(start[order], (start + size)[order], original[order])


def _copies(kernel: Kernel) -> tuple[U64, U64, U64]:
    """Where ftrace's trampolines lie, how long they are, and of which code each is a copy.

    Mirrors create_trampoline (arch/x86/kernel/ftrace.c).
    """
    ops = ftrace_trampolines(kernel)
    plain, full = (kernel.find_symbol(f"ftrace_{what}caller") for what in ("", "regs_"))
    if ops is None or plain is None or full is None:
        nothing = np.zeros(0, dtype=np.uint64)
        return nothing, nothing, nothing
    start, size, flags = ops["trampoline"], ops["trampoline_size"], ops["flags"]
    bit = kernel.types.enumerator_or_none("FTRACE_OPS_FL_SAVE_REGS") or _SAVE_REGS
    good = start.true & size.valid & flags.valid
    saves = flags.values[good].astype(np.uint64) & np.uint64(bit) != 0
    return start.values[good], size.values[good], np.where(saves, np.uint64(full), np.uint64(plain))

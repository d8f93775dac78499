"""One step up many stacks at once, by frame records on arm64 (arch/arm64/kernel/stacktrace.c, kunwind_next).

A record on the stack has the caller's frame pointer (x29) and the return address (x30), which may be signed. Where a
task was interrupted the record lies within the registers that were saved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import StructType
from kernlab.linux.stacks.areas import StackKind
from kernlab.linux.stacks.code import signature_bits, without_signatures
from kernlab.linux.stacks.frame_pointers import NO_STACK, NOT_ABOVE, NOT_ALIGNED
from kernlab.linux.stacks.frames import Frames

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_WORD, _RECORD, _UNALIGNED = np.uint64(8), np.uint64(16), np.uint64(7)
#: enum frame_record_meta type (arch/arm64/include/asm/stacktrace/frame.h).
_FINAL, _PT_REGS = 1, 2

#: The mode in a saved PSTATE: EL0t, and in the kernel EL1 or EL2 with one of two stack pointers.
_MODE, _USER_MODE, _KERNEL_MODES = np.uint64(0x1F), 0x0, (0x4, 0x5, 0x8, 0x9)
_AARCH32 = np.uint64(0x10)

#: Where exceptions enter the kernel (arch/arm64/kernel/entry.S): since v5.14, and before.
_EXCEPTIONS = tuple(
    name
    for kind in ("sync", "irq", "fiq", "error")
    for name in (f"el1h_64_{kind}", f"el1t_64_{kind}", f"el1_{kind}")
)
#: What has no caller where a record without one is how stacks end (before v5.13).
_OUTERMOST = (
    "ret_from_fork",
    "el0_sync",
    "el0_irq",
    "el0_error",
    "__primary_switched",
    "__secondary_switched",
)


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """Where the registers of struct pt_regs lie in bytes, and that of its frame record; how large it is.

    `marked`: a record without caller says by a third word what it is (struct frame_record_meta, since v6.13). `signed`
    are the bits of an address that a signature may take.
    """

    size: int
    record: int
    fp: int
    sp: int
    pc: int
    pstate: int
    marked: bool
    signed: int


def layout_of(kernel: Kernel) -> RecordLayout:
    """The layout by the dump's types and VMCOREINFO."""
    kind = kernel.find_type("struct pt_regs").strip()
    assert isinstance(kind, StructType)
    offset = {name: kind.member(name).offset for name in ("regs", "sp", "pc", "pstate", "stackframe")}
    return RecordLayout(
        size=kind.size,
        record=offset["stackframe"],
        fp=offset["regs"] + 29 * 8,
        sp=offset["sp"],
        pc=offset["pc"],
        pstate=offset["pstate"],
        marked=kernel.type_or_none("struct frame_record_meta") is not None,
        signed=signature_bits(kernel),
    )


class FrameRecordUnwinder:
    """Takes frames to their callers'. A frame's `bp` is x29, its `sp` the end of the record that led to it."""

    def __init__(self, kernel: Kernel, layout: RecordLayout):
        self._kernel, self._layout = kernel, layout
        self._exceptions = _edges(kernel, _EXCEPTIONS)
        self._outermost = _edges(kernel, _OUTERMOST)

    @classmethod
    def of(cls, kernel: Kernel) -> FrameRecordUnwinder:
        """The unwinder of a kernel."""
        return cls(kernel, layout_of(kernel))

    def step(self, frames: Frames) -> None:
        """Every frame that is not done becomes its caller's; where that cannot be known it is marked as failed."""
        rows = np.flatnonzero(frames.running)
        at = frames.bp[rows]
        # Before v5.13 the outermost frame's own record had no caller, and nothing lay above it.
        frames.finish(rows[(at == 0) & _within(self._outermost, frames.ip[rows])])
        frames.fail(rows[at & _UNALIGNED != 0], NOT_ALIGNED)
        stack = frames.on_stack(rows, at)
        whole = (stack >= 0) & (frames.on_stack(rows, at + _WORD) == stack)
        frames.fail(rows[~whole], NO_STACK)
        overlaps = (stack == frames.stack[rows]) & (at < frames.sp[rows])
        frames.fail(rows[overlaps], NOT_ABOVE)
        going = frames.running[rows]
        rows, at, stack = rows[going], at[going], stack[going]
        if not len(rows):
            return
        bp, ok = frames.read(rows, at)
        lr, read = frames.read(rows, at + _WORD)
        ok &= read
        ip, sp, regs = (
            without_signatures(lr, self._layout.signed),
            at + _RECORD,
            np.zeros(len(rows), dtype=np.uint64),
        )
        last = ok & (bp == 0) & (lr == 0)
        interrupted = self._ends(frames, rows, at, stack, last) | self._entered(
            frames, rows, at, bp, lr, ok & ~last
        )
        inside = np.flatnonzero(interrupted)
        regs[inside] = at[inside] - np.uint64(self._layout.record)
        for target, offset in ((ip, self._layout.pc), (sp, self._layout.sp), (bp, self._layout.fp)):
            target[inside], read = frames.read(rows[inside], regs[inside] + np.uint64(offset))
            ok[inside] &= read
        going = frames.running[rows]
        rows, ip, sp, bp, regs, ok = rows[going], ip[going], sp[going], bp[going], regs[going], ok[going]
        saved = regs != 0
        frames.advance(rows, ip, sp, bp, exact=saved, regs=regs, full=saved, ok=ok)

    def _ends(self, frames: Frames, rows: I64, at: U64, stack: I64, last: Mask) -> Mask:
        """Finish stacks whose records say that they end; which of the records are of saved registers instead."""
        interrupted = np.zeros(len(rows), dtype=bool)
        where = np.flatnonzero(last)
        if not len(where):
            return interrupted
        layout = self._layout
        regs = at[where] - np.uint64(layout.record)
        top = frames.stacks.end[stack[where]] - np.uint64(layout.size)
        on_top = (frames.stacks.kind[stack[where]] == StackKind.TASK) & (regs == top)
        final = on_top
        if layout.marked:
            # Linux v6.13: arm64 marks what lies in registers (struct frame_record_meta).
            kind, read = frames.read(rows[where], at[where] + _RECORD)
            final = read & (kind == _FINAL) & on_top
            mode, known = self._mode(frames, rows[where], regs)
            interrupted[where] = read & (kind == _PT_REGS) & known & np.isin(mode, _KERNEL_MODES)
        mode, known = self._mode(frames, rows[where], regs)
        user = (
            final
            & known
            & ((mode == _USER_MODE) | (mode & _AARCH32 != 0))
            & self._has_pc(frames, rows[where], regs)
        )
        frames.user[rows[where[user]]] = regs[user]
        frames.finish(rows[where[final]])
        wrong = ~final & ~interrupted[where]
        frames.fail(rows[where[wrong]], "a frame record without a caller lies within its stack")
        return interrupted

    def _entered(self, frames: Frames, rows: I64, at: U64, bp: U64, lr: U64, ok: Mask) -> Mask:
        """Before v6.13: which records are those that an exception's entry made within the registers that it saved."""
        found = np.zeros(len(rows), dtype=bool)
        where = np.flatnonzero(ok & _within(self._exceptions, frames.ip[rows]))
        if self._layout.marked or not len(where):
            return found
        layout, regs = self._layout, at[where] - np.uint64(self._layout.record)
        pc, read = frames.read(rows[where], regs + np.uint64(layout.pc))
        fp, read_fp = frames.read(rows[where], regs + np.uint64(layout.fp))
        mode, known = self._mode(frames, rows[where], regs)
        same = (pc == lr[where]) & (fp == bp[where]) & np.isin(mode, _KERNEL_MODES)
        found[where] = read & read_fp & known & same
        return found

    def _mode(self, frames: Frames, rows: I64, regs: U64) -> tuple[U64, Mask]:
        value, read = frames.read(rows, regs + np.uint64(self._layout.pstate))
        return value & _MODE, read

    def _has_pc(self, frames: Frames, rows: I64, regs: U64) -> Mask:
        """Which registers are of a program: those of a kernel thread are all zero."""
        value, read = frames.read(rows, regs + np.uint64(self._layout.pc))
        has: Mask = read & (value != 0)
        return has


def _edges(kernel: Kernel, names: tuple[str, ...]) -> U64:
    """[start, end) of the functions that there are of these, uint64[m, 2]."""
    found = [
        (start, start + kernel.symbols.room(start)) for name in names if (start := kernel.symbols.get(name))
    ]
    return np.array(found, dtype=np.uint64).reshape(-1, 2)


def _within(edges: U64, addresses: U64) -> Mask:
    """Which addresses are right behind an instruction of one of these functions."""
    inside = (addresses[:, None] > edges[:, 0]) & (addresses[:, None] <= edges[:, 1])
    return np.asarray(inside.any(axis=1))

"""One step up many stacks at once, by frame records on arm64 (arch/arm64/kernel/stacktrace.c, kunwind_next).

A record on the stack has the caller's frame pointer (x29) and the return address (x30), which may be signed. Where a
task was interrupted the record lies within the registers that were saved. A function that was interrupted before it
made its record, or that makes none, returns to what the link register holds: the kernel's own traces pass over that
caller, kernlab asks the function's code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import StructType
from kernlab.linux.stacks.code import is_return_address, kernel_code
from kernlab.linux.stacks.frame_pointers import NO_STACK, NOT_ABOVE, NOT_ALIGNED
from kernlab.linux.stacks.frames import Frames
from kernlab.linux.stacks.machines import ARM64
from kernlab.linux.stacks.machines.arm64 import without_signatures
from kernlab.linux.stacks.machines.arm64_code import has_record
from kernlab.linux.stacks.stack_kinds import StackKind

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_WORD, _RECORD, _UNALIGNED = np.uint64(8), np.uint64(16), np.uint64(7)
#: enum frame_record_meta type (arch/arm64/include/asm/stacktrace/frame.h).
_FINAL, _PT_REGS = 1, 2

#: The mode in a saved PSTATE: EL0t, and in the kernel EL1 or EL2 with one of two stack pointers.
_MODE, _USER_MODE, _KERNEL_MODES = np.uint64(0x1F), 0x0, (0x4, 0x5, 0x8, 0x9)
_AARCH32 = np.uint64(0x10)

#: No function is longer that is looked at; so much of it behind an address is enough to see which ways lead there.
_LONGEST, _BEHIND = np.uint64(1 << 14), 1 << 12

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
    lr: int
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
        lr=offset["regs"] + 30 * 8,
        sp=offset["sp"],
        pc=offset["pc"],
        pstate=offset["pstate"],
        marked=kernel.type_or_none("struct frame_record_meta") is not None,
        signed=ARM64.signature_bits(kernel),
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
        rows = rows[~self._by_link_register(frames, rows)]
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

    def _by_link_register(self, frames: Frames, rows: I64) -> Mask:
        """Take those to their callers' that were interrupted where their function had no record: which those are."""
        done = np.zeros(len(rows), dtype=bool)
        at = np.flatnonzero(frames.exact[rows] & frames.full[rows])
        if not len(at):
            return done
        link, known = frames.register(rows[at], "x30", self._layout.lr)
        link = without_signatures(link, self._layout.signed)
        bare = known & self._without_record(frames.ip[rows[at]])
        at, link = at[bare], link[bare]
        called = is_return_address(self._kernel, link)
        at, link = at[called], link[called]
        done[at] = True
        no, yes = np.zeros(len(at), dtype=bool), np.ones(len(at), dtype=bool)
        # Of the stack it may have used nothing yet, and what it used is not known.
        here = rows[at]
        sp, bp, none = frames.sp[here], frames.bp[here], np.zeros(len(at), dtype=np.uint64)
        frames.advance(here, link, sp, bp, exact=no, regs=none, full=no, ok=yes, level=yes)
        return done

    def _without_record(self, ip: U64) -> Mask:
        """Which of the instructions uint64[k] that were to come have no record of their function: bool[k].

        What is no code at all was called there. Where nothing tells, there is one.
        """
        bare = ~kernel_code(self._kernel).holds(ip)
        row, offset, _ = self._kernel.lookup(ip)
        for one in np.flatnonzero(~bare & (row >= 0) & (offset < _LONGEST)).tolist():
            start, where = ip[one] - offset[one], int(offset[one])
            size = min(where + _BEHIND, int(self._kernel.symbols.room(int(start))) or where + 4)
            code, status = self._kernel.gather(start[None], max(size, where + 4), what="")
            if status[0] == 0:
                bare[one] = has_record(code[0].tobytes(), where) is False
        return bare

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

"""What each frame was part of: a thread's own work, or something that came between."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.stacks.machines import StackMachine, machine_of
from kernlab.linux.stacks.stack_kinds import StackKind

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class FrameKind(IntEnum):
    """What a frame was part of: a thread's own work, or something that came between."""

    TASK = 0
    IRQ = 1
    SOFTIRQ = 2
    NMI = 3
    EXCEPTION = 4
    ENTRY = 5
    IDLE = 6


#: By the stack that a frame lies on, where that says it (StackKind).
_OF_STACK = {
    StackKind.IRQ: FrameKind.IRQ,
    StackKind.EXCEPTION: FrameKind.EXCEPTION,
    StackKind.NMI: FrameKind.NMI,
    StackKind.ENTRY: FrameKind.ENTRY,
}

#: Where softirqs are handled: since v6.11 a function of its own, before that inlined into __do_softirq.
_SOFTIRQ = ("handle_softirqs", "__do_softirq", "__softirqentry_text_start")


def frame_kinds(
    kernel: Kernel, thread: I64, ip: U64, stack_kind: U8, regs: U64, exact: Mask, idle: Mask
) -> U8:
    """The kind of each of m frames, by thread and from the innermost on: uint8[m] (`FrameKind`).

    stack_kind uint8[m] (`StackKind`); regs uint64[m], where registers were saved when a frame was interrupted; idle
    bool[m]: frames of idle threads.
    """
    count = len(thread)
    kind = np.where(idle, FrameKind.IDLE, FrameKind.TASK).astype(np.uint8)
    for of_stack, told in _OF_STACK.items():
        kind[stack_kind == of_stack] = told
    if not count:
        return kind
    first = np.flatnonzero(np.diff(thread, prepend=thread[0] - 1))
    # What interrupted a frame of this thread is what lies within: up to the last frame that was interrupted before.
    interrupted = np.flatnonzero(regs != 0)
    interrupted = interrupted[~np.isin(interrupted, first)]
    names = kernel.symbolize(ip[interrupted - 1])
    begins = np.union1d(first, interrupted)
    machine = machine_of(kernel)
    for row, name in zip(interrupted.tolist(), names, strict=True):
        begin = int(begins[np.searchsorted(begins, row) - 1])
        inside = np.arange(begin, row)
        own = inside[stack_kind[inside] == StackKind.TASK]
        kind[own] = _of_entry(machine, name)
    _mark_softirqs(kernel, thread, ip, exact, kind)
    return kind


def _of_entry(machine: StackMachine, name: str | None) -> FrameKind:
    """What an entry's function is for."""
    if name is None:
        return FrameKind.EXCEPTION
    if name.startswith(machine.nmi_entries):
        return FrameKind.NMI
    return FrameKind.IRQ if name.startswith(machine.irq_entries) else FrameKind.EXCEPTION


def _mark_softirqs(kernel: Kernel, thread: I64, ip: U64, exact: Mask, kind: U8) -> None:
    """What was done for a softirq: the frame that handles them, and those within it up to an interrupt of it."""
    handles = np.zeros(len(ip), dtype=bool)
    where = ip - np.where(exact, 0, 1).astype(np.uint64)
    for name in _SOFTIRQ:
        start = kernel.symbols.get(name)
        if start is not None:
            handles |= where - np.uint64(start) < np.uint64(kernel.symbols.room(start))
    for row in np.flatnonzero(handles).tolist():
        before, at = kind[row], row
        while at >= 0 and thread[at] == thread[row] and kind[at] == before:
            kind[at] = FrameKind.SOFTIRQ
            at -= 1

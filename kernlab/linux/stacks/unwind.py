"""The stacks of all threads: every frame of every one, all taken up one frame a round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.frames import Frames
from kernlab.linux.stacks.kinds import FrameKind, frame_kinds
from kernlab.linux.stacks.orc import OrcUnwinder
from kernlab.linux.stacks.orc_tables import orc_tables
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.stacks.starts import Starts, joined, running, sleeping
from kernlab.linux.tasks import find_tasks

__all__ = ["FrameKind", "Unwound", "unwound"]

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: No stack has more frames: the smallest frame is a word, the largest stack 1 MiB.
_MOST_FRAMES = 1 << 17


@dataclass(frozen=True, slots=True)
class Unwound:
    """M frames, by thread (the row in `task`) and from the innermost on.

    thread, frame int64[m]; ip, sp uint64[m]; kind uint8[m] (`FrameKind`); reliable bool[m], False of what is guessed;
    exact bool[m]: ip is an instruction yet to be done, not one to return to; cpu int64[m], -1 of threads that did not
    run; regs uint64[m]: where the registers lie that were saved when it was interrupted, 0 of other frames.
    `why` says by thread why a stack ends before its end, `user` where the registers of user mode lie (struct pt_regs)
    of those that came there.
    """

    task: StructArray
    thread: I64
    frame: I64
    ip: U64
    sp: U64
    kind: U8
    reliable: Mask
    exact: Mask
    cpu: I64
    regs: U64
    why: dict[int, str]
    user: dict[int, int]

    def __len__(self) -> int:
        return len(self.ip)


@fact
def unwound(kernel: Kernel) -> Unwound:
    """All frames of all threads. Raises KernlabError where no task is found."""
    task, stacks = find_tasks(kernel), find_stacks(kernel)
    table = orc_tables(kernel)
    assert table is not None
    frames = Frames(kernel, stacks, _starts(kernel, task))
    unwinder = OrcUnwinder(kernel, table)
    rounds = []
    for number in range(_MOST_FRAMES):
        rows = np.flatnonzero(frames.running)
        if not len(rows):
            break
        kept = (frames.ip, frames.sp, frames.exact, frames.regs, frames.guessed, frames.stack)
        rounds.append((rows, np.full(len(rows), number), *(values[rows].copy() for values in kept)))
        unwinder.step(frames)
    nothing = tuple(np.zeros(0, dtype=kind) for kind in ("i8", "i8", "u8", "u8", "?", "u8", "?", "i8"))
    parts = zip(*(rounds or [nothing]), strict=True)
    row, frame, ip, sp, exact, regs, guessed, stack = (np.concatenate(part) for part in parts)
    thread = frames.thread[row]
    order = np.lexsort((frame, thread))
    thread, ip, exact, regs = thread[order], ip[order], exact[order], regs[order]
    kind = frame_kinds(
        kernel, thread, ip, stacks.kind[stack[order]], regs, exact, (task["pid"] == 0).true[thread]
    )
    return Unwound(
        task,
        thread,
        frame[order],
        ip,
        sp[order],
        kind,
        ~guessed[order],
        exact,
        frames.cpu[row][order],
        regs,
        {int(frames.thread[row]): why for row, why in frames.why.items()},
        {int(frames.thread[row]): int(frames.user[row]) for row in np.flatnonzero(frames.user).tolist()},
    )


def _starts(kernel: Kernel, task: StructArray) -> Starts:
    """Where each thread's stack begins: those that a CPU ran at its registers, all others where they were left."""
    on_cpus = running(cpu_registers(kernel))
    others = np.setdiff1d(np.arange(len(task)), on_cpus.thread)
    return joined([on_cpus, sleeping(kernel, task, others)])

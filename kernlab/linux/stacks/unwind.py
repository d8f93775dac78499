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
from kernlab.linux.stacks.methods import unwinder_of
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.stacks.scan import scan
from kernlab.linux.stacks.starts import Starts, joined, running, sleeping
from kernlab.linux.tasks import find_tasks

__all__ = ["FrameKind", "Unwound", "unwound"]

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: No stack has more frames: the smallest frame is a word, the largest stack 1 MiB.
_MOST_FRAMES = 1 << 17


#: Of some frames: row, frame, ip, sp, exact, regs, guessed, stack.
_Round = tuple[I64, I64, U64, U64, Mask, U64, Mask, I64]


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
    frames = Frames(kernel, stacks, _starts(kernel, task))
    unwinder = unwinder_of(kernel)
    rounds: list[_Round] = []
    for number in range(_MOST_FRAMES):
        rows = np.flatnonzero(frames.running)
        if not len(rows):
            break
        rounds.append(
            (
                rows,
                np.full(len(rows), number),
                frames.ip[rows],
                frames.sp[rows],
                frames.exact[rows],
                frames.regs[rows],
                frames.guessed[rows],
                frames.stack[rows],
            )
        )
        if unwinder is None:
            frames.fail(rows, "nothing leads from its frame to the caller's")
            break
        unwinder.step(frames)
    rounds += _scanned(frames, rounds)
    index, word, no = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=bool)
    nothing: _Round = (index, index, word, word, no, word, no, index)
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


def _scanned(frames: Frames, rounds: list[_Round]) -> list[_Round]:
    """What the rest of those stacks may hold that could not be followed to their ends: frames behind the last ones."""
    row, ip, sp = scan(frames, np.array(sorted(frames.why), dtype=np.int64))
    if not len(row):
        return []
    followed = [np.zeros(0, dtype=np.int64), *(rows for rows, *_ in rounds)]
    before = np.bincount(np.concatenate(followed), minlength=len(frames.ip))
    number = before[row] + np.arange(len(row)) - np.searchsorted(row, row)
    no, none = np.zeros(len(row), dtype=bool), np.zeros(len(row), dtype=np.uint64)
    stack = frames.stacks.find(sp - np.uint64(8))
    return [(row, number, ip, sp, no, none, ~no, stack)]


def _starts(kernel: Kernel, task: StructArray) -> Starts:
    """Where each thread's stack begins: those that a CPU ran at its registers, all others where they were left."""
    on_cpus = running(cpu_registers(kernel))
    others = np.setdiff1d(np.arange(len(task)), on_cpus.thread)
    return joined([on_cpus, sleeping(kernel, task, others)])

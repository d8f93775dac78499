"""The stacks of all threads: every frame of every one, all taken up one frame a round."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.orc import OrcUnwinder
from kernlab.linux.stacks.orc_tables import orc_tables
from kernlab.linux.stacks.saved import sleeping
from kernlab.linux.tasks import find_tasks

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: No stack has more frames: the smallest frame is a word, the largest stack 1 MiB.
_MOST_FRAMES = 1 << 17


class FrameKind(IntEnum):
    """What a frame was part of: a thread's own work, or something that came between."""

    TASK = 0
    IRQ = 1
    SOFTIRQ = 2
    NMI = 3
    EXCEPTION = 4
    ENTRY = 5
    IDLE = 6


@dataclass(frozen=True, slots=True)
class Unwound:
    """M frames, by thread (the row in `task`) and from the innermost on.

    thread, frame int64[m]; ip, sp uint64[m]; kind uint8[m] (`FrameKind`); reliable bool[m], False of what is guessed;
    exact bool[m]: ip is an instruction yet to be done, not one to return to; cpu int64[m], -1 of threads that did not
    run; regs uint64[m]: where the registers lie that were saved when it was interrupted, 0 of other frames. `why` says
    by thread why a stack ends before its end.
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

    def __len__(self) -> int:
        return len(self.ip)


@fact
def unwound(kernel: Kernel) -> Unwound:
    """All frames of all threads. Raises KernlabError where no task is found."""
    task, stacks = find_tasks(kernel), find_stacks(kernel)
    table = orc_tables(kernel)
    assert table is not None
    frames = sleeping(kernel, task, stacks, np.arange(len(task)))
    unwinder = OrcUnwinder(kernel, table)
    rounds = []
    for number in range(_MOST_FRAMES):
        rows = np.flatnonzero(frames.running)
        if not len(rows):
            break
        kept = (frames.ip, frames.sp, frames.exact, frames.regs)
        rounds.append((rows, np.full(len(rows), number), *(values[rows].copy() for values in kept)))
        unwinder.step(frames)
    thread, frame, ip, sp, exact, regs = (np.concatenate(part) for part in zip(*rounds, strict=True))
    order = np.lexsort((frame, thread))
    count = len(order)
    return Unwound(
        task,
        thread[order],
        frame[order],
        ip[order],
        sp[order],
        np.zeros(count, dtype=np.uint8),
        np.ones(count, dtype=bool),
        exact[order],
        np.full(count, -1, dtype=np.int64),
        regs[order],
        frames.why,
    )

"""The stacks that there are: each thread's own, and each CPU's for interrupts, exceptions and entry from user mode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.stacks.stack_kinds import Part, StackKind, part
from kernlab.linux.tasks import find_tasks
from kernlab.linux.thread_stacks import thread_size
from kernlab.walk.cpus import possible_cpus

__all__ = ["StackKind", "Stacks", "find_stacks"]

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Stacks:
    """M stacks [start, end), ascending: uint64[m] each; `kind` uint8[m] (`StackKind`), `owner` int64[m].

    The owner of a thread's own stack is the thread's row in `find_tasks`, that of all others the number of their CPU.
    """

    start: U64
    end: U64
    kind: U8
    owner: I64

    def find(self, addresses: U64) -> I64:
        """The stack that each address uint64[n] lies on, -1 of those on none: int64[n]."""
        if not len(self.start):
            return np.full(len(addresses), -1, dtype=np.int64)
        at = np.searchsorted(self.start, addresses, side="right").astype(np.int64) - 1
        return np.where((at >= 0) & (addresses < self.end[at]), at, -1)


@fact
def find_stacks(kernel: Kernel) -> Stacks:
    """Every kernel stack, each once. What cannot be read is told; raises KernlabError where no task is found."""
    parts = [_of_threads(kernel), *machine_of(kernel).cpu_stacks(kernel, possible_cpus(kernel))]
    start, end, kind, owner = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(start, kind="stable")
    return Stacks(start[order], end[order], kind[order], owner[order])


def _of_threads(kernel: Kernel) -> Part:
    """Each thread's own, but for what cannot be one: none begins within a page, and no two threads have the same."""
    stack, size = find_tasks(kernel)["stack"], thread_size(kernel)
    rows = np.flatnonzero(stack.true)
    start = stack.values[rows].astype(np.uint64)
    within = start % np.uint64(max(min(size, kernel.page_size), 1)) != 0
    rows, start = rows[~within], start[~within]
    order = np.argsort(start, kind="stable")
    rows, start = rows[order], start[order]
    near = np.diff(start) < np.uint64(size)
    shared = np.append(near, False) | np.insert(near, 0, False) if len(start) else near
    if within.any():
        kernel.lost("stacks of threads begin where none can", mask=within)
    if shared.any():
        kernel.lost("stacks are said to be of more than one thread", mask=shared)
    return part(start[~shared], size, StackKind.TASK, rows[~shared].astype(np.int64))

"""What the rules of `suspects` look at: the tables of a machine's memory, each built once, and only if one asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.locks.hung import hung_after
from kernlab.linux.page.classifier import KIND_NAMES, Kind
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.zones import managed_pages, watermark, zone_names
from kernlab.tables.memory.memory_by_cgroup import memory_by_cgroup
from kernlab.tables.memory.memory_by_file import memory_by_file
from kernlab.tables.memory.memory_by_process import memory_by_process
from kernlab.tables.memory.slabs import slabs
from kernlab.tables.processes.stacks import stacks
from kernlab.tables.processes.waits import Waits, waits
from kernlab.tables.system.log import log

I64 = npt.NDArray[np.int64]

# include/linux/sched.h; macros, so no type information has them. A task in TASK_KILLABLE, TASK_IDLE or frozen may stay.
_UNINTERRUPTIBLE, _EXPECTED = 0x2, 0x100 | 0x400 | 0x8000


@dataclass(frozen=True, slots=True)
class Lead:
    """One thing that looks wrong: `weight` orders leads (1 is "this alone explains it"), `bytes` is -1 for none."""

    lead: str
    subject: str
    evidence: str
    cell: str
    weight: float
    bytes: int = -1


class Evidence:
    """The tables that rules look at, each built once and only if a rule asks for it."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel

    @cached_property
    def slabs(self) -> pd.DataFrame:
        """`dump.slabs`."""
        return self._keep(slabs(self.kernel))

    @cached_property
    def processes(self) -> pd.DataFrame:
        """`dump.memory_by_process`."""
        return self._keep(memory_by_process(self.kernel))

    @cached_property
    def cgroups(self) -> pd.DataFrame:
        """`dump.memory_by_cgroup`."""
        return self._keep(memory_by_cgroup(self.kernel))

    @cached_property
    def files(self) -> pd.DataFrame:
        """`dump.memory_by_file`."""
        return self._keep(memory_by_file(self.kernel))

    @cached_property
    def log(self) -> pd.DataFrame:
        """`dump.log`."""
        return self._keep(log(self.kernel))

    @cached_property
    def waits(self) -> Waits:
        """`dump.waits`."""
        built = waits(self.kernel)
        self.kernel.lost(*built.attrs["problems"])
        return built

    @cached_property
    def stacks(self) -> pd.DataFrame:
        """`dump.stacks`."""
        return self._keep(stacks(self.kernel))

    @cached_property
    def uninterruptible(self) -> list[int]:
        """The pids of threads that neither a signal nor a kill wakes (kernel/hung_task.c)."""
        task = StructArray(self.kernel, "struct task_struct", self.waits["address"].to_numpy(dtype=np.uint64))
        state = task.first("__state", "state")
        hung = (state.has(_UNINTERRUPTIBLE) & ~state.has(_EXPECTED)).true
        pids = task["pid"]
        return [int(pid) for pid in pids.values[hung & pids.valid]]

    @cached_property
    def hung_after(self) -> int:
        """Seconds after which such a sleep is called hung: what was set, else the usual two minutes."""
        return hung_after(self.kernel)

    def _keep(self, built: pd.DataFrame) -> pd.DataFrame:
        self.kernel.lost(*built.attrs["problems"])
        return built

    @cached_property
    def _counted(self) -> tuple[I64, I64, PageSurvey]:
        """Pages by kind int64[kinds], free pages by zone and order int64[zones, orders]."""
        survey = PageSurvey(self.kernel)
        kinds = np.zeros(len(KIND_NAMES), dtype=np.int64)
        orders = survey.largest_order + 1
        free = np.zeros((len(survey.zone) + 1, orders), dtype=np.int64)
        for chunk in survey:
            rows = np.concatenate([np.arange(piece.rows.start, piece.rows.stop) for piece in chunk.pieces])
            kinds += np.bincount(chunk.kind[rows], minlength=len(kinds))
            rows = rows[chunk.kind[rows] == Kind.FREE]
            place = chunk.zone_code[rows].astype(np.int64) * orders + np.minimum(
                chunk.order[rows], orders - 1
            )
            place[chunk.zone_code[rows] < 0] = free.size - 1
            free += np.bincount(place, minlength=free.size).reshape(free.shape)
        return kinds, free[:-1], survey

    def kind(self, *kinds: Kind) -> int:
        """Bytes of some kinds together."""
        return int(self._counted[0][list(kinds)].sum()) * self.kernel.page_size

    @cached_property
    def managed(self) -> int:
        """Bytes that the page allocator has to give: all but what is reserved or not there."""
        without = (Kind.RESERVED, Kind.OFFLINE, Kind.HWPOISON, Kind.UNACCEPTED, Kind.EXCLUDED)
        return int(self._counted[0].sum()) * self.kernel.page_size - self.kind(*without)

    def zones(self) -> Iterator[tuple[str, I64, I64, int]]:
        """Zones with memory: (name, free pages by order, watermarks min, low, high in pages, managed pages)."""
        _, free, survey = self._counted
        managed = managed_pages(survey.zone)
        told = (watermark(survey.zone, level) for level in range(3))
        marks = [mark.int64 for mark in told if mark is not None]
        names = zone_names(self.kernel, survey.zone)
        known = np.logical_and.reduce([mark.valid for mark in marks])
        several = len(survey.node) > 1
        for row in np.flatnonzero(known & (managed > 0).true).tolist():
            levels = np.array([mark[row] for mark in marks], dtype=np.int64)
            number = survey.node.numbers[survey.zone_node[row]]
            name = f"{names[row]} of node {number}" if several else names[row]
            yield name, free[row], levels, managed[row]

    def share(self, size: float) -> float:
        """Which part of the managed memory this is."""
        return size / max(self.managed, 1)


def size_of(value: object) -> int:
    """A number of a table as an int, 0 where it is missing."""
    return int(value) if value is not None and value is not pd.NA and value == value else 0  # type: ignore[call-overload]


def times(count: int) -> str:
    """How often, in words."""
    return "once" if count == 1 else f"{count:,} times"

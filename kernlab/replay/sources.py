"""What a replay is made of: a dump's traces, marks, log and end state, read once for all windows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.tasks import find_tasks
from kernlab.replay import marks as mark_lines
from kernlab.replay import mem_info
from kernlab.replay.curves import Curve, curve_of
from kernlab.replay.end_state import RSS_KINDS, EndState, Processes, memory_at_end, processes_at_end
from kernlab.replay.kinds import KINDS, OTHER
from kernlab.replay.memory import BREAK, EVENTS, Memory
from kernlab.replay.pressure import Pressure, pressure
from kernlab.replay.processes import Known, Points, points
from kernlab.replay.readings import Readings, readings
from kernlab.replay.recording import Break, Recording
from kernlab.replay.requests import requests
from kernlab.replay.running import Intervals, intervals
from kernlab.tables.system.log import log
from kernlab.traces.clock.clocks import Clocks, clocks

if TYPE_CHECKING:
    from kernlab.traces.ftrace.view import Ftrace
    from kernlab.traces.relay.view import Relay

I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]

#: USER_HZ: what a process' start is counted in for user space.
_TICK = 10_000_000
#: Readings that are further apart (ns) do not tell what was between them.
_APART = 10_000_000_000
#: include/linux/threads.h: more CPUs are none.
_MOST_CPUS = 1 << 16
_NOTHING = (
    "nothing tells of memory before the crash: neither page events, nor marks of the recorder, nor blocks "
    "of the log"
)


@dataclass(frozen=True, slots=True)
class ProcessRows:
    """Rows of the table of processes: `of` is an index into the points' processes, -1 of a break."""

    of: I64
    time: I64
    values: I64
    known: Mask
    source: I8


class Sources:
    """All that a replay reads, each part when it is first asked for."""

    def __init__(self, kernel: Kernel, ftrace: Ftrace, relay: Relay, instance: str | None):
        self.kernel = kernel
        self._relay = relay
        self.clocks: Clocks = clocks(kernel)
        self.recording = Recording(kernel, ftrace, self.clocks, instance)

    @cached_property
    def log(self) -> pd.DataFrame:
        """The table `log`; none of it where it cannot be read."""
        try:
            found = log(self.kernel)
        except KernlabError as error:
            self.kernel.lost(f"replay: the log is left out: {error}")
            columns = {
                "timestamp": np.zeros(0, "m8[ns]"),
                "level": np.zeros(0, np.int64),
                "text": pd.array([], "str"),
            }
            return pd.DataFrame(columns)
        self.kernel.lost(*found.attrs["problems"])
        return found

    @cached_property
    def end(self) -> EndState:
        """Memory at the crash."""
        return memory_at_end(self.kernel)

    @cached_property
    def processes(self) -> Processes:
        """The processes that live in the dump."""
        return processes_at_end(self.kernel)

    @cached_property
    def _marks(self) -> tuple[mark_lines.Marks, I64, I64]:
        """The recorder's marks, when each counter was read, and when each process was (ns on the axis)."""
        found = self.recording.events("print", "buf")
        marks = mark_lines.parse(found.fields["buf"].tolist())
        if marks.damaged:
            self.kernel.lost(f"replay: {marks.damaged:,} marks of the recorder are damaged or cut short")
        # A mark is written once all was read, which took so long.
        took, known = marks.counter("took_us")
        late = np.where(known & (took >= 0) & (took < 10_000_000), took * 500, 0)
        return marks, found.time[marks.row] - late, found.time[marks.task_row]

    @property
    def marks(self) -> mark_lines.Marks:
        """The recorder's marks."""
        return self._marks[0]

    @property
    def mark_time(self) -> I64:
        """When the counters of each mark were read, ns on the axis."""
        return self._marks[1]

    @cached_property
    def _blocks(self) -> tuple[list[mem_info.Block], list[mem_info.TaskLine], I64]:
        """The log's blocks and tables of tasks, and when each record of the log was made."""
        table = self.log
        found, tasks = mem_info.blocks(table["text"].tolist())
        return found, tasks, table["timestamp"].to_numpy().astype("m8[ns]").view(np.int64)

    @cached_property
    def readings(self) -> Readings:
        """Absolute readings of memory."""
        found, _, when = self._blocks
        at = when[np.array([block.at for block in found], dtype=np.int64)]
        return readings(self.kernel, self.end, self.clocks.crash_ns, self.marks, self.mark_time, found, at)

    @cached_property
    def breaks(self) -> list[Break]:
        """Where what memory is known by has holes: the recording, and the marks; the earliest first."""
        found = list(self.recording.breaks)
        time = self.mark_time
        for row in mark_lines.gaps(self.marks.number).tolist():
            before, after = int(self.marks.number[row - 1]), int(self.marks.number[row])
            reason = f"{after - before - 1:,} marks of the recorder are missing"
            if after <= before:
                reason = f"the recorder began anew: mark {after:,} follows {before:,}"
            found.append(Break(int(time[row - 1]), int(time[row]), self.recording.source, None, reason))
        found += self._silences
        return sorted(found, key=lambda one: one.until)

    @cached_property
    def _silences(self) -> list[Break]:
        """Where readings are so far apart that nothing is known between them."""
        if self._exact:
            return []
        time = self.readings.time
        return [
            Break(begin, end, "readings", None, f"no reading of memory for {(end - begin) / 1e9:,.1f} s")
            for begin, end in zip(time[:-1].tolist(), time[1:].tolist(), strict=True)
            if end - begin > _APART
        ]

    @cached_property
    def all_breaks(self) -> list[Break]:
        """And those of block traces."""
        return [*self.breaks, *self.requests[1]]

    @cached_property
    def curve(self) -> Curve | None:
        """What events changed in memory."""
        return curve_of(self.kernel, self.recording)

    @property
    def _exact(self) -> bool:
        """Is every page that was handed out or given back an event?"""
        return self.curve is not None and bool(self.curve.exact[:OTHER].all())

    @property
    def told(self) -> list[str]:
        """What events tell of memory, in words."""
        curve = self.curve
        if curve is None:
            return []
        batches = self.recording.complete("mm_page_alloc_zone_locked", "mm_page_pcpu_drain")
        found = ["every page event" if self._exact else "resident sizes (rss_stat)"]
        return [*found, "the free lists' batches"] if batches else found

    @cached_property
    def memory(self) -> Memory:
        """Memory over time."""
        return Memory(self.readings, self.curve, self.breaks)

    @cached_property
    def trusted(self) -> tuple[int, str]:
        """(since when memory is known without a break, why not earlier)."""
        begin = self.memory.begin
        last = max(self.breaks, key=lambda one: one.until, default=None)
        if begin >= self.clocks.crash_ns:
            return begin, _NOTHING if last is None else f"{_say(last)}; since then there is no reading"
        exact = self._exact
        first = "the recording of page events begins" if exact else "the first reading of memory is of"
        if last is None:
            return begin, f"{first} there" if exact else f"{first} that instant"
        after = "" if begin == last.until else "; the first reading of memory after that is of this instant"
        return begin, f"{_say(last)}{after}"

    def memory_rows(self, first: int, last: int) -> tuple[I64, I64, Mask, I8]:
        """Instants of a window at which memory is known, breaks among them: (ns, bytes, known, source)."""
        time = self.readings.time
        if self.curve is not None:
            time = np.concatenate([time, self.curve.time])
        time = np.unique(time[(time >= max(first, 0)) & (time <= min(last, self.clocks.crash_ns))])
        values, known, source = self.memory.at(time)
        keep = np.asarray(known[:, : len(KINDS)].any(axis=1))
        time, values, known, source = time[keep], values[keep], known[keep], source[keep]
        edges = self._edges(first, last, time)
        count = len(edges)
        time = np.concatenate([time, edges])
        order = np.argsort(time, kind="stable")
        return (
            time[order],
            np.concatenate([values, np.zeros((count, values.shape[1]), np.int64)])[order],
            np.concatenate([known, np.zeros((count, known.shape[1]), dtype=bool)])[order],
            np.concatenate([source, np.full(count, BREAK, np.int8)])[order],
        )

    def _edges(self, first: int, last: int, time: I64) -> I64:
        """The instants of break rows: at a hole's begin, and before its end where something is known within it."""
        found: set[int] = set()
        for one in self.breaks:
            if one.since is not None:
                found.add(one.since)
            inside = one.since is None or np.searchsorted(time, one.since, "right") < np.searchsorted(
                time, one.until
            )
            if inside:
                found.add(one.until - 1)
        return np.array(sorted(at for at in found if first <= at <= last), dtype=np.int64)

    @cached_property
    def points(self) -> Points:
        """What is known of each process over time."""
        crash = self.clocks.crash_ns
        known = Known(self.processes, self._boot_offset)
        said = [self._of_marks(known), self._of_tables(known)]
        since = min(
            int(self.readings.time[0]), crash if self.recording.span is None else self.recording.span[0]
        )
        return points(self.processes, self.recording, known, (since, crash), said, self.breaks)

    @cached_property
    def _boot_offset(self) -> int:
        """What to add to a time since boot, suspend included, for one on the axis."""
        try:
            return int(self.clocks.to_axis("boot", np.zeros(1, dtype=np.int64))[0][0])
        except KernlabError:
            return 0

    def _of_marks(self, known: Known) -> tuple[I64, I64, I64, Mask]:
        marks, _, time = self._marks
        keys: dict[tuple[int, int], int] = {}
        of = np.empty(len(marks.pid), dtype=np.int64)
        pairs = zip(marks.pid.tolist(), marks.start_ticks.tolist(), marks.comm, strict=True)
        for row, (pid, ticks, comm) in enumerate(pairs):
            if (pid, ticks) not in keys:
                keys[pid, ticks] = known.begun(pid, ticks * _TICK, comm)
            of[row] = keys[pid, ticks]
        sound = np.asarray((marks.pages < 1 << 40).all(axis=1))
        values = np.where(sound[:, None], marks.pages, 0) * self.kernel.page_size
        return of[sound], time[sound], values[sound], np.ones(values[sound].shape, dtype=bool)

    def _of_tables(self, known: Known) -> tuple[I64, I64, I64, Mask]:
        _, tasks, when = self._blocks
        page = self.kernel.page_size
        values = np.zeros((len(tasks), len(RSS_KINDS)), dtype=np.int64)
        there = np.zeros(values.shape, dtype=bool)
        names = ("rss_anon", "rss_file", "rss_shmem", "swapents")
        of = np.empty(len(tasks), dtype=np.int64)
        time = np.array([int(when[task.at]) for task in tasks], dtype=np.int64)
        for row, task in enumerate(tasks):
            of[row] = known.at(task.pid, int(time[row]), task.comm)
            for kind, name in enumerate(names):
                if 0 <= (pages := task.values.get(name, -1)) < 1 << 40:
                    values[row, kind], there[row, kind] = pages * page, True
        return of, time, values, there

    def process_rows(self, first: int, last: int) -> ProcessRows:
        """Rows of the processes in a window, by time, breaks and ends among them."""
        found = self.points
        keep = (found.time >= first) & (found.time <= last)
        dead = np.flatnonzero((found.died >= first) & (found.died <= last) & (found.died > 0))
        edges = self._edges(first, last, np.sort(found.time))
        width = len(RSS_KINDS)
        of = np.concatenate([found.of[keep], dead, np.full(len(edges), -1, dtype=np.int64)])
        time = np.concatenate([found.time[keep], found.died[dead], edges])
        none = np.zeros((len(dead) + len(edges), width), dtype=np.int64)
        gone = np.repeat(np.array([True, False]), [len(dead), len(edges)])
        order = np.lexsort((of, time))
        return ProcessRows(
            of[order],
            time[order],
            np.concatenate([found.values[keep], none])[order],
            np.concatenate([found.known[keep], np.repeat(gone[:, None], width, axis=1)])[order],
            np.concatenate([found.source[keep], np.where(gone, EVENTS, BREAK).astype(np.int8)])[order],
        )

    @cached_property
    def intervals(self) -> Intervals:
        """What ran on each CPU."""
        return intervals(self.recording, self.clocks.crash_ns)

    @cached_property
    def requests(self) -> tuple[pd.DataFrame, list[Break]]:
        """Block requests, and where their traces have holes."""
        return requests(self.kernel, self._relay, self.recording, self.clocks)

    @cached_property
    def pressure(self) -> Pressure:
        """Shares of time that something waited."""
        return pressure(self.kernel, self.marks, self.mark_time, self.clocks.crash_ns)

    @cached_property
    def _tasks(self) -> tuple[I64, npt.NDArray[np.uint64], I64]:
        """The tasks in the dump by thread id (of idle ones by CPU): (keys ascending, addresses, begin on the axis)."""
        task = find_tasks(self.kernel)
        pid = task["pid"].int64.filled(-1)
        # Linux commit bcf9033e5449 moved it (in v5.16); a kernel for one CPU has none.
        paths = [path for path in ("thread_info.cpu", "cpu") if task.has(path)]
        cpu = task[paths[0]].int64.filled(0) if paths else np.zeros(len(task), dtype=np.int64)
        begun = task.first("start_boottime", "real_start_time").int64.filled(0) + self._boot_offset
        keys = _thread_keys(pid, cpu)
        order = np.argsort(keys, kind="stable")
        order = order[pid[order] >= 0]
        return keys[order], task.addresses[order], begun[order]

    def tasks_of(self, pid: I64, cpu: I64, end: I64) -> tuple[npt.NDArray[np.uint64], Mask]:
        """The task_struct of each thread id (of 0 the CPU's idle task), and whether that is in the dump.

        One that began after `end` (ns on the axis) has the number of another, which is gone.
        """
        keys, address, begun = self._tasks
        if not len(keys):
            return np.zeros(len(pid), dtype=np.uint64), np.zeros(len(pid), dtype=bool)
        wanted = _thread_keys(pid, cpu)
        place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        lives = (keys[place] == wanted) & (begun[place] <= end + _TICK)
        return np.where(lives, address[place], np.uint64(0)), lives


def _thread_keys(pid: I64, cpu: I64) -> I64:
    """What tells threads apart: their id, and the CPU of idle ones, which all have 0."""
    keys: I64 = np.where(pid == 0, cpu.clip(0, _MOST_CPUS - 1), pid.clip(-1, 1 << 32) + _MOST_CPUS)
    return keys


def _say(one: Break) -> str:
    where = one.source if one.cpu is None else f"{one.source}, CPU {one.cpu}"
    return f"{where}: {one.reason}"

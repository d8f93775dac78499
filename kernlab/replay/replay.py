"""`dump.replay()`: the last seconds of the machine, from its traces and marks back from the dump's exact end."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, frame, nullable
from kernlab.replay import moments
from kernlab.replay import pressure as pressures
from kernlab.replay.columns import begin_of, by_kind, categories, flushes, op_of, source_of, texts
from kernlab.replay.moment import Moment
from kernlab.replay.pressure import RESOURCES
from kernlab.replay.requests import NEVER
from kernlab.replay.sources import Sources
from kernlab.traces.clock.relation import FAR
from kernlab.traces.clock.window import Instant, instant
from kernlab.util.losses import Losing, telling
from kernlab.util.text import Spelt

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Replay(Losing, Spelt):
    """The last seconds of a machine: tables over time, each made when it is first looked at.

    `memory`, `memory_by_process`, `running`, `requests`, `pressure`, `runnable`, `log`; `breaks` says where events are
    missing, `trusted_from` since when memory is known without a break, and `trusted_reason` why not earlier; `marks`
    are instants worth a look; `at(time)` is everything at one instant. Times are since boot as the log's, or
    `before_crash`.
    """

    _spoken = "dump.replay()"

    def __init__(self, kernel: Kernel, sources: Sources, first: int, last: int):
        self._kernel = kernel
        self._sources = sources
        self._first, self._last = first, last
        self.problems: list[str] = []

    @property
    def crash(self) -> pd.Timedelta:
        """The instant of the crash, since boot.

        >>> dump.replay().crash
        Timedelta('0 days 00:01:29.519927831')
        """
        return pd.Timedelta(self._sources.clocks.crash_ns, "ns")

    @property
    def since(self) -> pd.Timedelta | None:
        """Where the window begins, None without a bound.

        >>> dump.replay(since=80).since
        Timedelta('0 days 00:01:20')
        """
        return pd.Timedelta(self._first, "ns") if self._first > -FAR else None

    @property
    def until(self) -> pd.Timedelta | None:
        """Where the window ends, None without a bound.

        >>> dump.replay(since=80, until="85s").until
        Timedelta('0 days 00:01:25')
        """
        return pd.Timedelta(self._last, "ns") if self._last < FAR else None

    def _times(self, ns: I64) -> dict[str, Any]:
        return {"time": ns.view("m8[ns]"), "before_crash": self._sources.clocks.before(ns).view("m8[ns]")}

    def _inside(self, ns: I64) -> Mask:
        return (ns >= self._first) & (ns <= self._last)

    @cached_property
    @telling
    def memory(self) -> pd.DataFrame:
        """One row per instant at which memory is known, ascending; see docs/design.md.

        time, before_crash; free_bytes, anon_bytes, file_bytes, shmem_bytes, slab_bytes, page_tables_bytes,
        kernel_stacks_bytes, other_bytes, which add up to total_bytes, the managed memory; swap_bytes (swapped out);
        source: "dump" (the end), "sample" (a mark, or a block of the log), "events" (exact deltas), "interpolated"
        (between readings); a row "break", of which all else is missing, stands where events are missing.

        >>> dump.replay().memory[["free_bytes", "anon_bytes", "total_bytes", "source"]].tail(1)
           free_bytes  anon_bytes  total_bytes source
        1   322895872    23609344    455098368   dump
        """
        time, values, known, source = self._sources.memory_rows(self._first, self._last)
        total = self._sources.end.total
        there = np.asarray(known.any(axis=1)) if total is not None else np.zeros(len(time), dtype=bool)
        free, anon, file, shmem, slab, tables, stacks, other, swap = by_kind(values, known)
        return frame(
            self._kernel,
            "replay memory",
            **self._times(time),
            free_bytes=free,
            anon_bytes=anon,
            file_bytes=file,
            shmem_bytes=shmem,
            slab_bytes=slab,
            page_tables_bytes=tables,
            kernel_stacks_bytes=stacks,
            other_bytes=other,
            total_bytes=nullable(np.full(len(time), total or 0, dtype=np.int64), there),
            swap_bytes=swap,
            source=source_of(source),
        )

    @cached_property
    @telling
    def memory_by_process(self) -> pd.DataFrame:
        """One row per process and instant at which something is said of it, by time.

        time, before_crash, pid (of the process), comm, start_time (since boot), rss_bytes = anon_bytes + file_bytes +
        shmem_bytes, swap_bytes, source as in `memory`. A break is a row without a pid.

        >>> dump.replay().memory_by_process[["pid", "comm", "rss_bytes", "source"]].tail(2)
            pid        comm  rss_bytes source
        16  234          nc    1499136   dump
        17  256  relaystart     294912   dump
        """
        found = self._sources.process_rows(self._first, self._last)
        anon, file, shmem, swap = by_kind(found.values, found.known)
        of, is_break = found.of, found.of < 0
        points = self._sources.points
        pid = np.append(points.pid, 0)[of]
        start = np.append(points.start, -1)[of]
        resident = np.asarray(found.known[:, :3].all(axis=1))
        started = start.astype("m8[ns]")
        started[start < 0] = np.timedelta64("NaT")
        return frame(
            self._kernel,
            "replay memory by process",
            **self._times(found.time),
            pid=nullable(pid, ~is_break),
            comm=texts([*points.comm, None], of),
            start_time=started,
            rss_bytes=nullable(found.values[:, :3].sum(axis=1), resident),
            anon_bytes=anon,
            file_bytes=file,
            shmem_bytes=shmem,
            swap_bytes=swap,
            source=source_of(found.source),
        )

    @cached_property
    @telling
    def running(self) -> pd.DataFrame:
        """What ran on each CPU: one row per interval, by start; cut where events are missing.

        cpu, pid and comm (0 and "swapper/N" of an idle CPU), start, end (since boot; of what still ran the crash), task
        (its task_struct where it lives in the dump, else missing).

        >>> dump.replay().running[["cpu", "pid", "comm"]].tail(2)
            cpu  pid       comm
        26    0  261      sleep
        27    0    0  swapper/0
        """
        found = self._sources.intervals
        rows = np.flatnonzero(
            (found.end >= self._first) & (found.start <= self._last) & (found.end > found.start)
        )
        rows = rows[np.lexsort((found.cpu[rows], found.start[rows]))]
        found = found.take(rows)
        where, lives = self._sources.tasks_of(found.pid, found.cpu, found.end)
        return frame(
            self._kernel,
            "replay running",
            cpu=found.cpu,
            pid=found.pid,
            comm=pd.array(found.comm, dtype="str"),
            start=found.start.view("m8[ns]"),
            end=found.end.view("m8[ns]"),
            task=addresses(self._kernel, where, lives, "struct task_struct"),
        )

    @cached_property
    @telling
    def requests(self) -> pd.DataFrame:
        """Requests of block devices, by start: those of blktrace's channels, and ftrace's of disks that have none.

        device (its number, dev_t), disk ("vda"; "254:0" where only events tell), sector, bytes, op ("read", "write",
        "flush", "discard", "zone", "other"), flush (with a flush of the disk's cache, or FUA), pid and comm of who
        asked, start (issued to the disk; missing where only the end is known), end (missing: it never came back),
        latency, process (comm, "pid N" without one), source.

        >>> dump.replay().requests[["disk", "op", "bytes", "latency"]].head(2)
          disk     op    bytes                   latency
        0  vda  write  1228800 0 days 00:00:00.001406260
        1  vda  write     8192 0 days 00:00:00.000253300
        """
        table, _ = self._sources.requests
        start, end = table["start"].to_numpy(), table["end"].to_numpy()
        begin = np.where(start == NEVER, end, start)
        inside = (begin <= self._last) & ((end == NEVER) | (end >= self._first))
        table, start, end = table[inside], start[inside], end[inside]
        rwbs = table["rwbs"].fillna("").astype("category").cat
        letters = [str(name) for name in rwbs.categories]
        code = rwbs.codes.to_numpy()
        latency = np.where((start == NEVER) | (end == NEVER), NEVER, end - start)
        comm = pd.Series(table["comm"].to_numpy(), dtype="str")
        pid = table["pid"].to_numpy().astype(np.int64)
        unnamed = np.array([f"pid {one}" for one in pid[comm.isna()].tolist()], dtype=object)
        process = comm.copy()
        process[comm.isna()] = unnamed
        return frame(
            self._kernel,
            "replay requests",
            device=nullable(table["device"].to_numpy().astype(np.int64)),
            disk=pd.array(table["disk"].to_numpy(), dtype="str"),
            sector=nullable(table["sector"].to_numpy().astype(np.uint64)),
            bytes=nullable(table["bytes"].to_numpy().astype(np.int64)),
            op=pd.array(np.array([op_of(name) for name in letters] or [""], dtype=object)[code], dtype="str"),
            flush=np.array([flushes(name) for name in letters] or [False], dtype=bool)[code],
            pid=nullable(pid),
            comm=comm,
            start=start.view("m8[ns]"),
            end=end.view("m8[ns]"),
            latency=latency.view("m8[ns]"),
            process=process,
            source=pd.array(table["source"].to_numpy(), dtype="str"),
        )

    @cached_property
    @telling
    def pressure(self) -> pd.DataFrame:
        """How much of the time something waited (PSI): time, before_crash, resource ("cpu", "memory", "io"), kind
        ("some", "full"), share (0 to 1), window (the time that it is over: since the mark before). Without marks the
        kernel's own averages over 10, 60 and 300 s, as of the crash.

        >>> dump.replay().pressure[["resource", "kind", "share", "window"]].head(1)
          resource  kind     share          window
        0      cpu  some  0.144985 0 days 00:00:10
        """
        found = self._sources.pressure
        keep = self._inside(found.time)
        which = found.which[keep]
        return frame(
            self._kernel,
            "replay pressure",
            **self._times(found.time[keep]),
            resource=categories([resource for resource, _ in RESOURCES], which),
            kind=categories([kind for _, kind in RESOURCES], which),
            share=found.share[keep],
            window=found.window[keep].view("m8[ns]"),
        )

    @cached_property
    @telling
    def runnable(self) -> pd.DataFrame:
        """Threads that ran or could have: time, before_crash, cpu (missing: the whole machine), count. Of marks, and of
        each CPU at the crash.

        >>> dump.replay().runnable[["cpu", "count"]]
           cpu  count
        0    0      0
        1    1      2
        """
        sources = self._sources
        count, known = sources.marks.counter("procs_running")
        ends = pressures.at_crash(self._kernel)
        crash = sources.clocks.crash_ns
        time = np.concatenate([sources.mark_time[known], np.full(len(ends), crash, dtype=np.int64)])
        cpu = np.concatenate([np.zeros(int(known.sum()), np.int64), np.array([c for c, _ in ends], np.int64)])
        has = np.arange(len(time)) >= known.sum()
        number = np.concatenate([count[known], np.array([n for _, n in ends], np.int64)])
        keep = self._inside(time)
        return frame(
            self._kernel,
            "replay runnable",
            **self._times(time[keep]),
            cpu=nullable(cpu[keep], has[keep]),
            count=number[keep],
        )

    @cached_property
    @telling
    def log(self) -> pd.DataFrame:
        """The log's records in the window: time, before_crash, level, text.

        >>> dump.replay(since=-1).log.query("level <= 1").text.iloc[-1]
        'Kernel panic - not syncing: sysrq triggered crash'
        """
        table = self._log
        time = table["timestamp"].to_numpy().astype("m8[ns]").view(np.int64)
        keep = self._inside(time)
        return frame(
            self._kernel,
            "replay log",
            **self._times(time[keep]),
            level=table["level"].array[keep],
            text=table["text"].array[keep],
        )

    @property
    def _log(self) -> pd.DataFrame:
        found: pd.DataFrame = self._sources.log
        return found

    @cached_property
    @telling
    def breaks(self) -> pd.DataFrame:
        """Where events are missing, by time: time, source, cpu (missing: all), reason, until.

        time is the last instant before the loss where that is known, else the first one after it; until is that one.

        >>> dump.replay().breaks.reason.tolist()
        ['it was not recording any more']
        """
        found = [
            one
            for one in self._sources.all_breaks
            if one.until >= self._first and begin_of(one) <= self._last
        ]
        found.sort(key=begin_of)
        cpu = [one.cpu for one in found]
        return frame(
            self._kernel,
            "replay breaks",
            time=np.array([begin_of(one) for one in found], dtype=np.int64).view("m8[ns]"),
            source=texts([one.source for one in found], np.arange(len(found))),
            cpu=nullable(
                np.array([c or 0 for c in cpu], dtype=np.int64),
                np.array([c is not None for c in cpu], dtype=bool),
            ),
            reason=texts([one.reason for one in found], np.arange(len(found))),
            until=np.array([one.until for one in found], dtype=np.int64).view("m8[ns]"),
        )

    @property
    @telling
    def trusted_from(self) -> pd.Timedelta:
        """Since when memory is known up to the crash without a break, since boot.

        >>> dump.replay().trusted_from
        Timedelta('0 days 00:01:29.519927831')
        """
        return pd.Timedelta(self._sources.trusted[0], "ns")

    @property
    @telling
    def trusted_reason(self) -> str:
        """Why not earlier.

        >>> dump.replay().trusted_reason
        'ftrace: it was not recording any more; since then there is no reading'
        """
        return self._sources.trusted[1]

    @cached_property
    @telling
    def marks(self) -> pd.DataFrame:
        """Instants worth a look, by time: time, before_crash, kind ("peak memory", "peak process", "log error",
        "oom kill", "unanswered request", "break", "crash"), text.

        >>> dump.replay().marks[["kind", "text"]].tail(2)
                kind                                               text
        1  log error  Kernel panic - not syncing: sysrq triggered crash
        2      crash                                   the machine died
        """
        found = sorted(moments.marks(self), key=lambda one: one[0])
        return frame(
            self._kernel,
            "replay marks",
            **self._times(np.array([time for time, _, _ in found], dtype=np.int64)),
            kind=texts([kind for _, kind, _ in found], np.arange(len(found))),
            text=texts([text for _, _, text in found], np.arange(len(found))),
        )

    @property
    def peaks(self) -> pd.DataFrame:
        """Those of the `marks` that are peaks.

        >>> oom = kernlab.open(kernlab.sample("oom"))
        >>> oom.replay().peaks.text[0]
        '289.9 MiB of 292.8 MiB in use'
        """
        table = self.marks
        return table[table["kind"].str.startswith("peak").fillna(False)].reset_index(drop=True)

    @telling
    def at(self, time: Instant) -> Moment:
        """Everything at one instant: see `Moment`. `time` as `since` of `dump.replay`; raises KernlabError.

        >>> dump.replay().at(-1).log.text.iloc[-1]
        'init (1): drop_caches: 3'
        """
        return Moment(self, instant(self._sources.clocks, time))

    def __repr__(self) -> str:
        return moments.said(self)

    def _repr_html_(self) -> str:
        return moments.shown(self)

"""What ran on each CPU: sched_switch events and holes in, intervals out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.replay.recording import Break, Recording

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Intervals:
    """One interval each, by CPU and start: `start` and `end` ns on the axis, `comm` objects."""

    cpu: I64
    pid: I64
    comm: npt.NDArray[Any]
    start: I64
    end: I64

    def __len__(self) -> int:
        return len(self.cpu)

    def take(self, rows: npt.NDArray[Any]) -> Intervals:
        """Some of them."""
        return Intervals(self.cpu[rows], self.pid[rows], self.comm[rows], self.start[rows], self.end[rows])


def intervals(recording: Recording, crash: int) -> Intervals:
    """Who ran when: from each switch to the CPU's next, the last one until the crash; cut at the CPU's holes."""
    switch = recording.events("sched_switch", "prev_pid", "prev_comm", "next_pid", "next_comm")
    order = np.lexsort((switch.row, switch.cpu))
    switch = switch.take(order)
    cpu, time = switch.cpu, switch.time
    count = len(cpu)
    if not count:
        none = np.zeros(0, dtype=np.int64)
        return Intervals(none, none, np.zeros(0, dtype=object), none, none)
    first = np.append(True, cpu[1:] != cpu[:-1])
    last = np.append(first[1:], True)
    end = np.where(last, crash, np.append(time[1:], crash))
    found = Intervals(
        cpu,
        switch.fields["next_pid"].astype(np.int64),
        switch.fields["next_comm"],
        time,
        np.maximum(end, time),
    )
    found = _cut(found, recording.breaks)
    return _with_leading(found, switch.fields, cpu, time, recording, crash)


def _holes(breaks: list[Break], cpu: int) -> list[tuple[int, int]]:
    """The holes of a CPU, joined, in their order."""
    mine = sorted(
        (-1 if one.since is None else one.since, one.until) for one in breaks if one.cpu in (None, cpu)
    )
    joined: list[tuple[int, int]] = []
    for since, until in mine:
        if joined and since <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], until)
        else:
            joined.append((since, until))
    return joined


def _cut(found: Intervals, breaks: list[Break]) -> Intervals:
    """Without what lies in holes: an interval ends where its CPU's next hole begins."""
    end, keep = found.end.copy(), np.ones(len(found), dtype=bool)
    for cpu in np.unique(found.cpu).tolist():
        low, high = np.searchsorted(found.cpu, (cpu, cpu + 1))
        rows = slice(low, high)
        holes = _holes(breaks, cpu)
        if not holes:
            continue
        since, until = (np.array(edge, dtype=np.int64) for edge in zip(*holes, strict=True))
        place = np.searchsorted(until, found.start[rows], side="right")
        inside = place < len(since)
        next_one = since[place.clip(max=len(since) - 1)]
        end[rows] = np.where(inside, np.minimum(end[rows], next_one), end[rows])
        keep[rows] = ~inside | (found.start[rows] < next_one)
    cut = Intervals(found.cpu, found.pid, found.comm, found.start, np.maximum(end, found.start))
    return cut.take(np.flatnonzero(keep))


def _with_leading(
    found: Intervals,
    fields: dict[str, npt.NDArray[Any]],
    cpu: I64,
    time: I64,
    recording: Recording,
    crash: int,
) -> Intervals:
    """And who ran before the first switch, from the end of the hole before it on: it says whom it took away."""
    more: list[tuple[int, int, Any, int, int]] = []
    for one in np.unique(cpu).tolist():
        rows = np.flatnonzero(cpu == one)
        for since in [until for _, until in _holes(recording.breaks, one) if until < crash]:
            place = int(np.searchsorted(time[rows], since))
            if place < len(rows) and time[rows[place]] > since:
                row = int(rows[place])
                more.append(
                    (one, int(fields["prev_pid"][row]), fields["prev_comm"][row], since, int(time[row]))
                )
    if not more:
        return found
    parts = list(zip(*more, strict=True))
    comm = np.empty(len(more), dtype=object)
    comm[:] = list(parts[2])
    joined = Intervals(
        np.concatenate([found.cpu, np.array(parts[0], dtype=np.int64)]),
        np.concatenate([found.pid, np.array(parts[1], dtype=np.int64)]),
        np.concatenate([found.comm, comm]),
        np.concatenate([found.start, np.array(parts[3], dtype=np.int64)]),
        np.concatenate([found.end, np.array(parts[4], dtype=np.int64)]),
    )
    return joined.take(np.lexsort((joined.start, joined.cpu)))

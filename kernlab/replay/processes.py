"""Each process' resident memory over time: the dump's counts, events, marks and the log's tables in, points out.

A point is an instant at which something is said of a process. Where every change is an event (kmem:rss_stat without a
filter) what was said holds until the next; else it is spread evenly between two points. Nothing crosses a break.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.replay.end_state import RSS_KINDS, Processes
from kernlab.replay.memory import DUMP, EVENTS, INTERPOLATED, SAMPLE
from kernlab.replay.owners import Leaders, owners
from kernlab.replay.recording import Break, Recording

I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]

_WIDTH = len(RSS_KINDS)
#: Points of events that are kept apart; of more each process keeps the last ones of equal steps of time.
MOST_POINTS = 200_000
_STEPS = 4096
#: A process' begin by the clock of its start and by that of the trace may differ by so much (ns), ticks among it.
_NEAR = 50_000_000


@dataclass
class Points:
    """Points by process (`of`, an index into `pid`, `comm`, `start`) and time.

    `values` int64[n, RSS_KINDS] bytes, `known` likewise, `source` as in the replay's tables. `start` is ns since boot
    (suspend included, -1 unknown), `born` and `died` ns on the axis, -1 where that is not known.
    """

    pid: I64
    comm: list[str | None]
    start: I64
    born: I64
    died: I64
    of: I64
    time: I64
    values: I64
    known: Mask
    source: I8
    bounds: I64
    hold: bool

    def at(self, time: int) -> tuple[I64, I64, Mask, I8]:
        """What is known of processes at an instant: (process, bytes int64[k, RSS_KINDS], known, source)."""
        if not len(self.of):
            none = np.zeros(0, dtype=np.int64)
            return none, self.values[:0], self.known[:0], self.source[:0]
        first = np.flatnonzero(np.append(True, self.of[1:] != self.of[:-1]))
        last = np.append(first[1:], len(self.of)) - 1
        before = first - 1 + np.add.reduceat((self.time <= time).astype(np.int64), first)
        part = np.searchsorted(self.bounds, self.time, side="right")
        here = int(np.searchsorted(self.bounds, time, side="right"))
        left, right = before.clip(min=first), (before + 1).clip(max=last)
        has_left = (before >= first) & (part[left] == here)
        has_right = (before < last) & (part[right] == here)
        same = has_left & (self.time[left] == time)
        share = ((time - self.time[left]) / np.maximum(self.time[right] - self.time[left], 1)).clip(0, 1)
        between = self.values[left] + np.rint(
            (self.values[right] - self.values[left]) * share[:, None]
        ).astype(np.int64)
        hold = same | self.hold
        values = np.where(hold[:, None], self.values[left], between)
        known = np.where(hold[:, None], self.known[left], self.known[left] & self.known[right])
        known &= (has_left & (hold | has_right))[:, None]
        source = np.where(same, self.source[left], EVENTS if self.hold else INTERPOLATED).astype(np.int8)
        which = self.of[first]
        gone = (self.died[which] >= 0) & (self.died[which] <= time)
        rows = np.flatnonzero(known.any(axis=1) & ~gone)
        return which[rows], values[rows], known[rows], source[rows]


class _Collected:
    """Points as they are found, by pid and what tells processes of one pid apart."""

    def __init__(self) -> None:
        self.parts: list[tuple[I64, I64, I64, Mask, I8]] = []

    def add(self, of: I64, time: I64, values: I64, known: Mask, source: int) -> None:
        self.parts.append((of, time, values, known, np.full(len(of), source, dtype=np.int8)))


class Known:
    """The processes that anything tells of: by pid and, where known, by the tick in which they began."""

    def __init__(self, end: Processes, axis_of_boot: int):
        self.pid: list[int] = end.pid.tolist()
        self.comm: list[str | None] = list(end.comm)
        self.start: list[int] = end.start.tolist()
        self._offset = axis_of_boot
        self._by_pid: dict[int, list[int]] = {}
        for row, pid in enumerate(self.pid):
            self._by_pid.setdefault(pid, []).append(row)

    def begun(self, pid: int, start: int, comm: str | None) -> int:
        """The process of a pid that began at `start` (ns since boot, known to a hundredth of a second)."""
        for row in self._by_pid.get(pid, ()):
            if self.start[row] >= 0 and self.start[row] // 10_000_000 == start // 10_000_000:
                return row
        return self._new(pid, start, comm)

    def at(self, pid: int, time: int, comm: str | None) -> int:
        """The process that had a pid at an instant."""
        rows = self._by_pid.get(pid, ())
        begun = [row for row in rows if self.start[row] < 0 or self.axis(row) <= time + _NEAR]
        return max(begun, key=lambda row: self.start[row]) if begun else self._new(pid, -1, comm)

    def axis(self, row: int) -> int:
        """When a process began, on the axis; -1 where that is not known."""
        return -1 if self.start[row] < 0 else self.start[row] + self._offset

    def _new(self, pid: int, start: int, comm: str | None) -> int:
        self.pid.append(pid)
        self.comm.append(comm)
        self.start.append(start)
        self._by_pid.setdefault(pid, []).append(len(self.pid) - 1)
        return len(self.pid) - 1

    def rows_at(self, pid: I64, time: I64, comm: list[str | None]) -> I64:
        """As `at`, for many: each pid is looked up once for each process that had it."""
        found = np.empty(len(pid), dtype=np.int64)
        order = np.argsort(pid, kind="stable")
        edges = np.flatnonzero(np.append(True, pid[order][1:] != pid[order][:-1])[: len(order)])
        for first, last in zip(edges.tolist(), np.append(edges, len(order))[1:].tolist(), strict=True):
            rows = order[first:last]
            one, known = int(pid[rows[0]]), self._by_pid.get(int(pid[rows[0]]), [])
            if len(known) < 2:
                found[rows] = self.at(one, int(time[rows].max()), comm[int(rows[-1])])
            else:
                found[rows] = [self.at(one, int(time[row]), comm[int(row)]) for row in rows.tolist()]
        return found


def points(
    end: Processes,
    recording: Recording,
    known: Known,
    span: tuple[int, int],
    readings: list[tuple[I64, I64, I64, Mask]],
    breaks: list[Break],
) -> Points:
    """All points from where anything is said of memory up to the crash (`span`, ns on the axis).

    `readings` are (process, time, bytes, known) of marks and tables of tasks.
    """
    since, crash = span
    found = _Collected()
    count = len(end.pid)
    found.add(np.arange(count), np.full(count, crash, dtype=np.int64), end.bytes, end.known, DUMP)
    for of, time, values, there in readings:
        found.add(of, time, values, there, SAMPLE)
    hold = _events(end, recording, known, found)
    of, time, values, there, source = (np.concatenate(part) for part in zip(*found.parts, strict=True))
    keep = (time <= crash) & (time >= 0) & (of >= 0)
    died = _ends(recording, known, count, crash)
    born = np.array([known.axis(row) for row in range(len(known.pid))], dtype=np.int64)
    ended = died[of.clip(min=0)]
    # What reclaim takes back from one that has ended is not its any more.
    keep &= (ended < 0) | (time <= ended)
    of, time, values, there, source = of[keep], time[keep], values[keep], there[keep], source[keep]
    bounds = np.array(sorted({one.until for one in breaks}), dtype=np.int64)
    # A process begins with nothing, and has all it had until it exits (exit_mm comes after the event).
    begin, last = np.flatnonzero((born >= since) & (born < crash)), np.flatnonzero(died > 0)
    of = np.concatenate([of, begin, last])
    time = np.concatenate([time, born[begin], died[last] - 1])
    values = np.concatenate([values, np.zeros((len(begin) + len(last), _WIDTH), dtype=np.int64)])
    there = np.concatenate(
        [there, np.repeat([[True], [False]], [len(begin), len(last)], axis=0).repeat(_WIDTH, axis=1)]
    )
    source = np.concatenate(
        [source, np.repeat(np.array([EVENTS, INTERPOLATED], dtype=np.int8), [len(begin), len(last)])]
    )
    of, time, values, there, source = _merged(of, time, values, there, source)
    values, there = _filled(of, time, np.searchsorted(bounds, time, side="right"), values, there, hold)
    return Points(
        np.array(known.pid, dtype=np.int64),
        known.comm,
        np.array(known.start, dtype=np.int64),
        born,
        died,
        of,
        time,
        values,
        there,
        source,
        bounds,
        hold,
    )


def _events(end: Processes, recording: Recording, known: Known, found: _Collected) -> bool:
    """Add the points of rss_stat events; gives whether they are all that there were."""
    events = recording.events("rss_stat", "mm_id", "curr", "member", "size")
    if not len(events):
        return False
    names = recording.kernel.types.enumerator_or_none
    column = np.full(16, -1, dtype=np.int64)
    for place, name in enumerate(("MM_ANONPAGES", "MM_FILEPAGES", "MM_SHMEMPAGES", "MM_SWAPENTS")):
        number = names(name)
        if number is not None and 0 <= number < 16:
            column[number] = place
    by_time = np.argsort(events.time, kind="stable")
    events = events.take(by_time)
    fields = {name: values.astype(np.int64) for name, values in events.fields.items()}
    owner, counts = owners(
        end, Leaders(end, recording), events.time, events.pid, fields["mm_id"], fields["curr"] != 0
    )
    kind = column[fields["member"].clip(0, 15)]
    size = fields["size"]
    keep = (owner > 0) & counts & (kind >= 0) & (size >= 0) & (size < 1 << 56)
    time, owner, kind, size = events.time[keep], owner[keep], kind[keep], size[keep]
    if len(time) > MOST_POINTS:
        step = (time - time[0]) // ((int(time[-1]) - int(time[0])) // _STEPS + 1)
        # The last of each process, kind and step.
        cell = (owner * _WIDTH + kind) * _STEPS + step
        rows = np.sort(len(time) - 1 - np.unique(cell[::-1], return_index=True)[1])
        time, owner, kind, size = time[rows], owner[rows], kind[rows], size[rows]
    of = known.rows_at(owner, time, [None] * len(owner))
    # An mm that another process had before is not its own yet.
    begun = np.array([known.axis(row) for row in range(len(known.pid))], dtype=np.int64)[of]
    early = (begun >= 0) & (time < begun - _NEAR)
    time, of, kind, size = time[~early], of[~early], kind[~early], size[~early]
    values = np.zeros((len(time), _WIDTH), dtype=np.int64)
    there = np.zeros(values.shape, dtype=bool)
    values[np.arange(len(time)), kind], there[np.arange(len(time)), kind] = size, True
    found.add(of, time, values, there, EVENTS)
    return recording.complete("rss_stat")


def _ends(recording: Recording, known: Known, in_dump: int, crash: int) -> I64:
    """When each process ended, on the axis; -1 of those that live or of whose end nothing tells.

    A time behind the crash is a clock's doubt or damage: whom the dump has (the first `in_dump`) has not ended by it.
    """
    exits = recording.events("sched_process_exit", "pid")
    pid = exits.fields["pid"].astype(np.int64)
    mine = np.isin(pid, np.array(known.pid, dtype=np.int64))
    pid, time = pid[mine], exits.time[mine]
    rows = known.rows_at(pid, time, [None] * len(pid))
    died = np.full(len(known.pid), -1, dtype=np.int64)
    said = (time > 0) & ((time <= crash) | (rows >= in_dump))
    died[rows[said]] = np.minimum(time[said], crash)
    return died


def _merged(of: I64, time: I64, values: I64, known: Mask, source: I8) -> tuple[I64, I64, I64, Mask, I8]:
    """Points by process and time, those of one instant as one: of two that say the same kind the last counts."""
    order = np.lexsort((-source, time, of))
    of, time, values, known, source = of[order], time[order], values[order], known[order], source[order]
    if not len(of):
        return of, time, values, known, source
    new = np.append(True, (of[1:] != of[:-1]) | (time[1:] != time[:-1]))
    group = np.cumsum(new) - 1
    rows = np.flatnonzero(new)
    merged = np.zeros((len(rows), _WIDTH), dtype=np.int64)
    there = np.zeros(merged.shape, dtype=bool)
    for kind in range(_WIDTH):
        said = np.flatnonzero(known[:, kind])
        merged[group[said], kind], there[group[said], kind] = values[said, kind], True
    lowest = np.minimum.reduceat(source, rows)
    return of[rows], time[rows], merged, there, lowest


def _filled(of: I64, time: I64, part: I64, values: I64, known: Mask, hold: bool) -> tuple[I64, Mask]:
    """What a point does not say, by the points around it of the same process and part."""
    count = len(of)
    if not count:
        return values, known
    rows = np.arange(count)
    first = np.append(True, (of[1:] != of[:-1]) | (part[1:] != part[:-1]))
    start = np.maximum.accumulate(np.where(first, rows, 0))
    last = np.append(first[1:], True)
    stop = np.minimum.accumulate(np.where(last, rows, count)[::-1])[::-1]
    values, known = values.copy(), known.copy()
    for kind in range(values.shape[1]):
        said = known[:, kind]
        before = np.maximum.accumulate(np.where(said, rows, -1))
        after = np.minimum.accumulate(np.where(said, rows, count)[::-1])[::-1]
        has_before, has_after = before >= start, after <= stop
        left, right = before.clip(min=0), after.clip(max=count - 1)
        share = ((time - time[left]) / np.maximum(time[right] - time[left], 1)).clip(0, 1)
        between = values[left, kind] + np.rint((values[right, kind] - values[left, kind]) * share).astype(
            np.int64
        )
        filled = np.where(
            has_before & (hold | ~has_after),
            values[left, kind],
            np.where(has_before, between, values[right, kind]),
        )
        values[:, kind] = np.where(said, values[:, kind], filled)
        known[:, kind] = said | has_before | has_after
    return values, known

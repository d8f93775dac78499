"""Rings in, decoded events out: the sub-buffers of all CPUs and instances are read and decoded together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.traces.ftrace.buffers import Ring
from kernlab.traces.ftrace.fields import Records
from kernlab.traces.ftrace.pages import decode
from kernlab.traces.ftrace.source import NATIVE, Machine, Source

I64 = npt.NDArray[np.int64]

#: Sub-buffers read and decoded at a time, in bytes.
_CHUNK = 64 << 20

#: struct trace_entry: type u16, flags u8, preempt_count u8, pid s32.
ENTRY = 8


@dataclass(frozen=True)
class Tally:
    """What became of one ring's events; `missing` is None where the dump lacks a counter."""

    decoded: int
    pages: int
    unreadable: int
    damaged: int
    #: entries - overrun - read - decoded: 0 where every event that the ring counts was found.
    missing: int | None


@dataclass
class Trace:
    """Decoded events of many rings, one entry each, in the order of time; `data` are the sub-buffers' bytes.

    `ring` is the index into `rings`, `start` and `size` say where in `data` a record lies, `type` is the event's
    number, `time` is in the trace clock's units.
    """

    rings: list[Ring]
    tallies: list[Tally]
    data: npt.NDArray[np.uint8]
    ring: I64
    time: npt.NDArray[np.uint64]
    start: I64
    size: I64
    type: I64
    flags: I64
    preempt_count: I64
    pid: I64
    machine: Machine = NATIVE
    #: Where in `data` events lie before which others were lost, and how many; -1 where nobody counted.
    gaps: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ring)

    def records(self, chosen: I64) -> Records:
        """The records of some events."""
        return Records(self.data, self.start[chosen], self.size[chosen], self.machine)


def load(source: Source, rings: list[Ring]) -> Trace:
    """Read and decode the sub-buffers of rings."""
    count, machine = len(rings), source.machine
    damaged = np.zeros(count, dtype=np.int64)
    groups, unreadable = source.subbufs(rings)
    flat = [group.data.reshape(-1) for group in groups]
    data = flat[0] if len(flat) == 1 else np.concatenate([np.zeros(0, dtype=np.uint8), *flat])
    columns: list[tuple[I64, I64, I64, npt.NDArray[np.uint64]]] = []
    gaps: dict[int, int] = {}
    missed = np.zeros((2, count), dtype=np.int64)
    base = 0
    for group in groups:
        size = group.data.shape[1]
        step = max(_CHUNK // size, 1)
        for first in range(0, len(group.ring), step):
            part = slice(first, first + step)
            events = decode(group.data[part], group.skip[part], machine)
            wrong = events.damage >= 0
            np.add.at(damaged, group.ring[part][wrong], 1)
            start = base + (events.page + first) * size + events.offset
            columns.append((group.ring[part][events.page], start, events.size, events.time))
            for page in np.flatnonzero(events.missed).tolist():
                missed[:, group.ring[part][page]] += (1, max(int(events.missed[page]), 0))
                # Told before the first event of the sub-buffer.
                first_of = np.searchsorted(events.page, page)
                if first_of < len(start) and events.page[first_of] == page:
                    gaps[int(start[first_of])] = int(events.missed[page])
        base += group.data.size
    if columns:
        ring, start, length, time = (np.concatenate(column) for column in zip(*columns, strict=True))
    else:
        ring = start = length = np.zeros(0, dtype=np.int64)
        time = np.zeros(0, dtype=np.uint64)
    decoded = np.bincount(ring, minlength=count)
    tallies = _tally(source, rings, decoded, unreadable, damaged)
    for number in np.flatnonzero(missed[0]).tolist():
        pages, events_of = missed[:, number].tolist()
        known = f"{events_of:,} events or more were" if events_of else "events were"
        source.lost(
            f"{_label(rings[number])}: {known} lost before {pages:,} of its sub-buffers, as these say"
        )

    whole = length >= ENTRY
    if not whole.all():
        source.lost("records are too short to be trace events", mask=~whole, why="they are left out")
        ring, start, length, time = ring[whole], start[whole], length[whole], time[whole]
    time = source.times(rings, ring, time)
    order = _order(ring, time)
    before = np.array([one.instance.previous for one in rings], dtype=bool)
    if before.any():
        # What the boot before recorded happened before all else, whatever its clock says.
        order = order[np.argsort(~before[ring[order]], kind="stable")]
    ring, start, length, time = ring[order], start[order], length[order], time[order]
    records = Records(data, start, length, machine)
    kind, flags, preempt, pid = (
        records.words(offset, width, signed)[0].astype(np.int64)
        for offset, width, signed in ((0, 2, False), (2, 1, False), (3, 1, False), (4, 4, True))
    )
    return Trace(rings, tallies, data, ring, time, start, length, kind, flags, preempt, pid, machine, gaps)


def _order(ring: I64, time: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """The order of the trace file: the earliest head of all CPUs next, of equal ones the lower CPU's.

    Within a CPU events stay as they were recorded, even where the clock went back: such an event counts as late as the
    one before it. Events come ring by ring.
    """
    key = time.copy()
    edges = (
        np.flatnonzero(np.r_[True, ring[1:] != ring[:-1], True]) if len(ring) else np.zeros(0, dtype=np.int64)
    )
    for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        np.maximum.accumulate(key[first:end], out=key[first:end])
    return np.argsort(key, kind="stable")


def _label(ring: Ring) -> str:
    which = f"instance {ring.instance.name!r}, " if ring.instance.name else ""
    return f"ftrace, {which}{'snapshot, ' if ring.buffer != 'main' else ''}CPU {ring.cpu}"


def _tally(
    source: Source, rings: list[Ring], decoded: npt.NDArray[np.intp], unreadable: I64, damaged: I64
) -> list[Tally]:
    tallies = []
    for number, ring in enumerate(rings):
        counters = ring.counters
        missing = None
        if all(name in counters for name in ("entries", "overrun", "read")):
            missing = counters["entries"] - counters["overrun"] - counters["read"] - int(decoded[number])
        tally = Tally(
            int(decoded[number]), len(ring.pages), int(unreadable[number]), int(damaged[number]), missing
        )
        tallies.append(tally)
        label = _label(ring)
        if tally.unreadable:
            source.lost(f"{label}: the dump lacks {tally.unreadable:,} of {tally.pages:,} sub-buffers")
        if tally.damaged:
            source.lost(
                f"{label}: {tally.damaged:,} sub-buffers hold something that is not an event; the rest of them is lost"
            )
        if missing:
            said = f"{missing:,} fewer" if missing > 0 else f"{-missing:,} more"
            source.lost(f"{label}: {said} events were found than its counters say")
    return tallies

"""Rings in, decoded events out: the sub-buffers of all CPUs and instances are read and decoded together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.traces.ftrace.fields import Records
from kernlab.traces.ftrace.pages import HEADER, commits, decode
from kernlab.traces.ftrace.rings import MAIN, Instance, Ring, find_instances
from kernlab.util.progress import progress

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

    def __len__(self) -> int:
        return len(self.ring)

    def records(self, chosen: I64) -> Records:
        """The records of some events."""
        return Records(self.data, self.start[chosen], self.size[chosen])


@dataclass
class _Pages:
    """Sub-buffers of one size: their ring, and what could be read of them."""

    ring: I64
    data: npt.NDArray[np.uint8]
    skip: I64


@fact
def instances_of(kernel: Kernel) -> list[Instance]:
    """`find_instances`, once."""
    return find_instances(kernel)


@fact
def main_trace(kernel: Kernel) -> Trace:
    """What is in the main buffers of all instances: `dump.ftrace` and what joins traces share it."""
    return load(kernel, [ring for one in instances_of(kernel) for ring in one.rings if ring.buffer == MAIN])


def load(kernel: Kernel, rings: list[Ring]) -> Trace:
    """Read and decode the sub-buffers of rings."""
    count = len(rings)
    unreadable = np.zeros(count, dtype=np.int64)
    damaged = np.zeros(count, dtype=np.int64)
    groups = [
        _read_size(kernel, rings, size, unreadable) for size in sorted({ring.subbuf_size for ring in rings})
    ]
    flat = [group.data.reshape(-1) for group in groups]
    data = flat[0] if len(flat) == 1 else np.concatenate([np.zeros(0, dtype=np.uint8), *flat])
    columns: list[tuple[I64, I64, I64, npt.NDArray[np.uint64]]] = []
    base = 0
    for group in groups:
        size = group.data.shape[1]
        step = max(_CHUNK // size, 1)
        for first in range(0, len(group.ring), step):
            part = slice(first, first + step)
            events = decode(group.data[part], group.skip[part])
            wrong = events.damage >= 0
            np.add.at(damaged, group.ring[part][wrong], 1)
            start = base + (events.page + first) * size + events.offset
            columns.append((group.ring[part][events.page], start, events.size, events.time))
        base += group.data.size
    if columns:
        ring, start, length, time = (np.concatenate(column) for column in zip(*columns, strict=True))
    else:
        ring = start = length = np.zeros(0, dtype=np.int64)
        time = np.zeros(0, dtype=np.uint64)
    decoded = np.bincount(ring, minlength=count)
    tallies = _tally(kernel, rings, decoded, unreadable, damaged)

    whole = length >= ENTRY
    if not whole.all():
        kernel.lost("records are too short to be trace events", mask=~whole, why="they are left out")
        ring, start, length, time = ring[whole], start[whole], length[whole], time[whole]
    order = _order(ring, time)
    ring, start, length, time = ring[order], start[order], length[order], time[order]
    records = Records(data, start, length)
    kind, flags, preempt, pid = (
        records.words(offset, width, signed)[0].astype(np.int64)
        for offset, width, signed in ((0, 2, False), (2, 1, False), (3, 1, False), (4, 4, True))
    )
    return Trace(rings, tallies, data, ring, time, start, length, kind, flags, preempt, pid)


def _read_size(kernel: Kernel, rings: list[Ring], size: int, unreadable: I64) -> _Pages:
    """All sub-buffers of one size that hold something, in the order of their rings and of reading."""
    chosen = [number for number, ring in enumerate(rings) if ring.subbuf_size == size and len(ring.pages)]
    if not chosen:
        none = np.zeros(0, dtype=np.int64)
        return _Pages(none, np.zeros((0, size), dtype=np.uint8), none)
    where = np.concatenate([rings[number].pages for number in chosen])
    owner = np.concatenate([np.full(len(rings[number].pages), number) for number in chosen])
    skip = np.zeros(len(where), dtype=np.int64)
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    skip[first] = [rings[number].consumed for number in chosen]
    headers, status = kernel.gather(where, HEADER, "")
    np.add.at(unreadable, owner[status != 0], 1)
    # An empty sub-buffer has nothing to tell; most of a buffer that has not filled yet are.
    used = np.flatnonzero((status == 0) & (commits(headers) > 0))
    where, owner, skip = where[used], owner[used], skip[used]
    held = kernel.budget.count(len(where), size, "sub-buffers of ftrace")
    np.add.at(unreadable, owner[held:], 1)
    where, owner, skip = where[:held], owner[:held], skip[:held]
    data = np.zeros((len(where), size), dtype=np.uint8)
    good = np.ones(len(where), dtype=bool)
    step = max(_CHUNK // size, 1)
    with progress("Reading ftrace's buffers", data.size, "B") as bar:
        for begin in range(0, len(where), step):
            part = slice(begin, begin + step)
            data[part], status = kernel.gather(where[part], size, "")
            good[part] = status == 0
            bar.advance(data[part].size)
    if not good.all():
        np.add.at(unreadable, owner[~good], 1)
        data, owner, skip = data[good], owner[good], skip[good]
    return _Pages(owner, data, skip)


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


def _tally(
    kernel: Kernel, rings: list[Ring], decoded: npt.NDArray[np.intp], unreadable: I64, damaged: I64
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
        which = f"instance {ring.instance.name!r}, " if ring.instance.name else ""
        label = f"ftrace, {which}{'snapshot, ' if ring.buffer != 'main' else ''}CPU {ring.cpu}"
        if tally.unreadable:
            kernel.lost(f"{label}: the dump lacks {tally.unreadable:,} of {tally.pages:,} sub-buffers")
        if tally.damaged:
            kernel.lost(
                f"{label}: {tally.damaged:,} sub-buffers hold something that is not an event; the rest of them is lost"
            )
        if missing:
            said = f"{missing:,} fewer" if missing > 0 else f"{-missing:,} more"
            kernel.lost(f"{label}: {said} events were found than its counters say")
    return tallies

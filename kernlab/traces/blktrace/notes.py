"""The notes of a block trace in, what they tell out: the names of processes, and the time of day.

Notes stand among the events of the CPU that wrote them (kernel/trace/blktrace.c, `trace_note`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernlab.traces.blktrace.headers import Headers, headers
from kernlab.traces.blktrace.names import CGROUP, NOTE_PROCESS, NOTE_TIMESTAMP
from kernlab.traces.blktrace.records import U8, Scan
from kernlab.util import text

if TYPE_CHECKING:
    from kernlab.traces.blktrace.trace import Stream

#: Records that blkparse reads of one file before it turns to the next (blkparse.c, RB_BATCH_DEFAULT).
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Note:
    """A note of a process or the time: its `kind`, the process it names, when (ns), and its own bytes.

    `reached` sorts notes as blkparse comes upon them.
    """

    kind: int
    pid: int
    time: int
    payload: bytes
    reached: tuple[int, int, int]


def read_notes(
    data: U8, streams: Sequence[Stream], scans: Sequence[Scan], decoded: Sequence[Headers]
) -> list[Note]:
    """The notes of all streams (messages are events, and not among them), in the order of `reached`.

    blkparse reads some records of each file in turn, in the order of CPUs, and more of one when it has printed those.
    """
    found = []
    for stream, scan, seen in zip(streams, scans, decoded, strict=True):
        places = np.flatnonzero(seen.notes)
        if not len(places):
            continue
        version8 = None if scan.version8 is None else scan.version8[places]
        rows = headers(data, scan.offsets[places], version8, scan.swapped)
        sizes = scan.header_sizes()
        starts = scan.offsets[places] + (sizes if isinstance(sizes, int) else sizes[places])
        before = places // _BATCH * _BATCH - 1
        when = np.where(before >= 0, seen.times[before].astype(np.float64), -1.0).tolist()
        for place, reached, row, start in zip(places.tolist(), when, rows, starts.tolist(), strict=True):
            action = int(row["action"])
            # A cgroup's id may come before.
            begin = start + (8 if action & CGROUP else 0)
            payload = data[begin : start + int(row["pdu_len"])].tobytes()
            kind = action & 0xFFFF & ~CGROUP
            order = (int(reached), stream.cpu, place)
            found.append(Note(kind, int(row["pid"]), int(row["time"]), payload, order))
    found.sort(key=lambda note: note.reached)
    return found


def process_names(notes: Sequence[Note]) -> dict[int, str]:
    """comm by pid; the first note of a pid counts, as for blkparse: pid 0 is every CPU's idle task."""
    found: dict[int, str] = {}
    for note in notes:
        if note.kind == NOTE_PROCESS:
            found.setdefault(note.pid, text.decode(note.payload, cut=True))
    return found


def wall_clock(notes: Sequence[Note], *, swapped: bool) -> int | None:
    """What to add to a record's time to get nanoseconds since 1970 (UTC), by the earliest note of the time."""
    times = [note for note in notes if note.kind == NOTE_TIMESTAMP and len(note.payload) == 8]
    if not times:
        return None
    first = min(times, key=lambda note: note.time)
    seconds, rest = np.frombuffer(first.payload, dtype=">u4" if swapped else "<u4").tolist()
    return int(seconds * 1_000_000_000 + rest - first.time)

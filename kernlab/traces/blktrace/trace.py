"""`BlkTrace`: the bytes of one blktrace session, one stream per CPU, decoded into one time-ordered table of events.

Mirrors include/uapi/linux/blktrace_api.h and kernel/trace/blktrace.c.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes import describe
from kernlab.traces.blktrace.counts import MOST_CPUS, Key, Run, together
from kernlab.traces.blktrace.events import event_columns, names_by_code
from kernlab.traces.blktrace.export import export, stops
from kernlab.traces.blktrace.headers import (
    Headers,
    Rows,
    decode_headers,
    gather,
    headers,
    in_time_order,
    some_headers,
)
from kernlab.traces.blktrace.latency import Latencies
from kernlab.traces.blktrace.losses import Counts, Loss, losses
from kernlab.traces.blktrace.names import CGROUP
from kernlab.traces.blktrace.notes import Note, process_names, read_notes, wall_clock
from kernlab.traces.blktrace.records import V7, V8, Mask, Scan, scan
from kernlab.traces.blktrace.text import as_text
from kernlab.util.losses import scope
from kernlab.util.threads import in_threads

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: Records, and bytes, that are too few to be worth threads.
_BLOCK = 1 << 16
_SMALL = 4 << 20


@dataclass(slots=True)
class Stream:
    """Where the bytes of one file or buffer lie in the common array, and how many of them a reader had already.

    `cpu` is whose it is by its name or place, 0 where that is not known (`named` is False). One that was merged
    (blkparse -d, blktrace -o -) holds the records of many.
    """

    cpu: int
    start: int
    end: int
    #: Records that end at or before this are not wanted (they were read before).
    wanted_from: int = 0
    #: What an unfinished sub-buffer left over: records are taken only where time and CPU make sense.
    stale: bool = False
    named: bool = True


@dataclass
class _Part:
    stream: Stream
    scan: Scan
    skipped: int
    torn: int


@dataclass
class BlkTrace:
    """A blktrace session.

    `events` is one row per event, in the order of time; `text()` what blkparse prints; `export()` writes files that
    blkparse, btt and iowatcher read; `latencies()` Q2C, D2C and their kin. Comes from `dump.relay.blktrace(name)`,
    `kernlab.relay.open(paths).blktrace()` or `BlkTrace.from_bytes`.
    """

    data: U8
    streams: Sequence[Stream]
    source: str = ""
    problems: list[str] = field(default_factory=list)
    #: Names of processes that the trace itself does not tell, by pid; asked only when some are missing.
    more_names: Callable[[], Mapping[int, str]] | None = None
    #: What the kernel counted of the channel, given the trace; asked when the table is made.
    counted: Callable[[BlkTrace], Counts] | None = None

    @classmethod
    def from_bytes(
        cls, streams: Mapping[int, bytes] | Iterable[tuple[int, bytes]], *, source: str = ""
    ) -> BlkTrace:
        """From the bytes of each CPU: {cpu: bytes}."""
        pairs = list(streams.items()) if isinstance(streams, Mapping) else list(streams)
        return cls.from_arrays([(cpu, np.frombuffer(data, dtype=np.uint8)) for cpu, data in pairs], source)

    @classmethod
    def from_arrays(cls, pairs: Sequence[tuple[int | None, U8]], source: str = "") -> BlkTrace:
        """From the bytes of each CPU, or of several (None), as arrays uint8[n]."""
        data, starts = _room([len(part) for _, part in pairs])
        found = []
        for (cpu, part), start in zip(pairs, starts, strict=True):
            data[start : start + len(part)] = part
            found.append(Stream(cpu or 0, start, start + len(part), named=cpu is not None))
        return cls(data, found, source)

    @classmethod
    def from_files(cls, files: Sequence[tuple[int | None, Path | int]], source: str = "") -> BlkTrace:
        """From files of one CPU each, or of several (None): (cpu, path or descriptor). Raises OSError."""
        sizes = [os.stat(file).st_size for _, file in files]
        data, starts = _room(sizes)
        found = []
        for (cpu, file), start, size in zip(files, starts, sizes, strict=True):
            with open(file, "rb", buffering=0, closefd=not isinstance(file, int)) as stream:
                done = 0
                while done < size:
                    # Where a descriptor of the caller's stands stays as it is.
                    count = os.preadv(stream.fileno(), [data[start + done : start + size].data], done)
                    if not count:
                        break
                    done += count
            found.append(Stream(cpu or 0, start, start + done, named=cpu is not None))
        return cls(data, found, source)

    @cached_property
    def _parts(self) -> list[_Part]:
        parts = []
        small = sum(stream.end - stream.start for stream in self.streams) < _SMALL
        scans = in_threads(
            lambda stream: scan(self.data, stream.start, stream.end), self.streams, small=small
        )
        for stream, found in zip(self.streams, scans, strict=True):
            whole = found
            if stream.wanted_from > stream.start:
                found = _pick(found, stops(self.data, found) > stream.wanted_from)
            if stream.stale:
                found = self._credible(stream, found)
            parts.append(_Part(stream, found, whole.skipped, whole.torn))
        return parts

    @property
    def scans(self) -> list[Scan]:
        """Where the records of each stream lie."""
        return [part.scan for part in self._parts]

    def _credible(self, stream: Stream, found: Scan) -> Scan:
        """The records of a stale piece whose CPU is the buffer's and whose time goes up."""
        rows = headers(self.data, found.offsets, found.version8, found.swapped)
        good = rows["cpu"] == stream.cpu
        good[1:] &= rows["time"][1:] >= rows["time"][:-1]
        return _pick(found, good)

    @cached_property
    def _headers(self) -> list[Headers]:
        """What each stream's headers tell together."""
        small = sum(len(part.scan.offsets) for part in self._parts) < _BLOCK
        return in_threads(lambda part: decode_headers(self.data, part.scan), self._parts, small=small)

    def _by_time(self, *columns: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Columns that have an array for each stream as one each, in the order of time."""
        if not self.streams:
            return [np.zeros(0, dtype=np.int64) for _ in columns]
        return in_time_order([seen.times for seen in self._headers], *columns)

    @cached_property
    def _order(self) -> I64:
        """Rows of the concatenated streams in the order of time."""
        ends = np.cumsum([len(part.scan.offsets) for part in self._parts])
        rows = [np.arange(end - len(p.scan.offsets), end) for p, end in zip(self._parts, ends, strict=True)]
        return self._by_time(rows)[0]

    @cached_property
    def _sorted(self) -> tuple[I64, Mask]:
        """(offset, is a note) of every record, in the order of time."""
        offsets = [part.scan.offsets for part in self._parts]
        found = self._by_time(offsets, [seen.notes for seen in self._headers])
        return found[0], found[1].astype(bool, copy=False)

    @cached_property
    def _places(self) -> tuple[I64, Mask | None, bool | Mask]:
        """Offset, version 8, other byte order of every record, in the order of time."""
        scans = [part.scan for part in self._parts]
        offsets = self._sorted[0]
        version8 = None
        if any(found.version8 is not None for found in scans):
            none = [np.zeros(len(found.offsets), dtype=bool) for found in scans]
            pairs = zip(scans, none, strict=True)
            known = [zeros if found.version8 is None else found.version8 for found, zeros in pairs]
            version8 = np.concatenate(known)[self._order]
        orders = {found.swapped for found in scans if len(found.offsets)}
        if len(orders) <= 1:
            return offsets, version8, True in orders
        each = np.repeat([found.swapped for found in scans], [len(found.offsets) for found in scans])
        return offsets, version8, each[self._order]

    @property
    def record_count(self) -> int:
        """How many records there are, notes among them."""
        return len(self._sorted[0])

    def block(self, start: int, stop: int) -> tuple[npt.NDArray[Any], I64]:
        """Records [start, stop) in the order of time: (headers, where the bytes after each begin in `data`)."""
        offsets, version8, swapped = self._places
        part = slice(start, stop)
        rows = some_headers(self.data, offsets, version8, swapped, part)
        size = V7.itemsize if version8 is None else np.where(version8[part], V8.itemsize, V7.itemsize)
        return rows, offsets[part] + size

    @cached_property
    def rows(self) -> Rows:
        """Every record's header in the order of time, notes among them."""
        return gather(self.data, *self._places)

    def pdu(self, row: int) -> bytes:
        """The bytes after the header of one of `rows`."""
        rows, starts = self.block(row, row + 1)
        return self.data[starts[0] : starts[0] + int(rows["pdu_len"][0])].tobytes()

    @cached_property
    def streams_of_rows(self) -> npt.NDArray[np.int32]:
        """The number (in `streams`) of the stream that each of `rows` comes from."""
        counts = [len(part.scan.offsets) for part in self._parts]
        return np.repeat(np.arange(len(counts), dtype=np.int32), counts)[self._order]

    @cached_property
    def swapped(self) -> bool:
        """Was the traced machine of the other byte order?"""
        return any(part.scan.swapped for part in self._parts if len(part.scan.offsets))

    @cached_property
    def act(self) -> npt.NDArray[np.uint16]:
        """What happened, for each of `rows`: the low 16 bits of action, without the cgroup flag."""
        return (self.rows["action"] & np.uint32(0xFFFF & ~CGROUP)).astype(np.uint16)

    @cached_property
    def category(self) -> npt.NDArray[np.uint32]:
        """BLK_TC_ bits of each of `rows`."""
        return (self.rows["action"] >> np.uint32(16)).astype(np.uint32)

    @cached_property
    def note_rows(self) -> I64:
        """Which of `rows` are notes of a process or the time, ascending."""
        return np.flatnonzero(self._sorted[1])

    @cached_property
    def _notes(self) -> list[Note]:
        return read_notes(self.data, self.streams, self.scans, self._headers)

    @cached_property
    def processes(self) -> dict[int, str]:
        """comm by pid, as the trace's own notes tell it; of several the one that blkparse picks.

        >>> dump.relay.blktrace("vda/trace").processes[258]
        'dd'
        """
        return process_names(self._notes)

    @cached_property
    def wall_clock_ns(self) -> int | None:
        """What to add to a record's time to get nanoseconds since 1970 (UTC), None where the trace does not tell."""
        return wall_clock(self._notes, swapped=self.swapped)

    def is_of_one_cpu(self, number: int) -> bool:
        """Is a stream one CPU's file or buffer, as far as its events tell?"""
        stream, cpus = self.streams[number], self._cpus(number)
        return cpus <= {stream.cpu} or (stream.named and len(cpus) == 1)

    def _cpus(self, number: int) -> set[int]:
        return {cpu for _, cpu in self._headers[number].runs}

    def cpus_of(self, cpus: npt.NDArray[np.uint32], stream: Stream) -> I64:
        """The CPUs that records of a stream name; those that no kernel can have are its own."""
        return np.where(cpus < MOST_CPUS, cpus.astype(np.int64), stream.cpu)

    def times_around(self, number: int, offset: int) -> tuple[int | None, int | None]:
        """The times (ns) of the last record of a stream before a byte of `data`, and of the first from there on."""
        times = self._headers[number].times
        at = int(np.searchsorted(self.scans[number].offsets, offset))
        return (int(times[at - 1]) if at else None, int(times[at]) if at < len(times) else None)

    @cached_property
    def runs(self) -> dict[Key, Run]:
        """How each CPU numbered the events of each device."""
        pairs = zip(self._parts, self._headers, strict=True)
        return together(seen.runs for part, seen in pairs if not part.stream.stale)

    @cached_property
    def _lost(self) -> tuple[list[Loss], list[str]]:
        return losses(self.runs, None if self.counted is None else self.counted(self))

    @property
    def losses(self) -> list[Loss]:
        """Which events are missing, by gaps in their numbers and by what the kernel counted.

        >>> dump.relay.blktrace("vda/trace").losses
        []
        """
        return self._lost[0]

    @cached_property
    def all_problems(self) -> list[str]:
        """`problems`, and what is damaged or missing in the records."""
        found = list(self.problems)
        for number, part in enumerate(self._parts):
            # What is stale begins and ends inside a record: that is not a loss worth telling.
            if part.stream.stale:
                continue
            who = f"CPU {part.stream.cpu}" if self.is_of_one_cpu(number) else self.source or "the stream"
            if part.skipped:
                found.append(
                    f"{who}: {part.skipped:,} bytes between the records belong to none of them and were skipped"
                )
            if part.torn:
                found.append(f"{who}: the last record is cut off after {part.torn:,} bytes")
        missing, more = self._lost
        return [*found, *(loss.told for loss in missing), *more]

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row per event and message, in the order of time (ties in the order of CPUs).

        timestamp (since boot, CLOCK_MONOTONIC), cpu, sequence (per CPU and device, from 1 on; messages have none: 0),
        device ("254:0"; of a remap the one that its sector belongs to), action (blkparse's letters; "m" a message),
        rwbs, sector, bytes, pid, comm, error (negative errno), from_device and from_sector (of a remap), new_sector (of
        a split), depth (of an unplug), cgroup (id), message. attrs: "wall_clock_ns" is what to add to timestamps to get
        UTC; "lost" lists what is missing (device, cpu, events, since_ns, until_ns; None where that is not known).

        >>> trace = dump.relay.blktrace("vda/trace")
        >>> trace.events["action"].value_counts().head(2)
        action
        C    56
        Q    46
        Name: count, dtype: int64
        """
        frame = pd.DataFrame(event_columns(self), copy=False)
        with scope("blktrace") as here:
            here.lost(*self.all_problems)
            frame.attrs.update(describe(None, here.name))
        self.describe(frame)
        frame.attrs["wall_clock_ns"] = self.wall_clock_ns
        return frame

    def describe(self, frame: pd.DataFrame) -> None:
        """Note in a table's attrs where it comes from, and what is missing in it."""
        frame.attrs["source"] = self.source
        frame.attrs["lost"] = [loss.plain() for loss in self.losses]

    def names_of(self, pids: Iterable[int]) -> dict[int, str]:
        """Names by pid, of the notes and, where those lack some of `pids`, of `more_names`."""
        names = dict(self.processes)
        if self.more_names is not None and any(pid not in names for pid in pids):
            names = {**self.more_names(), **names}
        return names

    def comms(self, pids: npt.NDArray[np.uint32]) -> Any:
        """The name of each pid as a str column, missing where nobody tells it."""
        codes, distinct = pd.factorize(pids)
        known = distinct.tolist()
        return names_by_code(codes, known, self.names_of(known))

    def text(self) -> str:
        """What `blkparse -q` (1.2.0) prints of this trace, line for line; see `blktrace_text`.

        >>> dump.relay.blktrace("vda/trace").text().splitlines()[0][:60]
        '254,0    0        1     0.000000000   258  Q  WS 65538 + 240'
        """
        return as_text(self)

    def in_file_order(self) -> list[I64]:
        """Which of `rows` blkparse would print, per CPU (ascending), in the order in which they were recorded.

        It leaves out what stands in another CPU's file; a stream that several CPUs wrote is nobody's file.
        """
        numbers = self.streams_of_rows
        own = np.array([stream.cpu for stream in self.streams] or [0], dtype=np.int64)[numbers]
        alone = np.array([self._cpus(n) <= {stream.cpu} for n, stream in enumerate(self.streams)] or [True])
        alone = alone[numbers]
        cpus = self.rows["cpu"].astype(np.int64)
        named = np.where(alone | (cpus >= MOST_CPUS), own, cpus)
        rows = np.flatnonzero(~alone | (cpus == own))
        rows = rows[np.lexsort((self._order[rows], named[rows]))]
        edges = np.flatnonzero(np.diff(named[rows])) + 1
        return [part for part in np.split(rows, edges) if len(part)]

    def latencies(self) -> Latencies:
        """Q2C, D2C and their kin; see `blktrace_latency.Latencies`.

        >>> dump.relay.blktrace("vda/trace").latencies().summary("all")[["step", "n", "max"]].head(2)
          step   n                       max
        0  Q2Q  45 0 days 00:00:49.134804700
        1  Q2G  34 0 days 00:00:00.004069360
        """
        return Latencies(self)

    def export(self, folder: str | PathLike[str], device: str) -> list[Path]:
        """Write `<device>.blktrace.<cpu>` files that blkparse, btt and iowatcher read; returns their paths.

        Torn records and damaged stretches are left out. Files of CPUs without records are there, but empty: blkparse
        stops at the first number that is missing.

        >>> [path.name for path in dump.relay.blktrace("vda/trace").export("exported", "vda")]
        ['vda.blktrace.0', 'vda.blktrace.1']
        """
        return export(self, folder, device)

    def __repr__(self) -> str:
        return f"<BlkTrace of {len(self.rows):,} records in {len(self.streams):,} streams>"


def _pick(found: Scan, keep: Mask) -> Scan:
    version8 = found.version8
    return Scan(
        found.offsets[keep],
        None if version8 is None else version8[keep],
        found.swapped,
        found.skipped,
        found.torn,
    )


def _room(sizes: Sequence[int]) -> tuple[U8, list[int]]:
    """One array for several stretches, each beginning at a multiple of 8: (uint8[n], start of each)."""
    starts, total = [], 0
    for size in sizes:
        starts.append(total)
        total += -(-size // 8) * 8
    return np.empty(total, dtype=np.uint8), starts

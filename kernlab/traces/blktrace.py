"""`BlkTrace`: the bytes of one blktrace session, one stream per CPU, decoded into one time-ordered table of events.

Mirrors include/uapi/linux/blktrace_api.h and kernel/trace/blktrace.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab import text
from kernlab.frames import describe, lookup, nullable
from kernlab.frames.builder import build
from kernlab.traces.blktrace_latency import Latencies
from kernlab.traces.blktrace_names import (
    ACTIONS,
    CGROUP,
    NOTE_MESSAGE,
    NOTE_PROCESS,
    NOTE_TIMESTAMP,
    NOTIFY,
    REMAP,
    SPLIT,
    UNPLUGS,
    categories,
    device_name,
    rwbs,
)
from kernlab.traces.blktrace_records import V8, Mask, Scan, headers, scan, times, widened
from kernlab.traces.blktrace_text import as_text

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: A pid above this (PID_MAX_LIMIT) is none; names of such are looked up the slow way.
_MOST_PIDS = 1 << 22


@dataclass(slots=True)
class Stream:
    """Where the bytes of one CPU's records lie in the common array, and how many of them a reader had already."""

    cpu: int
    start: int
    end: int
    #: Records that end at or before this are not wanted (they were read before).
    wanted_from: int = 0
    #: What an unfinished sub-buffer left over: records are taken only where time and CPU make sense.
    stale: bool = False


@dataclass
class _Part:
    stream: Stream
    scan: Scan


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

    @classmethod
    def from_bytes(
        cls, streams: Mapping[int, bytes] | Iterable[tuple[int, bytes]], *, source: str = ""
    ) -> BlkTrace:
        """From the bytes of each CPU: {cpu: bytes}."""
        pairs = list(streams.items()) if isinstance(streams, Mapping) else list(streams)
        return cls.from_arrays([(cpu, np.frombuffer(data, dtype=np.uint8)) for cpu, data in pairs], source)

    @classmethod
    def from_arrays(cls, pairs: Sequence[tuple[int, U8]], source: str = "") -> BlkTrace:
        """From the bytes of each CPU as arrays uint8[n]."""
        data, starts = _room([len(part) for _, part in pairs])
        found = []
        for (cpu, part), start in zip(pairs, starts, strict=True):
            data[start : start + len(part)] = part
            found.append(Stream(cpu, start, start + len(part)))
        return cls(data, found, source)

    @classmethod
    def from_files(cls, files: Sequence[tuple[int, Path]], source: str = "") -> BlkTrace:
        """From files of one CPU each: (cpu, path). Raises OSError."""
        sizes = [path.stat().st_size for _, path in files]
        data, starts = _room(sizes)
        found = []
        for (cpu, path), start, size in zip(files, starts, sizes, strict=True):
            with path.open("rb", buffering=0) as stream:
                done = 0
                while done < size:
                    count = stream.readinto(memoryview(data[start + done : start + size].data))
                    if not count:
                        break
                    done += count
            found.append(Stream(cpu, start, start + done))
        return cls(data, found, source)

    @cached_property
    def _parts(self) -> list[_Part]:
        parts = []
        for stream in self.streams:
            found = scan(self.data, stream.start, stream.end)
            # What is stale begins and ends inside a record: that is no loss worth telling.
            if found.skipped and not stream.stale:
                self.problems.append(
                    f"CPU {stream.cpu}: {found.skipped:,} bytes between the records are none of them and were skipped"
                )
            if found.torn and not stream.stale:
                self.problems.append(f"CPU {stream.cpu}: the last record is torn after {found.torn:,} bytes")
            if stream.wanted_from > stream.start:
                found = _pick(found, _stops(self.data, found) > stream.wanted_from)
            if stream.stale:
                found = self._credible(stream, found)
            parts.append(_Part(stream, found))
        return parts

    def _credible(self, stream: Stream, found: Scan) -> Scan:
        """The records of a stale piece whose CPU is the buffer's and whose time goes up."""
        rows = headers(self.data, found.offsets, found.version8, found.swapped)
        good = rows["cpu"] == stream.cpu
        good[1:] &= rows["time"][1:] >= rows["time"][:-1]
        return _pick(found, good)

    @cached_property
    def _order(self) -> tuple[I64, npt.NDArray[np.int32]]:
        """(row in the concatenated streams, stream number of each of these rows), in the order of time."""
        stamps = [times(self.data, part.scan.offsets, part.scan.swapped) for part in self._parts]
        joined = np.concatenate(stamps) if stamps else np.zeros(0, dtype=np.uint64)
        return np.argsort(joined, kind="stable"), _numbers([len(part) for part in stamps])

    @cached_property
    def rows(self) -> npt.NDArray[Any]:
        """Every record's header in the order of time, notes among them: `V7`, or `V8` where one is of version 8."""
        order, _ = self._order
        parts = [part.scan for part in self._parts if len(part.scan.offsets)]
        if parts and all(part.version8 is None and not part.swapped for part in parts):
            # One gather of whole headers in their last order: several times faster than one per column.
            return headers(self.data, self._offsets[order], None, False)
        found = [headers(self.data, part.offsets, part.version8, part.swapped) for part in parts]
        if not found:
            return np.zeros(0, dtype=V8)
        if len({part.dtype for part in found}) > 1:
            found = [widened(part) for part in found]
        return np.concatenate(found)[order]

    @cached_property
    def _offsets(self) -> I64:
        offsets = [part.scan.offsets for part in self._parts]
        return np.concatenate(offsets) if offsets else np.zeros(0, dtype=np.int64)

    @cached_property
    def _pdu_starts(self) -> I64:
        """Where the bytes after each header begin in `data`, for `rows`."""
        order, _ = self._order
        sizes = [
            np.broadcast_to(part.scan.header_sizes(), len(part.scan.offsets)).astype(np.int64)
            for part in self._parts
        ]
        joined = self._offsets + (np.concatenate(sizes) if sizes else 0)
        return joined[order]

    def pdu(self, row: int) -> bytes:
        """The bytes after the header of one of `rows`."""
        start = int(self._pdu_starts[row])
        return self.data[start : start + int(self.rows["pdu_len"][row])].tobytes()

    @cached_property
    def streams_of_rows(self) -> npt.NDArray[np.int32]:
        """The number (in `streams`) of the stream that each of `rows` comes from."""
        order, numbers = self._order
        return numbers[order]

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
    def note(self) -> Mask:
        """Which of `rows` are notes (of a process, the time, a message), not events of a device."""
        return np.asarray((self.category & np.uint32(NOTIFY)) != 0)

    @cached_property
    def is_message(self) -> Mask:
        """Which of `rows` are messages."""
        return np.asarray(self.note & (self.act == NOTE_MESSAGE))

    @cached_property
    def processes(self) -> dict[int, str]:
        """comm by pid, as the trace's own notes tell it; the first note of a pid counts, as for blkparse."""
        found: dict[int, str] = {}
        for row in np.flatnonzero(self.note & (self.act == NOTE_PROCESS)).tolist():
            found.setdefault(int(self.rows["pid"][row]), text.decode(self._payload(row), cut=True))
        return found

    @cached_property
    def wall_clock_ns(self) -> int | None:
        """What to add to a record's time to get nanoseconds since 1970 (UTC), None where the trace does not tell."""
        for row in np.flatnonzero(self.note & (self.act == NOTE_TIMESTAMP)).tolist():
            payload = self._payload(row)
            if len(payload) == 8:
                seconds, rest = np.frombuffer(payload, dtype=">u4" if self.swapped else "<u4").tolist()
                return int(seconds * 1_000_000_000 + rest - int(self.rows["time"][row]))
        return None

    def _payload(self, row: int) -> bytes:
        """A record's own bytes without the cgroup's id."""
        return self.pdu(row)[8 if int(self.rows["action"][row]) & CGROUP else 0 :]

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row per event and message, in the order of time (ties in the order of CPUs).

        timestamp (since boot, CLOCK_MONOTONIC), cpu, sequence (per CPU; a gap is what was dropped), device
        ("254:0"), action (blkparse's letters; "m" a message), rwbs, sector, bytes, pid, comm, error (negative
        errno), from_device and from_sector (of a remap), new_sector (of a split), depth (of an unplug), cgroup (id),
        message. attrs: "wall_clock_ns" is what to add to timestamps to get UTC.
        """
        keep = ~self.note | self.is_message
        where = None if keep.all() else np.flatnonzero(keep)
        rows = self.rows if where is None else self.rows[where]
        act, category = self.act, self.category
        if where is not None:
            act, category = act[where], category[where]
        message = (category & np.uint32(NOTIFY)) != 0
        numbers = np.arange(len(rows)) if where is None else where
        columns: dict[str, Any] = {
            "timestamp": rows["time"].astype(np.int64).view("timedelta64[ns]"),
            "cpu": rows["cpu"].astype(np.int64),
            "sequence": rows["sequence"].astype(np.int64),
            "device": categories(rows["device"], device_name),
            "action": self._actions(act, message),
            "rwbs": self._rwbs(category, rows["bytes"]),
            "sector": rows["sector"].copy(),
            "bytes": rows["bytes"].astype(np.int64),
            "pid": rows["pid"].astype(np.int64),
            "comm": self.comms(rows["pid"]),
            "error": rows["error"].view().astype(np.uint16).view(np.int16).astype(np.int64),
            **self._details(rows, numbers, act, message),
        }
        problems = [*self.problems, *self._lost()]
        frame = pd.DataFrame(columns, copy=False)
        frame.attrs.update(describe(None, "blktrace", problems))
        frame.attrs["source"] = self.source
        frame.attrs["wall_clock_ns"] = self.wall_clock_ns
        return frame

    def _actions(self, act: npt.NDArray[np.uint16], message: Mask) -> pd.Categorical:
        # A note that is kept is a message: it gets a code that no action has.
        return categories(
            np.where(message, np.uint16(0), act) if message.any() else act,
            lambda value: "m" if value == 0 and message.any() else ACTIONS.get(value, str(value)),
        )

    @staticmethod
    def _rwbs(category: npt.NDArray[np.uint32], count: npt.NDArray[np.uint32]) -> pd.Categorical:
        # Bit 31 is no category: whether there are bytes decides between R and N.
        key = category & np.uint32(0x7FFFFFFF)
        key |= (count != 0).astype(np.uint32) << np.uint32(31)
        return categories(key, lambda value: rwbs(value & 0x7FFFFFFF, bool(value >> 31)))

    def rwbs_of(self, where: I64) -> pd.Categorical:
        """The rwbs letters of some of `rows`."""
        return self._rwbs(self.category[where], self.rows["bytes"][where])

    def comms(self, pids: npt.NDArray[np.uint32]) -> Any:
        """The name of each pid as a str column, missing where nobody tells it."""
        names = dict(self.processes)
        found = pd.unique(pids).tolist()
        if self.more_names is not None and any(pid not in names for pid in found):
            names = {**self.more_names(), **names}
        known = [pid for pid in found if pid in names]
        strings = [names[pid] for pid in known]
        if not known:
            return lookup(np.full(len(pids), -1), [""])
        if max(known) < _MOST_PIDS:
            table = np.full(max(known) + 2, -1, dtype=np.int32)
            table[known] = np.arange(len(known))
            # What is beyond the table has no name: its last entry says so.
            return lookup(table[np.minimum(pids, np.uint32(max(known) + 1))], strings)
        codes = pd.Index(known).get_indexer(pd.Index(pids.astype(np.int64)))
        return lookup(codes, strings)

    def _details(
        self, rows: npt.NDArray[Any], numbers: I64, act: npt.NDArray[np.uint16], message: Mask
    ) -> dict[str, Any]:
        """What the bytes after some headers say: columns that are missing in all other rows."""
        count = len(rows)
        length, flagged = rows["pdu_len"], (rows["action"] & np.uint32(CGROUP)) != 0
        starts = self._pdu_starts[numbers]
        skip = np.where(flagged, 8, 0) if flagged.any() else 0
        starts, length = starts + skip, length.astype(np.int64) - skip
        event = ~message
        remap = np.flatnonzero((act == REMAP) & event & (length >= 16))
        split = np.flatnonzero((act == SPLIT) & event & (length >= 8))
        unplug = np.flatnonzero(np.isin(act, UNPLUGS) & event & (length >= 8))
        pairs = self._gather(starts[remap], 16)
        device = pairs[:, :4].copy().view(">u4")[:, 0]
        inner = categories(device.astype(np.uint32), device_name)
        codes = np.full(count, -1, dtype=np.int32)
        codes[remap] = inner.codes
        from_device = pd.Categorical.from_codes(codes, categories=inner.categories)
        cgroup = np.flatnonzero(flagged & (length >= 0))
        order = ">u8" if self.swapped else "<u8"
        texts = np.flatnonzero(message)
        codes = np.full(count, -1, dtype=np.int32)
        codes[texts] = np.arange(len(texts))
        strings = [
            text.decode(self.data[start : start + size].tobytes(), cut=True)
            for start, size in zip(starts[texts].tolist(), length[texts].tolist(), strict=True)
        ]
        return {
            "from_device": from_device,
            "from_sector": _sparse(count, remap, pairs[:, 8:].copy().view(">u8")[:, 0]),
            "new_sector": _sparse(count, split, self._gather(starts[split], 8).view(">u8")[:, 0]),
            "depth": _sparse(count, unplug, self._gather(starts[unplug], 8).view(">u8")[:, 0]),
            "cgroup": _sparse(count, cgroup, self._gather(starts[cgroup] - 8, 8).view(order)[:, 0]),
            "message": lookup(codes, strings or [""]),
        }

    def _gather(self, starts: I64, size: int) -> U8:
        if not len(starts):
            return np.zeros((0, size), dtype=np.uint8)
        every = np.ndarray((len(self.data) - size + 1,), dtype=f"V{size}", buffer=self.data, strides=(1,))
        return every[starts].view(np.uint8).reshape(len(starts), size)

    def _lost(self) -> list[str]:
        """What gaps in the sequence numbers say: the kernel counts an event before it finds room for it."""
        problems = []
        for part in self._parts:
            rows = headers(self.data, part.scan.offsets, part.scan.version8, part.scan.swapped)
            rows = rows[(rows["action"] & np.uint32(NOTIFY << 16)) == 0]
            if part.stream.stale or len(rows) < 2 or (rows["device"] != rows["device"][0]).any():
                continue
            steps = np.diff(rows["sequence"].astype(np.int64))
            lost = int((steps[steps > 1] - 1).sum())
            if lost:
                problems.append(
                    f"CPU {part.stream.cpu}: {lost:,} events were dropped (gaps in the sequence numbers)"
                )
        return problems

    def text(self) -> str:
        """What `blkparse -q` (1.2.0) prints of this trace, line for line; see `blktrace_text`."""
        return as_text(self)

    def in_file_order(self, rows: I64) -> list[I64]:
        """Some of `rows`, per CPU (ascending), in the order in which they were recorded."""
        order, _ = self._order
        numbers = self.streams_of_rows[rows]
        found: dict[int, list[I64]] = {}
        for number, stream in enumerate(self.streams):
            mine = rows[numbers == number]
            found.setdefault(stream.cpu, []).append(mine[np.argsort(order[mine], kind="stable")])
        return [np.concatenate(found[cpu]) for cpu in sorted(found)]

    def latencies(self) -> Latencies:
        """Q2C, D2C and their kin; see `blktrace_latency.Latencies`."""
        return Latencies(self)

    def stream_bytes(self, number: int) -> bytes:
        """The whole records of one stream, as they were recorded."""
        part = self._parts[number]
        found = part.scan
        if not len(found.offsets):
            return b""
        stops = _stops(self.data, found)
        if found.offsets[0] + int((stops - found.offsets).sum()) == stops[-1]:
            return self.data[int(found.offsets[0]) : int(stops[-1])].tobytes()
        pairs = zip(found.offsets.tolist(), stops.tolist(), strict=True)
        return b"".join(self.data[start:stop].tobytes() for start, stop in pairs)

    def export(self, folder: str | PathLike[str], device: str) -> list[Path]:
        """Write `<device>.blktrace.<cpu>` files that blkparse, btt and iowatcher read; returns their paths.

        Torn records and damaged stretches are left out. Files of CPUs without records are there, but empty: blkparse
        stops at the first number that is missing.
        """
        where = Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        whole: dict[int, bytes] = {}
        for number, stream in enumerate(self.streams):
            whole[stream.cpu] = whole.get(stream.cpu, b"") + self.stream_bytes(number)
        written = []
        base = text.show_controls(device).replace("/", "!")
        for cpu in range(max(whole, default=-1) + 1):
            path = where / f"{base}.blktrace.{cpu}"
            path.write_bytes(whole.get(cpu, b""))
            written.append(path)
        return written

    def __repr__(self) -> str:
        return f"<BlkTrace of {len(self.rows):,} records in {len(self.streams):,} streams>"


def _sparse(count: int, rows: I64, values: npt.NDArray[Any]) -> Any:
    out, valid = np.zeros(count, dtype=np.uint64), np.zeros(count, dtype=bool)
    out[rows], valid[rows] = values, True
    return build("", "", nullable(out, valid))


def _stops(data: U8, found: Scan) -> I64:
    """Where each record of a scan ends."""
    rows = headers(data, found.offsets, found.version8, found.swapped)
    stops: I64 = found.offsets + found.header_sizes() + rows["pdu_len"].astype(np.int64)
    return stops


def _pick(found: Scan, keep: Mask) -> Scan:
    version8 = found.version8
    return Scan(
        found.offsets[keep],
        None if version8 is None else version8[keep],
        found.swapped,
        found.skipped,
        found.torn,
    )


def _numbers(counts: Sequence[int]) -> npt.NDArray[np.int32]:
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


def _room(sizes: Sequence[int]) -> tuple[U8, list[int]]:
    """One array for several stretches, each beginning at a multiple of 8: (uint8[n], start of each)."""
    starts, total = [], 0
    for size in sizes:
        starts.append(total)
        total += -(-size // 8) * 8
    return np.empty(total, dtype=np.uint8), starts

"""A timeline into a trace for ui.perfetto.dev: who ran on each CPU, requests of each disk, everything else as instants.

Times are the axis: ns since boot on the log's clock. What is written is the trace format's protobufs, packet by packet,
so that a trace of millions of events does not lie in memory twice.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.errors import MissingDependencyError
from kernlab.escape import show_controls
from kernlab.util.files import whole_file
from kernlab.util.progress import progress

if TYPE_CHECKING:
    from kernlab.replay.replay import Replay

#: One who writes.
_SEQUENCE = 1
#: Events of one CPU in a packet.
_BUNDLE = 512
#: What kernels call the states of a task (include/trace/events/sched.h, sched_switch), by their bits since 4.14.
_STATES = {"R": 0, "S": 1, "D": 2, "T": 4, "t": 8, "X": 16, "Z": 32, "P": 64, "I": 128}
_PREEMPTED = 256

_SWITCH = re.compile(
    r"prev_comm=(?P<prev_comm>.*) prev_pid=(?P<prev_pid>-?\d+) prev_prio=(?P<prev_prio>-?\d+) "
    r"prev_state=(?P<prev_state>\S+) ==> next_comm=(?P<next_comm>.*) next_pid=(?P<next_pid>-?\d+) "
    r"next_prio=(?P<next_prio>-?\d+)",
    re.DOTALL,
)
#: "254,0 WS 65538 + 8 [dd]", "254,0 WS 4096 () 65538 + 8 none,0,0 [dd]".
_REQUEST = re.compile(r"(?P<device>\d+,\d+) (?P<kind>[A-Z]+) .*?(?P<sector>\d+) \+ (?P<count>\d+)")

#: The events that the lanes are drawn of, and so are no instants.
_SWITCHED, _ISSUED, _COMPLETED = "sched_switch", "block_rq_issue", "block_rq_complete"


def write(timeline: pd.DataFrame, path: str | PathLike[str], replay: Replay | None = None) -> Path:
    """See `Timeline.to_perfetto`."""
    pb = _protobufs()
    target = Path(path)
    rows = timeline[timeline["time"].notna() & (timeline["time"] >= pd.Timedelta(0))]
    with whole_file(target) as partial, open(partial, "wb") as file:
        for packet in _packets(pb, rows, replay):
            packet.trusted_packet_sequence_id = _SEQUENCE
            body = packet.SerializeToString()
            # Field 1 of message Trace, of bytes.
            file.write(b"\x0a" + _varint(len(body)) + body)
    return target


def _protobufs() -> ModuleType:
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        raise MissingDependencyError(
            'traces for Perfetto need its package: pip install "kernlab[trace]"'
        ) from error
    found: ModuleType = perfetto_trace_pb2
    return found


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _packets(pb: ModuleType, rows: pd.DataFrame, replay: Replay | None) -> Iterator[Any]:
    first = pb.TracePacket()
    first.sequence_flags = pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    yield first
    event, source = rows["event"].astype(object), rows["source"].astype(object)
    switched = _of_one(source, event, (_SWITCHED,))
    asked = _of_one(source, event, (_ISSUED, _COMPLETED), "blktrace")
    tracks = _Tracks(pb)
    with progress("Writing the trace", len(rows), " events") as bar:
        for make, mask in ((_scheduled, switched), (_asked, asked), (_instants, ~(switched | asked))):
            some = rows[mask]
            yield from make(pb, some, tracks)
            bar.advance(len(some))
    if replay is not None:
        yield from _counters(pb, replay.memory, tracks)


def _of_one(
    source: pd.Series[Any], event: pd.Series[Any], events: tuple[str, ...], kind: str = ""
) -> npt.NDArray[np.bool_]:
    """Which rows lanes are drawn of: of one source, as several that saw the same would draw it twice; first `kind`."""
    wanted = event.isin(events).to_numpy()
    counts = source[wanted].value_counts()
    of_kind = [name for name in counts.index if kind and str(name).startswith(kind)]
    chosen = next(iter([*of_kind, *counts.index]), None)
    mine: npt.NDArray[np.bool_] = wanted & (source == chosen).to_numpy()
    return mine


class _Tracks:
    """Tracks by name, each described when it is first used."""

    def __init__(self, pb: ModuleType):
        self._pb = pb
        self._numbers: dict[tuple[str, ...], int] = {}

    def track(self, *names: str, counter: str = "") -> tuple[int, list[Any]]:
        """(number of the track, what describes it and those above, where they are new)."""
        packets: list[Any] = []
        for depth in range(1, len(names) + 1):
            key = names[:depth]
            if key in self._numbers:
                continue
            packet = self._pb.TracePacket()
            found = packet.track_descriptor
            self._numbers[key] = found.uuid = len(self._numbers) + 1
            found.name = _text(key[-1])
            if depth > 1:
                found.parent_uuid = self._numbers[key[:-1]]
            if counter and depth == len(names):
                found.counter.unit_name = counter
            packets.append(packet)
        return self._numbers[names], packets


def _scheduled(pb: ModuleType, rows: pd.DataFrame, _: _Tracks) -> Iterator[Any]:
    """Lanes of CPUs, of their switches, as ftrace records them."""
    typed = "prev_state" in rows.columns
    columns = ("prev_comm", "prev_pid", "prev_prio", "prev_state", "next_comm", "next_pid", "next_prio")
    for cpu, mine in rows[rows["cpu"].notna()].groupby("cpu", sort=True):
        for begin in range(0, len(mine), _BUNDLE):
            some = mine.iloc[begin : begin + _BUNDLE]
            packet = pb.TracePacket()
            packet.ftrace_events.cpu = int(str(cpu))
            told: Iterator[Any] = (
                zip(*(some[name] for name in columns), strict=True) if typed else map(_switch, some["text"])
            )
            for at, pid, one in zip(_ns(some), some["pid"], told, strict=True):
                if one is None or any(value is pd.NA for value in one):
                    continue
                event = packet.ftrace_events.event.add()
                event.timestamp, event.pid = int(at), _number(pid)
                switch = event.sched_switch
                for name, value in zip(columns, one, strict=True):
                    setattr(switch, name, _text(value) if name.endswith("comm") else int(value))
            yield packet


def _switch(text: object) -> tuple[Any, ...] | None:
    found = _SWITCH.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    said = found.groupdict()
    letters = said["prev_state"]
    state = sum(_STATES.get(letter, 0) for letter in set(letters.rstrip("+").replace("|", "")))
    said["prev_state"] = state | (_PREEMPTED if letters.endswith("+") else 0)
    return tuple(said.values())


def _asked(pb: ModuleType, rows: pd.DataFrame, tracks: _Tracks) -> Iterator[Any]:
    """Requests as slices, in as few lanes of their disk as they fit; one that never came back has no end."""
    out: dict[tuple[str, int], list[int]] = {}
    lanes: dict[str, list[int]] = {}
    most: dict[str, int] = {}
    for at, event, text in zip(_ns(rows), rows["event"].astype(object), rows["text"], strict=True):
        found = _REQUEST.match(text) if isinstance(text, str) else None
        if found is None:
            continue
        device, key = found["device"].replace(",", ":"), (found["device"], int(found["sector"]))
        free = lanes.setdefault(device, [])
        if event == _ISSUED:
            if free:
                lane = heapq.heappop(free)
            else:
                lane = most[device] = most.get(device, 0) + 1
            out.setdefault(key, []).append(lane)
        elif out.get(key):
            lane = out[key].pop(0)
            heapq.heappush(free, lane)
        else:
            continue
        number, new = tracks.track(f"disk {device}", f"request {lane}")
        yield from new
        packet = pb.TracePacket()
        packet.timestamp = int(at)
        track = packet.track_event
        track.track_uuid = number
        if event == _ISSUED:
            track.type = pb.TrackEvent.TYPE_SLICE_BEGIN
            track.name = f"{found['kind']} {found['sector']} + {found['count']}"
        else:
            track.type = pb.TrackEvent.TYPE_SLICE_END
        yield packet


def _instants(pb: ModuleType, rows: pd.DataFrame, tracks: _Tracks) -> Iterator[Any]:
    """Everything else, on a track of its source; lines of the log and the crash are called by their words."""
    columns = zip(
        _ns(rows),
        rows["source"].astype(object),
        rows["event"].astype(object),
        rows["cpu"],
        rows["pid"],
        rows["comm"],
        rows["text"],
        strict=True,
    )
    for at, source, event, cpu, pid, comm, text in columns:
        number, new = tracks.track(str(source))
        yield from new
        packet = pb.TracePacket()
        packet.timestamp = int(at)
        track = packet.track_event
        track.track_uuid, track.type = number, pb.TrackEvent.TYPE_INSTANT
        said = _text(text) if isinstance(text, str) else ""
        track.name = said if said and source in ("log", "crash") else _text(event)
        for name, value in (("cpu", cpu), ("pid", pid)):
            if value is not pd.NA:
                note = track.debug_annotations.add()
                note.name, note.int_value = name, int(value)
        for name, words in (("comm", comm), ("text", said)):
            if isinstance(words, str) and words:
                note = track.debug_annotations.add()
                note.name, note.string_value = name, _text(words)
        yield packet


def _counters(pb: ModuleType, memory: pd.DataFrame, tracks: _Tracks) -> Iterator[Any]:
    """Memory by kind, of a replay; where a kind is not known nothing is counted."""
    for name in (column for column in memory.columns if str(column).endswith("_bytes")):
        known = memory[memory[name].notna() & memory["time"].notna()]
        number, new = tracks.track("memory", str(name).removesuffix("_bytes"), counter="bytes")
        yield from new
        for at, value in zip(_ns(known), known[name], strict=True):
            packet = pb.TracePacket()
            packet.timestamp = int(at)
            packet.track_event.track_uuid = number
            packet.track_event.type = pb.TrackEvent.TYPE_COUNTER
            packet.track_event.counter_value = int(value)
            yield packet


def _ns(rows: pd.DataFrame) -> npt.NDArray[np.int64]:
    return rows["time"].to_numpy(dtype="m8[ns]").view(np.int64)


def _text(value: object) -> str:
    """Text of a dump as the page shows it, and protobuf takes it (no halves of surrogate pairs): nothing acts."""
    return show_controls(str(value), keep="\n\t") if isinstance(value, str) else ""


def _number(value: object) -> int:
    return -1 if value is pd.NA else int(value)  # type: ignore[call-overload]

"""Traces for Perfetto, parsed back: lanes, slices, instants and counters are the timeline's rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kernlab
from kernlab.errors import KernlabError
from kernlab.replay.timeline import Timeline

pb = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")


def read(path: Path) -> Any:
    trace = pb.Trace()
    trace.ParseFromString(path.read_bytes())
    return trace.packet


def tracks(packets: Any) -> dict[int, str]:
    """The name of each track by its number, those above it in front."""
    found: dict[int, str] = {}
    for packet in packets:
        if packet.HasField("track_descriptor"):
            one = packet.track_descriptor
            above = f"{found[one.parent_uuid]}/" if one.parent_uuid else ""
            assert one.uuid not in found
            found[one.uuid] = above + one.name
    return found


def switches(packets: Any) -> list[tuple[Any, ...]]:
    return sorted(
        (event.timestamp, packet.ftrace_events.cpu, event.sched_switch.prev_pid, event.sched_switch.prev_state,
         event.sched_switch.next_pid, event.sched_switch.next_comm)
        for packet in packets
        for event in packet.ftrace_events.event
    )  # fmt: skip


@pytest.mark.parametrize("events", [None, ["sched_switch", "block_rq_*", "printk", "crash"]])
def test_every_row_is_in_the_trace(
    opened: Callable[[str], kernlab.Dump], tmp_path: Path, events: list[str] | None
) -> None:
    """With typed columns and without, which then come from the texts."""
    dump = opened("debian-6.1")
    found = dump.timeline(events=events)
    packets = read(found.to_perfetto(tmp_path / "trace"))
    own = dump.ftrace.events("sched_switch")
    expected = sorted(
        zip(
            own["timestamp"].astype("int64"), own["cpu"], own["prev_pid"], own["prev_state"], own["next_pid"],
            own["next_comm"], strict=True,
        )
    )  # fmt: skip
    assert switches(packets) == expected
    names = tracks(packets)
    instants = [
        packet.track_event for packet in packets if packet.track_event.type == pb.TrackEvent.TYPE_INSTANT
    ]
    said = Counter(names[instant.track_uuid] for instant in instants)
    assert said["log"] == len(dump.log)
    assert said["crash"] == 1
    log = [p.track_event.name for p in packets if names.get(p.track_event.track_uuid) == "log"]
    assert log == found.loc[found["source"] == "log", "text"].tolist()


def test_a_request_is_a_slice_from_issue_to_completion(tmp_path: Path) -> None:
    with kernlab.open(kernlab.sample("io")) as dump:
        found = dump.timeline("blktrace")
        packets = read(found.to_perfetto(tmp_path / "trace"))
    names = tracks(packets)
    open_: dict[int, int] = {}
    whole: list[tuple[int, int]] = []
    begun = 0
    for packet in packets:
        kind, track = packet.track_event.type, packet.track_event.track_uuid
        if kind == pb.TrackEvent.TYPE_SLICE_BEGIN:
            assert names[track].startswith("disk ")
            # One at a time on each track: else they would be drawn inside each other.
            assert track not in open_
            open_[track] = packet.timestamp
            begun += 1
        elif kind == pb.TrackEvent.TYPE_SLICE_END:
            whole.append((open_.pop(track), packet.timestamp))
    events = found["event"].value_counts()
    assert begun == events["block_rq_issue"]
    assert len(whole) <= events["block_rq_complete"]
    assert whole
    assert len(open_) >= 1, "the sample dies with requests in flight"
    assert all(end >= start for start, end in whole)


def test_memory_of_a_replay_is_counted(tmp_path: Path, opened: Callable[[str], kernlab.Dump]) -> None:
    memory = pd.DataFrame(
        {
            "time": pd.to_timedelta([1, 2, 3], unit="s"),
            "free_bytes": pd.array([10, None, 30], dtype="Int64"),
            "anon_bytes": [1.0, np.nan, 3.0],
            "source": ["sample", "break", "dump"],
        }
    )
    found = opened("debian-6.1").timeline("crash")
    packets = read(found.to_perfetto(tmp_path / "trace", replay=SimpleNamespace(memory=memory)))  # type: ignore[arg-type]
    names = tracks(packets)
    counted = defaultdict(list)
    for packet in packets:
        if packet.track_event.type == pb.TrackEvent.TYPE_COUNTER:
            counted[names[packet.track_event.track_uuid]].append(
                (packet.timestamp, packet.track_event.counter_value)
            )
    assert counted == {
        "memory/free": [(10**9, 10), (3 * 10**9, 30)],
        "memory/anon": [(10**9, 1), (3 * 10**9, 3)],
    }


def test_rows_that_cannot_be_shown_are_left_out(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "time": pd.to_timedelta([pd.NaT, -5, 7, 8], unit="ns"),
            "source": pd.Categorical(["ftrace"] * 4),
            "cpu": pd.array([0, 0, None, 1], dtype="Int64"),
            "pid": pd.array([1, 1, None, 1], dtype="Int64"),
            "comm": pd.Series(["a", "b", None, "\udcff<b>"], index=[0] * 4, dtype=object),
            "event": pd.Categorical(["x", "x", None, "sched_switch"]),
            "text": pd.array(["1", "2", None, "not what it says"], dtype="str"),
        },
        index=[0, 0, 0, 0],
    )
    packets = read(Timeline.of(rows).to_perfetto(tmp_path / "trace"))
    assert [p.timestamp for p in packets if p.HasField("track_event")] == [7]
    assert switches(packets) == []
    with pytest.raises(KernlabError, match="lack text"):
        Timeline.of(rows.drop(columns="text")).to_perfetto(tmp_path / "trace")

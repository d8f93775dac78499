"""What is sent to the player: read back as the browser reads it, it says what the frames say, at any instant."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from support.replay_frames import TASKS, story

from kernlab.player.columns import NEVER, Axis, Block, thinned
from kernlab.player.names import COLOURS
from kernlab.player.pack import KINDS, pack

HOSTILE = '<img src=x onerror="window.harm=1">\x1b[31m\u202e' + "y" * 10_000


@pytest.fixture(scope="module")
def frames():
    return story()


@pytest.fixture(scope="module")
def packed(frames):
    return pack(frames)


class Sent:
    """The columns, as typed arrays on the bytes that were sent."""

    def __init__(self, packed):
        self.meta = json.loads(json.dumps(packed.meta))
        self._data = packed.data

    def __getitem__(self, name):
        kind, offset, length = self.meta["columns"][name]
        assert offset % 8 == 0, "a typed array cannot begin there"
        return np.frombuffer(self._data, np.dtype(kind).newbyteorder("<"), length, offset)

    def ticks(self, time):
        return (pd.Timedelta(time).value - self.meta["origin_ns"]) / self.meta["tick_ns"]


@pytest.fixture(scope="module")
def sent(packed):
    return Sent(packed)


def test_who_ran_at_any_instant(frames, sent):
    """Bisection of a CPU's own intervals finds what the frame says."""
    random = np.random.default_rng(1)
    begin, end = frames.running["start"].min(), frames.crash
    start, until, task = (sent[f"running.{name}"] for name in ("start", "end", "task"))
    checked = 0
    for at in begin + (end - begin) * random.random(200):
        time = pd.Timedelta(at)
        t = sent.ticks(time)
        for cpu in sent.meta["cpus"]:
            own = frames.running[frames.running["cpu"] == cpu["cpu"]]
            said = own[(own["start"] <= time) & (own["end"] > time)]
            place = np.searchsorted(start[cpu["from"] : cpu["to"]], t, side="right") - 1 + cpu["from"]
            found = place >= cpu["from"] and t < until[place]
            # Within a tick of an edge either is right.
            if len(said) and min(abs(sent.ticks(said[edge].iloc[0]) - t) for edge in ("start", "end")) < 1:
                continue
            assert found == bool(len(said))
            if found:
                entry = sent.meta["tasks"][task[place]]
                assert (entry["name"], entry["pid"]) == (said["comm"].iloc[0], said["pid"].iloc[0])
                checked += 1
    assert checked > 500


def test_intervals_of_a_cpu_do_not_overlap_and_ticks_are_fine(frames, sent):
    start, end = sent["running.start"], sent["running.end"]
    for cpu in sent.meta["cpus"]:
        rows = slice(cpu["from"], cpu["to"])
        assert (start[rows][1:] >= end[rows][:-1]).all()
    assert sum(cpu["to"] - cpu["from"] for cpu in sent.meta["cpus"]) == len(frames.running)
    assert sent.meta["tick_ns"] == 10, "30 s have 3e9 ticks of 10 ns in 32 bits"


def test_memory_is_the_frame_and_a_break_is_one(frames, sent):
    expected = frames.memory
    for kind in KINDS:
        given = expected[f"{kind}_bytes"].to_numpy(dtype=np.float64, na_value=np.nan)
        assert np.allclose(sent[f"memory.{kind}"], given, rtol=1e-6, equal_nan=True)
    assert (sent["memory.break"] == (expected["source"] == "break").to_numpy()).all()
    assert sent["memory.break"].sum() == 1
    assert np.abs(sent["memory.time"] - [sent.ticks(time) for time in expected["time"]]).max() < 1


def test_a_reading_that_lacks_kinds_is_not_a_break(frames):
    memory = frames.memory.copy()
    memory.loc[5, [f"{kind}_bytes" for kind in KINDS if kind != "free"]] = pd.NA
    found = Sent(pack(dataclasses.replace(frames, memory=memory)))
    assert found["memory.break"][5] == 0
    assert np.isnan(found["memory.anon"][5])
    assert found["memory.free"][5] > 0


def test_processes_are_those_of_the_frame(frames, sent):
    rows = frames.memory_by_process
    pids = [sent.meta["tasks"][each["who"]]["pid"] for each in sent.meta["processes"]]
    assert sorted(pids) == sorted(rows["pid"].dropna().unique().tolist())
    for pid, each in zip(pids, sent.meta["processes"], strict=True):
        own = rows[rows["pid"] == pid]
        rss = sent["processes.rss"][each["from"] : each["to"]]
        assert np.allclose(
            rss, own["rss_bytes"].to_numpy(dtype=np.float64, na_value=np.nan), rtol=1e-6, equal_nan=True
        )
        assert (np.diff(sent["processes.time"][each["from"] : each["to"]].astype(np.int64)) >= 0).all()


def test_a_break_of_all_processes_breaks_each(frames):
    rows = frames.memory_by_process
    rows = rows[rows["source"] != "break"]
    at = rows["time"].sort_values().iloc[len(rows) // 2] + pd.Timedelta(1, "us")
    gap = pd.DataFrame(
        {"time": [at], "before_crash": [frames.crash - at], "pid": [pd.NA], "source": ["break"]}
    )
    joined = pd.concat([rows, gap.astype({"pid": "Int64"})], ignore_index=True)
    found = Sent(pack(dataclasses.replace(frames, memory_by_process=joined)))
    t = int(found.ticks(at))
    for each in found.meta["processes"]:
        time = found["processes.time"][each["from"] : each["to"]]
        rss = found["processes.rss"][each["from"] : each["to"]]
        assert np.isnan(rss[time == t]).sum() == (1 if time[0] < t < time[-1] else 0)


def test_requests_by_disk_and_those_that_never_came_back(frames, sent):
    asked = frames.requests
    assert [disk["name"] for disk in sent.meta["disks"]] == ["vda", "vdb"]
    end = sent["requests.end"]
    assert (end == NEVER).sum() == asked["end"].isna().sum() > 0
    for disk in sent.meta["disks"]:
        own = asked[asked["disk"] == disk["name"]]
        rows = slice(disk["from"], disk["to"])
        assert disk["to"] - disk["from"] == len(own)
        assert (np.diff(sent["requests.start"][rows].astype(np.int64)) >= 0).all()
        assert (sent["requests.bytes"][rows] == own["bytes"].to_numpy(dtype=np.float64)).all()
        flushes = sent["requests.kind"][rows] & 4 != 0
        assert (flushes == own["flush"].to_numpy()).all()


def test_a_window_cuts_what_lies_outside_and_its_end_is_not_an_answer(frames):
    crash = int(frames.crash.value)
    since, until = crash - 20_000_000_000, crash - 10_000_000_000
    found = Sent(pack(frames, since, until))
    assert found.meta["end"] * found.meta["tick_ns"] == 10_000_000_000
    assert found["running.end"].max() <= found.meta["end"]
    out = frames.requests[
        (frames.requests["start"] < pd.Timedelta(until, "ns"))
        & ((frames.requests["end"] > pd.Timedelta(until, "ns")) | frames.requests["end"].isna())
    ]
    assert (found["requests.end"] > found.meta["end"]).sum() == len(out)


def test_a_million_readings_are_thinned_and_their_extremes_stay():
    many = story(readings=120_000, intervals=100, requests=10)
    spike = 60_000
    memory = many.memory.copy()
    memory.loc[spike, "slab_bytes"] = 1 << 40
    found = Sent(pack(dataclasses.replace(many, memory=memory)))
    kept, of = found.meta["thinned"]["memory"]
    assert of == len(memory)
    assert kept < 45_000
    assert np.nanmax(found["memory.slab"]) == np.float32(1 << 40)
    assert found["memory.break"].sum() == 1, "a break is never thinned away"
    assert found["memory.time"][-1] == found.ticks(memory["time"].iloc[-1])


def test_thinning_keeps_the_ends_and_what_is_short():
    values = np.sin(np.arange(10_000) / 50)
    places = thinned(values, 500)
    assert len(places) <= 500
    assert {0, 9_999} <= set(places.tolist())
    assert thinned(values[:100], 500).tolist() == list(range(100))


def test_a_tick_is_as_fine_as_32_bits_allow():
    for span, tick in ((2 * 10**9, 1), (40 * 10**9, 10), (400 * 10**9, 100), (10**6 * 10**9, 10**6)):
        axis = Axis.over(5, 5 + span)
        assert axis.tick == tick
        assert axis.ticks(np.array([5 + span]))[0] == span // tick < NEVER
    nat = np.iinfo(np.int64).min
    assert Axis.over(0, 100).ticks(np.array([nat, -5, 200])).tolist() == [NEVER, 0, 100]


def test_the_crash_is_the_last_tick():
    """What ran until the crash must be found there, whatever fraction of a tick the recording began at."""
    crash = 81_468_256_418_919
    frames = story(seconds=65.33721259, boot=16.131043828)
    assert Axis.over(crash - 65_337_212_593, crash).tick_of(crash) % 1 == 0
    found = Sent(pack(frames))
    assert found["running.end"].max() == found.meta["end"]


def test_columns_begin_where_typed_arrays_may():
    block = Block()
    block.put("a", np.arange(3, dtype=np.uint8))
    block.put("b", np.array([1.5], dtype=np.float64))
    assert block.columns == {"a": ("uint8", 0, 3), "b": ("float64", 8, 1)}
    assert len(block.bytes()) == 16


def test_names_are_text_and_short():
    frames = story(names={"leak": HOSTILE}, texts=[HOSTILE])
    meta = pack(frames).meta
    named = [task["name"] for task in meta["tasks"] if task["pid"] == 812]
    assert named
    assert all(len(name) < 70 and name.isprintable() for name in named)
    assert max(len(line) for line in meta["log"]) < 450
    assert all(line.isprintable() for line in meta["log"])


def test_equal_names_have_one_colour_and_only_few_have_one_of_their_own():
    names = {comm: f"worker/{number}" for number, (_, comm, _, _) in enumerate(TASKS) if number}
    meta = pack(story(names=names)).meta
    assert {task["colour"] for task in meta["tasks"] if not task["idle"]} == {0}
    usual = pack(story()).meta["tasks"]
    own = [task["colour"] for task in usual if not task["idle"] and task["colour"] < COLOURS]
    assert len(own) == len(set(own)) == COLOURS
    assert all(task["opens"] == (task["name"] not in ("dd", "backup")) for task in usual)


@pytest.mark.parametrize(
    "empty",
    ["memory", "memory_by_process", "running", "requests", "pressure", "runnable", "log", "marks", "breaks"],
)
def test_what_is_not_there_costs_its_lane_only(frames, empty):
    without = dataclasses.replace(frames, **{empty: getattr(frames, empty).iloc[:0]})
    found = Sent(pack(without))
    names = {
        "memory": not found.meta["memory"]["kinds"],
        "memory_by_process": not found.meta["processes"],
        "running": not found.meta["cpus"],
        "requests": not found.meta["disks"],
    }
    assert names.get(empty, found.meta.get(empty) == [])
    assert found.meta["end"] > 0


def test_a_log_alone_is_a_recording(frames):
    names = ("memory", "memory_by_process", "running", "requests", "pressure", "runnable", "marks", "breaks")
    alone = dataclasses.replace(frames, **{name: getattr(frames, name).iloc[:0] for name in names})
    found = Sent(pack(alone))
    assert found["log.time"][0] == 0
    assert len(found.meta["log"]) == len(frames.log)

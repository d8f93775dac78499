"""Memory replayed beside what the guest read of itself, every 200 ms until it died: the story `flight`.

A reading takes the guest some ms, up to 100 when it starves: what the replay says in that time is what it may be. It
is held to 2 % of the reading, beside half a percent of the machine's memory (a kind of 5 MB would else be held to less
than what moves within a millisecond). Of memory known by marks alone (the recorder's default), what goes up and down
between two of them nobody knows: some readings may miss.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from support.captures import captures, dumps_in
from support.overlay import Overlay

import kernlab
from kernlab.replay.kinds import KINDS

ROOT = Path(__file__).parents[2]
FOUND = [
    folder
    for folder in [ROOT / "samples" / "flight", *captures("*flight*"), *captures("[5-9].*")]
    if (folder / "truth.tar.xz").is_file() and dumps_in(folder)
]
#: Of all readings so many must be met, by whether every page was an event.
MOST = {True: 0.95, False: 0.90}
#: Processes of less memory than this (bytes) live and die between two marks.
LARGE = 4 << 20
INSTANTS = np.linspace(0, 1, 9)

pytestmark = pytest.mark.skipif(not FOUND, reason="no capture of flight is here (KERNLAB_LAB_CAPTURES)")


@pytest.fixture(scope="module", params=FOUND, ids=lambda folder: folder.name)
def flight(request):
    """A capture's replay, and the guest's readings since it is trusted with their instants on the axis."""
    with tarfile.open(request.param / "truth.tar.xz") as archive:
        names = [name for name in archive.getnames() if name.rpartition("/")[2] == "samples.jsonl"]
        if not names:
            pytest.skip("its truth has no samples")
        lines = archive.extractfile(names[0]).read().decode().splitlines()
    with kernlab.open(dumps_in(request.param)[0]) as dump:
        replay = dump.replay()
        clocks = replay._sources.clocks
        found = []
        for line in lines:
            if not line.endswith("}"):
                continue  # the machine died while it was written
            sample = json.loads(line)
            span = sample["mono"], sample.get("mono_after", sample["mono"])
            at = [int((span[0] + (span[1] - span[0]) * share) * 1e9) for share in INSTANTS]
            when = clocks.to_axis("mono", np.array(at, dtype=np.int64))[0]
            if when[0] >= replay.trusted_from.value and when[-1] < clocks.crash_ns:
                found.append((when, sample))
        assert found, replay.trusted_reason
        yield replay, found


def bytes_of(meminfo):
    """The replay's kinds as /proc/meminfo has them; other is what is left."""
    kb = [
        meminfo["MemFree"],
        meminfo["AnonPages"],
        meminfo["Cached"] + meminfo["Buffers"] - meminfo["Shmem"],
        meminfo["Shmem"],
        meminfo["Slab"],
        meminfo["PageTables"],
        meminfo["KernelStack"],
    ]
    return np.array([*kb, meminfo["MemTotal"] - sum(kb)], dtype=np.int64) * 1024


def miss(said, reading):
    """How far readings [n, k] are outside of what was said at the instants [i, n, k] that they may be of."""
    return np.maximum(np.maximum(said.min(axis=0) - reading, reading - said.max(axis=0)), 0)


def test_memory_is_what_the_guest_read(flight):
    replay, samples = flight
    memory, total = replay._sources.memory, replay._sources.end.total
    when = np.array([at for at, _ in samples])
    said = np.stack([memory.at(when[:, place])[0][:, : len(KINDS)] for place in range(len(INSTANTS))])
    known = memory.at(when[:, 0])[1][:, : len(KINDS)]
    assert known.all(), "since it is trusted every kind is known"
    assert (said.sum(axis=2) == total).all()
    reading = np.array([bytes_of(sample["meminfo"]) for _, sample in samples])
    off = miss(said, reading)
    met = off <= 0.02 * reading + 0.005 * total
    exact = replay._sources._exact
    for place, kind in enumerate(KINDS):
        assert met[:, place].mean() >= MOST[exact], (kind, off[:, place].max())
    assert np.quantile(off / total, 0.99) < 0.02


def test_processes_are_what_the_guest_read(flight):
    replay, samples = flight
    points, page = replay._sources.points, 4096
    held = replay._sources.recording.complete("rss_stat")
    met, large = [], 0
    for when, sample in samples:
        of: dict[int, list[int]] = {}
        for at in when[::2].tolist():
            rows, values, known, _ = points.at(at)
            for row, number in enumerate(rows.tolist()):
                if known[row, :3].all():
                    of.setdefault(int(points.pid[number]), []).append(int(values[row, :3].sum()))
        for pid, (_, anon, file, shmem, _) in sample["rss"].items():
            reading = (anon + file + shmem) * 1024
            if reading < LARGE:
                continue
            large += 1
            said = of.get(int(pid), [])
            off = max(min(said) - reading, reading - max(said), 0) if said else reading
            # A CPU keeps up to 64 pages of a counter to itself, which neither side reads.
            met.append(off <= 0.02 * reading + 64 * page)
    assert large > len(samples)
    assert np.mean(met) >= (0.99 if held else 0.95)


def test_the_hash_names_the_mms_of_the_dump(flight):
    replay, _ = flight
    sources = replay._sources
    events = sources.recording.events("rss_stat", "mm_id", "curr")
    if not len(events):
        pytest.skip("it has no rss_stat events")
    end = sources.processes
    current = events.fields["curr"] != 0
    of = dict(zip(end.pid.tolist(), end.mm_id.tolist(), strict=True))
    last = dict(zip(events.pid[current].tolist(), events.fields["mm_id"][current].tolist(), strict=True))
    both = [pid for pid in of if pid in last]
    assert len(both) > 1
    # Before 6.2 a small process need not count anything in its own mm after it ran in its parent's (vfork).
    assert sum(of[pid] == last[pid] for pid in both) > 0.8 * len(both)


def broken(replay):
    """Hold that nothing crosses a replay's holes; gives the last of them."""
    breaks = [one for one in replay._sources.breaks if one.since is not None]
    last = max(breaks, key=lambda one: one.until)
    assert replay.trusted_from.value >= last.until
    inside = np.linspace(last.since + 1, last.until - 1, 7).astype(np.int64)
    read = np.isin(inside, replay._sources.readings.time)
    assert not replay._sources.memory.at(inside)[1][~read].any()
    table = replay.memory
    rows = table[table["source"] == "break"]
    assert rows["free_bytes"].isna().all()
    assert rows["time"].astype("int64").between(last.since, last.until).any()
    return last


def test_a_hole_breaks_the_chain_where_it_is(flight):
    replay, _ = flight
    if not any(one.since is not None for one in replay._sources.breaks):
        pytest.skip("this capture has no hole")
    broken(replay)


def test_a_sub_buffer_that_is_lost_breaks_the_chain_there():
    if not (ROOT / "samples" / "flight" / "truth.tar.xz").is_file():
        pytest.skip("there is no sample flight")
    with kernlab.open(kernlab.sample("flight")) as below:
        recording = below.replay()._sources.recording
        ring = next(one for one in recording.instance.rings if one.cpu == 0 and one.buffer == "main")
        middle = len(ring.pages) // 2
        stamps = [
            int.from_bytes(below.read(int(page), 8), "little") for page in ring.pages[middle : middle + 2]
        ]
        around = recording.axis(np.array(stamps, dtype=np.int64)).tolist()
        with Overlay(below).exclude(int(ring.pages[middle])).dump() as dump:
            replay = dump.replay()
            broken(replay)
            hole = next(one for one in replay._sources.breaks if one.reason == "the dump lacks a sub-buffer")
            assert hole.cpu == 0
            assert hole.since < around[0] < hole.until <= around[1]
            # Nobody ran there, as far as is known; on the other CPU somebody did.
            when = np.timedelta64((hole.since + hole.until) // 2, "ns")
            running = replay.running
            there = running[(running["start"] < when) & (running["end"] > when)]
            assert there["cpu"].tolist() == [1]

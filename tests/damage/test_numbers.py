"""Counters that are 2^52, 2^63, all ones, 0: what does not fit is missing and told; nothing wraps round, nor raises."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from support.integers_read import Word, recording
from support.overlay import PAGE, Overlay
from support.seed import SEED, in_turn

from kernlab.core.struct_array import StructArray
from kernlab.dump import TABLES
from kernlab.errors import KernlabError
from kernlab.linux import zones
from kernlab.linux.iomem import memory_frames
from kernlab.linux.slab_caches import cache_nodes
from kernlab.linux.timekeeping import timekeeper
from kernlab.linux.vmalloc import vm_areas

ALL_ONES = (1 << 64) - 1
HOSTILE = (1 << 52, 1 << 63, ALL_ONES, 0, (1 << 63) - 1, (1 << 32) - 1)
#: Damaged dumps whose table is made, for each dump.
CASES = 80


@pytest.fixture(scope="module", params=["debian-6.1", "debian-7.2"])
def below(request, opened):
    return opened(request.param)


@pytest.fixture
def overlay(below):
    return Overlay(below)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield
    pyplot.close("all")


def told(table, *words: str) -> bool:
    return any(all(word in problem for word in words) for problem in table.attrs["problems"])


def only_missing(found, whole, *names: str) -> None:
    """The two Series are equal, but that these are missing."""
    assert found[list(names)].isna().all()
    assert found.drop(list(names)).equals(whole.drop(list(names)))


def zone_of(dump) -> StructArray:
    """The zones that have memory."""
    _, zone = zones.zones(dump.kernel, zones.nodes(dump.kernel))
    return zone[np.flatnonzero(zone["present_pages"].true)]


# Every table, at the words that it reads


@pytest.mark.parametrize(
    ("name", "draws"), in_turn(("debian-6.1", "debian-6.12", "debian-7.2"), (f"draws of seed {SEED}",))
)
def test_no_word_makes_a_table_fail_but_with_a_reason(opened, name, draws):
    """Words are drawn at random from those that each table was seen to read as integers; each seed draws others."""
    below = opened(name)
    places: dict[str, dict[str, list[Word]]] = {}
    for table, entry in TABLES.items():
        if not entry.is_method and table != "symbols":
            with recording() as places[table]:
                getattr(Overlay(below).dump(), table)
    # What is off in a kernel, and text, has no integers.
    assert sum(map(bool, places.values())) > 55
    places = {table: words for table, words in places.items() if words}
    draw = random.Random(f"{name}, {draws}")
    tables = list(places)
    for number in range(CASES):
        table = tables[number % len(tables)]
        overlay, value = Overlay(below), draw.choice(HOSTILE)
        chosen = draw.sample(sorted(places[table]), max(len(places[table]) // draw.choice((1, 4, 8)), 1))
        for place in chosen:
            for address, size in draw.sample(places[table][place], min(len(places[table][place]), 2)):
                # A member of what NULL points to was asked for, and is missing.
                if address >= PAGE:
                    overlay.word(address, value, size)
        try:
            repr(getattr(overlay.dump(), table))
        except KernlabError:
            continue
        except Exception as error:
            raise AssertionError(f"case {number}: dump.{table} with {value:#x} at {chosen}") from error


# Each kind of number


def test_a_machine_of_two_to_the_64_bytes(below, overlay):
    overlay.word(below.symbol("_totalram_pages"), 1 << 52)
    broken = overlay.dump()
    only_missing(broken.meminfo, below.meminfo, "MemTotal", "CommitLimit")
    assert told(broken.meminfo, "meminfo: MemTotal does not fit into 64 bits")
    assert broken.info["memory_bytes"] is None
    assert "does not fit" in broken.info.attrs["unknown"]["memory_bytes"]
    assert "memory unknown" in broken._plain_card
    assert "memory unknown" in broken._card


@pytest.mark.parametrize("value", [ALL_ONES, 1 << 63, 1 << 52])
def test_a_watermark(below, overlay, value):
    zone = zone_of(below)
    row = int(np.flatnonzero(below.zones["address"] == int(zone.addresses[-1]))[0])
    overlay.set("struct zone", int(zone.addresses[-1]), "_watermark[0]", value)
    broken = overlay.dump()
    known = value < 1 << 63
    assert pd.isna(broken.zones["min"][row]) == (not known)
    assert told(broken.zones, "_watermark", "do not fit into 64 bits") == (not known)
    assert broken.zones.drop(columns="min").equals(below.zones.drop(columns="min"))
    assert len(broken.suspects) == known
    assert broken.suspects["evidence"].str.contains("less than its min watermark of").all()
    broken.plot.zones()


@pytest.mark.parametrize("value", [(1 << 63) - 1, 1 << 63, ALL_ONES])
def test_a_counter_of_a_zone_and_what_cpus_keep_of_it(below, overlay, value):
    """With what CPUs keep to themselves the sum is beyond what fits, or a number below zero."""
    zone = zone_of(below)
    address = int(zone.addresses[-1])
    overlay.set("struct zone", address, "vm_stat[0].counter", value)
    split = zone.has("per_cpu_zonestats")
    pointer = int(zone["per_cpu_zonestats" if split else "pageset"].values[-1])
    cpus = [(pointer + offset) % (1 << 64) for offset in below.kernel.percpu_offsets.tolist()]
    kind = "struct per_cpu_zonestat" if split else "struct per_cpu_pageset"
    difference = -1 if value == 1 << 63 else 1
    overlay.set(kind, cpus[0], "vm_stat_diff[0]", difference)
    exact = (value - (1 << 64) if value >> 63 else value) + difference
    for cpu in cpus[1:]:
        overlay.set(kind, cpu, "vm_stat_diff[0]", 0)
    broken = overlay.dump()
    row = int(np.flatnonzero(below.zones["address"] == address)[0])
    fits = -(1 << 63) <= exact < 1 << 63
    found = broken.zones
    assert found["nr_free_pages"][row] == exact if fits else pd.isna(found["nr_free_pages"][row])
    assert told(found, "the counter nr_free_pages does not fit") == (not fits)
    assert pd.isna(broken.vmstat["nr_free_pages"]) == (not fits)
    others = [name for name in found if name not in ("free", "nr_free_pages")]
    assert found[others].equals(below.zones[others])


def test_events_of_all_cpus(below, overlay):
    kernel = below.kernel
    names = list(below.vmstat.index)
    first = names.index("pgpgin")
    overlay.word((below.symbol("vm_event_states") + int(kernel.percpu_offsets[0])) % (1 << 64), ALL_ONES)
    broken = overlay.dump()
    only_missing(broken.vmstat, below.vmstat, names[first])
    assert told(broken.vmstat, "the counter pgpgin does not fit into 64 bits")


@pytest.mark.parametrize("count", [1 << 33, 1 << 52, 1 << 63, ALL_ONES])
def test_more_huge_pages_than_memory_has_bytes(below, overlay, count):
    overlay.set("struct hstate", int(below.hugepages["address"][0]), "nr_huge_pages", count)
    broken = overlay.dump()
    found = broken.hugepages
    assert pd.isna(found["bytes"][0])
    assert pd.isna(found["total"][0]) == (count >= 1 << 63)
    assert told(found, "do not fit into 64 bits")
    assert pd.isna(broken.meminfo["Hugetlb"])
    rest = ["Hugetlb", "CommitLimit"]
    assert broken.meminfo.drop(rest).equals(below.meminfo.drop(rest))


@pytest.mark.parametrize("value", [1 << 52, 1 << 63, ALL_ONES])
def test_the_pages_of_a_process(below, overlay, value):
    tasks = below.tasks
    row = int(np.flatnonzero((tasks["pid"] == 1).to_numpy())[0])
    overlay.set("struct task_struct", int(tasks["address"][row]), "mm->total_vm", value)
    found = overlay.dump().tasks
    assert pd.isna(found["vsz_bytes"][row])
    assert told(found, "1 of", "mm->total_vm * 4096 do not fit into 64 bits")
    assert found.drop(columns="vsz_bytes").equals(tasks.drop(columns="vsz_bytes"))


@pytest.mark.parametrize("value", [1 << 63, ALL_ONES])
def test_the_times_of_a_process(below, overlay, value):
    """2^63 is what NumPy takes for no time at all."""
    tasks = below.tasks
    address = int(tasks["address"][3])
    overlay.set("struct task_struct", address, "utime", value)
    found = overlay.dump().tasks
    assert pd.isna(found["utime"][3])
    assert told(found, "utime do not fit")
    assert found.drop(columns="utime").equals(tasks.drop(columns="utime"))


@pytest.mark.parametrize("value", [ALL_ONES, 1 << 62, 0])
def test_slabs_that_a_node_counts(below, overlay, value):
    """-1 of them, so many that their size does not fit, and none for a cache that has free ones."""
    owner, nodes = cache_nodes(below.kernel, below.slabs.kern.structs)
    node = int(np.argmax(nodes["nr_partial"].values))
    row = int(owner[node])
    overlay.set("struct kmem_cache_node", int(nodes.addresses[node]), "nr_slabs.counter", value)
    overlay.set("struct kmem_cache_node", int(nodes.addresses[node]), "total_objects.counter", value)
    broken = overlay.dump()
    found = broken.slabs
    assert pd.isna(found["bytes"][row]) == (value != 0)
    assert (found[["slabs", "objects", "active", "bytes", "used_bytes"]].fillna(0) >= 0).all().all()
    assert len(found.attrs["problems"]) > len(below.slabs.attrs["problems"]) or value == 0
    others = np.arange(len(found)) != row
    assert found[others].equals(below.slabs[others])
    broken.suspects  # noqa: B018
    broken.plot.slabs()
    repr(broken.slab_objects(str(found["name"][row])))


def test_leads_of_a_machine_whose_caches_hold_nothing(below, overlay, monkeypatch):
    """Nothing is divided by the sum of all slabs where that is 0."""
    from kernlab.tables.suspects import rules
    from kernlab.tables.suspects.evidence import Evidence

    none = below.slabs.copy()
    none["bytes"] = none["used_bytes"] = 0
    monkeypatch.setattr(Evidence, "slabs", none)
    monkeypatch.setattr(Evidence, "managed", 0)
    assert rules.large_caches(Evidence(below.kernel)) == []


def test_memory_that_processes_say_to_have(below, overlay):
    """A page table's size that is next to 2^63 wraps no sum round, so the OOM killer's next victim stays."""
    from kernlab.tables.suspects.oom import _next_victim

    tasks = below.memory_by_process
    overlay.set("struct mm_struct", int(tasks["mm"].iloc[-1]), "pgtables_bytes.counter", (1 << 63) - 1)
    broken = overlay.dump()
    from kernlab.tables.suspects.evidence import Evidence

    (lead,) = _next_victim(Evidence(broken.kernel))
    assert f"({tasks['pid'].iloc[-1]})" in lead.subject
    assert broken.plot.processes().get_title("left").endswith("8.0 EiB")


@pytest.mark.parametrize("seconds", [300_000 * 31_556_952, 1 << 63])
def test_a_clock_that_says_no_time(below, overlay, seconds, monkeypatch):
    keeper = timekeeper(below.kernel)
    overlay.set("struct timekeeper", int(keeper.addresses[0]), "xtime_sec", seconds)
    overlay.set("struct timekeeper", int(keeper.addresses[0]), "tkr_mono.base", seconds)
    broken = overlay.dump()
    # As of a file that does not say when the machine died.
    monkeypatch.setattr(type(broken.kernel.vmcoreinfo), "get", lambda self, key, default=None: default)
    monkeypatch.setitem(broken.kernel.file.header, "timestamp", None)
    found = broken.info
    assert pd.isna(found["crash_time"])
    assert told(found, "when the machine died", "is not a time")
    assert ("uptime" in found.attrs["unknown"]) == (seconds != 300_000 * 31_556_952)
    assert "at an unknown time" in broken._plain_card


@pytest.mark.parametrize("seconds", [300_000 * 31_556_952, 1 << 63, ALL_ONES - 5, 0, 1_700_000_000])
def test_when_shared_memory_was_attached(opened, seconds):
    server = opened("server")
    shm = server.shm
    row = int(np.flatnonzero(shm["atime"].notna())[0])
    overlay = Overlay(server)
    overlay.set("struct shmid_kernel", int(shm["address"][row]), "shm_atim", seconds)
    found = overlay.dump().shm
    exact = seconds - (1 << 64) if seconds >> 63 else seconds
    fits = -9_223_372_036 < exact < 9_223_372_036
    assert pd.isna(found["atime"][row]) == (not fits or not exact)
    assert told(found, "shm_atim do not fit") == (not fits)
    if fits and exact:
        assert found["atime"][row] == pd.Timestamp(exact, unit="s", tz="UTC")
    assert found.drop(columns="atime").equals(shm.drop(columns="atime"))


def test_memory_up_to_the_end_of_all_addresses(below, overlay):
    ram = below.iomem[(below.iomem["name"] == "System RAM") & (below.iomem["depth"] == 0)]
    address = int(ram["address"].iloc[-1])
    overlay.set("struct resource", address, "end", ALL_ONES)
    first, last = memory_frames(overlay.dump().kernel)
    assert last.tolist()[-1] == 1 << 52
    assert first.tolist() == memory_frames(below.kernel)[0].tolist()
    overlay.set("struct resource", address, "start", ALL_ONES - 5)
    assert (memory_frames(overlay.dump().kernel)[1] <= 1 << 52).all()


def test_the_size_of_an_area_of_vmalloc(below, overlay):
    """What its vm_struct says does not fit: the area's own ends tell."""
    areas = vm_areas(below.kernel)
    row = int(np.flatnonzero(areas.vm.valid)[5])
    overlay.set("struct vm_struct", int(areas.vm.addresses[row]), "size", ALL_ONES)
    found = overlay.dump().vmalloc
    assert found["size_bytes"][row] == int(areas.end[row]) - int(areas.start[row])
    assert told(found, "struct vm_struct: size do not fit into 64 bits")
    others = np.arange(len(found)) != row
    assert found[others].equals(below.vmalloc[others])


def test_what_a_ring_of_ftrace_counts(opened):
    dump = opened("debian-6.1")
    ring = int(dump.ftrace.lost["address"][0])
    overlay = Overlay(dump)
    overlay.set("struct ring_buffer_per_cpu", ring, "entries.a.counter", (1 << 63) - 1)
    overlay.set("struct ring_buffer_per_cpu", ring, "overrun.a.counter", 1 << 63)
    found = overlay.dump().ftrace.lost
    assert found["entries"][0] == (1 << 63) - 1
    assert pd.isna(found["missing"][0])
    assert told(found, "missing events do not fit")


def test_a_module_behind_all_addresses(opened):
    from kernlab.debuginfo.symbols import SymbolTable

    table = SymbolTable(
        b"last", np.array([0]), np.array([ALL_ONES], dtype=np.uint64), np.array([ord("T")], dtype=np.uint8), 0
    )
    row, offset, _ = table.lookup(np.array([ALL_ONES - 1], dtype=np.uint64))
    assert row.tolist() == [-1]
    assert offset.tolist() == [0]


def test_gaps_between_moments_beyond_what_fits():
    from kernlab.traces.blktrace.latency import _gap

    begin, end = np.array([-(1 << 62), 5, (1 << 63) - 1]), np.array([(1 << 63) - 1, 9, -(1 << 62)])
    assert _gap(begin, end).tolist() == [(1 << 63) - 1, 4, 1]


@pytest.fixture(scope="module")
def records(opened):
    """debian-6.1 and the records of its block trace: (address, action) of each."""
    dump = opened("debian-6.1")
    found = []
    for buffer in dump.relay.channels["buffer"]:
        start = int(dump.structs("rchan_buf", [int(buffer)])["start"].values[0])
        # struct blk_io_trace: magic, sequence, time, sector, bytes, action …
        data = dump.read(start, 8192)
        at = data.find(b"\x07tae")
        while at >= 0:
            found.append((start + at, int.from_bytes(data[at + 28 : at + 30], "little")))
            at = data.find(b"\x07tae", at + 48)
    assert len(found) > 100
    return dump, found


@pytest.mark.parametrize("action", [4, 7, 8])
@pytest.mark.parametrize("value", [(1 << 63) - 1, (1 << 63) + 1, ALL_ONES])
def test_times_of_a_block_trace_at_the_ends_of_what_fits(records, action, value):
    """Allocated, issued, completed: at the end of all times, at their beginning, and just before boot."""
    dump, every = records
    overlay = Overlay(dump)
    for address, _ in [one for one in every if one[1] == action][:5]:
        overlay.word(address + 8, value)
    broken = overlay.dump()
    latencies = broken.relay.blktrace("vda/trace").latencies()
    steps = latencies.summary(by="device")
    assert (steps[["min", "avg", "max"]] >= pd.Timedelta(1, "ns")).all().all()
    assert (steps["min"] <= steps["avg"]).all()
    assert (steps["avg"] <= steps["max"]).all()
    assert (latencies.requests["d2c"].dropna() >= pd.Timedelta(1, "ns")).all()
    for plot in ("io_depth", "io_latency", "io_iops"):
        getattr(broken.plot, plot)().figure.canvas.draw()


@pytest.mark.parametrize("value", [*HOSTILE, 1])
def test_the_period_of_pressure(below, overlay, value):
    broken = overlay.word(below.symbol("psi_period"), value).dump()
    assert broken.pressure[["resource", "total"]].equals(below.pressure[["resource", "total"]])
    assert told(broken.pressure, f"psi_period is {value:,} ns", "2 s are taken")


@pytest.mark.parametrize("value", [1 << 63, (1 << 63) - 1, 1 << 62])
def test_the_clock_of_pressure(below, overlay, value):
    """The pressure of a machine is that of its last update where how long ago that was is not known."""
    overlay.word(below.symbol("__sched_clock_stable"), 1, 4)
    broken = overlay.word(below.symbol("__sched_clock_offset"), value).dump()
    assert broken.pressure["total"].equals(below.pressure["total"])
    assert told(broken.pressure, "the clock of averages is not known")

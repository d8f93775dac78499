"""What is missing of a trace, and from when on: by the numbers of its events, and by what the kernel counted."""

from __future__ import annotations

import struct
import subprocess

import numpy as np
import pytest
from conftest import DUMPS
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import blk_records as blk
from traces import blktools
from traces.blk_records import Record

from kernlab.traces.blktrace.counts import Run
from kernlab.traces.blktrace.losses import Counted, Counts, losses
from kernlab.traces.blktrace.trace import BlkTrace

CASES = blk.cases()


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_cases_made_here_are_the_shared_ones(name):
    path = DUMPS.parent / "data" / "traces" / "cases" / name
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    assert path.read_bytes() == CASES[name]


def problems(trace: BlkTrace) -> list[str]:
    return trace.events.attrs["problems"]


def stale(note: Record, number: int) -> bytes:
    """A note as kernels leave it: its sequence, sector, bytes and error are what was in the buffer before."""
    data = bytearray(note.pack())
    struct.pack_into("<I", data, 4, number)
    struct.pack_into("<QI", data, 16, number, 512)
    struct.pack_into("<H", data, 44, 9)
    return bytes(data)


@pytest.mark.parametrize("number", [16_776_801, 331, (1 << 32) - 1])
def test_what_stands_in_a_notes_place_is_no_number(number):
    def queued(at: int) -> bytes:
        return blk.event(blk.Q, blk.READ | blk.QUEUE, at, at, 8 * at).pack()

    notes = [
        stale(blk.process(42, "dd"), number),
        stale(blk.wall_clock(1, 2), number),
        stale(blk.message("hello", time=2), number),
        stale(blk.message("there", time=2, cgroup=7), number),
    ]
    data = queued(1) + queued(2) + b"".join(notes) + queued(3)
    trace = BlkTrace.from_bytes({0: data})
    events = trace.events
    assert events.attrs["problems"] == []
    assert events.attrs["lost"] == []
    said = events[events["action"] == "m"]
    assert said["message"].tolist() == ["hello", "there"]
    # A note has none of these, and 9 is no error of it.
    assert not said[["sequence", "sector", "bytes", "error"]].to_numpy().any()
    assert said["rwbs"].tolist() == ["N", "N"]
    # A real gap beside them is told.
    lossy = BlkTrace.from_bytes({0: data + queued(9)})
    assert [loss.events for loss in lossy.losses] == [5]


@pytest.mark.parametrize("name", ["merged1.bin", "twodev.bin"])
def test_a_stream_of_many_cpus_is_read_whole(name, tmp_path):
    trace = BlkTrace.from_arrays([(None, np.frombuffer(CASES[name], dtype=np.uint8))], name)
    (tmp_path / "in").write_bytes(CASES[name])
    with (tmp_path / "in").open("rb") as stream:
        done = subprocess.run(
            [blktools.blkparse(), "-q", "-i", "-"],
            stdin=stream,
            capture_output=True,
            check=True,
            cwd=tmp_path,
        )
    assert trace.text() == done.stdout.decode()
    assert trace.text().count("\n") == len(trace.events)
    written = trace.export(tmp_path / "out", "sda")
    assert "\n".join(blktools.lines(tmp_path / "out", "sda")) == trace.text()
    cpus = trace.events["cpu"].nunique()
    assert len(written) == cpus
    assert sum(path.stat().st_size for path in written) == len(CASES[name])


def test_each_cpu_of_a_stream_counts_for_itself():
    trace = BlkTrace.from_bytes({0: CASES["merged1.bin"]})
    assert problems(trace) == []
    assert trace.text().count("\n") == 10


def test_each_device_of_a_stream_counts_for_itself():
    trace = BlkTrace.from_bytes({0: CASES["twodev.bin"]})
    assert trace.events.attrs["lost"] == [
        {"device": "8:0", "cpu": 0, "events": 4, "since_ns": 4000, "until_ns": 9000}
    ]
    (told,) = problems(trace)
    assert told.startswith("8:0, CPU 0: 4 events were dropped")
    assert "between 0.000004 s and 0.000009 s" in told


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([blk.SDA, blk.SDB]), st.integers(0, 3)),
        min_size=1,
        max_size=60,
    ),
    st.booleans(),
)
def test_losses_are_those_of_each_cpu_however_the_files_are_cut(plan, merged):
    """(cpu, device, how many are lost before it) of each event, in one stream or in one per CPU."""
    numbers, lost, streams = {}, {}, {}
    for time, (cpu, device, before) in enumerate(plan):
        key = device, cpu
        # What is lost before the first event here may have been read before.
        if key in numbers and before:
            lost[key] = lost.get(key, 0) + before
        numbers[key] = numbers.get(key, 0) + before + 1
        record = blk.event(blk.Q, blk.READ, numbers[key], time, 8, device=device, cpu=cpu)
        streams.setdefault(0 if merged else cpu, []).append(record.pack())
    trace = BlkTrace.from_bytes({cpu: b"".join(parts) for cpu, parts in streams.items()})
    found = {((8 << 20) | int(loss.device.split(":")[1]), loss.cpu): loss.events for loss in trace.losses}
    assert found == lost


def test_a_cpu_that_no_kernel_can_have_costs_no_file_each(tmp_path):
    odd = blk.event(blk.Q, blk.READ, 1, 5, 8, cpu=0xFFFF_FFFF).pack()
    data = CASES["merged1.bin"] + odd
    trace = BlkTrace.from_bytes({0: data})
    written = trace.export(tmp_path, "sda")
    assert [path.name for path in written] == ["sda.blktrace.0", "sda.blktrace.1"]
    assert sum(path.stat().st_size for path in written) == len(data)


def test_a_remap_carries_the_device_of_its_sector():
    events = BlkTrace.from_bytes({0: CASES["part.blktrace.0"]}).events
    assert events["device"].tolist() == ["8:3"]
    assert events["from_device"].tolist() == ["253:1"]
    # It is an event of the traced device all the same: its number is no gap there.
    write = blk.WRITE | blk.QUEUE
    around = [
        blk.event(blk.Q, write, 1, 1, 2048),
        blk.event(blk.A, write, 2, 2, 2048, pdu=struct.pack(">IIQ", blk.DM, blk.SDA1, 4096)),
        blk.event(
            blk.A | blk.CGROUP, write, 3, 3, 4096, pdu=struct.pack("<Q>IIQ".replace(">", ""), 7, 0, 0, 0)
        ),
        blk.event(blk.Q, write, 4, 4, 4096),
    ]
    trace = BlkTrace.from_bytes({0: b"".join(record.pack() for record in around)})
    assert problems(trace) == []


@pytest.mark.parametrize("name", ["p0", "dc", "part", "hungflush"])
def test_text_and_names_are_blkparses(name, tmp_path):
    streams = {int(file[-1]): data for file, data in CASES.items() if file.startswith(f"{name}.blktrace")}
    for cpu, data in streams.items():
        (tmp_path / f"{name}.blktrace.{cpu}").write_bytes(data)
    trace = BlkTrace.from_bytes(streams)
    assert trace.text().split("\n") == blktools.lines(tmp_path, name)


def test_pid_0_is_the_idle_task_that_blkparse_meets_first():
    streams = {0: CASES["p0.blktrace.0"], 1: CASES["p0.blktrace.1"]}
    assert BlkTrace.from_bytes(streams).events["comm"].tolist() == ["swapper/0", "swapper/0"]
    # In the order of CPUs, whatever the order in which they are given.
    swapped = BlkTrace.from_bytes(dict(reversed(streams.items())))
    assert swapped.events["comm"].tolist() == ["swapper/0", "swapper/0"]


@pytest.mark.parametrize("before", [0, 400, 600])
def test_a_note_that_comes_late_is_met_late(before, tmp_path):
    """blkparse reads 512 records of each file in turn: CPU 0's note counts only where it is among its first."""
    first = [blk.event(blk.Q, blk.READ, n + 1, 10 * n, 8, pid=5) for n in range(before)]
    first += [
        blk.note_of(9, "zero", time=10 * before),
        blk.event(blk.Q, blk.READ, before + 1, 10**6, 8, pid=9),
    ]
    second = [
        blk.note_of(9, "one", time=1, cpu=1),
        *(blk.event(blk.Q, blk.READ, n + 1, 10 * n + 5, 8, pid=9, cpu=1) for n in range(5)),
    ]
    streams = {cpu: b"".join(r.pack() for r in records) for cpu, records in enumerate((first, second))}
    for cpu, data in streams.items():
        (tmp_path / f"x.blktrace.{cpu}").write_bytes(data)
    trace = BlkTrace.from_bytes(streams)
    assert trace.processes == {9: "zero" if before < 512 else "one"}
    assert trace.text().split("\n") == blktools.lines(tmp_path, "x")


def test_one_count_for_all_cpus_is_not_shared_out():
    """As a 5.10-rt guest left it: CPU 1 full, CPU 0 perhaps so before, and one count of 39 for both."""
    runs = {(blk.SDA, 0): Run(1, 300, 20_600), (blk.SDA, 1): Run(1, 359, 18_253)}
    counts = Counts(
        {
            0: Counted(numbered=300, chance=(20_496, 20_501)),
            1: Counted(numbered=359, full=True, chance=(18_155, 18_211)),
        },
        refused=39,
    )
    missing, told = losses(runs, counts)
    assert [loss.plain() for loss in missing] == [
        {"device": "8:0", "cpu": 1, "events": None, "since_ns": 18_253, "until_ns": None}
    ]
    assert "8:0: 39 events were dropped" in told[0]
    assert told[0].endswith("they are of CPU 1, some perhaps of CPU 0")
    assert "CPU 0 from 0.000020 s on up to 0.000021 s" in told[1]
    # A kernel that numbers before it looks for room has given 12 numbers more.
    counts.cpus[1] = Counted(numbered=371, refused=13, full=True)
    counts.cpus[0] = Counted(numbered=300, refused=0)
    missing, told = losses(runs, counts)
    assert [loss.events for loss in missing] == [12]
    assert "1 more events were dropped before those that are kept, or were notes" in told[0]

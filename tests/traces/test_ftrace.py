"""ftrace from a dump: against the guests' own trace files, and on damaged rings."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import WHOLE_DUMPS, DumpFiles
from support.captures import captures
from support.overlay import Overlay

import kernlab
from kernlab.traces.ftrace.kernel_source import KernelSource
from kernlab.traces.ftrace.load import load
from kernlab.traces.ftrace.rings import find_instances
from kernlab.traces.ftrace.view import Ftrace
from kernlab.walk.lists import list_entries

LINE = re.compile(
    r"\s*(?P<comm>.*?)-(?P<pid>\d+)\s+\[(?P<cpu>\d+)\]\s+\S+\s+(?P<time>[\d.]+): (?P<event>\w+): (?P<text>.*)"
)
SWITCH = re.compile(
    r"prev_comm=(?P<prev_comm>.*) prev_pid=(?P<prev_pid>\d+) prev_prio=(?P<prev_prio>\d+)"
    r" prev_state=(?P<prev_state>\S+)"
    r" ==> next_comm=(?P<next_comm>.*) next_pid=(?P<next_pid>\d+) next_prio=(?P<next_prio>\d+)"
)
STATES = {0: "R", 1: "S", 2: "D", 4: "T", 8: "t", 16: "X", 32: "Z", 64: "P", 128: "I", 256: "R+"}

#: Captures of the lab's scenario `trace`, by QEMU, each with truth.tar.xz beside vmcore.qemu-elf. Nothing else has
#: truth for overruns, partial reads and instances.
CAPTURES = captures("trace-*")

#: The kernel hashes pointers that it prints.
POINTER = re.compile(r"\b[0-9a-f]{16}\b")


def trace_file(found: DumpFiles) -> list[str]:
    with tarfile.open(found.folder / "truth.tar.xz") as archive:
        stream = archive.extractfile("out/ftrace.txt")
        assert stream is not None
        lines = stream.read().decode().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(params=WHOLE_DUMPS)
def traced(
    request: pytest.FixtureRequest, opened: Callable[[str], kernlab.Dump]
) -> tuple[Ftrace, list[re.Match[str]]]:
    from conftest import find_dump

    found = find_dump(request.param)
    matches = [LINE.fullmatch(line) for line in trace_file(found)]
    assert all(matches)
    return opened(request.param).ftrace, [match for match in matches if match]


def test_every_event_of_the_trace_file(traced: tuple[Ftrace, list[re.Match[str]]]) -> None:
    ftrace, truth = traced
    events = ftrace.all
    assert list(events.columns[:6]) == ["instance", "timestamp", "cpu", "pid", "comm", "event"]
    assert len(events) == len(truth) > 0
    micro = (events.timestamp.astype("int64") + 500) // 1000
    assert micro.to_list() == [round(float(line["time"]) * 1e6) for line in truth]
    assert events.cpu.to_list() == [int(line["cpu"]) for line in truth]
    assert events.pid.to_list() == [int(line["pid"]) for line in truth]
    assert events.comm.to_list() == [line["comm"] for line in truth]
    assert events.event.to_list() == [line["event"] for line in truth]
    assert set(events.instance) == {""}
    assert events.attrs["problems"] == []


def test_all_fields_of_sched_switch(traced: tuple[Ftrace, list[re.Match[str]]]) -> None:
    ftrace, truth = traced
    switches = ftrace.events("sched_switch")
    said = [SWITCH.fullmatch(line["text"]) for line in truth]
    for name in ("prev_comm", "next_comm"):
        assert switches[name].to_list() == [match[name] for match in said if match]
        assert switches[name].dtype == "str"
    for name in ("prev_pid", "prev_prio", "next_pid", "next_prio"):
        assert switches[name].to_list() == [int(match[name]) for match in said if match]
        assert switches[name].dtype == np.int64
    assert [STATES[state] for state in switches.prev_state] == [
        match["prev_state"] for match in said if match
    ]
    assert ftrace.events("sched_switch", text=True).text.to_list() == [line["text"] for line in truth]


def test_lines_are_those_of_the_trace_file(traced: tuple[Ftrace, list[re.Match[str]]]) -> None:
    ftrace, truth = traced
    assert ftrace.lines() == [line[0] for line in truth]


def test_every_event_is_accounted_for(traced: tuple[Ftrace, list[re.Match[str]]]) -> None:
    ftrace, truth = traced
    lost = ftrace.lost
    assert lost.exact.all()
    assert (lost.entries - lost.overrun - lost.read == lost.decoded).all()
    assert lost.decoded.sum() == len(truth)
    assert ftrace.snapshot.lost.exact.all()
    assert len(ftrace.snapshot.all) == 0
    assert ftrace.counts.events.sum() == len(truth)
    assert ftrace.instances.name.to_list() == [""]


def test_trace_cmd_reads_what_is_saved(traced: tuple[Ftrace, list[re.Match[str]]], tmp_path: Path) -> None:
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed")
    ftrace, truth = traced
    path = ftrace.save(tmp_path / "trace.dat")
    done = subprocess.run(
        ["trace-cmd", "report", "-i", str(path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "cpus=2"
    reported = [re.match(r"\s*.*-(\d+)\s+\[(\d+)\]\s+([\d.]+): (\w+):", line) for line in lines[1:]]
    assert [match.groups() for match in reported if match] == [
        (line["pid"], line["cpu"], line["time"], line["event"]) for line in truth
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_an_event_that_is_not_names_those_that_are(opened: Callable[[str], kernlab.Dump]) -> None:
    ftrace = opened("debian-6.1").ftrace
    with pytest.raises(
        kernlab.KernlabError, match=r"did you mean sched_switch.*The trace holds: sched_switch"
    ):
        ftrace.events("sched_swich")
    with pytest.raises(kernlab.KernlabError, match="no trace instance 'nowhere'"):
        ftrace.lines("nowhere")
    # Events that the trace does not hold have columns all the same; their own fields keep their names.
    woken = ftrace.events("sched_wakeup")
    assert len(woken) == 0
    assert {"comm", "pid", "target_cpu", "common_pid", "common_comm", "cpu"} <= set(woken.columns)
    assert ftrace.events("sched:sched_switch").equals(ftrace.events("sched_switch"))


def test_a_format_is_as_tracefs_has_it(opened: Callable[[str], kernlab.Dump]) -> None:
    text = opened("debian-6.1").ftrace.format("sched_switch")
    assert text.startswith(
        "name: sched_switch\nID: 314\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;"
    )
    assert "\n\n\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:" in text
    assert '\n\nprint fmt: "prev_comm=%s prev_pid=%d' in text


# What damage does.


@pytest.fixture
def damaged(opened: Callable[[str], kernlab.Dump]) -> Overlay:
    return Overlay(opened("debian-6.1"))


def rings(overlay: Overlay) -> list[tuple[int, list[int]]]:
    (instance,) = find_instances(overlay.kernel)
    return [(ring.address, ring.pages.tolist()) for ring in instance.rings if ring.buffer == "main"]


def test_a_lost_page_costs_its_events_only(damaged: Overlay) -> None:
    (_, pages), (_, others) = rings(damaged)
    damaged.exclude(pages[-1])
    ftrace = damaged.dump().ftrace
    lost = ftrace.lost
    assert lost.unreadable.to_list() == [1, 0]
    assert lost.exact.to_list() == [False, True]
    assert lost.missing[0] == lost.entries[0]
    assert len(ftrace.all) == lost.decoded[1] > 0
    assert "CPU 0: the dump lacks 1 of 2 sub-buffers" in " ".join(ftrace.all.attrs["problems"])
    assert others


def test_garbage_in_a_page_ends_it(damaged: Overlay) -> None:
    (_, pages), _ = rings(damaged)
    whole = damaged.below.ftrace.lost.decoded[0]
    # A record of 4 GiB, after the first (16 bytes of the page's header, 4 of the event's, 64 of sched_switch).
    damaged.write(pages[-1] + 16 + 68, b"\0\0\0\0\xff\xff\xff\xff")
    ftrace = damaged.dump().ftrace
    assert ftrace.lost.damaged[0] == 1
    assert 0 < ftrace.lost.decoded[0] < whole
    assert any("not an event" in problem for problem in ftrace.all.attrs["problems"])


@pytest.mark.parametrize("target", ["self", "nowhere", "zero"])
def test_a_ring_that_does_not_close_ends(damaged: Overlay, target: str) -> None:
    (address, _), _ = rings(damaged)
    start = damaged.kernel.words([damaged.where("struct ring_buffer_per_cpu", address, "pages")[0]])[0][0]
    second = int(damaged.kernel.words([int(start)])[0][0]) & ~3
    third = int(damaged.kernel.words([second])[0][0]) & ~3
    # A cycle that misses its start, a pointer to nothing, and none.
    damaged.word(third, {"self": third, "nowhere": 0xFFFF_8000_0000_0000, "zero": 0}[target])
    ftrace = damaged.dump().ftrace
    assert len(ftrace.lost) == 2
    problems = " ".join(ftrace.all.attrs["problems"])
    assert "does not close" in problems or "breaks off" in problems
    # What lies before the break is there: here all events do.
    assert ftrace.lost.decoded.sum() > 0


def test_a_commit_beyond_its_page_is_bounded(damaged: Overlay) -> None:
    (_, pages), _ = rings(damaged)
    damaged.word(pages[-1] + 8, 0x3FFF_FFFF)
    ftrace = damaged.dump().ftrace
    # What follows the events in the page is zeros: a record of no length.
    assert ftrace.lost.decoded[0] >= damaged.below.ftrace.lost.decoded[0]
    assert len(ftrace.all) < 2000


def test_missed_events_marks_are_no_length(damaged: Overlay) -> None:
    (_, pages), _ = rings(damaged)
    commit = int(damaged.kernel.words([pages[-1] + 8])[0][0])
    damaged.word(pages[-1] + 8, commit | 1 << 31 | 1 << 30)
    assert damaged.dump().ftrace.lost.exact.all()


@pytest.fixture(params=["debian-5.10", "debian-6.12", "debian-7.2"])
def whole(request: pytest.FixtureRequest, opened: Callable[[str], kernlab.Dump]) -> kernlab.Dump:
    return opened(request.param)


def _told(broken: kernlab.Dump, what: str) -> bool:
    return any(what in problem for problem in broken.ftrace.instances.attrs["problems"])


def _buffer(dump: kernlab.Dump) -> int:
    return int(dump.struct("trace_array", dump.symbol("global_trace"))["array_buffer.buffer"])


@pytest.mark.parametrize("number", [3, 77, (1 << 31) - 1])
def test_the_clock_is_the_one_that_the_buffer_takes_times_by(whole: kernlab.Dump, number: int) -> None:
    overlay = Overlay(whole).set("struct trace_array", whole.symbol("global_trace"), "clock_id", number)
    with overlay.dump() as broken:
        assert broken.ftrace.instances["clock"].tolist() == whole.ftrace.instances["clock"].tolist()
        assert _told(broken, f"the number of its clock is {number:,}")


def test_a_clock_that_nothing_tells_is_missing(whole: kernlab.Dump) -> None:
    overlay = Overlay(whole).set("struct trace_array", whole.symbol("global_trace"), "clock_id", 77)
    overlay.set("struct trace_buffer", _buffer(whole), "clock", 0xDEAD)
    with overlay.dump() as broken:
        assert broken.ftrace.instances["clock"].isna().all()
        assert _told(broken, "its clock is not known: its number is 77")


@pytest.mark.parametrize("order", [3, 11, 0x7FFFFFFF])
def test_the_size_of_sub_buffers_is_what_most_of_a_buffer_says(whole: kernlab.Dump, order: int) -> None:
    if not whole.kernel.types.has_member("struct trace_buffer", "subbuf_order"):
        pytest.skip("before v6.8 each sub-buffer is a page")
    with Overlay(whole).set("struct trace_buffer", _buffer(whole), "subbuf_order", order).dump() as broken:
        assert broken.ftrace.instances["subbuf_bytes"].tolist() == [4096]
        assert _told(broken, "what it says of the size of its sub-buffers cannot be true")
        assert len(broken.ftrace.all) == len(whole.ftrace.all)


def test_a_buffer_that_cannot_be_found_is_told(whole: kernlab.Dump) -> None:
    overlay = Overlay(whole).set("struct trace_array", whole.symbol("global_trace"), "array_buffer.buffer", 0)
    with overlay.dump() as broken:
        assert broken.ftrace.instances["subbuf_bytes"].isna().all()
        assert _told(broken, "the global trace: the dump lacks where its buffer lies")


@pytest.mark.parametrize("value", ["gone", "other", "stray"])
def test_a_ring_whose_address_is_not_its_own_is_told(whole: kernlab.Dump, value: str) -> None:
    slots = int(whole.struct("trace_buffer", _buffer(whole))["buffers"])
    known = {"gone": 0, "other": int.from_bytes(whole.read(slots, 8), "little"), "stray": _buffer(whole)}
    with Overlay(whole).word(slots + 8, known[value]).dump() as broken:
        assert _told(broken, "CPU 1")
        assert set(broken.ftrace.all["cpu"]) == {0}


def test_an_instance_without_a_tracer_has_none(whole: kernlab.Dump) -> None:
    overlay = Overlay(whole).set(
        "struct trace_array", whole.symbol("global_trace"), "current_trace", 0xDEAD0000
    )
    with overlay.dump() as broken:
        assert broken.ftrace.instances["tracer"].isna().all()
        assert _told(broken, "lost the name of their tracer")


def test_a_ring_that_closes_too_soon_is_told(whole: kernlab.Dump) -> None:
    ring = whole.ftrace._instances[0].rings[0]
    first = int(whole.struct("ring_buffer_per_cpu", ring.address)["pages"]) & ~3
    second = int.from_bytes(whole.read(first, 8), "little") & ~3
    after = int.from_bytes(whole.read(second, 8), "little")
    with Overlay(whole).word(first, after).dump() as broken:
        assert _told(broken, "sub-buffers, not the ")


def test_instances_that_point_to_themselves(damaged: Overlay) -> None:
    top = damaged.kernel.symbol("global_trace")
    damaged.set("struct trace_array", top, "list.next", top)
    ftrace = damaged.dump().ftrace
    assert len(ftrace.instances) >= 1
    assert len(ftrace.all) == len(damaged.below.ftrace.all)


def test_without_formats_events_are_nameless(damaged: Overlay) -> None:
    head = damaged.kernel.symbol("ftrace_events")
    damaged.word(head, head)
    ftrace = damaged.dump().ftrace
    assert ftrace.all.event.isna().all()
    assert ftrace.lost.exact.all()
    assert any("does not describe" in problem for problem in ftrace.all.attrs["problems"])
    assert all("Unknown type 314" in line for line in ftrace.lines())


def test_noise_over_pages_never_hangs(damaged: Overlay) -> None:
    random = np.random.default_rng(7)
    whole = rings(damaged)
    for _ in range(20):
        noise = Overlay(damaged.below)
        for _, pages in whole:
            for page in pages:
                at = int(random.integers(0, 4000))
                noise.write(page + at, random.bytes(int(random.integers(1, 96))))
        ftrace = noise.dump().ftrace
        assert len(ftrace.all) < 4096
        assert isinstance(ftrace.lines(), list)
        ftrace.events("sched_switch", text=True)


# Captures of the lab: overruns, partial reads, instances, markers.


@pytest.mark.parametrize("folder", CAPTURES, ids=lambda folder: folder.name)
def test_a_capture_equals_its_later_reads(folder: Path) -> None:
    with kernlab.open(folder / "vmcore.qemu-elf") as dump, tarfile.open(folder / "truth.tar.xz") as archive:
        ftrace = dump.ftrace
        assert ftrace.lost.exact.all()
        assert (ftrace.lost.overrun > 0).any()
        assert (ftrace.lost.read > 0).any()
        files = set(archive.getnames())
        for name in ftrace.instances.name:
            path = f"out/after/ftrace.{name}.txt" if name else "out/after/ftrace.txt"
            if path not in files and ftrace.instances.set_index("name").persistent[name]:
                # An instance of the kernel's command line, which the guest's story does not know of.
                assert (ftrace.lost[ftrace.lost.instance == name].decoded > 0).all()
                continue
            stream = archive.extractfile(path)
            assert stream is not None
            truth = [line for line in stream.read().decode().split("\n") if line and line[0] != "#"]
            lines = "\n".join(ftrace.lines(name)).split("\n")
            assert len(lines) == len(truth)
            for line, said in zip(lines, truth, strict=True):
                assert POINTER.sub("X", line) == POINTER.sub("X", said)


@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")
@pytest.mark.parametrize("folder", CAPTURES, ids=lambda folder: folder.name)
def test_trace_cmd_reads_all_instances_of_a_capture(folder: Path, tmp_path: Path) -> None:
    with kernlab.open(folder / "vmcore.qemu-elf") as dump:
        ftrace = dump.ftrace
        ftrace.save(tmp_path / "all.dat")
        ftrace.save(tmp_path / "half.dat", instance="half")
        every = ftrace.all
    assert every.instance.nunique() >= 3
    for path, wanted in (("all.dat", every), ("half.dat", every[every.instance == "half"])):
        report = subprocess.run(
            ["trace-cmd", "report", "-i", str(tmp_path / path)], capture_output=True, text=True, check=True
        ).stdout
        line = re.compile(r"^ *(?:(\w+): +)?.*?-\d+ +\[(\d+)\].*? (\d+)\.(\d{6}): (\w+): ", re.MULTILINE)
        found = [
            (name or "", int(cpu), int(seconds) * 10**6 + int(micro), event)
            for name, cpu, seconds, micro, event in line.findall(report)
        ]
        if path == "half.dat":
            found = [("half", *row[1:]) for row in found]
        micros = (wanted.timestamp.astype("int64") + 500) // 1000
        expected = zip(wanted.instance, wanted.cpu, micros, wanted.event, strict=True)
        assert Counter(found) == Counter(expected)


def test_captures_are_there() -> None:
    if not CAPTURES:
        pytest.skip(
            "KERNLAB_LAB_CAPTURES names no folder with captures of the lab's scenario trace (trace-*)"
        )


def test_loading_nothing_gives_nothing(opened: Callable[[str], kernlab.Dump]) -> None:
    trace = load(KernelSource(opened("debian-6.1").kernel), [])
    assert len(trace) == 0


def test_frames_are_ours(opened: Callable[[str], kernlab.Dump]) -> None:
    events = opened("debian-6.1").ftrace.all
    assert isinstance(events.index, pd.RangeIndex)
    assert events.attrs["table"] == "ftrace"
    assert events.timestamp.dtype == "timedelta64[ns]"


def test_two_events_of_one_number_are_told(damaged: Overlay) -> None:
    whole = damaged.below
    head = whole.symbol("ftrace_events")
    _, calls = list_entries(whole.kernel, [head], "struct trace_event_call", "list", what="events")
    numbers = calls["event.type"].tolist()
    damaged.set("struct trace_event_call", int(calls.addresses[1]), "event.type", numbers[0])
    told = f"1 trace events have the number of another one ({numbers[0]})"
    with damaged.dump() as broken:
        assert any(told in said for said in broken.ftrace.counts.attrs["problems"])
    assert not any("number of another one" in said for said in whole.ftrace.counts.attrs["problems"])

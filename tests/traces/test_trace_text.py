"""Traces as text, and tracefs as a tree of files: against the events whose text and bytes they are."""

from __future__ import annotations

import lzma
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.known_trace import Known, formats, known_events
from support.trace_dat import Machine

import kernlab
from kernlab.traces.ftrace.trace_text import fields_of, parse_lines

TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"
COMMON = ["instance", "timestamp", "cpu", "pid", "comm", "event"]


@pytest.fixture(scope="module")
def known() -> Known:
    return Known(Machine(), known_events(Machine()))


@pytest.fixture
def binary(known: Known, tmp_path: Path) -> kernlab.ftrace.FtraceFile:
    path = tmp_path / "trace.dat"
    path.write_bytes(known.bytes(6))
    return kernlab.ftrace.open(path)


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that text has, too, with the times that it prints."""
    table = table[COMMON].copy()
    table["timestamp"] = ((table.timestamp.astype("int64") + 500) // 1000 * 1000).to_numpy().view("m8[ns]")
    return table.reset_index(drop=True)


def test_the_trace_file_s_lines_become_the_same_events(
    binary: kernlab.ftrace.FtraceFile, tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    header = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 320/377   #P:2\n#\n"
    path.write_text(header + "\n".join(binary.lines("")) + "\n")
    text = kernlab.ftrace.open(path)
    assert text.problems == []
    meant = binary.all
    meant = meant[meant.instance == ""]
    # What print and bprint say begins with the function that wrote it, where others have the event's name.
    found = text.all
    said = meant.event.where(~meant.event.isin(["print", "bprint"]), found.event.set_axis(meant.index))
    pd.testing.assert_frame_equal(rounded(found), rounded(meant.assign(event=said)))
    switches, theirs = text.events("sched_switch"), binary.events("sched_switch", instance="")
    for name in ("prev_comm", "prev_pid", "prev_prio", "next_comm", "next_pid", "next_prio"):
        assert switches[name].tolist() == theirs[name].tolist()
        assert switches[name].dtype == theirs[name].dtype
    letters = {0: "R", 1: "S", 2: "D", 128: "I", 256: "R+", 64: "P"}
    assert switches.prev_state.tolist() == [letters[state] for state in theirs.prev_state]
    work, theirs = text.events("work_done"), binary.events("work_done", instance="")
    assert work.bytes.tolist() == theirs.bytes.tolist()
    assert work.error.tolist() == theirs.error.tolist()
    assert work.name.tolist() == theirs.name.tolist()
    assert text.lines() == binary.lines("")
    instances = text.instances
    assert (instances.tracer[0], instances.entries[0], instances.written[0]) == ("nop", 320, 377)


def test_what_trace_cmd_prints_becomes_the_same_events(
    binary: kernlab.ftrace.FtraceFile, tmp_path: Path
) -> None:
    path = tmp_path / "report.txt"
    path.write_text("cpus=2\n" + "\n".join(binary.lines(style="trace-cmd", nanoseconds=True)))
    text = kernlab.ftrace.open(path)
    assert text.problems == []
    pd.testing.assert_frame_equal(text.all[COMMON[:4]], binary.all[COMMON[:4]])
    assert text.all.event.tolist() == binary.all.event.tolist()
    assert (
        text.counts.set_index("event").events.to_dict() == binary.counts.set_index("event").events.to_dict()
    )


@pytest.mark.skipif(not TRACES.is_dir(), reason="no traces beside the checkout")
def test_a_real_text() -> None:
    path = TRACES / "tracefs.txt.xz"
    lines = [line for line in lzma.decompress(path.read_bytes()).decode().splitlines() if "]" in line]
    text = kernlab.ftrace.open(path)
    assert text.problems == []
    assert len(text.all) == len(lines)
    assert text.lines() == lines
    assert (text.all.timestamp.dt.total_seconds() * 1e6).round().astype(int).tolist() == [
        round(float(line.split("]")[1].split(":")[0]) * 1e6) for line in lines
    ]
    woken = text.events("sched_wakeup")
    assert woken.common_comm.notna().all() or (woken.common_pid > 0).any()
    assert set(woken.success) == {1}


def test_a_guest_s_trace_file(opened: Callable[[str], kernlab.Dump], tmp_path: Path) -> None:
    dump = opened("debian-6.1")
    path = tmp_path / "trace"
    path.write_text("\n".join(dump.ftrace.lines()))
    found, meant = kernlab.ftrace.open(path).events("sched_switch"), dump.ftrace.events("sched_switch")
    for name in ("prev_comm", "prev_pid", "next_comm", "next_pid"):
        assert found[name].tolist() == meant[name].tolist()


@pytest.mark.parametrize(
    ("line", "comm", "pid", "cpu", "time", "event", "text"),
    [
        ("          <idle>-0       [001] d..2. 13.3: a_b: x=1", "<idle>", 0, 1, 13_300_000_000, "a_b", "x=1"),
        (
            "  kworker/u8:3-ev-77   (     77) [010] dNs3. 5.000001: f <-g",
            "kworker/u8:3-ev",
            77,
            10,
            5_000_001_000,
            "function",
            "f <-g",
        ),
        (
            "  a b-1 (-------) [000] ..... 1.0: sys_close(fd: 3)",
            "a b",
            1,
            0,
            10**9,
            "sys_enter_close",
            "sys_close(fd: 3)",
        ),
        ("  a-1 [000] ..... 1.0: sys_close -> 0x0", "a", 1, 0, 10**9, "sys_exit_close", "sys_close -> 0x0"),
        ("  <...>-9 [003]   99: tick: ", None, 9, 3, 99, "tick", ""),
        (" more:  a-1   [000]  1.5: tick:    v=2", "a", 1, 0, 1_500_000_000, "tick", "v=2"),
        (
            "  a-1 [000] ..... 1.0: <stack trace>\n => f\n => g",
            "a",
            1,
            0,
            10**9,
            "kernel_stack",
            "<stack trace>\n => f\n => g",
        ),
    ],
)
def test_lines(line: str, comm: str | None, pid: int, cpu: int, time: int, event: str, text: str) -> None:
    found = parse_lines(line.split("\n"))
    assert (found.comm, found.pid, found.cpu, found.time) == ([comm], [pid], [cpu], [time])
    assert (found.event, found.text) == ([event], [text])
    assert found.instance == ["more" if line.startswith(" more") else ""]


def test_lost_events_and_strange_lines_are_told(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("junk\n  a-1 [000] ..... 1.0: tick: \nCPU:3 [LOST 17 EVENTS]\nCPU:1 [EVENTS DROPPED]\n")
    text = kernlab.ftrace.open(path)
    assert text.lost.values.tolist() == [["", 0, 1, 0], ["", 1, 0, pd.NA], ["", 3, 0, 17]]
    assert any("1 lines are not those of a trace" in problem for problem in text.problems)
    assert any("CPU 3: 17 events were lost" in problem for problem in text.all.attrs["problems"])
    with pytest.raises(kernlab.KernlabError, match="did you mean tick"):
        text.events("tik")
    with pytest.raises(kernlab.KernlabError, match="text does not say"):
        text.save(tmp_path / "x")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.text(st.sampled_from(" ab-1[0].:=>(/\\\n\x00#CPULOST"), max_size=40), max_size=6))
def test_any_text_is_parsed(lines: list[str]) -> None:
    found = parse_lines("\n".join(["  a-1 [000] ..... 1.0: tick: x=1", *lines]).split("\n"))
    assert len(found) >= 1
    for text in found.text:
        assert all(isinstance(key, str) for key, _ in fields_of(text))


def test_long_lines_take_no_longer_than_they_are() -> None:
    for hostile in (
        " " * 200_000,
        "a-1 " * 50_000,
        "x=" * 100_000,
        "k= " * 60_000,
        "-1" + " " * 200_000 + "[",
    ):
        found = parse_lines([f"  a-1 [000] ..... 1.0: tick: {hostile}", hostile])
        assert len(found) == 1
        list(fields_of(found.text[0]))


# tracefs.


@pytest.fixture
def tree(known: Known, binary: kernlab.ftrace.FtraceFile, tmp_path: Path) -> Path:
    """A copy of tracefs with the known trace: its text, its formats, its raw buffers."""
    root = tmp_path / "tracing"
    own, others = formats(known.machine)
    for system, texts in {"ftrace": own, **others}.items():
        for text in texts:
            folder = root / "events" / system / text.split("\n")[0].removeprefix("name: ")
            folder.mkdir(parents=True)
            (folder / "format").write_text(text)
    (root / "events" / "header_page").write_text(
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
        "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
        "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n"
    )
    (root / "saved_cmdlines").write_text(known.dat.comms)
    (root / "printk_formats").write_text(known.dat.printk)
    for instance in known.dat.instances:
        folder = root / "instances" / instance.name if instance.name else root
        (folder / "options").mkdir(parents=True)
        (folder / "options" / "overwrite").write_text("1\n")
        (folder / "trace_clock").write_text("local [global] counter\n")
        (folder / "current_tracer").write_text("nop\n")
        (folder / "tracing_on").write_text("0\n")
        (folder / "trace").write_text("# tracer: nop\n#\n" + "\n".join(binary.lines(instance.name)) + "\n")
        for cpu, pages in instance.cpus.items():
            files = folder / "per_cpu" / f"cpu{cpu}"
            files.mkdir(parents=True)
            count = sum(e.cpu == cpu and e.instance == instance.name for e in known.events)
            (files / "stats").write_text(
                f"entries: {count}\noverrun: 5\ncommit overrun: 0\nbytes: 1\noldest event ts:  1.0\nnow ts:  2.0\n"
                "dropped events: 1\nread events: 7\n"
            )
            (files / "buffer_size_kb").write_text("1408\n")
            (files / "trace_pipe_raw").write_bytes(b"".join(pages))
    return root


def test_a_live_trace_is_read_without_consuming(
    known: Known, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = os.open

    def spy(path: object, *rest: object, **more: object) -> int:
        opened.append(str(path))
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", spy)
    live = kernlab.ftrace.open(tree)
    assert len(live.all) == len(known.events)
    assert (
        live.all.instance.value_counts().to_dict()
        == pd.Series([e.instance for e in known.events]).value_counts().to_dict()
    )
    assert live.all.timestamp.is_monotonic_increasing
    assert live.counts.set_index("event").system["sched_switch"] == "sched"
    lost = live.lost
    assert (lost.missing == 0).all()
    assert (lost.entries - lost.overrun - lost.read == lost.decoded).all()
    assert set(lost.read) == {7}
    assert live.instances.values.tolist() == [
        ["", "nop", "global", False, True, 4096],
        ["more", "nop", "global", False, True, 4096],
    ]
    assert live.format("sched_switch").startswith("name: sched_switch")
    assert live.events("sched:*", instance="more").event.unique().tolist() == ["sched_switch"]
    assert not any("pipe" in path for path in opened)
    one = kernlab.ftrace.open(tree / "instances" / "more")
    assert len(one.all) == sum(event.instance == "more" for event in known.events)


def test_a_live_trace_is_consumed_when_asked(
    known: Known, tree: Path, binary: kernlab.ftrace.FtraceFile, tmp_path: Path
) -> None:
    taken = kernlab.ftrace.open(tree, consume=True)
    columns = [name for name in binary.all.columns if name != "text"]
    pd.testing.assert_frame_equal(taken.all[columns], binary.all[columns])
    assert set(taken.instances.clock) == {"global"}
    again = kernlab.ftrace.open(taken.save(tmp_path / "taken.dat", version=7))
    pd.testing.assert_frame_equal(again.all, taken.all)
    assert np.array_equal(taken.events("sched_switch").prev_state, binary.events("sched_switch").prev_state)


def test_what_is_not_tracefs_is_refused(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(kernlab.KernlabError, match="not tracefs"):
        kernlab.ftrace.open(tmp_path)
    with pytest.raises(kernlab.KernlabError, match="only a live trace is consumed"):
        kernlab.ftrace.open(tree / "trace", consume=True)

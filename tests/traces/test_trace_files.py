"""trace.dat files: against what was put into them, against `trace-cmd report` line for line, cut and damaged."""

from __future__ import annotations

import contextlib
import lzma
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.captures import captures
from support.known_trace import Known, known_events, oldest_letters
from support.trace_dat import Machine

import kernlab

MACHINES = [Machine(big, word) for big in (False, True) for word in (8, 4)]
FORMS = [(6, "none"), (7, "none"), (7, "zlib"), (7, "zstd")]

#: A real one, which trace-cmd recorded on an arm64 machine, beside the checkout.
REAL = Path(__file__).parents[3] / "shared" / "data" / "traces" / "sched_load.arm64.trace.dat.xz"

needs_trace_cmd = pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")


def report(path: Path, *options: str) -> list[str]:
    """What trace-cmd prints, without its first line."""
    done = subprocess.run(
        ["trace-cmd", "report", *options, "-i", str(path)],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=True,
    )
    first, *lines = done.stdout.rstrip("\n").split("\n")
    assert first.strip().startswith("cpus=")
    return lines


def same(path: Path, *, letters: bool = False) -> None:
    """Every line as trace-cmd prints it, with its options -t and -N, too."""
    with kernlab.ftrace.open(path) as trace:
        for options, ours in (
            ((), trace.lines(style="trace-cmd")),
            (("-t",), trace.lines(style="trace-cmd", nanoseconds=True)),
            (("-N",), trace.lines(style="trace-cmd", plugins=False)),
        ):
            theirs = report(path, *options)
            if letters:
                theirs = [oldest_letters(line) for line in theirs]
            assert "\n".join(ours).split("\n") == theirs


@pytest.fixture(params=MACHINES, ids=lambda m: f"{'big' if m.big else 'little'}-{8 * m.word}")
def machine(request: pytest.FixtureRequest) -> Machine:
    return request.param


@pytest.fixture
def known(machine: Machine) -> Known:
    return Known(machine, known_events(machine))


@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_every_event_and_field_of_any_machine(
    known: Known, version: int, compression: str, tmp_path: Path
) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(known.bytes(version, compression))
    with kernlab.ftrace.open(path) as trace:
        assert trace.problems == []
        table = trace.all
        assert table.timestamp.astype("int64").tolist() == [event.time for event in known.events]
        assert table.cpu.tolist() == [event.cpu for event in known.events]
        assert table.pid.tolist() == [event.pid for event in known.events]
        assert table.event.tolist() == [event.name for event in known.events]
        assert table.instance.tolist() == [event.instance for event in known.events]
        names = {100: "task-100", 101: "task-101", 102: "task 102"}
        assert [None if name is pd.NA or name != name else name for name in table.comm] == [
            names.get(event.pid) for event in known.events
        ]
        switches = trace.events("sched_switch")
        meant = [event.values for event in known.events if event.name == "sched_switch"]
        for name in ("prev_comm", "prev_pid", "prev_state", "next_comm", "next_pid"):
            assert switches[name].tolist() == [one[name] for one in meant]
        work = trace.events("work_done")
        meant = [event.values for event in known.events if event.name == "work_done"]
        for name in ("function", "name", "bytes", "cdb", "error", "last", "kind"):
            assert work[name].tolist() == [one[name] for one in meant]
        assert work.numbers.tolist() == [tuple(one["numbers"]) for one in meant]
        assert work.pairs.tolist() == [one["pairs"] for one in meant]
        assert work.cpus.tolist() == [(one["cpus"],) for one in meant]
        said = trace.events("bprint").text.tolist()
        meant = [event.values for event in known.events if event.name == "bprint"]
        assert said == [f"number {one['number']} text {one['text']} long {one['long']:x}" for one in meant]
        assert trace.lost.decoded.sum() == len(known.events)


def test_lines_have_states_as_letters_and_symbols(tmp_path: Path) -> None:
    machine = Machine()
    events = known_events(machine, 12)
    path = tmp_path / "trace.dat"
    path.write_bytes(Known(machine, events).bytes(6))
    with kernlab.ftrace.open(path) as trace:
        lines = trace.lines()
        assert lines[0] == (
            "        task-100-100     [000] d..21     5.000000: sched_switch: prev_comm=task-100 prev_pid=100 "
            "prev_prio=120 prev_state=R ==> next_comm=other/0 next_pid=200 next_prio=100"
        )
        states = trace.events("sched_switch", text=True).text.str.extract(r"prev_state=(\S+)")[0].tolist()
        assert states == ["R", "R"]
        assert trace.events("work_done", text=True).text[0].startswith("f1+0x1/0x100 name=work 1 ")
        assert trace.events("kernel_stack", text=True).text[0] == "<stack trace>\n => f5\n => f0"


@needs_trace_cmd
@pytest.mark.parametrize(("version", "compression"), [(6, "none"), (7, "none"), (7, "zstd")])
def test_lines_are_those_of_trace_cmd(known: Known, version: int, compression: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(known.bytes(version, compression))
    same(path, letters=True)


@pytest.mark.parametrize("page_size", [8192, 65536])
@needs_trace_cmd
def test_sub_buffers_of_many_pages(page_size: int, tmp_path: Path) -> None:
    machine = Machine()
    path = tmp_path / "trace.dat"
    path.write_bytes(Known(machine, known_events(machine, 1500), page_size).bytes(7))
    with kernlab.ftrace.open(path) as trace:
        assert set(trace.instances.subbuf_bytes) == {page_size}
        assert len(trace.all) == 1500
    same(path, letters=True)


@needs_trace_cmd
@pytest.mark.parametrize("missed", [-1, 1234])
def test_lost_events_are_told_where_trace_cmd_tells_them(
    machine: Machine, missed: int, tmp_path: Path
) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(Known(machine, known_events(machine, 900), missed=missed).bytes(6))
    same(path, letters=True)
    with kernlab.ftrace.open(path) as trace:
        said = [line for line in trace.lines(style="trace-cmd") if "EVENTS DROPPED" in line]
        assert said
        assert all(("1234" in line) == (missed > 0) for line in said)
        assert any("lost" in problem for problem in trace.all.attrs["problems"])


def shift_option(machine: Machine, flags: int) -> bytes:
    """TIME_SHIFT of two CPUs: how a guest's times become its host's."""
    out = machine.pack("QII", 77, flags, 2)
    for cpu in range(2):
        times = [5_000_000_000 + 1_000_000 * row for row in range(4)]
        offsets = [(1000 + 500 * row + cpu) * (-1 if cpu else 1) for row in range(4)]
        out += (
            machine.pack("I", 4)
            + machine.pack("4q", *times)
            + machine.pack("4q", *offsets)
            + machine.pack("4Q", *[1] * 4)
        )
    return out + machine.pack("8Q", *[0] * 8)


@needs_trace_cmd
@pytest.mark.parametrize(
    "options",
    [
        lambda m: [(7, b"1000000123\0")],
        lambda m: [(7, b"-4000000000\0")],
        lambda m: [(1, b"0x3b9aca00\0")],
        lambda m: [(14, m.pack("IIQ", 826_000_001, 31, 12345))],
        lambda m: [(14, m.pack("IIQ", 700_000_000, 28, 0)), (7, b"77\0")],
        lambda m: [(12, shift_option(m, 0))],
        lambda m: [(12, shift_option(m, 1))],
    ],
    ids=["offset", "negative", "date", "tsc", "tsc and offset", "guest", "guest, interpolated"],
)
def test_times_are_what_trace_cmd_makes_of_them(
    machine: Machine, options: Callable[[Machine], list[tuple[int, bytes]]], tmp_path: Path
) -> None:
    # trace-cmd moves the times of a guest's first instance only.
    known = Known(machine, [event for event in known_events(machine) if not event.instance])
    del known.dat.instances[1:]
    known.dat.options = options(machine)
    path = tmp_path / "trace.dat"
    path.write_bytes(known.bytes(7))
    same(path, letters=True)


@needs_trace_cmd
def test_a_clock_without_nanoseconds(tmp_path: Path) -> None:
    known = Known(Machine(), known_events(Machine(), 60))
    for instance in known.dat.instances:
        instance.clock = "counter"
    known.dat.options = [(4, b"local global [counter] mono\0")]
    path = tmp_path / "trace.dat"
    path.write_bytes(known.bytes(7))
    same(path, letters=True)
    with kernlab.ftrace.open(path) as trace:
        assert set(trace.instances.clock) == {"counter"}
        assert any("not nanoseconds" in problem for problem in trace.all.attrs["problems"])


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    machine = Machine(big=True)
    known = Known(machine, known_events(machine, 60))
    stats = "CPU: {0}\nentries: 0\noverrun: {1}\ncommit overrun: 1\nbytes: 0\ndropped events: 2\nread events: {2}\n"
    counts = [sum(e.cpu == cpu and not e.instance for e in known.events) for cpu in range(2)]
    known.dat.options = [
        (5, b"Linux myhost 6.1.0-9-amd64 #1 SMP x86_64\0"),
        (9, b" 3.2\0"),
        (11, machine.pack("Q", 0x1234)),
        (13, b"guest one\0" + machine.pack("QI", 99, 2) + machine.pack("IIII", 0, 4001, 1, 4002)),
        *[(2, stats.format(cpu, 10 + cpu, counts[cpu] + cpu).encode() + b"\0") for cpu in range(2)],
    ]
    path = tmp_path / "trace.dat"
    path.write_bytes(known.bytes(6))
    with kernlab.ftrace.open(path) as trace:
        about = trace.about
        assert (about["uname"], about["release"]) == (
            "Linux myhost 6.1.0-9-amd64 #1 SMP x86_64",
            "6.1.0-9-amd64",
        )
        assert (about["byte_order"], about["trace_id"], about["recorder"]) == ("big", 0x1234, "3.2")
        assert trace.guests.values.tolist() == [["guest one", 99, 0, 4001], ["guest one", 99, 1, 4002]]
        lost = trace.lost[trace.lost.instance == ""]
        assert lost.overrun.tolist() == [10, 11]
        assert lost.dropped_events.tolist() == [2, 2]
        assert lost.missing.tolist() == [0, 1]
        assert any("1 fewer events were found" in problem for problem in trace.lost.attrs["problems"])


@pytest.mark.skipif(not REAL.exists(), reason="no traces beside the checkout")
@needs_trace_cmd
def test_a_real_file_of_arm64(tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(lzma.decompress(REAL.read_bytes()))
    same(path)
    with kernlab.ftrace.open(REAL) as packed, kernlab.ftrace.open(path) as plain:
        assert packed.problems == []
        pd.testing.assert_frame_equal(packed.all, plain.all)
    for compression in ("none", "zstd"):
        other = tmp_path / f"{compression}.dat"
        subprocess.run(
            [
                "trace-cmd",
                "convert",
                "--file-version",
                "7",
                "--compression",
                compression,
                "-i",
                str(path),
                "-o",
                str(other),
            ],
            check=True,
            capture_output=True,
        )
        with kernlab.ftrace.open(other) as converted, kernlab.ftrace.open(path) as plain:
            assert converted.about["version"] == 7
            pd.testing.assert_frame_equal(converted.all, plain.all)


# What was saved comes back.


@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_a_dump_s_trace_comes_back(
    opened: Callable[[str], kernlab.Dump], version: int, compression: str, tmp_path: Path
) -> None:
    ours = opened("debian-6.1").ftrace
    path = ours.save(tmp_path / "trace.dat", version=version, compression=compression)
    with kernlab.ftrace.open(path) as back:
        assert back.problems == []
        pd.testing.assert_frame_equal(back.all, ours.all)
        pd.testing.assert_frame_equal(back.events("sched_switch"), ours.events("sched_switch"))
        assert back.lines() == ours.lines()
        assert back.format("sched_switch") == ours.format("sched_switch")
        assert (back.about["version"], back.about["compression"]) == (version, compression)
        same_columns = ["instance", "cpu", "entries", "overrun", "decoded", "missing", "exact"]
        pd.testing.assert_frame_equal(back.lost[same_columns], ours.lost[same_columns])


def test_a_file_can_be_saved_as_another_version(known: Known, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(known.bytes(6))
    with kernlab.ftrace.open(tmp_path / "a.dat") as first:
        path = first.save(tmp_path / "b.dat", version=7, compression="zstd")
        with kernlab.ftrace.open(path) as second:
            pd.testing.assert_frame_equal(first.all, second.all)
            assert first.lines("more") == second.lines("more")
            assert second.about["byte_order"] == known.machine.pack("H", 1).hex().replace(
                "0001", "big"
            ).replace("0100", "little")


@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_a_cpu_without_events(version: int, compression: str, tmp_path: Path) -> None:
    machine = Machine()
    (tmp_path / "a.dat").write_bytes(Known(machine, [e for e in known_events(machine) if e.cpu]).bytes(6))
    with kernlab.ftrace.open(tmp_path / "a.dat") as first:
        path = first.save(tmp_path / "b.dat", version=version, compression=compression)
        with kernlab.ftrace.open(path) as second:
            pd.testing.assert_frame_equal(first.all, second.all)
            assert second.problems == []
            assert second.lost.decoded.tolist() == first.lost.decoded.tolist()


@pytest.mark.parametrize(
    ("version", "compression", "what"),
    [(6, "zstd", "never compressed"), (8, "none", "6 or 7"), (7, "lz4", "one of none, zlib, zstd")],
)
def test_what_cannot_be_saved(
    opened: Callable[[str], kernlab.Dump], version: int, compression: str, what: str, tmp_path: Path
) -> None:
    with pytest.raises(kernlab.KernlabError, match=what):
        opened("debian-6.1").ftrace.save(tmp_path / "t", version=version, compression=compression)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", captures("trace-*"), ids=lambda folder: folder.name)
def test_a_capture_s_trace_comes_back(folder: Path, tmp_path: Path) -> None:
    """Events of many kinds, in several instances, some of them read before; and trace-cmd's own lines of them."""
    with kernlab.open(folder / "vmcore.qemu-elf") as dump:
        ours = dump.ftrace
        path = ours.save(tmp_path / "trace.dat")
        with kernlab.ftrace.open(path) as back:
            found, meant = back.all, ours.all
            columns = [name for name in meant.columns if name != "text"]
            pd.testing.assert_frame_equal(found[columns], meant[columns])
            # A file does not say where the kernel's map of pages lies, nor what enumerators are.
            gone = re.compile(r"page=\S+|(?<= )(?:none|rt|be|idle|invalid|0x[0-4])(?=,\d+,\d+ \[)")
            assert [gone.sub("", one) for one in found.text] == [gone.sub("", one) for one in meant.text]
            assert back.lost.decoded.tolist() == ours.lost.decoded.tolist()
            assert back.lost.exact.all()
    if shutil.which("trace-cmd"):
        same(path, letters=True)


# What damage does.


def test_what_is_not_a_trace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(b"KDUMP   " + bytes(100))
    with pytest.raises(kernlab.KernlabError, match="is not a trace"):
        kernlab.ftrace.open(path)
    path.write_bytes(Known(Machine(), []).bytes(6))
    with pytest.raises(kernlab.KernlabError, match=r"a trace of trace-cmd.*kernlab.ftrace.open"):
        kernlab.open(path)
    with pytest.raises(kernlab.KernlabError, match="cannot open the trace"):
        kernlab.ftrace.open(tmp_path / "none")
    path.write_bytes(b"\x17\x08\x44tracing9\0" + bytes(60))
    with pytest.raises(kernlab.KernlabError, match="version '9'"):
        kernlab.ftrace.open(path)
    path.write_bytes(b"\x17\x08\x44tracing6\0\x07\x03" + bytes(60))
    with pytest.raises(kernlab.KernlabError, match="byte order is 7"):
        kernlab.ftrace.open(path)
    path.write_bytes(Known(Machine(), []).bytes(7).replace(b"none\0", b"lzma\0", 1))
    with pytest.raises(kernlab.KernlabError, match="compressed with 'lzma'"):
        kernlab.ftrace.open(path)


def test_a_file_that_was_cut_gives_what_is_whole(tmp_path: Path) -> None:
    machine = Machine()
    known = Known(machine, known_events(machine, 900))
    whole = known.bytes(6)
    path = tmp_path / "trace.dat"
    path.write_bytes(whole[: len(whole) - 4096 * 3 - 100])
    with kernlab.ftrace.open(path) as trace:
        found = trace.all
        assert 0 < len(found) < 900
        times = {event.time for event in known.events}
        assert set(found.timestamp.astype("int64")) < times
        assert any("lie behind the file's end" in problem for problem in found.attrs["problems"])
        assert any("cut off after 3,996 bytes" in problem for problem in found.attrs["problems"])
    # Within the formats: no events, and it says where.
    path.write_bytes(whole[:3000])
    with kernlab.ftrace.open(path) as trace:
        assert len(trace.all) == 0
        assert any("copy the file again" in problem for problem in trace.problems)


@pytest.fixture(scope="module")
def small() -> dict[tuple[int, str], bytes]:
    machine = Machine()
    return {form: Known(machine, known_events(machine, 60)).bytes(*form) for form in FORMS}


def read_all(path: Path) -> int:
    """Everything that a user may ask of a file; how many events."""
    with kernlab.ftrace.open(path) as trace:
        count = len(trace.all)
        assert trace.all.text.isna().sum() <= count
        for table in (trace.counts, trace.lost, trace.instances, trace.about, trace.guests):
            assert table is not None
        for name in trace.counts.event.dropna():
            trace.events(name)
        trace.lines()
        trace.lines(style="trace-cmd")
        assert isinstance(repr(trace), str)
        return count


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_any_cut_is_told_or_refused(
    small: dict[tuple[int, str], bytes], form: tuple[int, str], tmp_path: Path
) -> None:
    whole = small[form]
    path = tmp_path / "trace.dat"
    for end in sorted({0, 1, 9, 12, 15, 20, *range(30, len(whole), max(len(whole) // 40, 1))}):
        path.write_bytes(whole[:end])
        try:
            with kernlab.ftrace.open(path) as trace:
                assert len(trace.all) < 60 or trace.problems == []
                assert trace.problems or len(trace.all) == 60
        except kernlab.KernlabError as error:
            told = str(error)
            assert str(path) in told


@pytest.mark.parametrize("form", FORMS, ids=str)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_ends_in_a_table_or_an_error(
    small: dict[tuple[int, str], bytes], form: tuple[int, str], data: st.DataObject, tmp_path: Path
) -> None:
    raw = bytearray(small[form])
    head = 12_000 if form[1] == "none" else len(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(10, min(head, len(raw)) - 9))
        value = data.draw(
            st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f", b"\x10\0\0\0\0\0\0\0"])
            | st.binary(min_size=1, max_size=8)
        )
        raw[at : at + len(value)] = value
    path = tmp_path / "trace.dat"
    path.write_bytes(raw)
    with contextlib.suppress(kernlab.KernlabError):
        read_all(path)


def test_sizes_that_cannot_be_are_bounded(small: dict[tuple[int, str], bytes], tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    whole = small[7, "zstd"]
    first = int.from_bytes(whole[17 + 2 + 5 + 0 : 17 + 2 + 5], "little")
    assert first == 0
    # Each section's claim of what it unpacks to, made four GiB.
    raw = bytearray(whole)
    for match in re.finditer(re.escape(b"\x28\xb5\x2f\xfd"), whole):
        raw[match.start() - 4 : match.start()] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    with kernlab.ftrace.open(path) as trace:
        assert any("claims to unpack to 4,294,967,295 bytes" in problem for problem in trace.problems)
        assert len(trace.all) == 0


def test_no_byte_belongs_to_two_cpus(tmp_path: Path) -> None:
    machine = Machine()
    known = Known(machine, known_events(machine, 60))
    whole = bytearray(known.bytes(6))
    # The tables of CPUs: each now claims the whole file.
    for match in re.finditer(rb"flyrecord\0", bytes(whole)):
        for cpu in range(2):
            at = match.end() + 16 * cpu
            whole[at : at + 16] = machine.pack("QQ", 0, len(whole))
    path = tmp_path / "trace.dat"
    path.write_bytes(whole)
    with kernlab.ftrace.open(path) as trace:
        assert len(trace._trace.data) <= len(whole)
        assert sum("those of other CPUs, too" in problem for problem in trace.problems) == 3


def test_tables_outlive_the_file(known: Known, tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(known.bytes(7, "zstd"))
    trace = kernlab.ftrace.open(path)
    table = trace.all
    trace.close()
    assert len(table) == 400
    assert table.text.notna().all()
    with pytest.raises(kernlab.KernlabError, match="closed"):
        trace.save(tmp_path / "other.dat")
    assert "400 events of 2 instances" in repr(trace)


def test_events_by_lists_and_globs(known: Known, tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(known.bytes(6))
    with kernlab.ftrace.open(path) as trace:
        both = trace.events(["sched_*", "work:*"], instance="more")
        meant = [e for e in known.events if e.name in ("sched_switch", "work_done") and e.instance == "more"]
        assert both.event.tolist() == [event.name for event in meant]
        assert both.prev_pid.dropna().tolist() == [
            e.values["prev_pid"] for e in meant if e.name == "sched_switch"
        ]
        with pytest.raises(kernlab.KernlabError, match="did you mean sched_switch"):
            trace.events("sched_swich")
        assert "name: work_done" in trace.format("work_done")
        counts = trace.counts.set_index("event").events
        assert counts.to_dict() == pd.Series([e.name for e in known.events]).value_counts().to_dict()

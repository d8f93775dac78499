"""What the previous boot recorded: copied out of a mapped instance once, kept, and written as a trace.dat."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from recorder.fake_machine import fake_machine, instance_files, put

import kernlab
from kernlab.errors import KernlabError
from kernlab.recorder import service
from kernlab.recorder.previous import save
from kernlab.recorder.service.disks import start_disks
from kernlab.recorder.service.instance import set_up
from kernlab.recorder.service.state import State
from kernlab.recorder.trace_dat import write_dat

HEADER_PAGE = (
    "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n"
)
FORMAT = "name: sched_switch\nID: 316\nformat:\n"


def mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str = "ffffffff81000000\t[kernel]\n"
) -> service.Machine:
    """A machine whose instance was mapped at boot, and holds four sub-buffers of the boot before."""
    machine = fake_machine(tmp_path, monkeypatch)
    base = Path(machine.instance)
    instance_files(base)
    put(base / "last_boot_info", info)
    put(base / "trace", "# tracer: nop\n  <idle>-0 [000] 1.0: sched_switch: …\n")
    put(Path(machine.tracefs, "events/header_page"), HEADER_PAGE)
    put(Path(machine.tracefs, "events/header_event"), "# compressed entry header\n")
    put(base / "events/sched/sched_switch/format", FORMAT)
    put(base / "events/ftrace/print/format", "name: print\nID: 5\n")
    for cpu, pages in ((0, 3), (1, 1)):
        put(base / f"per_cpu/cpu{cpu}/trace_pipe_raw", bytes([cpu + 1]) * 4096 * pages)
    return machine


def test_a_trace_dat_of_the_previous_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = mapped(tmp_path, monkeypatch)
    output, kept = tmp_path / "boot.dat", tmp_path / "kept/previous"
    assert "16.0 KiB" in save(output, machine=machine, kept=kept)
    raw = output.read_bytes()
    assert raw.startswith(
        b"\x17\x08\x44tracing6\0" + bytes([0, 8]) + struct.pack("<I", 4096) + b"header_page\0"
    )
    assert FORMAT.encode() in raw
    at = raw.index(b"flyrecord\0") + 10
    (first, length), (second, other) = (struct.unpack_from("<QQ", raw, at + 16 * cpu) for cpu in range(2))
    assert raw[first : first + length] == b"\1" * 4096 * 3
    assert raw[second : second + other] == b"\2" * 4096
    assert first % 4096 == 0

    # The service's copy serves after this boot began to record.
    set_up(State.load(machine), service.Settings(events=("sched",)))
    assert not service.holds_previous_boot(machine)
    assert "16.0 KiB" in save(tmp_path / "again.dat", machine=machine, kept=kept)
    assert (tmp_path / "again.dat").read_bytes() == raw


def test_the_service_keeps_it_before_it_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = mapped(tmp_path, monkeypatch)
    kept = tmp_path / "kept"
    settings = service.Settings(events=("sched",), keep_previous=str(kept))
    set_up(State.load(machine), settings)
    assert (kept / "per_cpu/cpu0/trace_pipe_raw").stat().st_size == 3 * 4096
    assert service.stop(machine) == []
    # Started again in the same boot: what is in the buffer now is this boot's.
    os.truncate(f"{machine.instance}/per_cpu/cpu0/trace_pipe_raw", 0)
    set_up(State.load(machine), settings)
    assert (kept / "per_cpu/cpu0/trace_pipe_raw").stat().st_size == 3 * 4096


def test_a_copy_that_cannot_be_kept_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = mapped(tmp_path, monkeypatch)
    put(tmp_path / "file", "in the way")
    state = State.load(machine)
    state.save(problems=[])
    settings = service.Settings(events=("sched",), keep_previous=str(tmp_path / "file/below"))
    set_up(state, settings)
    start_disks(state, settings)
    assert "could not be kept" in state.known["problems"][0]
    assert Path(machine.instance, "events/sched/sched_switch/enable").read_text() == "1"


PRINT = """name: print
ID: 5
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:unsigned long ip;	offset:8;	size:8;	signed:0;
	field:char buf[];	offset:16;	size:0;	signed:0;

print fmt: "%ps: %s", (void *)REC->ip, REC->buf
"""


def sub_buffer(text: bytes, at_ns: int) -> bytes:
    """One sub-buffer of 4096 bytes with one `print` event, as the ring buffer writes it."""
    data = struct.pack("<HBBiQ", 5, 0, 0, 71, 0xFFFFFFFF81000000) + text + b"\0"
    data += b"\0" * (-len(data) % 4)
    event = struct.pack("<II", 0, len(data) + 4) + data  # type_len 0: the length stands in a word of its own
    return (struct.pack("<QQ", at_ns, len(event)) + event).ljust(4096, b"\0")


def test_kernlab_reads_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = mapped(tmp_path, monkeypatch)
    texts = ["kernlab/1 vmstat 1 nr_free_pages=5", "kernlab/1 tasks 1 9,1,2,3,4,5,a%20b"]
    put(Path(machine.instance, "events/ftrace/print/format"), PRINT)
    for cpu, text in enumerate(texts):
        put(
            Path(machine.instance, f"per_cpu/cpu{cpu}/trace_pipe_raw"),
            sub_buffer(text.encode() + b"\n", 10**9 * (cpu + 1)),
        )
    kept = tmp_path / "kept"
    save(tmp_path / "boot.dat", machine=machine, kept=kept)
    with kernlab.ftrace.open(tmp_path / "boot.dat") as trace:
        events = trace.events("print")
        assert [text.strip() for text in events["buf"]] == texts
        assert events["timestamp"].dt.total_seconds().tolist() == [1.0, 2.0]
        assert events["cpu"].tolist() == [0, 1]
    # The kernel cannot print it any more, once it was copied.
    put(Path(machine.instance, "last_boot_info"), "# Current\n")
    save(tmp_path / "boot.txt", as_text=True, machine=machine, kept=kept)
    written = (tmp_path / "boot.txt").read_text()
    assert all(text in written for text in texts)


def test_text_as_the_kernel_prints_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = mapped(tmp_path, monkeypatch)
    save(tmp_path / "boot.txt", as_text=True, machine=machine, kept=tmp_path / "kept")
    assert (tmp_path / "boot.txt").read_text().startswith("# tracer: nop")
    assert not (tmp_path / "kept").exists()


def test_a_boot_without_it_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    with pytest.raises(KernlabError, match="--boot-map"):
        save(tmp_path / "boot.dat", machine=machine, kept=tmp_path / "kept")
    machine = mapped(tmp_path / "second", monkeypatch, "# Current\n")
    with pytest.raises(KernlabError, match="cold start"):
        save(tmp_path / "boot.dat", machine=machine, kept=tmp_path / "kept")
    with pytest.raises(KernlabError, match="not a copy"):
        write_dat(tmp_path, tmp_path / "boot.dat")

"""What the previous boot recorded: copied out of a mapped instance once, kept, and written as a trace.dat."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from recorder.fake_machine import fake_machine, instance_files, put

from kernlab.errors import KernlabError
from kernlab.recorder import service
from kernlab.recorder.previous import save
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
    service.set_up(service.State.load(machine), service.Settings(events=("sched",)))
    assert not service.holds_previous_boot(machine)
    assert "16.0 KiB" in save(tmp_path / "again.dat", machine=machine, kept=kept)
    assert (tmp_path / "again.dat").read_bytes() == raw


def test_the_service_keeps_it_before_it_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = mapped(tmp_path, monkeypatch)
    kept = tmp_path / "kept"
    settings = service.Settings(events=("sched",), keep_previous=str(kept))
    service.set_up(service.State.load(machine), settings)
    assert (kept / "per_cpu/cpu0/trace_pipe_raw").stat().st_size == 3 * 4096
    assert service.stop(machine) == []
    # Started again in the same boot: what is in the buffer now is this boot's.
    os.truncate(f"{machine.instance}/per_cpu/cpu0/trace_pipe_raw", 0)
    service.set_up(service.State.load(machine), settings)
    assert (kept / "per_cpu/cpu0/trace_pipe_raw").stat().st_size == 3 * 4096


def test_a_copy_that_cannot_be_kept_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = mapped(tmp_path, monkeypatch)
    put(tmp_path / "file", "in the way")
    state = service.State.load(machine)
    state.save(problems=[])
    settings = service.Settings(events=("sched",), keep_previous=str(tmp_path / "file/below"))
    service.set_up(state, settings)
    service._start_disks(state, settings)
    assert "could not be kept" in state.known["problems"][0]
    assert Path(machine.instance, "events/sched/sched_switch/enable").read_text() == "1"


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

"""The service on a machine of plain files: set up, taken over, refused, taken down. A guest shows it on a kernel."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
from pathlib import Path

import pytest
from recorder.fake_machine import fake_machine, instance_files, put

from kernlab.recorder import service
from kernlab.recorder.service import command_line, instance, loop
from kernlab.recorder.service.blktrace import Disk
from kernlab.recorder.service.disks import start_awaited, start_disks
from kernlab.recorder.service.instance import set_up
from kernlab.recorder.service.lock import only_one
from kernlab.recorder.service.mounts import mount
from kernlab.recorder.service.settings import wanted_events
from kernlab.recorder.service.state import State
from kernlab.recorder.service.teardown import take_down


def read(machine: service.Machine, name: str) -> str:
    return Path(machine.instance, name).read_text().strip()


def test_set_up_and_taken_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    state = State.load(machine)
    set_up(state, service.Settings(size_kb=512, events=("sched", "rss", "block")))
    assert read(machine, "buffer_size_kb") == "512"
    assert read(machine, "events/kmem/rss_stat/filter") == "!(size & 0x3f000)"
    assert [read(machine, f"events/{name}/enable") for name in ("sched/sched_switch", "printk/console")] == [
        "1",
        "0",
    ]
    assert "block/block_rq_error" in state.known["missing"]  # this kernel has it not, and that stops nothing
    assert take_down(State.load(machine)) == []
    assert os.listdir(f"{machine.tracefs}/instances") == []
    assert not Path(machine.run, "state.json").exists()


def test_a_killed_recorders_instance_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    set_up(State.load(machine), service.Settings(events=("rss",)))
    set_up(State.load(machine), service.Settings(events=("sched",)))
    assert read(machine, "events/kmem/rss_stat/enable") == "0"
    assert read(machine, "events/sched/sched_switch/enable") == "1"
    assert service.stop(machine) == []
    assert not os.path.exists(machine.instance)


def test_another_ones_instance_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    instance_files(Path(machine.instance))
    with pytest.raises(service.RefusedError, match="--take"):
        set_up(State.load(machine), service.Settings())
    assert read(machine, "events/sched/sched_switch/enable") == "0"
    assert service.stop(machine) == []
    assert os.path.isdir(machine.instance)


def test_an_instance_mapped_at_boot_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    instance_files(Path(machine.instance))
    put(Path(machine.instance, "last_boot_info"), "# Current\n")
    put(Path(machine.instance, "tracing_on"), "0\n")
    set_up(State.load(machine), service.Settings(events=("rss",)))
    assert read(machine, "tracing_on") == "1"
    assert service.stop(machine) == []
    assert read(machine, "tracing_on") == "0"
    assert read(machine, "events/kmem/rss_stat/filter") == "0"


@pytest.mark.parametrize("shared", [True, False])
def test_the_main_buffer_keeps_the_size_of_its_first_use(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6.1 and 5.10 have one switch for all instances; the main buffer was left with 7 KiB for whoever traced next."""
    machine = fake_machine(tmp_path, monkeypatch)
    main = Path(machine.tracefs, "buffer_size_kb")
    put(main, "7 (expanded: 1408)\n")
    really = instance.write_text

    def write(path: str, text: str) -> None:
        really(path, text)
        if shared and path == f"{machine.instance}/buffer_size_kb":
            put(main, "7\n")

    monkeypatch.setattr(instance, "write_text", write)
    set_up(State.load(machine), service.Settings())
    assert main.read_text().strip() == ("1408" if shared else "7 (expanded: 1408)")


def test_state_of_another_boot_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    State.load(machine).save(pid=1, disks=["vda"])
    put(Path(machine.proc, "sys/kernel/random/boot_id"), "9-9-9\n")
    assert State.load(machine).known == {}
    put(Path(machine.run, "state.json"), "[broken")
    assert State.load(machine).known == {}


def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    with only_one(machine):
        State.load(machine).save(pid=4711)
        assert service.is_running(machine)
        with pytest.raises(service.RefusedError, match="4711"):
            service.run(machine, service.Settings())
    assert not service.is_running(machine)


def test_lockdown_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    put(tmp_path / "security/lockdown", "none integrity [confidentiality]\n")

    def refuse(path: str, text: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(instance, "write_text", refuse)
    with pytest.raises(service.RefusedError, match="locked down for confidentiality"):
        set_up(State.load(machine), service.Settings())


class FakeMounts:
    """mount() and umount2(): a refused one, or files that a mount brings; what was asked is kept."""

    def __init__(self, refuses: int = 0):
        self.refuses, self.asked = refuses, []

    def mount(self, kind: bytes, path: bytes, *rest: object) -> int:
        self.asked.append(("mount", path.decode()))
        return -1 if self.refuses else 0

    def umount2(self, path: bytes, flags: int) -> int:
        self.asked.append(("unmount", path.decode()))
        return 0


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> FakeMounts:
    fake = FakeMounts()
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno=False: fake)
    monkeypatch.setattr(ctypes, "get_errno", lambda: fake.refuses)
    return fake


def test_what_was_mounted_is_unmounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: FakeMounts
) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    state = State.load(machine)
    mount(state, "debugfs", machine.debugfs)
    assert take_down(State.load(machine)) == []
    assert mounts.asked == [("mount", machine.debugfs), ("unmount", machine.debugfs)]


@pytest.mark.parametrize("seen", [True, False])
def test_what_another_has_mounted_stays(
    seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: FakeMounts
) -> None:
    """systemd's tracefs went with a refused recorder. It may come between the look and the mount, too."""
    machine = fake_machine(tmp_path, monkeypatch)
    os.rmdir(f"{machine.tracefs}/instances")
    monkeypatch.setattr(os.path, "ismount", lambda path: seen)
    mounts.refuses = errno.EBUSY
    state = State.load(machine)
    with pytest.raises(service.RefusedError, match="tracefs"):
        set_up(state, service.Settings())
    take_down(State.load(machine))
    assert mounts.asked == ([] if seen else [("mount", machine.tracefs)])


def test_nothing_is_mounted_where_the_kernel_is_locked_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: FakeMounts
) -> None:
    """Its tracefs is empty, and 6.12 does not outlive that one's last unmount."""
    machine = fake_machine(tmp_path, monkeypatch)
    os.rmdir(f"{machine.tracefs}/instances")
    put(tmp_path / "security/lockdown", "none integrity [confidentiality]\n")
    with pytest.raises(service.RefusedError, match="locked down for confidentiality"):
        set_up(State.load(machine), service.Settings())
    assert mounts.asked == []


@pytest.mark.parametrize(
    ("ends", "code"),
    [([], 0), (["It is busy."], 8), (service.RefusedError("no"), 2), (OSError(errno.ENOSPC, "full"), 1)],
)
def test_exit_statuses(
    ends: list[str] | Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """systemd starts a broken one again, and neither a refused one nor one that was stopped."""

    def run(*arguments: object) -> list[str]:
        if isinstance(ends, Exception):
            raise ends
        return ends

    monkeypatch.setattr(command_line, "run", run)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert command_line.main(["run"]) == code
    assert bool(capsys.readouterr().err) == bool(code)


def test_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    set_up(State.load(machine), service.Settings(events=("sched",)))
    told = service.status(machine)
    assert told["running"] is False
    assert told["cpus"]["1"] == {
        "entries": 120,
        "overrun": 30,
        "bytes": 4096,
        "lost": 2,
        "size_bytes": 256 << 10,
        "reach_seconds": 12.25,
    }


@pytest.mark.parametrize("event", ["nonsense", "sched/../../x", "a b/c"])
def test_what_is_not_an_event_is_refused(event: str) -> None:
    with pytest.raises(service.RefusedError, match="neither"):
        wanted_events((event,))


class FakeDevice:
    """ioctls on a disk: SETUP makes the channels' files, as many as there are CPUs."""

    def __init__(self, machine: service.Machine, cpus: int = 2):
        self.machine, self.cpus, self.asked = machine, cpus, []

    def ioctl(self, fd: int, command: int, given: bytearray | int = 0) -> int:
        self.asked.append(command)
        if isinstance(given, bytearray):
            given[:4] = b"sda\0"
            for cpu in range(self.cpus):
                put(Path(self.machine.debugfs, f"block/sda/trace{cpu}"), "")
            put(Path(self.machine.debugfs, "block/sda/dropped"), "7\n")
        return 0


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    machine = fake_machine(tmp_path, monkeypatch)
    put(Path(machine.dev, "sda"), "")
    monkeypatch.setattr(fcntl, "ioctl", FakeDevice(machine).ioctl)
    return Disk(machine, "/dev/sda")


def test_relay_channels_are_read_only_as_far_as_room_is_needed(disk: Disk) -> None:
    disk.start()
    size = disk.BUFFER * disk.BUFFERS
    path = Path(disk.folder, "trace0")
    put(path, bytes(size // 4))
    disk.refresh()
    assert disk.read[str(path)] == 0  # there is room: the oldest stays
    for written in range(size // 2, 4 * size, size // 16):
        put(path, bytes(written))
        disk.refresh()
        unread = written - disk.read[str(path)]
        assert unread <= size - 4 * disk.BUFFER  # never so full that the kernel refuses
        assert unread >= min(written, size // 2 - disk.BUFFER)  # the newest stay
    assert disk.figures()["dropped"] == 7
    disk.stop()


def test_where_relay_may_not_be_read_the_trace_begins_anew(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lockdown=integrity closes files of debugfs that can be mapped; their sizes are told."""
    really = os.open

    def refuse(path: str, flags: int, *rest: int) -> int:
        if "/trace" in path:
            raise PermissionError(1, "Operation not permitted")
        return really(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    disk.start()
    disk.refresh()
    assert disk.figures()["restarts"] == 0
    put_size(Path(disk.folder, "trace1"), disk.BUFFER * disk.BUFFERS)
    disk.refresh()
    assert disk.figures() == {"kept_by": "beginning anew", "written_bytes": 0, "dropped": 7, "restarts": 1}


def put_size(path: Path, size: int) -> None:
    with path.open("r+b") as stream:
        stream.truncate(size)


def test_a_disk_that_is_gone_ends_its_trace_and_nothing_else(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.start()
    state = State.load(disk.machine)
    state.save(problems=[])
    for path in disk.read:
        os.unlink(path)
    os.unlink(f"{disk.machine.dev}/sda")
    disks = [disk]
    monkeypatch.setattr(signal, "sigtimedwait", lambda signals, seconds: None)
    assert loop._pause(state, disks, 0.0) is False
    assert disks == []
    assert state.known["problems"] == ["sda is gone; its trace ended."]


def test_a_disk_that_comes_later_is_traced_from_then_on(
    disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    """At boot the recorder is there before most drivers have found their disks."""
    there = Path(disk.machine.dev, "sda")
    there.unlink()
    put(Path(disk.machine.debugfs, "block/x"), "")  # debugfs is mounted
    settings = service.Settings(disks=("sda", "/dev/sdb"))
    state = State.load(disk.machine)
    state.save(problems=[])
    disks = start_disks(state, settings)
    start_awaited(state, settings, disks)
    assert disks == []
    assert [sentence.split()[0] for sentence in state.known["problems"]] == ["sda", "sdb"]
    assert "sdb is not there" in capsys.readouterr().err
    put(there, "")
    for _ in range(2):
        start_awaited(state, settings, disks)
        assert [each.name for each in disks] == state.known["disks"] == ["sda"]
    assert state.known["problems"] == [Disk(disk.machine, "sdb").awaited]

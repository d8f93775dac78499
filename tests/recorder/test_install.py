"""Installing into an image's root, the unit that lies in git, and the kernel's parameters for a mapped buffer."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from recorder.fake_machine import fake_machine, put

from kernlab.commands.main import main
from kernlab.errors import KernlabError
from kernlab.recorder import boot_map, service
from kernlab.recorder.install import (
    NAME,
    OLD_PROGRAM,
    PROGRAM,
    UNIT,
    _refuse_beside_another,
    install,
    uninstall,
    unit,
)
from kernlab.recorder.program import archive
from kernlab.recorder.service import command_line, systemd
from kernlab.recorder.service.instance import set_up
from kernlab.recorder.service.lock import only_one
from kernlab.recorder.service.state import State
from kernlab.recorder.start import words_of

EXTENSION = Path(__file__).parents[2] / "extensions/recorder"


def test_the_unit_in_git_is_what_install_writes() -> None:
    assert (EXTENSION / NAME).read_text() == unit([])


def test_an_images_root(tmp_path: Path) -> None:
    program, written = install(["--disk=sda"], tmp_path)
    assert program == tmp_path / PROGRAM.relative_to("/")
    assert written == tmp_path / UNIT.relative_to("/")
    assert program.read_bytes() == archive()
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert "status" in done.stdout
    links = list((tmp_path / "etc/systemd/system/multi-user.target.wants").iterdir())
    assert [link.readlink() for link in links] == [UNIT]
    removed, left = uninstall(tmp_path)
    assert (len(removed), left) == (3, [])
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []
    assert not program.parent.exists()
    assert uninstall(tmp_path) == ([], [])


def test_uninstall_takes_away_what_earlier_versions_wrote(tmp_path: Path) -> None:
    old = tmp_path / OLD_PROGRAM.relative_to("/")
    put(old, "#!/usr/bin/env python3\n")
    assert uninstall(tmp_path) == ([old], [])
    assert not old.parent.exists()


#: systemd 252 and 257 were seen to hand this on as it is; within any quotes they read escapes as C does.
QUOTES = 'sched/sched_wakeup if comm == "it\'s \\d" && pid != 0'


def test_options_reach_the_service_through_the_unit() -> None:
    settings = service.Settings(
        interval_ms=500,
        size_kb=1024,
        events=("sched", "kmem/rss_stat if !(size & 0x3f000) || member == $x % 2", QUOTES),
        disks=("sda", "nvme0n1"),
        tasks=9,
        share=0.5,
        take=True,
        keep_previous="/var/lib/a b",
    )
    (line,) = (line for line in unit(words_of(settings)).splitlines() if line.startswith("ExecStart="))
    assert r"""comm == \"it's \\d\" &&""" in line
    words = shlex.split(line.removeprefix("ExecStart=").replace("%%", "%").replace("$$", "$"))
    parser = argparse.ArgumentParser()
    service.arguments_of(parser)
    assert service.settings_of(parser.parse_args(words[4:])) == settings
    assert words_of(service.Settings()) == []


def test_systemd_mounts_before_it_starts_and_starts_again_what_broke_only() -> None:
    lines = dict(line.split("=", 1) for line in unit([]).splitlines() if "=" in line and line[0] != "#")
    assert {"sys-kernel-tracing.mount", "sys-kernel-debug.mount"} <= set(lines["After"].split())
    assert lines["Restart"] == "on-failure"
    kept = {int(status) for status in lines["RestartPreventExitStatus"].split()}
    assert kept == {service.REFUSED, service.LEFT}
    assert systemd.BROKE not in kept


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A live systemd, as far as its one command: it notes what it is asked, and prints what `answer` beside it has."""
    asked = tmp_path / "bin/asked"
    program = asked.with_name("systemctl")
    put(program, f'#!/bin/sh\necho "$@" >> {asked}\ncat {asked.with_name("answer")}\n')
    program.chmod(0o755)
    put(asked.with_name("answer"), "ActiveState=inactive\n")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    for module in (service, systemd):
        monkeypatch.setattr(module, "has_systemd", lambda: True)
    return asked


def test_stop_is_systemds_first(systemctl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would start one that was killed again, two seconds after it was taken down."""
    machine = fake_machine(tmp_path, monkeypatch)
    for module in (service, command_line):
        monkeypatch.setattr(module, "Machine", lambda: machine)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for verb in ("stop", "status"):
        assert command_line.main([verb]) == 0
    assert main(["recorder", "stop"]) == 0
    assert systemctl.read_text().splitlines() == [f"stop {NAME}"] * 2


@pytest.mark.parametrize(("state", "refused"), [("inactive", True), ("failed", True), ("active", False)])
def test_systemds_own_is_not_started_beside_another(
    state: str, refused: bool, systemctl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    monkeypatch.setattr(service, "Machine", lambda: machine)
    _refuse_beside_another()  # none runs
    put(systemctl.with_name("answer"), f"ActiveState={state}\n")
    with only_one(machine), pytest.raises(KernlabError) if refused else nullcontext():
        _refuse_beside_another()


def test_this_machine(systemctl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    monkeypatch.setattr(service, "Machine", lambda: machine)
    for name in ("PROGRAM", "OLD_PROGRAM", "UNIT", "WANTED"):
        monkeypatch.setattr(f"kernlab.recorder.install.{name}", tmp_path / "root" / name)
    install([])
    install(["--tasks=9"], now=True)  # one that runs would keep the options of before
    set_up(State.load(machine), service.Settings())  # it was killed, and waits to be started again
    removed, left = uninstall()
    assert (len(removed), left) == (2, [])
    assert not os.path.exists(machine.instance)
    assert systemctl.read_text().splitlines() == [
        "daemon-reload",
        f"enable {NAME}",
        "daemon-reload",
        f"enable {NAME}",
        f"restart {NAME}",
        f"disable --now {NAME}",
        "daemon-reload",
        f"reset-failed {NAME}",
    ]
    with only_one(machine), pytest.raises(KernlabError, match="runs already"):
        install([], now=True)


def test_parameters_of_the_kernel(tmp_path: Path) -> None:
    assert boot_map.parameters(16) == "reserve_mem=16M:4096:kernlab trace_instance=kernlab^traceoff@kernlab"
    assert boot_map.default_mib(2) == 8
    assert boot_map.default_mib(500) == 256
    symbols = tmp_path / "kallsyms"
    symbols.write_text("0 T reserve_mem_find_by_name\n0 T __ring_buffer_alloc_range\n")
    assert boot_map.supported(symbols) is True
    symbols.write_text("0 T schedule\n")
    assert boot_map.supported(symbols) is False
    assert boot_map.supported(tmp_path / "none") is None


def test_grub_is_told_only_where_it_listens(tmp_path: Path) -> None:
    with pytest.raises(KernlabError, match="reserve_mem=8M"):
        boot_map.write_grub(8, tmp_path / "grub.d/kernlab.cfg")
    (tmp_path / "grub.d").mkdir()
    path = boot_map.write_grub(8, tmp_path / "grub.d/kernlab.cfg")
    shell = f'GRUB_CMDLINE_LINUX="quiet"; . {shlex.quote(str(path))}; echo "$GRUB_CMDLINE_LINUX"'
    told = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert told == f"quiet {boot_map.parameters(8)}\n"

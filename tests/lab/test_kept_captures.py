"""Captures that are kept: one is made again only when something that it is made of changed. And what the lab tells its
user before and after a run. No guest runs here.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import kernlab.commands.main
from kernlab.commands import lab as lab_command
from kernlab.lab import kept_captures
from kernlab.lab.apt_root import Package
from kernlab.lab.capture_options import Capture, Options
from kernlab.lab.fetch_plan import Fetch, tell_plan
from kernlab.lab.guest_files import GUEST
from kernlab.lab.kept_captures import kept_capture, read_capture
from kernlab.lab.scenarios import SCENARIOS
from kernlab.lab.steps import LabError, Progress

QUIET = Progress(None)


class Lab:
    """What a capture is made of here, and how often one was made."""

    kernel, qemu, makedumpfile = "6.1.192-2", "10.0", "1.7.8"

    def __init__(self) -> None:
        self.made: list[str] = []

    def find_package(self, kernel, flavour, cache, progress, machine):
        return None, Package(f"linux-image-{kernel}-{flavour}-amd64", self.kernel, "bookworm")

    def kernel_parts(self, apt, package):
        return [package]

    def find_qemu(self, cache, progress, machine):
        return SimpleNamespace(version=self.qemu, accelerator="tcg")

    def find_userland(self, cache, progress, machine, own):
        return SimpleNamespace(makedumpfile=self.makedumpfile)

    def run_scenario(self, name, options, folder, *, cache, progress):
        self.made.append(folder.name)
        folder.mkdir(parents=True)
        (folder / "vmcore").write_bytes(b"a dump")
        description = json.dumps({"kernel": {"release": "6.1.0"}, "scenario": name}).encode()
        with tarfile.open(folder / "truth.tar.xz", "w:xz") as archive:
            member = tarfile.TarInfo("out/truth.json")
            member.size = len(description)
            archive.addfile(member, io.BytesIO(description))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab()
    for name in ("find_package", "kernel_parts", "find_qemu", "find_userland", "run_scenario"):
        monkeypatch.setattr(kept_captures, name, getattr(made, name))
    return made


def test_a_capture_of_a_kernel_that_was_built_here_is_made_again_when_it_was_built_again(
    lab: Lab, tmp_path: Path
) -> None:
    image, release = (
        tmp_path / "tree" / name for name in ("arch/x86/boot/bzImage", "include/config/kernel.release")
    )
    for path, content in ((image, b"an image"), (release, b"6.12.117-kernlab\n")):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    options = Options(kernel=str(tmp_path / "tree"))
    first = kept_capture("panic", options, folder=tmp_path / "kept", cache=tmp_path, progress=QUIET)
    assert kept_capture("panic", options, folder=tmp_path / "kept", cache=tmp_path, progress=QUIET) == first
    image.write_bytes(b"another image")
    again = kept_capture("panic", options, folder=tmp_path / "kept", cache=tmp_path, progress=QUIET)
    assert len(lab.made) == 2
    assert [*(tmp_path / "kept").iterdir()] == [again.folder]


def test_what_is_there_is_not_made_again(lab: Lab, tmp_path: Path) -> None:
    options = Options(kernel="6.1", la57=False)
    first = kept_capture("panic", options, folder=tmp_path, progress=QUIET)
    assert kept_capture("panic", options, folder=tmp_path, progress=QUIET) == first
    assert (first.kernel_release, [dump.name for dump in first.dumps]) == ("6.1.0", ["vmcore"])
    # Another thing that is asked for lies beside it.
    for other in (replace(options, la57=True), replace(options, formats=("elf",)), replace(options, cpus=4)):
        kept_capture("panic", other, folder=tmp_path, progress=QUIET)
    kept_capture("trace", options, folder=tmp_path, progress=QUIET)
    assert len(lab.made) == len(set(lab.made)) == len(list(tmp_path.iterdir())) == 5
    assert first.folder.is_dir()


@pytest.mark.parametrize("changed", ["kernel", "qemu", "makedumpfile", "script", "program", "memory_mib"])
def test_what_changed_takes_the_place_of_the_older(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    guest = tmp_path / "guest"
    shutil.copytree(GUEST, guest)
    monkeypatch.setattr(kept_captures, "GUEST", guest)
    monkeypatch.setattr("kernlab.lab.scenarios._SCRIPTS", guest / "scenarios")
    folder = tmp_path / "captures"
    options = Options(kernel="6.1")
    first = kept_capture("panic", options, folder=folder, progress=QUIET)
    other = kept_capture("hung", options, folder=folder, progress=QUIET)
    # What another story is told by changes nothing here.
    (guest / "scenarios/oom.sh").write_text("die() { :; }")
    kept_capture("panic", options, folder=folder, progress=QUIET)
    assert len(lab.made) == 2

    if changed == "script":
        (guest / "scenarios/panic.sh").write_text("die() { :; }")
    elif changed == "program":
        (guest / "truth.c").write_text("int main(void) { return 0; }")
    elif changed == "memory_mib":
        monkeypatch.setitem(SCENARIOS, "panic", replace(SCENARIOS["panic"], memory_mib=1024))
    else:
        setattr(lab, changed, "newer")
    second = kept_capture("panic", options, folder=folder, progress=QUIET)
    assert second.folder != first.folder
    assert sorted(path.name for path in folder.iterdir()) == sorted([second.folder.name, other.folder.name])


def test_a_story_is_made_of_its_own_driver(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of one story changes nothing of another's captures."""
    guest = tmp_path / "guest"
    shutil.copytree(GUEST, guest)
    monkeypatch.setattr(kept_captures, "GUEST", guest)
    options, folder = Options(kernel="6.12"), tmp_path / "captures"
    for name in ("deadlock", "hung"):
        kept_capture(name, options, folder=folder, progress=QUIET)
    (guest / "modules/kernlab_shop/kernlab_shop.c").write_text("/* another */")
    for name in ("deadlock", "hung"):
        kept_capture(name, options, folder=folder, progress=QUIET)
    assert [name.split("-")[0] for name in lab.made] == ["deadlock", "hung", "deadlock"]


def test_a_story_is_made_of_its_own_programs(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = tmp_path / "guest"
    shutil.copytree(GUEST, guest)
    monkeypatch.setattr(kept_captures, "GUEST", guest)
    options, folder = Options(kernel="6.12"), tmp_path / "captures"
    for name in ("probes", "hung"):
        kept_capture(name, options, folder=folder, progress=QUIET)
    (guest / "programs/watcher.c").write_text("/* another */")
    for name in ("probes", "hung"):
        kept_capture(name, options, folder=folder, progress=QUIET)
    assert [name.split("-")[0] for name in lab.made] == ["probes", "hung", "probes"]


def test_every_program_is_of_a_story_or_a_benchmark() -> None:
    # loops: benchmarks/recorder.py, which makes a story of its own.
    named = {"loops"} | {program for scenario in SCENARIOS.values() for program in scenario.programs}
    assert {path.name for path in (GUEST / "programs").iterdir()} == {f"{name}.c" for name in named}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_story_loads_the_driver_that_its_guest_has(name: str) -> None:
    scenario = SCENARIOS[name]
    loaded = set(re.findall(r"insmod /modules/(kernlab_\w+)\.ko", scenario.script))
    assert loaded <= {scenario.driver}
    sources = {path.name for path in (GUEST / "modules" / scenario.driver).iterdir()}
    assert sources == {"Kbuild", f"{scenario.driver}.c"}


def test_a_folder_that_is_no_capture(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is not a finished capture"):
        read_capture(tmp_path)
    (tmp_path / "truth.tar.xz").write_bytes(b"cut short")
    with pytest.raises(LabError, match="is not a finished capture"):
        read_capture(tmp_path)


def test_no_guest_writes_back_all_its_disks() -> None:
    """A story's disk may never answer: `sync` without a file, and what ends a machine without -n, wait for it."""
    for path in GUEST.rglob("*.sh"):
        lines = path.read_text().splitlines()
        text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
        for command in re.findall(r"(?:^|[;&|{]|\bthen|\bdo)\s*(sync\b[^;&|}\n]*)", text, re.MULTILINE):
            assert re.match(r"sync -f /", command), f"{path.name}: {command}"
        for command in re.findall(r"\b(?:poweroff|reboot|halt)\b[^;&|}\n]*", text):
            assert " -n" in command, f"{path.name}: {command}"


def test_what_is_fetched_is_told_and_must_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Said(Progress):
        def __call__(self, text: str) -> None:
            said.append(text)

    plan = [Fetch("kernel", 1, 70_500_000), Fetch("compiler and headers", 59, 72_700_000)]
    tell_plan(plan, tmp_path, Said(None))
    assert said == [
        "To fetch: 143 MB in 60 packages (kernel 70, compiler and headers 73); unpacked and kept they take about "
        f"0.6 GB of {tmp_path}"
    ]
    tell_plan([], tmp_path, Said(None))
    assert len(said) == 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 500_000_000))
    with pytest.raises(LabError, match=r"572\.8 MB are needed in .* 500\.0 MB are free.*--cache"):
        tell_plan(plan, tmp_path, Said(None))


@pytest.mark.parametrize("pieces", [["vmcore"], ["vmcore.split.0", "vmcore.split.1"]])
def test_a_run_ends_with_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pieces: list[str]
) -> None:
    folder = tmp_path / "my capture"
    dumps = tuple(folder / name for name in pieces)
    capture = Capture(folder, dumps, "6.1.0", {})
    monkeypatch.setattr("kernlab.lab.capture.run_scenario", lambda *words, **named: capture)
    assert kernlab.commands.main.main(["lab", "run", "panic", "-o", str(folder)]) == 0
    said = capsys.readouterr()
    # Standard output is for programs: the dumps, one a line.
    assert said.out.splitlines() == [str(dump) for dump in dumps]
    quoted = " ".join(f"'{dump}'" for dump in dumps)
    for words in (f"kernlab info {quoted} ", "kernlab.open(", "truth.tar.xz"):
        assert words in said.err
    # Only `info` and `open` take the pieces of a split dump.
    assert (
        (f"kernlab table {quoted} tasks" in said.err)
        == (f"%vmcore {quoted} " in said.err)
        == (len(dumps) == 1)
    )
    assert kernlab.commands.main.main(["lab", "run", "panic", "-q", "-o", str(folder)]) == 0
    assert capsys.readouterr().err == ""
    assert lab_command.what_next(capture).startswith("\nWhat next:\n")

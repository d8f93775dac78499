"""One real capture: a guest of Debian 12's kernel boots, dies, is saved, and its dumps agree with what it said; and
what the lab does when a guest hangs, a disk is full, a package is missing, or somebody ends it.

Needs QEMU and apt-get. Packages come from this machine's own Debian mirror into the lab's cache (the first time
165 MB, under a minute on a near mirror).
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from support.truth import Truth

import kernlab
from kernlab.lab import capture as lab_module
from kernlab.lab.apt_root import AptRoot, Package, cache_folder
from kernlab.lab.capture import run_scenario
from kernlab.lab.capture_options import Options
from kernlab.lab.guest_files import find_userland
from kernlab.lab.guest_kernel import find_kernel
from kernlab.lab.kept_captures import kept_capture
from kernlab.lab.qemu import find_qemu
from kernlab.lab.scenarios import SCENARIOS
from kernlab.lab.steps import LabError, Progress

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
QUIET = Progress(None)
NOWHERE = "http://127.0.0.1:9/debian"


@pytest.fixture(scope="module")
def cache() -> Path:
    """The lab's cache with all that a guest of 6.1 needs; skips where there is no QEMU, no apt or no mirror."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the lab's guests are x86-64 and run on Linux")
    for program in ("qemu-system-x86_64", "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.skip(f"no real capture: {program} is not here (scripts/install-system-packages.sh lab)")
    folder = cache_folder()
    try:
        find_qemu(folder, QUIET)
        find_userland(folder, QUIET)
        kernel = find_kernel("6.1", "cloud", folder, QUIET)
        for name in ("truth", "actors", "kernlab_story.ko"):
            kernel.build(name)
    except LabError as error:
        if "apt for Debian" not in str(error) and "no Debian mirror" not in str(error).replace("No", "no"):
            raise
        pytest.skip(
            f"no real capture, the guest's packages cannot be fetched: {' '.join(str(error).split())}"
        )
    return folder


def qemus(folder: Path) -> list[str]:
    """The processes that name a folder in their command line, this one apart."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if int(process.name) != os.getpid() and os.fsencode(folder) in words:
            found.append(f"{process.name}: {words[:200]!r}")
    return found


def wait_for(done: Callable[[], bool]) -> None:
    """At most ten seconds."""
    deadline = time.monotonic() + 10
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)


def matrix():
    """scripts/lab_matrix.py, which counts the facts of the truth that a dump holds."""
    spec = importlib.util.spec_from_file_location("lab_matrix", ROOT / "scripts" / "lab_matrix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_capture_agrees_with_its_truth(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "panic"
    options = Options(kernel="6.1", formats=("kdump", "elf", "split"), la57=False)
    capture = run_scenario("panic", options, folder, cache=cache, progress=QUIET)
    assert qemus(tmp_path) == []
    # Nothing but the finished folder, and in it everything.
    assert [path.name for path in tmp_path.iterdir()] == ["panic"]
    names = {path.name for path in folder.iterdir() if path.is_file()}
    pieces = {"vmcore.split.0", "vmcore.split.1", "vmcore.split.2"}
    assert names == {"vmcore", "vmcore.elf", *pieces, "truth.tar.xz", "vmcore-dmesg.txt", "console.log"}
    assert {path.name for path in capture.dumps} == {"vmcore", "vmcore.elf", *pieces}

    truth = Truth(folder / "truth.tar.xz")
    with kernlab.open(folder / "vmcore") as dump:
        assert dump.info["release"] == truth.release() == capture.kernel_release
        assert dump.info["panic_message"] == "Kernel panic - not syncing: sysrq triggered crash"
        assert dump.info["cpus"] == 2
        assert len(truth.maps()) > 50
    problems: list[str] = []
    rows = matrix().compare(folder, list(capture.dumps), problems)
    assert [row["file"] for row in rows] == ["vmcore", "vmcore.elf", "vmcore.split"]
    assert problems == []
    for row in rows:
        assert row["absent"] == "0"
        names = ("tasks", "maps", "slabs", "modules", "symbols", "log", "stacks")
        assert {row[name] for name in names} == {"100 %"}


def test_the_matrix_has_every_kernel_with_four_and_five_levels() -> None:
    script = matrix()
    assert {"5.10", "6.1", "6.12", "sid", "backports"} <= set(script.MATRIX)
    for machine in ("amd64", "arm64"):
        rows = [row for row in script.MATRIX.values() if row.machine == machine]
        assert {"cloud", "rt"} <= {row.flavour for row in rows}
        assert {"6.1", "6.12", "sid", "backports"} <= {row.series for row in rows}
    for kernel, row in script.MATRIX.items():
        tried = {(name, options.la57): options for name, options in script.captures(kernel)}
        assert {options.machine for options in tried.values()} == {row.machine}
        both = {(name, la57) for name in ("panic", "trace") for la57 in {False, row.larger}}
        once = {"cgroups", "deadlock", "waits", "lockup", "irq", "probes"}
        deaths = {name for name, _ in script.DEATHS}
        assert {*both, *((name, False) for name in once)} <= set(tried)
        assert set(tried) <= {*both, *((name, False) for name in once | deaths)}
        assert set(tried["panic", False].formats) == {"zlib", "lzo", "elf", "flattened", "split"}
        assert set(tried["trace", False].qemu_formats) == {"elf", "kdump-zlib", "kdump-raw-zlib"}
        assert all(
            options.formats and options.qemu_formats
            for (name, _), options in tried.items()
            if name == "trace"
        )


@pytest.mark.parametrize("machine", ["amd64", "arm64"])
def test_every_way_to_die_is_tried_on_two_kernels_of_a_machine(machine: str) -> None:
    script = matrix()
    tried = [
        (name, options.settings)
        for kernel, row in script.MATRIX.items()
        if row.machine == machine
        for name, options in script.captures(kernel)
    ]
    for death in script.DEATHS:
        assert tried.count(death) == 2, death
        known = SCENARIOS[death[0]].settings
        assert set(death[1]) <= set(known), death


def test_memory_cgroups_agree_with_their_truth(cache: Path) -> None:
    """The story of cgroups: each one's limit and events as its own files told them, and that they did happen."""
    options = Options(kernel="6.1", flavour="cloud", la57=False)  # as the matrix has it
    capture = kept_capture("cgroups", options, cache=cache, progress=QUIET)
    truth = Truth(capture.folder / "truth.tar.xz")

    def told(path: str, file: str) -> str:
        return truth.text(f"cgroup/{path}/{file}").strip()

    def events(path: str) -> dict[str, int]:
        pairs = (line.split() for line in told(path, "memory.events").splitlines())
        return {name: int(count) for name, count in pairs}

    assert events("shop/report")["oom_kill"] == 1
    assert events("shop/import")["max"] > 0
    assert events("shop/archive")["high"] > 0
    assert events("shop")["oom_kill"] == 1  # of the cgroup below it
    assert "cgroup/shop/gone/memory.events" not in truth.files
    groups = {f"shop/{name}" for name in ("till", "import", "archive", "report")} | {"shop"}
    assert {
        name.split("/", 1)[1].rpartition("/")[0] for name in truth.files if name.endswith("/memory.events")
    } == groups
    with kernlab.open(capture.dumps[0]) as dump:
        ours = dump.memory_by_cgroup.set_index("path")
        for path in groups:
            row = ours.loc[f"/{path}"]
            assert {name: row[name] for name in events(path) if name in row} == {
                name: count for name, count in events(path).items() if name in row
            }
            limit = told(path, "memory.max")
            assert (pd.isna(row["limit_bytes"]) and limit == "max") or row["limit_bytes"] == int(limit)
            assert row["usage_bytes"] == int(told(path, "memory.current"))
        # Removed, and kept by what was charged to it.
        gone = dump.memory_by_cgroup.query("dying")
        assert len(gone) == 1
        assert gone["file_bytes"].item() == 2 << 20
        assert {"survivor"} == set(comms_in(truth, "shop/report"))


@pytest.mark.parametrize(
    ("name", "settings", "message", "running"),
    [
        ("irq", {"WHERE": "nmi"}, "Kernel panic - not syncing: NMI: Not continuing", {"billing": 0}),
        (
            "lockup",
            {},
            "Kernel panic - not syncing: softlockup: hung tasks",
            {"till": 1, "receipt-1": 2, "receipt-2": 3},
        ),
    ],
)
def test_a_kernel_dies_where_its_story_says(
    cache: Path, name: str, settings: dict[str, str | int], message: str, running: dict[str, int]
) -> None:
    """Of what it was to die, with those on their CPUs who were to be there."""
    options = Options(kernel="6.1", flavour="cloud", la57=False, settings=settings)
    capture = kept_capture(name, options, cache=cache, progress=QUIET)
    story = Truth(capture.folder / "truth.tar.xz").text("story.txt")
    with kernlab.open(capture.dumps[0]) as dump:
        assert dump.info["panic_message"] == message
        tasks = dump.tasks.set_index("comm")
        for comm, cpu in running.items():
            assert f"{comm} ({tasks.loc[comm, 'pid']})" in story
            assert tasks.loc[comm, "cpu"] == cpu
            assert tasks.loc[comm, "on_cpu"]


def comms_in(truth: Truth, path: str) -> list[str]:
    """The names of the processes that a cgroup's own list has."""
    return [truth.text(f"p/{pid}/comm").strip() for pid in truth.text(f"cgroup/{path}/cgroup.procs").split()]


class Hook(Progress):
    """Does something when the lab says that a step begins."""

    def __init__(self, word: str, act) -> None:
        super().__init__(None)
        self.word, self.act, self.said = word, act, []

    def __call__(self, text: str) -> None:
        self.said.append(text)
        if text.startswith(self.word):
            self.act()


def test_a_guest_that_hangs_is_ended(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_module, "_BOOT_SECONDS", -25)  # and half a minute, which each step has at least
    monkeypatch.setattr(lab_module, "_SLOW", {"tcg": 1.0, "kvm": 1.0})
    folder = tmp_path / "hangs"
    # Reads the console, for ever; and writes to it as soon as it is loaded.
    options = Options(kernel="6.1", cmdline="rdinit=/bin/cat earlyprintk=ttyS0,115200")
    hook = Hook("nothing", lambda: None)
    with pytest.raises(
        LabError, match=r"(?s)Booting: nothing was heard of the guest in time.*console"
    ) as raised:
        run_scenario("panic", options, folder, cache=cache, progress=hook)
    # A guest whose clocks did not start on a busy machine may boot the second time.
    assert [text for text in hook.said if text.endswith("Once more")] == [
        "The guest did not boot in time. Once more"
    ]
    kept = Path(str(raised.value).rpartition("The whole console: ")[2])
    assert kept.read_bytes()
    kept.unlink()
    assert list(tmp_path.iterdir()) == []
    assert qemus(tmp_path) == []


def test_a_guest_that_dies_too_early_is_told(cache: Path, tmp_path: Path) -> None:
    options = Options(kernel="6.1", cmdline="rdinit=/bin/true")
    with pytest.raises(LabError, match=r"(?s)Booting: the guest ended instead.*Attempted to kill init"):
        run_scenario("panic", options, tmp_path / "dies", cache=cache, progress=QUIET)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system to fill")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "small", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    """Leave no room."""
    with open(folder / "filler", "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(1 << 16))
        except OSError:
            pass


def test_a_disk_that_fills_up_under_the_guest(cache: Path, small_disk: Path) -> None:
    hook = Hook("Booted", lambda: fill(small_disk))
    with pytest.raises(LabError, match=r"QEMU could not write to the guest's disk in .*0 MiB are free there"):
        run_scenario("panic", Options(kernel="6.1"), small_disk / "panic", cache=cache, progress=hook)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    assert qemus(small_disk) == []


def test_a_disk_that_is_full_from_the_start(cache: Path, small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(LabError, match="No space left on device"):
        run_scenario("panic", Options(kernel="6.1"), small_disk / "panic", cache=cache, progress=QUIET)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_ends_the_lab_ends_its_guest(cache: Path, tmp_path: Path, number: signal.Signals) -> None:
    words = [sys.executable, "-m", "kernlab", "lab", "run", "panic", "--kernel", "6.1"]
    words += ["--cache", str(cache), "-o", str(tmp_path / "ended")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as lab:
        assert lab.stderr is not None
        said = ""
        for line in lab.stderr:
            said += line
            if "The console can be followed" in line:  # the guest is begun
                break
        wait_for(lambda: any("qemu-system" in process for process in qemus(tmp_path)))
        assert len(qemus(tmp_path)) >= 2, f"the lab and its QEMU: {said}"
        lab.send_signal(number)
        lab.wait(timeout=30)
    wait_for(lambda: not qemus(tmp_path))
    assert qemus(tmp_path) == []
    assert not (tmp_path / "ended").exists()
    if number == signal.SIGTERM:
        assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(cache: Path) -> None:
    apt = AptRoot("bookworm", cache)
    with pytest.raises(LabError, match="Debian bookworm has no package kernlab-has-no-such-package"):
        apt.require("kernlab-has-no-such-package")
    with pytest.raises(LabError, match=r"(?s)apt for Debian bookworm: .*busybox-static"):
        apt.fetch_all([Package("busybox-static", "0.0-left-the-archive", "bookworm")])
    assert list((cache / "packages").glob(".fetch-*")) == []


def test_a_mirror_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not here")
    monkeypatch.setenv("KERNLAB_LAB_MIRROR", NOWHERE)
    monkeypatch.setattr("kernlab.lab.qemu._version", lambda path, env: None)  # no QEMU that runs
    # apt waits before it asks again.
    monkeypatch.setattr("kernlab.lab.apt_sources._inherited", lambda: 'Acquire::Retries "0";')
    for _ in range(2):  # the second time too: a failure is not remembered as "no packages"
        with pytest.raises(
            LabError, match=r"(?s)has no QEMU 9\.0 or newer.*apt for Debian trixie.*127\.0\.0\.1"
        ):
            run_scenario(
                "panic", Options(kernel="6.1"), tmp_path / "out", cache=tmp_path / "cache", progress=QUIET
            )
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_what_does_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for scenario, options, folder, words in (
        ("no-such-story", Options(), "new", "knows no scenario 'no-such-story'"),
        ("panic", Options(formats=("lkcd",)), "new", "knows no format 'lkcd'"),
        ("panic", Options(qemu_formats=("qcow2",)), "new", "knows no QEMU format 'qcow2'"),
        ("panic", Options(compression="rar"), "new", "knows no compression 'rar'"),
        ("panic", Options(level=32), "new", "0 to 31"),
        ("panic", Options(nodes=9), "new", "1 to 8 NUMA nodes"),
        ("panic", Options(), "there", "already there"),
    ):
        with pytest.raises(LabError, match=words):
            run_scenario(scenario, options, tmp_path / folder, cache=tmp_path / "cache", progress=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]

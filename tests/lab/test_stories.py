"""What the stories of locks, interrupts and faults ask of the lab. No guest runs here."""

from __future__ import annotations

import json
import lzma
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernlab.lab import capture, guest_files
from kernlab.lab.capture_options import Options
from kernlab.lab.guest_files import GUEST
from kernlab.lab.qemu import Guest
from kernlab.lab.scenarios import SCENARIOS
from kernlab.lab.steps import Progress
from kernlab.lab.truth_archive import write_truth

#: The stories that say what a right verdict on them is.
JUDGED = [
    *("deadlock", "hung", "lockup", "irq", "oom", "oops", "panic", "io"),
    *("fault", "memcg", "order", "stuck", "readonly", "leak"),
]
FINDINGS = {
    *("null dereference", "bad pointer", "general protection", "execute of data", "invalid opcode", "BUG"),
    *("divide error", "stack overflow", "use after free", "double free", "out of bounds", "list corruption"),
    *("refcount", "warning", "soft lockup", "hard lockup", "RCU stall", "workqueue stall", "panic", "sysrq"),
    *("out of memory", "memory cgroup out of memory", "memory leak", "slab leak", "vmalloc leak"),
    *("per-CPU memory", "fragmentation", "stuck I/O", "file system error", "hung task", "lock not released"),
    *("deadlock", "NMI"),
}
MILL = (GUEST / "modules/kernlab_mill/kernlab_mill.c").read_text()


class ToldGuest:
    """Says what it is given, one message a time, and keeps what the lab asked QEMU for."""

    def __init__(self, *messages: str) -> None:
        self.messages = list(messages)
        self.asked: list[str] = []
        self.arguments: dict[str, Any] = {}

    def message(self, deadline: float, waiting_for: str) -> tuple[str, str]:
        word, _, rest = self.messages.pop(0).partition(" ")
        return word, rest

    def monitor(self, command: str, *words: Any, **arguments: Any) -> Any:
        self.asked.append(command)
        self.arguments = arguments or self.arguments

    slow_disk = Guest.slow_disk

    def wait(self, limit_seconds: float) -> None:
        self.asked.append("end")


def test_a_guest_is_given_the_nmi_that_it_asks_for(tmp_path: Path) -> None:
    guest = ToldGuest("booted 6.12", "armed 1", "prepared", "truth 1", "dying", "nmi", "crashed 1", "saved")
    run = capture._Run(SCENARIOS["irq"], Options(), tmp_path, Progress(None))
    run._follow(guest, 1.0, tmp_path)  # type: ignore[arg-type]
    assert guest.asked == ["inject-nmi", "end"]


def test_a_guest_has_its_disk_slowed_when_it_asks(tmp_path: Path) -> None:
    guest = ToldGuest(
        "booted 6.12", "armed 1", "prepared", "truth 1", "dying", "slow 3145728 120", "crashed 1", "saved"
    )
    run = capture._Run(SCENARIOS["flight"], Options(), tmp_path, Progress(None))
    run._follow(guest, 1.0, tmp_path)  # type: ignore[arg-type]
    assert guest.asked == ["block_set_io_throttle", "end"]
    # QEMU takes a limit of both together, or of each, and wants all six said.
    single = dict.fromkeys(("bps_rd", "bps_wr", "iops_rd", "iops_wr"), 0)
    assert guest.arguments == {"device": "vda", "bps": 3145728, "iops": 120, **single}


def test_only_who_writes_notes_has_a_disk_for_them(tmp_path: Path) -> None:
    kernel: Any = SimpleNamespace(vmlinuz=tmp_path / "vmlinuz", release="6.12-cloud")
    for name, there in (("flight", True), ("oom", False)):
        run = capture._Run(SCENARIOS[name], Options(), tmp_path, Progress(None))
        words = run._hardware().qemu_words("tcg", kernel, tmp_path, "")
        assert any("id=vdc" in word for word in words) is there
        assert ("sampler /dev/vdc" in SCENARIOS[name].script) is there


def test_neither_kernel_gives_up_for_a_timer_that_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash kernel of a guest on a busy machine said "IO-APIC + timer doesn't work!", and nothing was saved."""
    boot: dict[str, Any] = {}
    monkeypatch.setattr(capture, "write_ram_disks", lambda *words: None)
    monkeypatch.setattr(capture, "write_results_disk", lambda path, size, userland, files: boot.update(files))
    kernel: Any = SimpleNamespace(vmlinuz=tmp_path / "vmlinuz", release="6.12-cloud")
    run = capture._Run(SCENARIOS["irq"], Options(), tmp_path, Progress(None))
    run._prepare(tmp_path, kernel, SimpleNamespace())  # type: ignore[arg-type]
    crash_cmdline = re.search(r"CRASH_CMDLINE='(.*)'", boot["settings"])
    assert crash_cmdline is not None
    assert "no_timer_check" in crash_cmdline[1].split()
    words = run._hardware().qemu_words("tcg", kernel, tmp_path, "")
    assert "no_timer_check" in words[words.index("-append") + 1].split()


def test_what_the_stories_can_be_told_to_do_is_in_their_scripts() -> None:
    for name in ("deadlock", "lockup", "irq", "flight", "fault", "memcg", "order", "readonly", "leak"):
        scenario = SCENARIOS[name]
        for setting in scenario.settings:
            assert f"${setting}" in scenario.script, setting
    assert "say nmi" in SCENARIOS["irq"].script


def test_a_story_that_asks_for_python_finds_it_and_the_recorder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot: dict[str, Any] = {}
    monkeypatch.setattr(capture, "write_ram_disks", lambda *words: None)
    monkeypatch.setattr(capture, "write_results_disk", lambda path, size, userland, files: boot.update(files))
    monkeypatch.setattr(capture, "guest_python", lambda release, *words: tmp_path / release)
    kernel: Any = SimpleNamespace(vmlinuz=tmp_path / "vmlinuz", release="6.12-cloud")
    userland: Any = SimpleNamespace(release="sid")
    for scenario, named in ((SCENARIOS["irq"], False), (replace(SCENARIOS["irq"], python=True), True)):
        boot.clear()
        capture._Run(scenario, Options(), tmp_path, Progress(None))._prepare(tmp_path, kernel, userland)
        assert (boot.get("python") == tmp_path / "sid") is named
        assert ("recorder" in boot) is named
    assert (boot["recorder"] / "__main__.py").is_file()


def test_a_folder_is_put_on_the_results_disk_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool/lib").mkdir(parents=True)
    (tmp_path / "tool/lib/a").write_text("x")
    seen: list[str] = []

    def make(command: list[str | Path], **words: Any) -> None:
        tree = Path(command[command.index("-d") + 1])
        seen.extend(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())

    monkeypatch.setattr(guest_files, "run", make)
    monkeypatch.setattr(guest_files, "program", lambda root, name: tmp_path / name)
    userland: Any = SimpleNamespace(tools=tmp_path)
    guest_files.write_results_disk(
        tmp_path / "disk", 1 << 20, userland, {"python": tmp_path / "tool", "settings": "A=1"}
    )
    assert sorted(seen) == ["boot/python/lib/a", "boot/settings"]


def told(script: str, tmp_path: Path) -> dict[str, Any]:
    """What a script's verdict says, with the shell functions that all stories share."""
    common = SCENARIOS["panic"].script.replace("/host/out", str(tmp_path))
    done = subprocess.run(
        ["sh", "-c", f"{common}\n{script}"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == "", done.stderr
    verdict: dict[str, Any] = json.loads((tmp_path / "verdict.json").read_text())
    return verdict


def test_a_verdict_is_json_with_null_for_what_is_not_said(tmp_path: Path) -> None:
    verdict = told(
        'innocent="$innocent,billing" before="$before,warning"\n'
        'verdict finding="soft lockup" pid=7 comm=till also="RCU stall,hung task"',
        tmp_path,
    )
    assert verdict == {
        "finding": "soft lockup",
        "pid": 7,
        "comm": "till",
        "module": None,
        "function": None,
        "callers": [],
        "subject": None,
        "also": ["RCU stall", "hung task"],
        "either": [],
        "before": ["warning"],
        "innocent": ["accounts", "mailer", "indexer", "cron", "billing"],
    }


@pytest.mark.parametrize("name", JUDGED)
def test_a_story_gives_a_verdict_in_the_words_that_there_are(name: str) -> None:
    own = (GUEST / "scenarios" / f"{name}.sh").read_text()
    assert re.search(r"\bverdict finding=", own)
    said = [found[1].strip('"') for found in re.finditer(r'\b(?:finding|also|either)=("[^"]*"|[\w/-]+)', own)]
    words = {word for text in said if not text.startswith("$") for word in text.split(",") if word}
    assert words <= FINDINGS, words - FINDINGS
    assert words


def faults() -> dict[str, str]:
    """Each FAULT of the story, and what the script says of it."""
    own = (GUEST / "scenarios/fault.sh").read_text()
    known = own.partition("case $FAULT in")[2].partition("esac")[0]
    parts = re.split(r"^        ([a-z-]+)\) ", known, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("fault", faults())
def test_each_fault_is_the_drivers_and_blames_a_function_of_it(fault: str, tmp_path: Path) -> None:
    known = (GUEST / "scenarios/fault.sh").read_text().partition("prepare()")[0]
    verdict = told(
        f"FAULT={fault} CACHE=mill_job miller=12\n{known}\nfault_known\n"
        'verdict finding="$finding" pid="$pid" function="$function" callers="$callers" also="$also"',
        tmp_path,
    )
    assert {verdict["finding"], *verdict["also"]} <= FINDINGS
    if fault == "refuse":  # what ends it is nobody's fault
        assert verdict["function"] is None
        return
    assert f'{{ "{fault}", ' in MILL
    for function in (verdict["function"], *verdict["callers"]):
        assert re.search(rf"^static .*\b{function}\(", MILL, re.MULTILINE), function


def test_every_decoy_is_among_the_innocent() -> None:
    common = SCENARIOS["panic"].script
    for word in re.findall(r"^            (\w+)\)", common, re.MULTILINE):
        branch = common.partition(f"            {word})")[2].partition(";;")[0]
        assert 'innocent="$innocent,' in branch, word
        assert "story " in branch, word
    for function in ("scales_read", "belt_turn", "mist_thread", "frost_thread"):
        assert f" {function}(" in MILL
        assert function in common


def test_a_guest_says_which_disk_is_to_be_slow(tmp_path: Path) -> None:
    guest = ToldGuest(
        "booted 6.12", "armed 1", "slow 1 1 more0", "prepared", "truth 1", "dying", "crashed 1", "saved"
    )
    run = capture._Run(SCENARIOS["stuck"], Options(), tmp_path, Progress(None))
    run._follow(guest, 1.0, tmp_path)  # type: ignore[arg-type]
    assert guest.arguments["device"] == "more0"
    assert "say slow 1 1 more0" in SCENARIOS["stuck"].script


def test_the_verdict_lies_in_the_truth(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "verdict.json").write_text('{"finding": "sysrq"}')
    with tarfile.open(out / "truth.tar", "w"):
        pass
    write_truth(out / "truth.tar", out, {}, tmp_path / "truth.tar.xz")
    with lzma.open(tmp_path / "truth.tar.xz") as packed, tarfile.open(fileobj=packed) as archive:
        member = archive.extractfile("out/verdict.json")
        assert member is not None
        assert json.load(member) == {"finding": "sysrq"}

"""What the stories of locks and interrupts ask of the lab, and that a sample of one tells the truth. No guest runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.truth import Truth

import kernlab
from kernlab.lab.capture import _Run
from kernlab.lab.capture_options import Options
from kernlab.lab.scenarios import SCENARIOS
from kernlab.lab.steps import Progress

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "deadlock"


class ToldGuest:
    """Says what it is given, one message a time, and keeps what the lab asked QEMU for."""

    def __init__(self, *messages: str) -> None:
        self.messages = list(messages)
        self.asked: list[str] = []

    def message(self, deadline: float, waiting_for: str) -> tuple[str, str]:
        word, _, rest = self.messages.pop(0).partition(" ")
        return word, rest

    def monitor(self, command: str, *words: Any, **arguments: Any) -> Any:
        self.asked.append(command)

    def wait(self, limit_seconds: float) -> None:
        self.asked.append("end")


def test_a_guest_is_given_the_nmi_that_it_asks_for(tmp_path: Path) -> None:
    guest = ToldGuest("booted 6.12", "armed 1", "prepared", "truth 1", "dying", "nmi", "crashed 1", "saved")
    run = _Run(SCENARIOS["irq"], Options(), tmp_path, Progress(None))
    run._follow(guest, 1.0, tmp_path)  # type: ignore[arg-type]
    assert guest.asked == ["inject-nmi", "end"]


def test_what_the_stories_can_be_told_to_do_is_in_their_scripts() -> None:
    for name in ("deadlock", "lockup", "irq"):
        scenario = SCENARIOS[name]
        for setting in scenario.settings:
            assert f"${setting}" in scenario.script, setting
    assert "say nmi" in SCENARIOS["irq"].script


class Part:
    """One line of the story: NAME (PID) holds KIND LOCK [for WHAT], wants KIND LOCK [for WHAT]."""

    PATTERN = re.compile(r"[\d.]+ (\S+) \((\d+)\) holds (.*), wants (.*)")

    def __init__(self, line: str) -> None:
        match = self.PATTERN.fullmatch(line)
        assert match is not None, line
        self.name, self.pid = match[1], int(match[2])
        self.holds, self.wants = match[3].split(), match[4].split()


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(SAMPLE / "truth.tar.xz")


@pytest.fixture(scope="module")
def parts(truth: Truth) -> dict[str, Part]:
    lines = truth.text("story.txt").splitlines()
    return {part.name: part for part in map(Part, lines[:-1])}


def test_the_story_has_two_circles_and_who_waits_behind_them(parts: dict[str, Part]) -> None:
    assert set(parts) == {"checkout", "refund", "invoice", "import", "reprice", "search", "cart", "sweep"}
    for one, other in (("checkout", "refund"), ("import", "reprice")):
        assert parts[one].wants[:2] == parts[other].holds[:2]
        assert parts[other].wants[:2] == parts[one].holds[:2]
    held = {tuple(part.holds[:2]) for part in parts.values()}
    assert all(tuple(part.wants[:2]) in held for part in parts.values())


def test_the_guest_saw_all_of_them_wait(truth: Truth, parts: dict[str, Part]) -> None:
    for part in parts.values():
        assert "State:\tD" in truth.text(f"p/{part.pid}/status")
        assert truth.text(f"p/{part.pid}/comm").strip() == part.name
        assert "[kernlab_shop]" in truth.text(f"p/{part.pid}/stack").splitlines()[0]


def test_the_locks_of_the_dump_are_held_by_whom_the_story_says(parts: dict[str, Part]) -> None:
    """The owner in the lock's own word, but for the lowest bits, is the task of that PID."""
    with kernlab.open(kernlab.sample("deadlock")) as dump:
        tasks = dump.tasks.set_index("pid")
        for part in parts.values():
            assert tasks.loc[part.pid, "comm"] == part.name
            if part.holds[0] == "nothing":
                continue
            kind, name = part.holds[:2]
            if name == "shop_basket.lock":
                basket = dump.struct(
                    "struct shop_basket", int.from_bytes(dump.read(dump.symbol("basket"), 8), "little")
                )
                owner = int(basket["lock.owner.counter"])
            else:
                lock = dump.struct(
                    "struct mutex" if kind == "mutex" else "struct rw_semaphore", dump.symbol(name)
                )
                owner = int(lock["owner.counter"])
            assert owner & ~7 == tasks.loc[part.pid, "address"], part.name
            # RWSEM_READER_OWNED, the lowest bit of the owner of a rwsem.
            assert kind == "mutex" or owner & 1 == ("reading" in part.holds)

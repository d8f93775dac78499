"""The sample `deadlock`: who holds what by its story, by what its guest saw, and by the words of the locks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.truth import Truth

import kernlab

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "deadlock"


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
    """The owner in the lock's own word, but for the lowest three bits, is the task of that PID."""
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
                owner = int(basket["lock.owner.counter"]) % 2**64
            else:
                lock = dump.struct(
                    "struct mutex" if kind == "mutex" else "struct rw_semaphore", dump.symbol(name)
                )
                owner = int(lock["owner.counter"]) % 2**64
            assert owner & ~7 == tasks.loc[part.pid, "address"], part.name
            # RWSEM_READER_OWNED, the lowest bit of the owner of a rwsem.
            assert kind == "mutex" or owner & 1 == ("reading" in part.holds)

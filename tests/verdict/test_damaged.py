"""The verdict on damaged dumps: it says less, and nothing that is not so of the whole dump.

Each way of hurting is tried on one of the samples, with damage that follows from the seed (support/seed.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random

import pandas as pd
import pytest
from conftest import SAMPLES
from support.damaged_twins import HURTS, Frames, frames_read, hurt
from support.seed import SEED
from support.verdict_truth import VerdictTruth, truth_of, untrue

from kernlab.dump import Dump
from kernlab.errors import KernlabError
from kernlab.verdict.verdict import verdict

#: Half of the samples are hurt in half of the ways; the others are with the next three seeds.
NAMES = [("oops", "deadlock", "lockup", "flight"), ("hung", "oom", "debian-6.1", "io")][SEED % 2]
CASES = [
    (NAMES[(place // 2 + SEED // 4) % len(NAMES)], how)
    for place, how in enumerate(HURTS)
    if place % 2 == SEED // 2 % 2
]

Whole = tuple[Dump, pd.DataFrame, Frames]


@pytest.fixture(scope="module")
def whole(opened: Callable[[str], Dump]) -> Callable[[str], Whole]:
    """A sample, the verdict on it, and the frames that this took."""

    @cache
    def judged(name: str) -> Whole:
        dump = opened(name)
        found: list[pd.DataFrame] = []
        frames = frames_read(dump, lambda twin: found.append(verdict(twin.kernel)))
        return dump, found[0], frames

    return judged


@pytest.mark.parametrize(("name", "how"), CASES)
def test_a_verdict_on_a_damaged_dump_says_nothing_false(
    whole: Callable[[str], Whole], name: str, how: str
) -> None:
    dump, told, frames = whole(name)
    with hurt(dump, how, frames, Random(f"{SEED} {name} {how}")) as twin:
        try:
            found = verdict(twin.kernel)
        except KernlabError:
            return  # nothing of it can be read: nothing is said
    assert untrue(found, told, truth_of(name, SAMPLES / name)) == []


TRUTH = VerdictTruth(
    "hung task", pids=(7,), also=("deadlock",), before=("warning",), innocent=("cron",), end="panic"
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, 0),
        ({"subject": "? (7)"}, 0),
        ({"finding": "deadlock", "pid": None}, 0),
        ({"finding": "OOM", "confidence": 0.49}, 0),
        ({"finding": "panic", "role": "end", "pid": 9}, 0),
        ({"finding": "incomplete dump", "subject": "9 of 10 pages"}, 0),
        ({"finding": "OOM"}, 1),
        ({"subject": "till (8)", "pid": 8}, 1),
        ({"subject": "cron (8)", "pid": None}, 1),
    ],
)
def test_what_is_untrue_is_found(changes: dict[str, object], said: int) -> None:
    row = {
        "finding": "hung task",
        "subject": "till (7)",
        "pid": 7,
        "module": None,
        "function": None,
        "confidence": 0.9,
        "role": "cause",
    }
    assert len(untrue(pd.DataFrame([row | changes]), pd.DataFrame([row]), TRUTH)) == said

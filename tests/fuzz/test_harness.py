"""The harness fails when what it looks for is there: each kind of failure is planted, and found."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fuzz import child, files, fork_server, kinds, limits, memory_cases, subjects
from fuzz.cases import MISSING, NONE, ROWS, WILD, Damaged
from fuzz.fork_server import Result, serve
from fuzz.pictures import differences, picture
from fuzz.steps import Step, steps
from fuzz.subjects import Subject
from fuzz.verdicts import Failure, failures

TABLES = ("zones", "modules", "tasks")


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    yield subjects.load(subjects.available(["6.1"])[0], TABLES)
    # Drawing cases writes real dumps in other forms.
    files.remove_copies()


@pytest.fixture
def planted(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Failure]]:
    """What is found of a case whose only step is `run`, in place of that of zones."""

    def look(run: Callable[[Any], Any], rule: str = MISSING) -> list[Failure]:
        monkeypatch.setattr(child, "steps", lambda: {"zones": Step("zones", lambda dump, _: run(dump))})
        damaged = Damaged(subject.fresh, ["zones"], rule)
        monkeypatch.setattr(child, "apply", lambda *_: (subject, damaged))
        (result,) = serve(lambda name, slot, tell: child.run({}, name, slot, tell), iter(["a:b"]))
        return failures(result, rule)

    return look


def test_what_is_as_it_was_is_no_failure(planted: Callable[..., list[Failure]]) -> None:
    assert planted(lambda dump: dump.zones) == []


def test_an_exception_is_found_and_placed(planted: Callable[..., list[Failure]]) -> None:
    (found,) = planted(lambda dump: dump.kernel.read(None, 8))
    assert (found.what, found.case) == ("exception", "a:b")
    assert "kernlab/" in found.cause


def test_a_hang_is_found(planted: Callable[..., list[Failure]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)

    def never(_: Any) -> None:
        while True:
            pass

    (found,) = planted(never)
    assert found.what == "hang"


def test_a_wait_without_end_is_found(
    planted: Callable[..., list[Failure]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server, "WALL", 0.5)
    (found,) = planted(lambda _: signal.pause())
    assert (found.what, found.cause) == ("hang", "zones (zones)")


def test_memory_is_found(planted: Callable[..., list[Failure]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMORY", 64 << 20)
    (found,) = planted(lambda _: repr(np.ones(32 << 20).sum()))
    assert found.what == "memory"


def test_a_request_for_more_than_there_is_is_found(planted: Callable[..., list[Failure]]) -> None:
    (found,) = planted(lambda _: np.ones(1 << 40))
    assert found.what == "memory"


def test_a_process_that_dies_is_found(planted: Callable[..., list[Failure]]) -> None:
    (found,) = planted(lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert found.what == "exception"
    assert "signal 9" in found.cause


def _fewer(dump: Any) -> pd.DataFrame:
    return dump.zones.iloc[1:]


@pytest.mark.parametrize("rule", [MISSING, WILD, ROWS])
def test_a_lost_row_is_found(planted: Callable[..., list[Failure]], rule: str) -> None:
    (found,) = planted(_fewer, rule)
    assert found.what == "silent"
    assert found.cause.startswith("zones: fewer rows")


def test_a_lost_row_that_is_told_is_none(planted: Callable[..., list[Failure]]) -> None:
    def told(dump: Any) -> pd.DataFrame:
        table = _fewer(dump)
        table.attrs["problems"] = ["1 of 5 zones cannot be read"]
        return table

    assert planted(told) == []


def test_what_no_reader_can_know_is_none(planted: Callable[..., list[Failure]]) -> None:
    assert planted(_fewer, NONE) == []


def _missing(dump: Any) -> pd.DataFrame:
    return dump.zones.assign(zone=pd.array([None] * len(dump.zones), dtype="str"))


def _changed(dump: Any) -> pd.DataFrame:
    return dump.zones.assign(managed=dump.zones["managed"] + 1)


@pytest.mark.parametrize(
    ("run", "cause"), [(_missing, "zones.zone: turned missing"), (_changed, "zones.managed: changed")]
)
def test_a_cell_is_found(planted: Callable[..., list[Failure]], run: Any, cause: str) -> None:
    (found,) = planted(run)
    assert found.cause.startswith(cause)


def test_a_cell_that_shows_the_damage_is_no_difference() -> None:
    before = picture(pd.DataFrame({"key": [1, 2], "pointer": np.array([16, 32], dtype=np.uint64)}))
    after = picture(pd.DataFrame({"key": [1, 2], "pointer": np.array([16, 0xDEAD], dtype=np.uint64)}))
    assert [one.kind for one in differences(before, after)] == ["changed"]
    assert differences(before, after, frozenset({0xDEAD + 8})) == []


def test_a_place_is_one_of_those_that_its_step_reads(subject: Subject) -> None:
    chance = random.Random(1)
    found: Iterator[str | None] = (memory_cases.draw(subject, chance) for _ in range(50))
    for name in filter(None, found):
        step, place = name.split(":")[2:4]
        at, _, size = place.rpartition("@")[2].partition("+")
        assert subject.reads[step].touches(int(at, 16), int(size)), name


def test_a_seed_gives_the_same_cases_again(subject: Subject) -> None:
    opened = {subject.name: subject}
    some = list(kinds.draw(opened, "1", 40))
    assert some == list(kinds.draw(opened, "1", 40))
    assert some != list(kinds.draw(opened, "2", 40))
    assert {name.split(":")[0] for name in some} >= {"memory", "pages", "names"}


@pytest.mark.parametrize("kind", sorted(kinds.KINDS))
def test_cases_of_each_kind_can_be_made_of_their_names(subject: Subject, kind: str) -> None:
    opened = {subject.name: subject}
    names = list(kinds.draw(opened, "1", 3, [kind]))
    results = list(serve(lambda name, slot, tell: child.run(opened, name, slot, tell), iter(names)))
    assert [result.name.split(":")[0] for result in results] == [kind] * 3
    assert [one for result in results for one in failures(result, NONE) if one.what == "harness"] == []
    assert all(outcome["step"] for result in results for outcome in result.outcomes)


def test_every_table_trace_and_view_is_a_step() -> None:
    # What nobody said how to ask raises KeyError here.
    assert {"tasks", "slab_objects", "relay.channels", "ftrace.all", "_card"} <= set(steps())


def test_a_result_without_an_end_is_a_failure() -> None:
    result = Result("a:b", [{"step": "zones", "failed": "killed by signal 9", "place": "zones"}])
    assert [one.what for one in failures(result, NONE)] == ["exception"]

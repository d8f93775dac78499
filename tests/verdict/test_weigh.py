"""How findings stand beside each other: causes first, what is told twice once, what cannot be so doubted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from support.captures import captures
from verdict.cases import made_case, made_table, verdict_of

import kernlab
from kernlab.errors import KernlabError
from kernlab.util import losses
from kernlab.verdict.case import Case
from kernlab.verdict.doubts import merged
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.rules.asked import stopped, sysrq
from kernlab.verdict.rules.ends import last_report
from kernlab.verdict.rules.waiting import deadlocks
from kernlab.verdict.weigh import MOST, weigh

SYSRQ = "[  900.0] sysrq: Trigger a crash\n[  900.0] Kernel panic - not syncing: sysrq triggered crash\n"
HUNG = """\
[  900.000000] INFO: task order-6:184 blocked for more than 120 seconds.
[  900.000001] task:order-6 state:D stack:0 pid:184 ppid:1 flags:0x0
[  900.000002] Call Trace:
[  900.000003]  __mutex_lock+0x1/0x2
[  900.000004]  order_place+0x1/0x2 [shop]
[  900.000005] Kernel panic - not syncing: hung_task: blocked tasks
"""


def finding(name: str = "deadlock", subject: str = "a", confidence: float = 0.9, **other: Any) -> Finding:
    given: dict[str, Any] = {"evidence": (Evidence("waits", "they wait"),), "cell": "dump.waits", **other}
    return Finding(name, subject, confidence, **given)


def circle(seconds: float) -> list[dict[str, object]]:
    """Two threads that have waited for each other."""
    return [
        {
            "pid": pid,
            "comm": f"order-{pid}",
            "state": "D",
            "type": "mutex",
            "name": f"lock_{pid} [shop]",
            "holder_pid": 11 - pid,
            "holder_comm": f"order-{11 - pid}",
            "since": pd.Timedelta(seconds, "s"),
            "note": "",
        }
        for pid in (5, 6)
    ]


def roles(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.finding, each.role) for each in found]


@pytest.mark.parametrize("log", [SYSRQ, ""], ids=["sysrq", "stopped"])
def test_somebody_ends_what_has_hung_for_long(log: str) -> None:
    """A deadlock of ten minutes is why; that no dump tells so is said."""
    case = made_case(log, waits=circle(600), hung_after=120)
    found = verdict_of(case, deadlocks, sysrq, stopped)
    assert roles(found) == [("deadlock", "cause"), (case.end.kind, "end")]
    assert "no dump tells" in found[0].against[-1]


@pytest.mark.parametrize("seconds", [5, 119])
def test_sysrq_is_all_there_is_where_nothing_has_hung_for_long(seconds: float) -> None:
    """A circle that is young is true, and told beside."""
    found = verdict_of(made_case(SYSRQ, waits=circle(seconds), hung_after=120), deadlocks, sysrq)
    assert roles(found) == [("sysrq", "end"), ("deadlock", "beside")]


@pytest.mark.parametrize(
    "changed",
    [
        {"confidence": 0.75},
        {"since": None},
        {"evidence": (Evidence("log", "an old report"),)},
        {"finding": "slab leak"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_nobody_would_have_ended_it_for(changed: dict[str, Any]) -> None:
    """Not certain, of unknown age, over by then, or no hang at all."""
    hang = finding(since=600.0)
    case = made_case(SYSRQ, hung_after=120)
    end = verdict_of(case, sysrq)
    assert weigh(case, [hang, *end])[0].role == "cause"
    assert weigh(case, [dataclasses.replace(hang, **changed), *end])[0].role == "end"


@pytest.mark.parametrize(("seconds", "role"), [(90.0, "cause"), (30.0, "beside")])
def test_a_cpu_that_spun_for_long_is_why_somebody_ended_it(seconds: float, role: str) -> None:
    """So is the lock for which it spun, whose own age nothing tells."""
    lockups = frozenset({"soft lockup", "hard lockup", "RCU stall"})
    shown = (Evidence("watchdogs", "not touched since"),)
    spun = finding("soft lockup", "billing (7)", 0.85, evidence=shown, since=seconds)
    lock = finding("lock not released", "till (9)", 0.95, explains=lockups)
    case = made_case(SYSRQ, hung_after=120)
    end = verdict_of(case, sysrq)
    found = {each.finding: each.role for each in weigh(case, [spun, lock, *end])}
    assert (found["soft lockup"], found["lock not released"]) == (role, role)
    # That the log told of one before does not make it so at the end.
    told = dataclasses.replace(spun, evidence=(Evidence("log", "soft lockup"),))
    assert {each.role for each in weigh(case, [told, lock])} == {"beside"}


def test_no_hang_explains_an_end_of_its_own() -> None:
    """A panic that nobody asked for has its own reasons, however long something had hung."""
    case = made_case("[  900.0] Kernel panic - not syncing: shop: closed\n", hung_after=120)
    found = weigh(case, [finding(since=600.0), *verdict_of(case, last_report)])
    assert roles(found) == [("panic", "end"), ("deadlock", "beside")]


def test_what_two_rules_found_is_told_once() -> None:
    """With the evidence of both."""
    one = finding("stuck I/O", "sda", 0.8, device="sda", since=10.0, against=("It may be slow.",))
    other = finding(
        "stuck I/O",
        "sda",
        0.9,
        evidence=(Evidence("inflight", "32 requests"), *one.evidence),
        pid=7,
        since=40.0,
    )
    (found,) = merged([one, other])
    assert [each.says for each in found.evidence] == ["32 requests", "they wait"]
    assert (found.confidence, found.device, found.pid, found.since) == (0.9, "sda", 7, 40.0)
    assert found.against == ("It may be slow.",)
    assert merged([one, dataclasses.replace(one, subject="sdb")]) == [
        one,
        dataclasses.replace(one, subject="sdb"),
    ]


def test_a_cause_that_began_too_late_is_doubted() -> None:
    """The task had slept for two minutes: a lock that is held for one is not why."""
    case = made_case(HUNG)
    late = finding(since=60.0, explains=frozenset({"hung task"}))
    end = verdict_of(case, last_report)
    found = weigh(case, [late, *end])
    assert roles(found) == [("hung task", "end"), ("deadlock", "cause")]
    assert "after what it would explain" in found[1].against[0]
    for since in (125.0, 118.0, None):
        (first, *_) = weigh(case, [dataclasses.replace(late, since=since), *end])
        assert (first.finding, first.confidence, first.against) == ("deadlock", 0.9, ())


def test_a_table_that_is_not_whole_speaks_against_what_was_read_from_it() -> None:
    """A little, and once; what is the whole dump's, or another table's, does not."""
    case = made_case(HUNG, waits=circle(600))
    case.waits.attrs["problems"] = ["the dump itself has 3 problems"]
    told = finding(since=600.0, explains=frozenset({"hung task"}))
    assert weigh(case, [told])[0].against == ()
    case.waits.attrs["problems"] += ["3 of 102 tasks cannot be read"]
    (found,) = weigh(case, [told])
    assert found.against == ("The table waits is not whole: 3 of 102 tasks cannot be read.",)
    assert 0.8 <= found.confidence < told.confidence
    other = dataclasses.replace(told, evidence=(Evidence("log", "a line"), Evidence("slabs", "a cache")))
    assert weigh(case, [other])[0].against == ()


def test_causes_as_sure_as_each_other_name_each_other() -> None:
    """Neither is preferred in silence."""
    case = made_case(HUNG)
    one = finding(since=600.0, explains=frozenset({"hung task"}), subject="checkout")
    two = dataclasses.replace(one, subject="import", confidence=0.88)
    three = dataclasses.replace(one, subject="mail", confidence=0.7)
    found = weigh(case, [one, two, three])
    assert [each.against for each in found] == [
        ("Another cause is as sure: deadlock (import).",),
        ("Another cause is as sure: deadlock (checkout).",),
        (),
    ]


def test_an_unlikely_cause_stands_behind_the_end() -> None:
    """And before what only stands beside it."""
    case = made_case(HUNG)
    hint = finding(confidence=0.5, since=600.0, explains=frozenset({"hung task"}))
    beside = finding("memory pressure", "memory", 0.9)
    found = weigh(case, [beside, hint, *verdict_of(case, last_report)])
    assert roles(found) == [("hung task", "end"), ("deadlock", "cause"), ("memory pressure", "beside")]


def test_a_verdict_has_a_bound() -> None:
    """The surest are told, and that there were more."""
    case = made_case(SYSRQ)
    with losses.scope("test") as scope:
        found = weigh(case, [finding(subject=str(n), confidence=n / 100) for n in range(60)])
    assert [each.subject for each in found[:2]] == ["59", "58"]
    assert len(found) == MOST
    assert scope.losses == ["verdict: 40 findings that are less sure are not told"]


def test_a_weighing_that_cannot_look_leaves_the_findings_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged table costs what it would have told, and that is said; a log alone needs no word."""

    def cannot_read(_: Case, __: list[Finding]) -> list[Finding]:
        raise KernlabError("the list is damaged")

    def asks_for_tables(case: Case, found: list[Finding]) -> list[Finding]:
        return found[: len(case.waits)]

    monkeypatch.setattr("kernlab.verdict.weigh.weighings", lambda: [cannot_read, asks_for_tables])
    with losses.scope("test") as scope:
        assert len(weigh(Case(None, SYSRQ), [finding()])) == 1
    assert scope.losses == ["verdict: cannot read could not be asked: the list is damaged"]


@pytest.mark.in_turn
def test_on_a_healthy_dump_sysrq_is_all_there_is(dump: Any) -> None:
    """Nothing is told with half a certainty or more that did not happen."""
    verdict = dump.verdict
    assert verdict["finding"].iloc[0] == "sysrq"
    assert verdict.loc[verdict["confidence"] >= 0.5, "finding"].tolist() == ["sysrq"]


def test_what_happened_before_somebody_pressed_sysrq() -> None:
    """An oops that was outlived is not what ended it."""
    folders = captures("fault-refuse-*")
    if not folders:
        pytest.skip("no capture fault-refuse-*: KERNLAB_LAB_CAPTURES names where they are")
    with kernlab.open(folders[0] / "vmcore") as dump:
        found = dump.verdict
    assert found["finding"].iloc[0] == "sysrq"
    assert (found["role"].iloc[1:] == "beside").all()
    assert "null dereference" in found["finding"].tolist()


def test_a_case_of_a_dump_has_the_tables_that_doubts_ask_for(opened: Callable[[str], Any]) -> None:
    """Doubts look a table up by the name that evidence gives it."""
    case = Case(opened("debian-6.1").kernel)
    assert case.waits is vars(case)["waits"]
    assert case.memory.processes is vars(case.memory)["processes"]
    assert made_table("waits").attrs["problems"] == []

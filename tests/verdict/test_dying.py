"""A machine that took long to die: what waited meanwhile is no trouble of before, and who would not stop is told."""

from __future__ import annotations

import pandas as pd
import pytest
from support.captures import captures
from verdict.cases import made_case, made_table, verdict_of
from verdict.test_spinning import LOCK, RULES, frames

import kernlab
from kernlab.verdict.dying import _numbers, as_at_the_panic, seconds_of_dying, would_not_stop

LOG = """\
[   54.500] watchdog: BUG: soft lockup - CPU#2 stuck for 13s! [receipt:90]
[   54.500] CPU: 2 UID: 0 PID: 90 Comm: receipt Not tainted 6.12.0 #1
[   54.500] pc : queued_spin_lock_slowpath+0x74/0x400
[   54.500] Call trace:
[   54.500]  queued_spin_lock_slowpath+0x74/0x400
[   54.500]  shop_write+0x2b0/0x930 [shop]
[   55.464] Kernel panic - not syncing: softlockup: hung tasks
[   55.465] SMP: stopping secondary CPUs
[  142.939] SMP: failed to stop secondary CPUs 1
[  142.942] Starting crashdump kernel...
[  143.061] Bye!
"""
STACK = (
    "irq:panic+0x1/0x2",
    "irq:watchdog_timer_fn+0x1/0x2",
    "queued_spin_lock_slowpath+0x74/0x400",
    "shop_write+0x2b0/0x930 [shop]",
)
SPINS = {
    "pid": 90, "comm": "receipt", "type": "spinlock", "object": LOCK, "name": "till_lock [shop]", "note": "",
}  # fmt: skip


def tasks(*on_cpus: tuple[int, str, int]) -> list[dict[str, object]]:
    return [{"pid": pid, "comm": comm, "cpu": cpu, "on_cpu": True} for pid, comm, cpu in on_cpus]


def case(log: str = LOG, **tables):
    tables.setdefault("tasks", tasks((90, "receipt", 2), (87, "till", 1)))
    return made_case(log, waits=[SPINS], stacks=frames(90, "receipt", 2, *STACK), **tables)


def test_who_would_not_stop_has_the_lock() -> None:
    cause, end = verdict_of(case(), *RULES)
    assert (cause.finding, cause.pid, cause.role) == ("lock not released", 87, "cause")
    assert [one.says for one in cause.evidence[1:]] == [
        "CPU 1 did not stop for the panic: it took no interrupts",
        "till (87) ran there",
    ]
    assert (end.finding, end.pid) == ("soft lockup", None)


@pytest.mark.parametrize(
    "ran",
    [
        tasks((90, "receipt", 2), (0, "swapper/1", 1)),
        tasks((90, "receipt", 2)),
        tasks((90, "receipt", 1)),
    ],
    ids=["an idle thread", "nobody", "who spins"],
)
def test_nobody_is_named_where_that_cpu_tells_of_nobody(ran) -> None:
    causes = [each for each in verdict_of(case(tasks=ran), *RULES) if each.finding == "lock not released"]
    assert [(each.pid, len(each.evidence)) for each in causes] == [(None, 1)]


def test_of_two_that_would_not_stop_none_is_named() -> None:
    log = LOG.replace("CPUs 1\n", "CPUs 0-1\n")
    ran = tasks((90, "receipt", 2), (87, "till", 1), (86, "other", 0))
    (cause, _) = verdict_of(case(log, tasks=ran), *RULES)
    assert cause.pid is None


def test_the_end_is_the_panic_not_the_last_line() -> None:
    made = case()
    assert seconds_of_dying(made) == pytest.approx(87.6, abs=0.1)
    assert made.before_end(pd.Timedelta(seconds=54.5)) == pytest.approx(0.964)
    assert made.before_end(pd.Timedelta(seconds=143)) == 0


def test_a_machine_that_dies_as_usual_took_no_time() -> None:
    made = case(LOG.replace("142.9", " 56.9").replace("143.0", " 57.0"))
    assert seconds_of_dying(made) == 0
    assert seconds_of_dying(made_case("[   12.000000] nothing happened")) == 0


def test_durations_are_those_at_the_panic() -> None:
    table = made_table(
        "works",
        [{"stalled": pd.Timedelta(seconds=at)} if at is not None else {} for at in (100, 20, None)],
    )
    as_at_the_panic(table, 80.0)
    assert table["stalled"].dt.total_seconds().fillna(-1).tolist() == [20, 0, -1]


@pytest.mark.parametrize(
    ("text", "cpus"), [("1", [1]), ("0-2,5", [0, 1, 2, 5]), ("3-1", []), (",-", []), ("9-", [9])]
)
def test_lists_of_cpus(text: str, cpus: list[int]) -> None:
    assert _numbers(text) == cpus


def test_a_hostile_list_is_bounded() -> None:
    log = LOG.replace("CPUs 1\n", "CPUs 0-99999999999\n")
    assert len(would_not_stop(case(log))) <= 8192


@pytest.mark.parametrize("folder", captures("lockup-*"), ids=lambda folder: folder.name)
def test_no_work_is_said_to_stand_still(folder) -> None:
    """The CPUs of a capture whose panic took a minute took up no works meanwhile."""
    with kernlab.open(folder / "vmcore") as dump:
        assert "workqueue stall" not in dump.verdict["finding"].tolist()

"""Circles, kept locks and works without an end: who is told as the cause, and who is not accused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from verdict.cases import found_by, made_case, verdict_of

from kernlab.verdict.case import Case
from kernlab.verdict.rules.ends import last_report
from kernlab.verdict.rules.holders import kept_locks, locks_of_nobody
from kernlab.verdict.rules.waiting import deadlocks
from kernlab.verdict.rules.works import endless_works, stalled_pools

RULES = (last_report, deadlocks, kept_locks, locks_of_nobody, endless_works, stalled_pools)
LOCK = 0xFFFF_8880_0000_1000
HUNG = """\
[  500.000000] INFO: task order-2:12 blocked for more than 120 seconds.
[  500.000001] task:order-2         state:D stack:0     pid:12    tgid:12    ppid:1      flags:0x00000002
[  500.000002] Call Trace:
[  500.000003]  <TASK>
[  500.000004]  schedule+0x27/0xc0
[  500.000005]  order_place+0x12/0x40 [shop]
[  500.000006]  </TASK>
[  500.000007] Kernel panic - not syncing: hung_task: blocked tasks
"""


def waiter(pid: int, seconds: float, holder: int | None = 10, **more: object) -> dict[str, object]:
    """A thread that sleeps for a mutex."""
    row: dict[str, object] = {
        "pid": pid, "comm": f"order-{pid - 10}", "state": "D", "type": "mutex", "name": "shop_lock", "object": LOCK,
        "since": f"{seconds}s", "note": "", "function": "order_place",
    }  # fmt: skip
    if holder is not None:
        row |= {"holder_pid": holder, "holder_comm": "keeper"}
    return row | more


def frames(pid: int, *symbols: str) -> list[dict[str, object]]:
    """The stack of a thread."""
    return [
        {"pid": pid, "frame": at, "symbol": symbol, "kind": "task", "reliable": True}
        for at, symbol in enumerate(symbols)
    ]


KEEPER = frames(10, "schedule+0x1/0x2", "keep_shop+0x5/0x20 [shop]", "kthread+0x1/0x2")


def test_the_one_that_has_the_lock_is_the_cause(sample: Callable[[str], Case]) -> None:
    """Of seven that one look found hung the first is who has the lock, and who had waited longest."""
    found = verdict_of(sample("hung"), *RULES)
    assert [(each.finding, each.role) for each in found] == [
        ("lock not released", "cause"),
        ("hung task", "end"),
    ]
    first, end = found
    assert (first.pid, first.module, first.function) == (176, "kernlab_story", "inventory_thread")
    assert first.subject == "inventoryd (176), which has inventory_lock [kernlab_story]"
    assert first.confidence >= 0.9
    assert not first.against
    assert (end.subject, end.pid, end.function) == ("inventoryd (176)", 176, "inventory_thread")
    assert "order-1 (179) and 5 others hung, too" in [one.says for one in end.evidence]


def test_each_circle_is_a_deadlock(sample: Callable[[str], Case]) -> None:
    """The two circles of the story, and nobody who only waits behind them."""
    found = verdict_of(sample("deadlock"), *RULES)
    assert [each.finding for each in found] == ["deadlock", "deadlock", "hung task"]
    names = [
        {word for word in ("checkout", "refund", "import", "reprice") if word in each.subject}
        for each in found
    ]
    assert names == [{"checkout", "refund"}, {"import", "reprice"}, {"checkout"}]
    assert "3 more wait behind them" in [one.says for one in found[0].evidence]


def test_a_thread_that_has_its_lock_itself_is_a_circle() -> None:
    """That it has the lock itself is no doubt."""
    row = waiter(10, 300, note="it has the lock itself", comm="keeper")
    (found,) = found_by(made_case(waits=[row], stacks=KEEPER), *RULES)
    assert (found.finding, found.pid, found.confidence, found.against) == ("deadlock", 10, 0.97, ())
    assert "which it has itself" in found.evidence[0].says


def test_a_busy_lock_is_nothing() -> None:
    """Threads that take a lock in turn wait for less long than is called hung, however many they are."""
    waits = [waiter(pid, 0.02 * pid) for pid in range(11, 60)]
    assert not found_by(made_case(waits=waits, stacks=KEEPER), *RULES)


def test_a_keeper_that_slept_before_the_others_came_keeps_the_lock() -> None:
    """It has had the lock all the time; what it waits for is told."""
    own = {"pid": 10, "comm": "keeper", "state": "D", "type": "completion", "name": "answer", "since": "400s"}
    case = made_case(HUNG, waits=[own, waiter(11, 300), waiter(12, 200)], stacks=KEEPER)
    first, end = verdict_of(case, *RULES)
    assert (first.finding, first.pid, first.function, first.module) == (
        "lock not released",
        10,
        "keep_shop",
        "shop",
    )
    assert first.confidence >= 0.9
    assert first.since == 300
    assert "it itself waits for the completion answer, for 6 min 40 s" in [one.says for one in first.evidence]
    assert end.role == "end"
    assert "order-2" not in end.subject


@pytest.mark.parametrize("own", [{"left": "5s", "since": "1s"}, {"since": "1s"}])
def test_a_crowd_that_does_the_same_is_a_convoy(own: dict[str, object]) -> None:
    """The holder came by the lock where the others wait for it, and goes on: a convoy, less sure than a kept lock."""
    row = {"pid": 10, "comm": "keeper", "state": "D", "type": "timer", "note": ""} | own
    stack = frames(10, "schedule+0x1/0x2", "order_place+0x5/0x20 [shop]")
    waits = [row, *(waiter(pid, 10 * pid) for pid in range(11, 18))]
    found = verdict_of(made_case(HUNG, waits=waits, stacks=stack), *RULES)
    assert [each.finding for each in found] == ["lock convoy", "hung task"]
    assert 0.6 <= found[0].confidence < 0.8
    assert found[0].against


def test_a_keeper_that_goes_on_is_doubted() -> None:
    """A timer will wake it, and it does other things than those who wait: less sure, and that is said."""
    row = {
        "pid": 10,
        "comm": "keeper",
        "state": "D",
        "type": "timer",
        "since": "1s",
        "left": "9s",
        "note": "",
    }
    case = made_case(HUNG, waits=[row, waiter(11, 300), waiter(12, 200)], stacks=KEEPER)
    first = verdict_of(case, *RULES)[0]
    assert (first.finding, first.confidence) == ("lock not released", 0.65)
    assert "A timer will wake it" in first.against[0]


def test_a_keeper_that_was_hung_once_may_go_on() -> None:
    """The log says so of it an hour before the end; by now it has slept for a second."""
    own = {"pid": 10, "comm": "keeper", "state": "D", "type": "completion", "name": "answer", "since": "1s"}
    once = "[    9.000000] INFO: task keeper:10 blocked for more than 120 seconds.\n[   10.000000] eth0: up\n"
    case = made_case(once + HUNG, waits=[own, waiter(11, 300), waiter(12, 200)], stacks=KEEPER)
    (found,) = found_by(case, kept_locks)
    assert (found.confidence, bool(found.against)) == (0.65, True)


def test_a_guessed_holder_is_doubted() -> None:
    """A semaphore does not say who has it."""
    note = "a semaphore has no owner: this is who last took it"
    rows = [waiter(11, 300, type="semaphore", note=note)]
    tasks = [{"pid": 10, "comm": "keeper", "state": "D"}]
    (found,) = found_by(made_case(waits=rows, tasks=tasks, stacks=KEEPER), kept_locks)
    assert found.confidence <= 0.7
    assert any("who last took it" in one for one in found.against)


def test_a_lock_whose_holder_is_gone() -> None:
    """Nobody will ever let go of it; of one that is being handed over nothing is told."""
    gone = waiter(
        12, 300, holder=None, note="its holder is gone: 0xffff888000001234 is not the task_struct of a task"
    )
    free = waiter(
        13,
        300,
        holder=None,
        name="free_lock",
        object=LOCK + 64,
        note="nobody holds it: it was being handed over",
    )
    first, end = verdict_of(made_case(HUNG, waits=[gone, free]), *RULES)
    assert (first.finding, first.subject, first.pid) == ("lock not released", "shop_lock", None)
    assert first.confidence >= 0.8
    assert end.role == "end"


def test_what_none_of_the_reported_waits_for_is_doubted() -> None:
    """A lock that is kept elsewhere did not hang those whom the watchdog named."""
    own = {"pid": 10, "comm": "keeper", "state": "D", "type": "completion", "name": "answer", "since": "400s"}
    case = made_case(HUNG, waits=[own, waiter(11, 300)], stacks=KEEPER)
    found = verdict_of(case, *RULES)
    assert [(each.finding, each.role) for each in found] == [
        ("hung task", "end"),
        ("lock not released", "beside"),
    ]
    assert found[0].pid == 12
    assert "None of the threads" in found[1].against[-1]
    silenced = (
        "[  490.0] INFO: Future hung task reports are suppressed, see sysctl kernel.hung_task_warnings\n"
    )
    case = made_case(silenced + HUNG, waits=[own, waiter(11, 300)], stacks=KEEPER)
    assert verdict_of(case, *RULES)[0].finding == "lock not released"


def work(state: str, function: str = "grind [mill]", **more: object) -> dict[str, object]:
    """A work item of a workqueue for any CPU."""
    return {"state": state, "function": function, "workqueue": "grinders", "pool": 8, "unbound": True} | more


def test_a_work_without_an_end() -> None:
    """The worker is the cause, by the function of its work and the name of the workqueue; who waits for it is not."""
    worker = {
        "pid": 10,
        "comm": "kworker/u8:0",
        "state": "D",
        "type": "completion",
        "name": "never",
        "since": "300s",
    }
    flusher = waiter(12, 299, type="work", name="the work grind of workqueue grinders", comm="miller",
                     holder_comm="kworker/u8:0")  # fmt: skip
    works = [work("running", pid=10), work("scheduled", "wq_barrier_func", pid=10)]
    case = made_case(HUNG, waits=[worker, flusher], works=works, tasks=[{"pid": 10, "comm": "kworker/u8:0"}])
    found = verdict_of(case, *RULES)
    assert [(each.finding, each.role) for each in found] == [
        ("hung task", "cause"), ("hung task", "end"), ("workqueue stall", "beside"),
    ]  # fmt: skip
    assert (found[0].pid, found[0].module, found[0].function) == (10, "mill", "grind")
    assert "grinders" in found[0].subject
    young = made_case(HUNG, waits=[worker, flusher | {"since": "3s"}], works=works, tasks=case.tasks)
    assert not found_by(young, endless_works)
    goes_on = made_case(HUNG, waits=[worker | {"since": "3s"}, flusher], works=works, tasks=case.tasks)
    assert [(each.confidence, bool(each.against)) for each in found_by(goes_on, endless_works)] == [
        (0.7, True)
    ]
    assert (found[2].subject, found[2].function) == ("grinders", "grind")
    assert not any("miller" in each.subject for each in found)


def test_a_work_that_waits_for_a_device_for_half_a_minute_is_nothing() -> None:
    """As long as drivers grant one, or until a timer wakes it: the next work of its queue only has to wait."""
    worker = {
        "pid": 10,
        "comm": "kworker/u8:0",
        "state": "D",
        "type": "completion",
        "name": "probe",
        "since": "45s",
    }
    works = [work("running", pid=10), work("inactive")]
    tasks = [{"pid": 10, "comm": "kworker/u8:0"}]
    assert not found_by(made_case(waits=[worker], works=works, tasks=tasks), stalled_pools)
    timed = worker | {"since": "400s", "left": "9s"}
    assert not found_by(made_case(waits=[timed], works=works, tasks=tasks), stalled_pools)
    long = worker | {"since": "400s"}
    assert found_by(made_case(waits=[long], works=works, tasks=tasks), stalled_pools)


def test_a_pool_whose_cpu_another_thread_keeps() -> None:
    """No worker of it is at anything: what runs on the CPU keeps it from its works."""
    works = [work("pending", "vmstat_update", workqueue="mm_percpu_wq", cpu=1, unbound=False, stalled="45s")]
    hog = {"pid": 77, "comm": "hog", "state": "R", "cpu": 1, "on_cpu": True}
    stack = [row | {"cpu": 1} for row in frames(77, "spin_on+0x1/0x2 [hog]", "hog_write+0x2/0x20 [hog]")]
    (found,) = found_by(made_case(works=works, tasks=[hog], stacks=stack), *RULES)
    assert (found.finding, found.pid, found.module) == ("workqueue stall", 77, "hog")
    young = [dict(works[0], stalled="2s")]
    assert not found_by(made_case(works=young, tasks=[hog], stacks=stack), *RULES)
    idle = {"pid": 0, "comm": "swapper/1", "state": "R", "cpu": 1, "on_cpu": True}
    assert not found_by(made_case(works=works, tasks=[idle]), *RULES)


def test_a_holder_that_has_exited_is_nobody() -> None:
    """One row: the lock, not the thread of which the kernel only has the remains."""
    rows = [waiter(12, 300, note="its holder has exited without letting go of it")]
    (found,) = found_by(made_case(waits=rows, tasks=[{"pid": 10, "comm": "keeper", "state": "Z"}]), *RULES)
    assert (found.subject, found.pid) == ("shop_lock", None)
    assert found.confidence >= 0.8


def test_a_function_of_a_module_whose_symbols_are_lost_is_not_named() -> None:
    """The symbol before an address may be another function's: only the module is sure."""
    own = {"pid": 10, "comm": "keeper", "state": "D", "type": "completion", "name": "answer", "since": "400s"}
    case = made_case(waits=[own, waiter(11, 300)], stacks=KEEPER, modules=[{"name": "shop"}])
    assert found_by(case, kept_locks)[0].function == "keep_shop"
    case.modules.attrs["problems"] = [
        "the symbols of module 'shop': 55 of 59 lie on pages that the dump lacks"
    ]
    (found,) = found_by(case, kept_locks)
    assert (found.module, found.function) == ("shop", None)


LAST_READER = "the last reader was keeper (10); whether it is still in, its stack does not tell"


def test_the_last_reader_of_a_lock_may_have_left() -> None:
    """The kernel leaves the last reader's name in the lock: that is a hint, for a circle and for a kept lock."""
    own = {"pid": 10, "comm": "keeper", "state": "D", "type": "completion", "name": "answer", "since": "400s"}
    rows = [own, waiter(11, 300, type="rwsem_write", note=LAST_READER)]
    (kept,) = found_by(made_case(waits=rows, stacks=KEEPER), kept_locks)
    itself = waiter(10, 300, type="rwsem_write", note=LAST_READER)
    (circle,) = found_by(made_case(waits=[itself], stacks=KEEPER), deadlocks)
    assert max(kept.confidence, circle.confidence) < 0.5
    seen = "the last reader, keeper (10), is still in, by its stack"
    (kept,) = found_by(made_case(waits=[rows[0], rows[1] | {"note": seen}], stacks=KEEPER), kept_locks)
    assert kept.confidence >= 0.6


def test_a_debugger_and_what_it_stopped_are_no_deadlock() -> None:
    rows = [
        waiter(10, 9000, holder=11, state="S", type="child", name="the end of its child", object=None),
        waiter(11, 9000, state="t", type="ptrace", name="its tracer", object=None),
    ]
    assert not found_by(made_case(waits=rows), *RULES)


def test_who_a_signal_may_wake_is_not_hung() -> None:
    """The second reader of a terminal waits for its lock until somebody types (drivers/tty/n_tty.c, n_tty_read)."""
    own = {"pid": 10, "comm": "keeper", "state": "S", "type": "wait_queue", "since": "9000s"}
    tasks = [{"pid": 10, "comm": "keeper", "state": "S"}]
    rows = [own, waiter(11, 8000, state="S"), waiter(12, 10)]
    assert not found_by(made_case(waits=rows, tasks=tasks, stacks=KEEPER), *RULES)
    (found,) = found_by(made_case(waits=[own, waiter(11, 8000)], tasks=tasks, stacks=KEEPER), *RULES)
    assert found.pid == 10


@pytest.mark.parametrize(("own", "sure"), [("mutex", False), ("spinlock", False), ("completion", True)])
def test_a_keeper_that_waits_for_a_lock_itself_is_a_hint(own: str, sure: bool) -> None:
    """Who has that lock is why, and nothing tells who that is."""
    keeper = waiter(10, 400, None, comm="keeper", type=own, name="other", object=LOCK + 64)
    found = found_by(made_case(HUNG, waits=[waiter(12, 300), keeper], stacks=KEEPER), kept_locks)
    assert [(each.pid, each.confidence >= 0.8) for each in found] == [(10, sure)]
    assert sure or found[0].confidence < 0.5


@pytest.mark.parametrize("same", [True, False])
def test_a_crowd_that_does_something_else_is_no_convoy(same: bool) -> None:
    """Only who came by the lock where the others wait for it takes it in turn with them."""
    stack = frames(
        10, "keep_shop+0x5/0x20 [shop]", "order_place+0x5/0x20 [shop]" if same else "close+0x1/0x2"
    )
    tasks = [{"pid": 10, "comm": "keeper", "state": "R", "on_cpu": False}]
    waits = [waiter(pid, 300) for pid in (12, 13, 14)]
    (found,) = found_by(made_case(HUNG, waits=waits, stacks=stack, tasks=tasks), kept_locks)
    assert found.finding == ("lock convoy" if same else "lock not released")


def test_of_many_that_wait_any_may_be_the_one_that_was_reported() -> None:
    """Evidence has the first hundred only."""
    waits = [waiter(pid, 300, None, note="its holder has exited") for pid in (*range(100, 250), 12)]
    first, *_ = verdict_of(made_case(HUNG, waits=waits), *RULES)
    assert (first.finding, first.role, len(first.evidence[0].rows)) == ("lock not released", "cause", 100)


def test_a_cpu_that_spins_does_no_works_either() -> None:
    """The lockup says so itself."""
    log = HUNG.replace("INFO: task order-2:12 blocked for more than 120 seconds.",
                       "watchdog: BUG: soft lockup - CPU#1 stuck for 45s! [hog:77]")  # fmt: skip
    works = [work("pending", "vmstat_update", workqueue="mm_percpu_wq", cpu=1, unbound=False, stalled="45s")]
    hog = {"pid": 77, "comm": "hog", "state": "R", "cpu": 1, "on_cpu": True}
    stack = [row | {"cpu": 1} for row in frames(77, "spin_on+0x1/0x2 [hog]", "hog_write+0x2/0x20 [hog]")]
    panic = log.replace("hung_task: blocked tasks", "softlockup: hung tasks")
    assert not found_by(made_case(panic, works=works, tasks=[hog], stacks=stack), stalled_pools)
    elsewhere = panic.replace("CPU#1", "CPU#3")
    assert found_by(made_case(elsewhere, works=works, tasks=[hog], stacks=stack), stalled_pools)

"""CPUs that do not go on, whom RCU waits for, and that a watchdog's row accuses no victim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.captures import captures
from support.overlay import Overlay
from verdict.cases import found_by, made_case, verdict_of

import kernlab
from kernlab.core.column import Column
from kernlab.linux.scheduling.steal import stolen_since_tick
from kernlab.verdict.case import Case
from kernlab.verdict.deafness import taken_by_host
from kernlab.verdict.rules.ends import last_report
from kernlab.verdict.rules.grace import deaf_cpus, kept_grace_period, silent_cpus
from kernlab.verdict.rules.holders import kept_locks
from kernlab.verdict.rules.spinning import rcu_waits_for, spins_for, stalled
from kernlab.verdict.rules.waiting import deadlocks
from kernlab.walk.cpus import percpu

RULES = (last_report, kept_locks, deadlocks, rcu_waits_for, spins_for, kept_grace_period, silent_cpus)
LOCK = 0xFFFF_8880_0000_1000


def frames(
    pid: int, comm: str, cpu: int | None, *symbols: str, kind: str = "task"
) -> list[dict[str, object]]:
    """A stack; symbols that begin with `irq:` lie above what was interrupted."""
    return [
        {
            "pid": pid, "comm": comm, "cpu": cpu, "frame": at, "symbol": symbol.removeprefix("irq:"),
            "kind": "irq" if symbol.startswith("irq:") else kind, "reliable": True,
        }
        for at, symbol in enumerate(symbols)
    ]  # fmt: skip


def test_who_has_the_spinlock_is_the_cause(sample: Callable[[str], Case]) -> None:
    """The watchdog came upon a CPU that spins for it: that one is not accused, nor are other threads that wait."""
    found = verdict_of(sample("lockup"), *RULES)
    assert [(each.finding, each.role) for each in found] == [
        ("lock not released", "cause"),
        ("soft lockup", "end"),
    ]
    first, end = found
    assert (first.pid, first.module, first.function) == (137, "kernlab_shop", "count_up")
    assert (end.subject, end.pid, end.function) == ("CPU 3, which could not go on", None, None)
    assert any("CPU 3 was in native_queued_spin_lock_slowpath" in one.says for one in end.evidence)


LOCKUP = """\
[  100.0] watchdog: BUG: soft lockup - CPU#2 stuck for 26s! [mill:77]
[  100.0] CPU: 2 PID: 77 Comm: mill Not tainted 6.1.0 #1
[  100.0] RIP: 0010:wheel_spin+0x12/0x30 [mill]
[  100.0] Call Trace:
[  100.0]  <TASK>
[  100.0]  mill_write+0x10/0x30 [mill]
[  100.0]  </TASK>
[  100.1] Kernel panic - not syncing: softlockup: hung tasks
"""
SPIN = (
    "irq:panic+0x1/0x2",
    "irq:watchdog_timer_fn+0x1/0x2",
    "wheel_spin+0x12/0x30 [mill]",
    "mill_write+0x10/0x30 [mill]",
)


def test_a_loop_of_its_own_is_the_end_itself() -> None:
    """The stack beneath the interrupt shows the same function as the log."""
    (end,) = verdict_of(made_case(LOCKUP, stacks=frames(77, "mill", 2, *SPIN)), *RULES)
    assert (end.finding, end.pid, end.function, end.against) == ("soft lockup", 77, "wheel_spin", ())
    assert "CPU 2 was in wheel_spin ← mill_write" in [one.says for one in end.evidence]


def test_a_cpu_that_had_gone_on_speaks_against_it() -> None:
    """When the machine died it was elsewhere."""
    stack = frames(77, "mill", 2, "irq:panic+0x1/0x2", "other+0x1/0x2", "vfs_read+0x1/0x2")
    (end,) = verdict_of(made_case(LOCKUP, stacks=stack), *RULES)
    assert "may have gone on" in end.against[0]


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        ("native_queued_spin_lock_slowpath", "It spins for a lock"),
        ("smp_call_function_many_cond", "It waits until other CPUs answer"),
    ],
)
def test_whom_a_watchdog_came_upon_is_told_as_a_victim_where_the_cause_is_lost(inside: str, why: str) -> None:
    """As where the table of waits is not whole: the log's own stack shows that somebody else is why."""
    log = LOCKUP.replace("wheel_spin+0x12/0x30 [mill]", f"{inside}+0x12/0x30")
    (end,) = verdict_of(made_case(log), *RULES)
    assert [each.startswith(why) for each in end.against] == [True]
    row = {"pid": 77, "comm": "mill", "state": "R", "type": "spinlock", "name": "till_lock", "object": LOCK,
           "note": ""}  # fmt: skip
    stack = frames(77, "mill", 2, f"{inside}+0x12/0x30", "mill_write+0x10/0x30 [mill]")
    _, end = verdict_of(made_case(log, waits=[row], stacks=stack), *RULES)
    assert end.against == ()


def test_code_that_no_symbol_covers_has_no_name() -> None:
    """Its address is no function, and who called it is not to blame."""
    loop = frames(99, "jammer", 1, "0xffffffffc0417019", "mill_write+0x1/0x2 [mill]")
    (found,) = found_by(made_case(watchdogs=LATE[:1], registers=OFF, stacks=loop), deaf_cpus)
    assert (found.function, found.module) == (None, None)
    assert found.confidence < 0.85


def test_a_spinlock_of_nobody() -> None:
    """Who has it is not known, but that lock is why the CPU did not go on; free ones are not told of."""
    row = {"pid": 77, "comm": "mill", "state": "R", "type": "spinlock", "name": "till_lock", "object": LOCK,
           "note": "CPU 2 spins"}  # fmt: skip
    stack = frames(77, "mill", 2, *SPIN)
    first, end = verdict_of(made_case(LOCKUP, waits=[row], stacks=stack), *RULES)
    assert (first.finding, first.subject, first.role) == ("lock not released", "till_lock", "cause")
    assert first.confidence < 0.8
    assert first.against
    assert end.pid is None
    free = row | {"note": "CPU 2 spins; its word says that nobody holds it"}
    assert len(verdict_of(made_case(LOCKUP, waits=[free], stacks=stack), *RULES)) == 1


def test_two_cpus_that_spin_for_each_other() -> None:
    """A circle of spinlocks explains a lockup, and no hung task."""
    row = {"state": "R", "type": "spinlock", "note": ""}
    waits = [
        row
        | {"pid": 77, "comm": "mill", "name": "a", "object": LOCK, "holder_pid": 78, "holder_comm": "till"},
        row
        | {
            "pid": 78,
            "comm": "till",
            "name": "b",
            "object": LOCK + 8,
            "holder_pid": 77,
            "holder_comm": "mill",
        },
    ]
    found = verdict_of(made_case(LOCKUP, waits=waits, stacks=frames(77, "mill", 2, *SPIN)), *RULES)
    assert [(each.finding, each.role) for each in found] == [("deadlock", "cause"), ("soft lockup", "end")]
    assert "hung task" not in found[0].explains


STALLS = {
    "rcu: \t1-....: (1 GPs behind) idle=7a2/1/0x4 softirq=35919/35920 fqs=20": ([1], []),
    "\t3-...!: (10499 ticks this GP) idle=bde/1/0x4000000000000000 softirq=23/23 fqs=1": ([3], []),
    "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P8340/1:b..l P77": ([], [8340, 77]),
    "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 2-...D P123 } 5 jiffies s: 45": (
        [2],
        [123],
    ),
    "rcu: \t(detected by 1, t=10502 jiffies, g=5905, q=81)": ([], []),
}


@pytest.mark.parametrize(("line", "named"), STALLS.items())
def test_whom_a_report_of_rcu_names(line: str, named: tuple[list[int], list[int]]) -> None:
    """Each form of the lines that name CPUs and threads."""
    log = (
        "[   50.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n"
        f"[   50.0] {line}\n"
        "[   50.1] Kernel panic - not syncing: RCU Stall\n"
    )
    found = stalled(made_case(log))
    assert (list(found.cpus), list(found.pids)) == named


STALL = """\
[   50.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   50.0] rcu: \t1-....: (1 GPs behind) idle=7a2/1/0x4 softirq=35919/35920 fqs=20
[   50.0] rcu: \t(detected by 0, t=5252 jiffies, g=5905, q=81)
[   50.1] CPU: 0 PID: 12 Comm: innocent Not tainted 6.1.0 #1
[   50.1] Call Trace:
[   50.1]  <IRQ>
[   50.1]  rcu_sched_clock_irq+0x10/0x30
[   50.1]  </IRQ>
[   50.1] Kernel panic - not syncing: RCU Stall
"""


def test_who_noticed_a_stall_of_rcu_is_not_its_cause() -> None:
    """CPU 0 noticed that CPU 1 does not answer; without a dump the CPU is all that is known."""
    stacks = frames(77, "mill", 1, "irq:nmi+0x1/0x2", *SPIN[2:]) + frames(12, "innocent", 0, "user+0x1/0x2")
    first, end = verdict_of(made_case(STALL, stacks=stacks), *RULES)
    assert (first.finding, first.pid, first.function, first.role) == ("RCU stall", 77, "wheel_spin", "cause")
    assert "innocent" not in end.subject
    assert end.pid is None
    table = kernlab.verdict.of_log(STALL)
    assert table["subject"].iloc[0] == "CPU 1"
    assert not table["subject"].str.contains("innocent").any()


def test_an_idle_cpu_keeps_nobody() -> None:
    """Why it did not answer, nothing tells."""
    stacks = frames(0, "swapper/1", 1, "irq:nmi+0x1/0x2", "default_idle+0x1/0x2", kind="idle")
    assert [each.role for each in verdict_of(made_case(STALL, stacks=stacks), *RULES)] == ["end"]


HUNG = """\
[  500.0] INFO: task umount:12 blocked for more than 120 seconds.
[  500.0] Call Trace:
[  500.0]  schedule+0x27/0xc0
[  500.0]  synchronize_rcu+0x12/0x40
[  500.1] Kernel panic - not syncing: hung_task: blocked tasks
"""
WAITER = {"pid": 12, "comm": "umount", "state": "D", "type": "rcu", "name": "an RCU grace period", "since": "200s",
          "note": ""}  # fmt: skip
PERIOD = {"name": "rcu_preempt", "running": True, "started": "201s", "activity": "0s", "stalled": False,
          "waiting_cpus": "1", "waiting_tasks": ""}  # fmt: skip


def test_who_keeps_a_grace_period_hangs_who_waits_for_it() -> None:
    """The CPU that RCU waits for is the cause; not where RCU's own thread did not run, or where the CPU idles."""
    stacks = frames(77, "mill", 1, *SPIN)
    first, end = verdict_of(made_case(HUNG, waits=[WAITER], grace_periods=[PERIOD], stacks=stacks), *RULES)
    assert (first.finding, first.pid, first.module, first.role) == ("RCU stall", 77, "mill", "cause")
    assert first.confidence >= 0.8
    assert (end.role, end.pid) == ("end", None)
    starved = PERIOD | {"activity": "150s"}
    found = verdict_of(made_case(HUNG, waits=[WAITER], grace_periods=[starved], stacks=stacks), *RULES)
    assert [each.role for each in found] == ["end", "cause"]
    assert found[1].confidence < 0.5
    idle = frames(0, "swapper/1", 1, "default_idle+0x1/0x2", kind="idle")
    assert len(verdict_of(made_case(HUNG, waits=[WAITER], grace_periods=[PERIOD], stacks=idle), *RULES)) == 1


def test_a_reader_that_lost_its_cpu() -> None:
    """By its pid in the list of readers."""
    period = PERIOD | {"waiting_cpus": "", "waiting_tasks": "77"}
    stacks = frames(77, "mill", None, "schedule+0x1/0x2", *SPIN[2:])
    first = verdict_of(made_case(HUNG, waits=[WAITER], grace_periods=[period], stacks=stacks), *RULES)[0]
    assert (first.pid, first.function) == (77, "wheel_spin")


def test_a_young_grace_period_is_nothing() -> None:
    """Every busy machine has one."""
    young = PERIOD | {"started": "3s"}
    stacks = frames(77, "mill", 1, *SPIN[2:])
    assert not found_by(made_case(grace_periods=[young], stacks=stacks), kept_grace_period)
    assert not found_by(
        made_case(HUNG, waits=[WAITER], grace_periods=[young], stacks=stacks), kept_grace_period
    )
    assert found_by(made_case(grace_periods=[young | {"stalled": True}], stacks=stacks), kept_grace_period)


def test_a_cpu_that_does_one_thing_only() -> None:
    """By its watchdog's clock, where another thing ended the machine; who spins for a lock is a victim."""
    late = {"cpu": 2, "since_touch": "30s", "threshold": "20s", "soft_lockup": True}
    given: dict[str, Any] = {"watchdogs": [late], "stacks": frames(77, "mill", 2, *SPIN[2:])}
    (found,) = found_by(made_case(**given), silent_cpus)
    assert (found.finding, found.pid, found.module, found.since) == ("soft lockup", 77, "mill", 30)
    assert found.against
    waits = [{"pid": 77, "comm": "mill", "state": "R", "type": "spinlock", "object": LOCK, "note": ""}]
    assert not found_by(made_case(waits=waits, **given), silent_cpus)
    assert not found_by(made_case(LOCKUP, **given), silent_cpus)


@pytest.mark.parametrize("story", ["fault-rcu", "fault-softlock", "fault-softirq-spin"])
def test_captures_of_cpus_that_spin(story: str) -> None:
    """One row, the end; the function that spins and its module, beneath the interrupt."""
    folders = captures(f"{story}-*")
    if not folders:
        pytest.skip(f"no capture of {story} (KERNLAB_LAB_CAPTURES)")
    functions = {
        "fault-rcu": "river_read",
        "fault-softlock": "wheel_spin",
        "fault-softirq-spin": "bell_swing",
    }
    with kernlab.open(folders[0] / "vmcore") as dump:
        first = verdict_of(Case(dump.kernel), *RULES)[0]
    assert (first.function, first.module, first.against) == (functions[story], "kernlab_mill", ())
    assert any(f"was in {functions[story]}" in one.says for one in first.evidence)


ASKS = """\
[  100.0] watchdog: BUG: soft lockup - CPU#2 stuck for 26s! [asker:77]
[  100.0] CPU: 2 PID: 77 Comm: asker Not tainted 6.1.0 #1
[  100.0] RIP: 0010:smp_call_function_many_cond+0x12/0x30
[  100.0] Call Trace:
[  100.0]  <TASK>
[  100.0]  on_each_cpu_cond_mask+0x10/0x30
[  100.0]  flush_tlb_mm_range+0x10/0x30
[  100.0]  </TASK>
[  100.1] Kernel panic - not syncing: softlockup: hung tasks
"""


JAM = frames(99, "jammer", 1, "wheel_jam+0x1/0x2 [mill]", "mill_write+0x1/0x2 [mill]")
LATE = [{"cpu": 1, "timer_late": "24s", "threshold": "20s"}, {"cpu": 2, "timer_late": "25s", "threshold": "20s"},
        {"cpu": 0, "timer_late": "0s", "threshold": "20s"}]  # fmt: skip
#: As the NMI that stopped a CPU saves them (X86_EFLAGS_IF is 0x200).
OFF, ON = [{"cpu": 1, "flags": 0x10002}], [{"cpu": 1, "flags": 0x10202}]


def test_a_cpu_that_answers_nobody() -> None:
    """A CPU with interrupts off is why another one waits for ever until all have answered; idle ones are not."""
    asker = frames(77, "asker", 2, "irq:panic+0x1/0x2", "smp_call_function_many_cond+0x12/0x30",
                   "on_each_cpu_cond_mask+0x10/0x30", "flush_tlb_mm_range+0x10/0x30")  # fmt: skip
    case = made_case(ASKS, watchdogs=LATE, registers=OFF, stacks=asker + JAM)
    first, end = verdict_of(case, *RULES, deaf_cpus)
    assert (first.finding, first.pid, first.function, first.role) == ("hard lockup", 99, "wheel_jam", "cause")
    assert (end.finding, end.pid) == ("soft lockup", None)
    assert "CPU 1 had interrupts off when it was stopped" in [each.says for each in first.evidence]
    loop = frames(77, "asker", 2, *SPIN)
    case = made_case(LOCKUP, watchdogs=LATE, registers=OFF, stacks=loop + JAM)
    assert [each.role for each in verdict_of(case, *RULES, deaf_cpus)] == ["end", "beside"]
    idle = frames(0, "swapper/1", 1, "default_idle+0x1/0x2", kind="idle")
    case = made_case(ASKS, watchdogs=LATE, registers=OFF, stacks=asker + idle)
    assert len(verdict_of(case, *RULES, deaf_cpus)) == 1
    spins = [SPINS | {"pid": 99, "comm": "jammer"}]
    case = made_case(ASKS, watchdogs=LATE, registers=OFF, stacks=asker + JAM, waits=spins)
    assert not found_by(case, deaf_cpus)


@pytest.mark.parametrize(
    ("registers", "above", "taken"),
    [
        (ON, (), 0),
        # No registers: the CPU did not answer, or nobody saved them.
        ([], (), 0),
        # They are those of the handler that stopped the CPU.
        (OFF, ("irq:stop_this_cpu+0x1/0x2",), 0),
        # The host let it wait.
        (OFF, (), 20 * 10**9),
    ],
)
def test_a_late_timer_alone_accuses_nobody(
    registers: list[dict[str, object]], above: tuple[str, ...], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual machine's CPU that the host did not let run looks the same."""
    monkeypatch.setattr(
        "kernlab.verdict.deafness.stolen_since_tick",
        lambda kernel, cpus: Column.ints([taken], "what the host took"),
    )
    stack = [*frames(99, "jammer", 1, *above), *JAM]
    asker = frames(77, "asker", 2, "smp_call_function_many_cond+0x12/0x30")
    case = made_case(ASKS, watchdogs=LATE, registers=registers, stacks=asker + stack)
    (found,) = found_by(case, deaf_cpus)
    assert (found.confidence, len(found.against)) == (0.45, 1)
    assert found.against[0].startswith("The host of this" if taken else "Nothing shows")


def test_what_the_host_took_is_what_no_tick_has_counted(opened: Callable[[str], kernlab.Dump]) -> None:
    """Of a CPU that the host let wait for 20 s more than the CPU itself has heard of."""
    dump = opened("lockup")
    cpus = np.arange(4)
    kernel, overlay = dump.kernel, Overlay(dump)
    assert (stolen_since_tick(kernel, cpus).filled(-1) < 2 * 10**9).all()
    (where,) = percpu(kernel, kernel.symbol("steal_time"), np.array([1]))
    (queue,) = percpu(kernel, kernel.symbol("runqueues"), np.array([1]))
    overlay.set("struct rq", int(queue), "prev_steal_time", 5 * 10**9)
    overlay.set("struct kvm_steal_time", int(where), "version", 6)
    overlay.set("struct kvm_steal_time", int(where), "steal", 25 * 10**9)
    twin = overlay.dump()
    assert stolen_since_tick(twin.kernel, cpus).filled(0)[1] == 20 * 10**9
    said = taken_by_host(Case(twin.kernel), 1, 24.0)
    assert said == "The host of this virtual machine has not let CPU 1 run for 20 s of that."
    assert taken_by_host(Case(twin.kernel), 1, 60.0) is None
    assert taken_by_host(Case(kernel), 1, 24.0) is None


def test_a_holder_that_the_watchdog_came_upon() -> None:
    """It has the lock, and stood beneath the interrupt that ended the machine; one row for it, and the end's own."""
    row = {"pid": 78, "comm": "till", "state": "R", "type": "spinlock", "name": "till_lock", "object": LOCK,
           "holder_pid": 77, "holder_comm": "mill", "note": ""}  # fmt: skip
    found = verdict_of(made_case(LOCKUP, waits=[row], stacks=frames(77, "mill", 2, *SPIN)), *RULES)
    assert [(each.finding, each.pid, each.function) for each in found] == [
        ("lock not released", 77, "wheel_spin"),
        ("soft lockup", 77, "wheel_spin"),
    ]


def test_a_handler_of_interrupts_that_spins() -> None:
    """An NMI sees it: the thread beneath has no part in it."""
    stacks = frames(
        12, "innocent", 1, "handle_mill+0x1/0x2 [mill]", "asm_common_interrupt+0x1/0x2", kind="irq"
    )
    nmi = [row | {"kind": "nmi"} for row in frames(12, "innocent", 1, "nmi_cpu_backtrace+0x1/0x2")]
    beneath = frames(12, "innocent", 1, "user_loop+0x1/0x2")
    case = made_case(STALL, stacks=[*nmi, *stacks, *beneath])
    first = verdict_of(case, *RULES)[0]
    assert (first.subject, first.pid, first.function) == ("an interrupt on CPU 1", None, "handle_mill")


SPINS = {"pid": 77, "comm": "mill", "state": "R", "type": "spinlock", "object": LOCK, "note": ""}
ASKER = frames(77, "mill", 1, "smp_call_function_many_cond+0x12/0x30", "on_each_cpu_cond_mask+0x10/0x30")


@pytest.mark.parametrize(
    ("waits", "stack", "why"),
    [
        ([SPINS], frames(77, "mill", 1, *SPIN), "It spins for a lock"),
        ([], ASKER, "It waits until other CPUs answer"),
    ],
)
def test_a_victim_that_a_watchdog_came_upon_is_a_hint(
    waits: list[dict[str, object]], stack: list[dict[str, object]], why: str
) -> None:
    """A CPU that cannot go on for somebody else's sake is accused by no rule of RCU's, nor of its own watchdog's."""
    for case, rule in (
        (made_case(STALL, waits=waits, stacks=stack), rcu_waits_for),
        (made_case(HUNG, waits=[WAITER, *waits], grace_periods=[PERIOD], stacks=stack), kept_grace_period),
    ):
        (found,) = found_by(case, rule)
        assert found.confidence < 0.5
        assert why in found.against[-1]
    late = {"cpu": 1, "since_touch": "30s", "threshold": "20s", "soft_lockup": True}
    told = found_by(made_case(watchdogs=[late], waits=waits, stacks=stack), silent_cpus)
    assert all(each.confidence < 0.5 for each in told)


BLOCKED = """\
[   50.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   50.0] rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P77/1:b..l
[   50.1] Kernel panic - not syncing: RCU Stall
"""


@pytest.mark.parametrize(
    ("state", "on_cpu", "last_run", "sure"),
    [
        ("R", False, "25s", False),
        ("R", False, None, False),
        ("R", False, "0.1s", True),
        ("R", True, "25s", True),
        ("S", False, "25s", True),
    ],
)
def test_a_reader_that_gets_no_cpu_is_a_hint(state: str, on_cpu: bool, last_run: str, sure: bool) -> None:
    """Who was made to leave its CPU while it read, and has not got one since, is the victim of what has it."""
    given: dict[str, Any] = {
        "tasks": [{"pid": 77, "comm": "mill", "state": state, "on_cpu": on_cpu, "cpu": 1}],
        "delays": [{"pid": 77, "comm": "mill", "last_run": last_run}],
        "stacks": frames(77, "mill", None, "schedule+0x1/0x2", *SPIN[2:]),
    }
    period = PERIOD | {"waiting_cpus": "", "waiting_tasks": "77"}
    for case, rule in (
        (made_case(BLOCKED, **given), rcu_waits_for),
        (made_case(HUNG, waits=[WAITER], grace_periods=[period], **given), kept_grace_period),
    ):
        (found,) = found_by(case, rule)
        assert (found.pid, found.function) == (77, "wheel_spin")
        assert (found.confidence >= 0.8) == sure
        assert any("what has CPU 1 may be why" in each for each in found.against) == (not sure)


def test_who_noticed_its_own_stall_is_told_by_the_end() -> None:
    """RCU names the CPU, or the thread, that the report is of: that is one row, and no other."""
    own = STALL.replace("detected stalls on CPUs/tasks", "self-detected stall on CPU").replace("\t1-", "\t0-")
    stacks = frames(12, "innocent", 0, *SPIN[2:])
    assert not found_by(made_case(own, stacks=stacks), rcu_waits_for)
    reader = BLOCKED.replace(
        "[   50.1]", "[   50.0] CPU: 0 PID: 77 Comm: mill Not tainted 6.1.0 #1\n[   50.1]", 1
    )
    tasks = [{"pid": 77, "comm": "mill", "state": "S", "cpu": 0}]
    assert not found_by(
        made_case(reader, tasks=tasks, stacks=frames(77, "mill", None, *SPIN[2:])), rcu_waits_for
    )

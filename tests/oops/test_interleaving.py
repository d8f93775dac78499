"""Reports that two CPUs print at once, that break each other off, and panics that follow from them."""

from __future__ import annotations

import itertools
import random

import pandas as pd
import pytest
from oops import logs

from kernlab.oops import parse

SAME = ["kind", "title", "function", "module", "cpu", "pid", "comm", "frames", "corrupted", "signature"]


def stamped(log: str, caller: str, time: float = 12.0) -> list[str]:
    return [
        f"[{time + place / 1000:12.6f}][{caller:>6}] {line}" for place, line in enumerate(log.split("\n"))
    ]


@pytest.mark.parametrize(
    ("first", "second"), [*itertools.combinations(["null", "kasan", "hung", "list", "refcount"], 2)]
)
def test_two_callers_at_once_give_both(first, second):
    """Line by line in an order by chance: each report is what it is alone."""
    one, two = stamped(logs.ALL[first][0], "T11"), stamped(logs.ALL[second][0], "T22")
    order = [0] * len(one) + [1] * len(two)
    random.Random(first + second).shuffle(order)
    sources = iter(one), iter(two)
    found = parse("\n".join(next(sources[which]) for which in order)).sort_values("caller", ignore_index=True)
    alone = pd.concat([parse(logs.ALL[first][0]), parse(logs.ALL[second][0])], ignore_index=True)
    pd.testing.assert_frame_equal(found[SAME], alone[SAME])


def test_a_backtrace_of_another_cpu_is_of_the_stall_that_asked_for_it():
    stall = [
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "rcu: 	0-...!: (1 GPs behind) idle=a3e/1/0x4 softirq=38/38 fqs=1",
        "	(detected by 1, t=10586 jiffies, g=559, q=0)",
        "Sending NMI from CPU 1 to CPUs 0:",
    ]
    answer = [
        "NMI backtrace for cpu 0",
        "RIP: 0010:shop_spin+0x1/0x9 [shop]",
        "Call Trace:",
        " shop_ioctl+0x1/0x9 [shop]",
        " __x64_sys_ioctl+0x1/0x9",
    ]
    report = parse("\n".join(stamped("\n".join(stall), "C1") + stamped("\n".join(answer), "C0", 12.5))).iloc[
        0
    ]
    assert (report.kind, report.function, report.module) == ("RCU stall", "shop_ioctl", "shop")


def test_a_warning_and_an_oops_are_two():
    found = parse(f"{logs.WARNING}\n{logs.NULL_WRITE}")
    assert found["kind"].tolist() == ["refcount", "null dereference"]
    assert not found["corrupted"].any()


def test_an_oops_within_a_report_is_a_row_of_its_own():
    """What broke a report off ran on top of it: its stack tells of both."""
    broken = logs.KASAN.split("\n")[:3]
    found = parse("\n".join(["boot", *broken, logs.NULL_WRITE]))
    assert found["kind"].tolist() == ["use after free", "null dereference"]
    assert found["function"].tolist() == ["shop_total", "shop_total"]
    assert found["corrupted"].tolist() == [True, False]
    assert "broken off" in found["why"][0]


def test_an_oops_within_a_stack_says_inside_of_what():
    trap = ["general protection fault: 0000 [#2] SMP", "RIP: 0010:a+0x1/0x2", " b+0x1/0x2"]
    found = parse("\n".join([*logs.NULL_WRITE.split("\n")[:18], *trap]))
    assert found["kind"].tolist() == ["null dereference", "general protection"]
    assert found["details"][1]["inside"] == 0


def test_a_line_within_a_stack_does_not_end_it():
    lines = logs.HUNG.split("\n")
    aside = "unregister_netdevice: waiting for lo to become free. Usage count = 6"
    found = parse("\n".join([*lines[:8], aside, *lines[8:]]))
    assert found["kind"].tolist() == ["hung task", "network stall"]
    assert found["function"][0] == "shop_order"


def test_two_messages_on_one_line():
    line = "[   76.470085] a: allocation failure: 34359738352 bytes[   76.471107] "
    found = parse(line + logs.NULL_WRITE.replace("\n", "\n[   76.471108] "))
    assert found["function"].tolist() == ["shop_total"]


OOM = """\
till invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
CPU: 0 PID: 178 Comm: till Not tainted 6.1.90 #1"""


@pytest.mark.parametrize(
    ("log", "panic"),
    [
        (logs.NULL_WRITE, "Fatal exception"),
        (logs.NULL_WRITE, "Fatal exception in interrupt"),
        (logs.NULL_WRITE.replace("PID: 812", "PID: 1"), "Attempted to kill init! exitcode=0x0000000b"),
        (logs.NULL_WRITE.replace("PID: 812", "PID: 0"), "Attempted to kill the idle task!"),
        (logs.WARNING, "panic_on_warn set ..."),
        (logs.HUNG, "hung_task: blocked tasks"),
        (logs.SOFT_LOCKUP, "softlockup: hung tasks"),
        (logs.RCU_STALL, "RCU Stall"),
        (logs.KASAN, "kasan.fault=panic set ..."),
        (OOM, "Out of memory: compulsory panic_on_oom is enabled"),
    ],
)
def test_a_panic_that_follows_belongs_to_its_report(log, panic):
    stack = [
        "CPU: 9 PID: 9 Comm: z Not tainted 1.2.3 #1",
        "Call Trace:",
        " dump_stack+0x1/0x2",
        " panic+0x1/0x2",
    ]
    found = parse("\n".join([log, logs.PANIC + panic, *stack]))
    assert len(found) == 1
    assert found["details"][0]["panic"] == logs.PANIC + panic
    assert found["pid"][0] != 9


@pytest.mark.parametrize(
    "panic", ["Fatal exception", "hung_task: blocked tasks", "VFS: Unable to mount root fs"]
)
def test_a_panic_long_after_or_of_another_kind_is_its_own(panic):
    later = [*logs.WARNING.split("\n"), *["later"] * 500, logs.PANIC + panic]
    found = parse("\n".join(later))
    assert found["kind"].tolist() == ["refcount", "panic"]
    assert "panic" not in found["details"][0]


@pytest.mark.parametrize(
    ("log", "panic"),
    [
        (logs.NULL_WRITE, "Attempted to kill init! exitcode=0x0000000b"),
        (logs.NULL_WRITE, "Attempted to kill the idle task!"),
        # The OOM killer panics before it kills.
        (
            f"{OOM}\nOut of memory: Killed process 9 (till)",
            "Out of memory: system-wide panic_on_oom is enabled",
        ),
        # Whose report is lost: no trap is a warning.
        (logs.NULL_WRITE, "kernel: panic_on_warn set ..."),
    ],
)
def test_the_panic_of_another_is_its_own(log, panic):
    """A thread that traps is killed, and the machine goes on: what ends within seconds need not end by it."""
    found = parse(f"{log}\n{logs.PANIC}{panic}")
    assert len(found) == 2
    assert "panic" not in found["details"][0]


def test_of_two_reports_the_panic_is_of_its_own_thread():
    """Two CPUs trap at once; the one that was first panics."""
    first, other = stamped(logs.NULL_WRITE, "T812", 5.0), stamped(logs.NULL_OLD, "T90", 5.1)
    found = parse("\n".join([*first, *other, f"[    5.200000][  T812] {logs.PANIC}Fatal exception"]))
    assert ["panic" in details for details in found["details"]] == [True, False]
    found = parse("\n".join([*first, f"[    5.200000][   T90] {logs.PANIC}Fatal exception"]))
    assert found["kind"].tolist() == ["null dereference", "panic"]


def test_no_panic_is_of_a_report_that_was_over():
    first = stamped(logs.NULL_WRITE, "T1", 5.0)
    found = parse("\n".join([*first, f"[  500.000000][    T1] {logs.PANIC}Fatal exception"]))
    assert found["kind"].tolist() == ["null dereference", "panic"]


def test_offsets_lead_back_to_the_lines():
    log = "\n".join(["boot"] * 7 + [logs.NULL_WRITE] + ["later"] * 5)
    report = parse(log).iloc[0]
    lines = log.split("\n")
    assert lines[report.offset].startswith("BUG: kernel NULL pointer")
    assert lines[report.end - 1].startswith("---[ end trace")


#: What panic() prints below its line, of an NMI that came upon a CPU that spins: all that a console shows which is
#: set to urgent lines only (kernel/panic.c, vpanic).
NMI_STACK = """\
CPU: 3 PID: 812 Comm: billing Tainted: G           OE      6.1.0 #1
Call Trace:
 <NMI>
 dump_stack_lvl+0x37/0x50
 panic+0x107/0x280
 nmi_panic.cold+0xc/0xc
 {watchdog}+0x63/0x63
 __perf_event_overflow+0x52/0xf0
 nmi_handle+0x5e/0x120
 end_repeat_nmi+0x16/0x67
RIP: 0010:shop_spin+0x14/0x20 [shop]
RSP: 0018:ffffc90000a07d90 EFLAGS: 00000046
 </NMI>
 <TASK>
 shop_ioctl+0x5e/0xe0 [shop]
 __x64_sys_ioctl+0x8d/0xd0
 entry_SYSCALL_64_after_hwframe+0x6e/0xd8
 </TASK>"""
LOCKUPS = [
    "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3",
    "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 3",
    "watchdog: CPU 3 self-detected hard LOCKUP @ shop_spin+0x14/0x20 [shop]",
]


@pytest.mark.parametrize("panic", ["Hard LOCKUP", "Watchdog detected hard LOCKUP on cpu 3"])
@pytest.mark.parametrize("head", [*LOCKUPS, ""])
def test_the_stack_below_a_lockups_panic_is_of_whom_the_nmi_interrupted(head, panic):
    stack = NMI_STACK.format(watchdog="watchdog_overflow_callback")
    report = parse("\n".join([*filter(None, [head]), logs.PANIC + panic, stack])).iloc[0]
    assert (report.kind, report.function, report.module) == ("hard lockup", "shop_ioctl", "shop")
    assert (report.cpu, report.pid, report.comm) == (3, 812, "billing")
    assert report.details["at"] == "shop_spin+0x14/0x20 [shop]"


@pytest.mark.parametrize(
    ("head", "panic", "watchdog"),
    [
        (
            "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 2",
            "Hard LOCKUP",
            "watchdog_hardlockup_check",
        ),
        ("watchdog: CPU 3 detected hard LOCKUP on other CPUs 2", "Hard LOCKUP", "watchdog_timer_interrupt"),
        ("", "Hard LOCKUP", "watchdog_hardlockup_check"),
        ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "RCU Stall", "rcu_sched_clock_irq"),
    ],
)
def test_the_stack_of_a_cpu_that_found_another_accuses_nobody(head, panic, watchdog):
    """Since 6.5 the next CPU may be who looks (kernel/watchdog_buddy.c); of RCU any."""
    stack = NMI_STACK.format(watchdog=watchdog)
    report = parse("\n".join([*filter(None, [head]), logs.PANIC + panic, stack])).iloc[0]
    assert report.kind == ("RCU stall" if "RCU" in panic else "hard lockup")
    assert pd.isna(report.function)
    assert pd.isna(report.pid)
    assert report.release == "6.1.0"


def test_of_the_backtraces_of_many_cpus_that_of_the_locked_one_is_told():
    one = NMI_STACK.partition("Call Trace:\n")[2].partition("RIP: ")[2]
    parts = [
        f"NMI backtrace for cpu {cpu}\nCPU: {cpu} PID: {cpu + 70} Comm: b Not tainted 6.7.0 #1\nRIP: "
        + one.replace("shop", name)
        for cpu, name in ((1, "other"), (2, "shop"))
    ]
    head = "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 2"
    report = parse("\n".join([head, "Sending NMI from CPU 3 to CPUs 1,2:", *parts])).iloc[0]
    assert (report.function, report.cpu, report.pid) == ("shop_ioctl", 2, 72)


@pytest.mark.parametrize("panic", ["hung_task: blocked tasks", "RCU Stall"])
def test_a_watchdogs_panic_alone_blames_no_function_of_the_watchdog(panic):
    stack = (
        "CPU: 0 PID: 33 Comm: khungtaskd Not tainted 6.1.0 #1\nCall Trace:\n panic+0x1/0x2\n watchdog+0x3/0x4"
    )
    report = parse(f"{logs.PANIC}{panic}\n{stack}").iloc[0]
    assert (report.kind, report.title) == ("panic", f"kernel panic: {panic}")
    assert pd.isna(report.function)


WARNED = """\
[   10.000000] [    T5] WARNING: CPU: 0 PID: 5 at shop.c:7 shop_count+0x1/0x2 [shop]
[   10.000000] [    T5] CPU: 0 UID: 0 PID: 5 Comm: till Not tainted 6.12.1 #1
[   10.000000] [    T5] Call Trace:
[   10.000000] [    T5]  shop_count+0x1/0x2 [shop]
"""


@pytest.mark.parametrize(("at", "end"), [("   10.500000", 5), ("  100.000000", 4)])
def test_who_was_silent_for_long_says_something_else(at, end):
    (report,) = parse(WARNED + f"[{at}] [    T5]  shop_open+0x1/0x2 [shop]\n").to_dict("records")
    assert report["end"] == end


@pytest.mark.parametrize(("lines", "end"), [(3, 8), (80, 4)])
def test_many_lines_of_something_else_end_a_report(lines, end):
    noise = "".join(f"[   10.100000] [    T5] shop: customer {number}\n" for number in range(lines))
    (report,) = parse(WARNED + noise + "[   10.200000] [    T5]  shop_open+0x1/0x2 [shop]\n").to_dict(
        "records"
    )
    assert report["end"] == end

"""Where a CPU that did not go on stood, by a log alone: whose doing it was."""

from __future__ import annotations

import pandas as pd
import pytest

import kernlab

_LOCKUP = """\
[ 5000.000000][      C1] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [billing:300]
[ 5000.000001][      C1] CPU: 1 UID: 0 PID: 300 Comm: billing Not tainted 6.12.1 #1
[ 5000.000002][      C1] RIP: 0010:{at}+0x1/0x2{of}
[ 5000.000003][      C1] Call Trace:
[ 5000.000004][      C1]  <TASK>
[ 5000.000005][      C1]  {beneath}+0x1/0x2 [mill]
[ 5000.000006][      C1]  {below}+0x1/0x2
[ 5000.000007][      C1]  {entered}+0x1/0x2
[ 5000.000008][      C1]  </TASK>
[ 5000.100000][      C1] Kernel panic - not syncing: softlockup: hung tasks
[ 5000.100001][      C1] CPU: 1 UID: 0 PID: 300 Comm: billing Not tainted 6.12.1 #1
[ 5000.100002][      C1] Call Trace:
[ 5000.100003][      C1]  <IRQ>
[ 5000.100004][      C1]  panic+0x1/0x2
[ 5000.100005][      C1]  watchdog_timer_fn+0x1/0x2
[ 5000.100006][      C1]  </IRQ>
"""


@pytest.mark.parametrize(
    ("at", "of", "beneath", "below", "entered", "subject", "against"),
    [
        ("mill_turn", " [mill]", "mill_write", "vfs_write", "do_syscall_64", "billing (300)", ""),
        ("mill_turn", " [mill]", "mill_timer", "handle_softirqs", "asm_common_interrupt", "an interrupt", ""),
        (
            "native_queued_spin_lock_slowpath",
            "",
            "mill_write",
            "vfs_write",
            "do_syscall_64",
            "billing",
            "has",
        ),
        ("smp_call_function_many_cond", "", "mill_write", "vfs_write", "do_syscall_64", "billing", "answer"),
    ],
)
def test_of_a_log_alone_where_a_cpu_stood_tells_whose_doing_it_was(
    at: str, of: str, beneath: str, below: str, entered: str, subject: str, against: str
) -> None:
    """Whom a softirq interrupted did nothing, and who spins for a lock is a victim."""
    log = _LOCKUP.format(at=at, of=of, beneath=beneath, below=below, entered=entered)
    (end,) = kernlab.verdict.of_log(log).to_dict("records")
    assert end["finding"] == "soft lockup"
    assert end["subject"].startswith(subject)
    assert pd.isna(end["pid"]) == (subject == "an interrupt")
    assert [against in one for one in end["against"]] == [True] * bool(against)


def test_the_tick_that_looked_is_not_what_the_cpu_did() -> None:
    """RCU prints the stack of the CPU that found itself, from the tick on; what lies beneath tells."""
    log = """\
[ 5000.000000][      C1] rcu: INFO: rcu_preempt self-detected stall on CPU
[ 5000.000001][      C1] rcu: 	1-....: (5249 ticks this GP) idle=1e4c/1/0x4000000000000000 softirq=1/1 fqs=2
[ 5000.000002][      C1] CPU: 1 UID: 0 PID: 300 Comm: billing Not tainted 6.12.1 #1
[ 5000.000003][      C1] Call Trace:
[ 5000.000004][      C1]  <IRQ>
[ 5000.000005][      C1]  rcu_sched_clock_irq+0x1/0x2
[ 5000.000006][      C1]  update_process_times+0x1/0x2
[ 5000.000007][      C1]  sysvec_apic_timer_interrupt+0x1/0x2
[ 5000.000008][      C1]  </IRQ>
[ 5000.000009][      C1]  <TASK>
[ 5000.000010][      C1]  asm_sysvec_apic_timer_interrupt+0x1/0x2
[ 5000.000011][      C1]  mill_turn+0x1/0x2 [mill]
[ 5000.000012][      C1]  {below}+0x1/0x2
[ 5000.000013][      C1]  </TASK>
[ 5000.100000][      C1] Kernel panic - not syncing: RCU Stall
"""
    for below, own in (("vfs_write", True), ("handle_softirqs", False)):
        (end,) = kernlab.verdict.of_log(log.replace("{below}", below)).to_dict("records")
        assert (end["finding"], end["function"]) == ("RCU stall", "mill_turn")
        assert (end["pid"] == 300) == own

"""Forms of what lockdep, RCU's checks and the preemption checks find."""

from __future__ import annotations

import re

from kernlab.oops.forms import form

#: lockdep's heads: "[ INFO: … ]" and "[ BUG: … ]" until 4.12, "WARNING: …" since.
_HEAD = r"(?:\[ (?:INFO|BUG): |WARNING: |BUG: )"


def _circular(match: re.Match[str]) -> str:
    return "possible deadlock in {function}"


FORMS = (
    form(
        "lock bug",
        "possible ",
        _HEAD
        + r"possible (?:circular locking|recursive locking|irq lock inversion|irq dependency|lock inversion)",
        _circular,
        "kernel/locking/lockdep.c, print_circular_bug, print_deadlock_bug, print_irq_inversion_bug",
        blame="head",
    ),
    form(
        "lock bug",
        "safe -> ",
        _HEAD + r"\w{1,16}-safe -> \w{1,16}-(?:unsafe|READ-unsafe) lock order detected",
        _circular,
        "kernel/locking/lockdep.c, print_bad_irq_dependency",
        blame="traced",
    ),
    form(
        "lock bug",
        "inconsistent lock state",
        _HEAD + r"inconsistent lock state",
        "inconsistent lock state in {function}",
        "kernel/locking/lockdep.c, print_usage_bug",
        blame="head",
    ),
    form(
        "lock bug",
        "suspicious RCU usage",
        _HEAD + r"suspicious RCU usage",
        lambda match: f"{'INFO' if 'INFO' in match[0] else 'WARNING'}: suspicious RCU usage in {{function}}",
        "kernel/locking/lockdep.c, lockdep_rcu_suspicious",
    ),
    form(
        "lock bug",
        "bad unlock balance",
        _HEAD + r"bad unlock balance detected",
        lambda match: f"{'BUG' if 'BUG' in match[0] else 'WARNING'}: bad unlock balance in {{function}}",
        "kernel/locking/lockdep.c, print_unlock_imbalance_bug",
        blame="head",
    ),
    form(
        "lock bug",
        "bad contention",
        _HEAD + r"bad contention detected",
        "WARNING: bad contention in {function}",
        "kernel/locking/lockdep.c, print_lock_contention_bug",
        blame="head",
    ),
    form(
        "lock bug",
        "held lock freed",
        _HEAD + r"held lock freed",
        lambda match: f"{'BUG' if 'BUG' in match[0] else 'WARNING'}: held lock freed in {{function}}",
        "kernel/locking/lockdep.c, print_freed_lock_bug",
        blame="head",
    ),
    form(
        "lock bug",
        "lock held when returning",
        _HEAD + r"lock held when returning to user space",
        lambda match: (
            f"{'BUG' if 'BUG' in match[0] else 'WARNING'}: lock held when returning to user space in {{function}}"
        ),
        "kernel/locking/lockdep.c, lockdep_sys_exit",
        blame="head",
    ),
    form(
        "lock bug",
        "still has locks held",
        _HEAD + r"[^\n]{1,40}?\bstill has locks held",
        lambda match: f"{'BUG' if 'BUG' in match[0] else 'WARNING'}: still has locks held in {{function}}",
        "kernel/locking/lockdep.c, print_held_locks_bug",
        blame="head",
    ),
    form(
        "lock bug",
        "ested lock was not taken",
        _HEAD + r"[Nn]ested lock was not taken",
        "WARNING: nested lock was not taken in {function}",
        "kernel/locking/lockdep.c, print_lock_nested_lock_not_held",
    ),
    form(
        "lock bug",
        "Invalid wait context",
        r"\[ BUG: Invalid wait context \]",
        "WARNING: locking bug in {function}",
        "kernel/locking/lockdep.c, print_lock_invalid_wait_context",
    ),
    form(
        "lock bug",
        "trying to register non-static key",
        r"INFO: trying to register non-static key",
        "INFO: trying to register non-static key in {function}",
        "kernel/locking/lockdep.c, assign_lock_key",
    ),
    form(
        "lock bug",
        ("BUG: spinlock ", "BUG: rwlock ", "BUG: rwsem ", "BUG: rt_mutex ", "BUG: mutex "),
        r"BUG: (?P<lock>spinlock|rwlock|rwsem|rt_mutex|mutex) (?P<what>bad magic|recursion|lockup|wrong owner|"
        r"wrong CPU|wrong CPU on|"
        r"already unlocked|trylock failure on UP|cpu recursion|lockup suspected|trylock|uninitialized|write)",
        lambda match: (
            f"BUG: {match['lock']} {match['what']}"
            + (" suspected" if match["what"] == "lockup" and "suspected" in match.string else "")
            + " in {function}"
        ),
        "kernel/locking/spinlock_debug.c, spin_dump, rwlock_bug",
    ),
    form(
        "lock bug",
        "BUG: using ",
        r"BUG: using (?P<what>[\w()]{1,60}) in preemptible",
        "BUG: using {what} in preemptible code in {function}",
        "lib/smp_processor_id.c, check_preemption_disabled",
    ),
    form(
        "lock bug",
        "BUG: workqueue leaked",
        r"BUG: workqueue leaked (?:lock or atomic|atomic, lock or RCU|lock)",
        "BUG: workqueue leaked lock or atomic in {function}",
        "kernel/workqueue.c, process_one_work",
        blame="head",
    ),
    form(
        "sleeping in atomic",
        "sleeping function called",
        r"BUG: sleeping function called from invalid context at (?P<file>\S{1,200})",
        "BUG: sleeping function called from invalid context in {function}",
        "kernel/sched/core.c, __might_resched",
    ),
    form(
        "sleeping in atomic",
        "scheduling while atomic",
        r"BUG: scheduling while atomic: ",
        "BUG: scheduling while atomic in {function}",
        "kernel/sched/core.c, __schedule_bug",
        blame="waiting",
    ),
    form(
        "sleeping in atomic",
        "atomic_scheduling",
        r"BUG: atomic scheduling|bad: scheduling from the idle thread!",
        "BUG: scheduling while atomic in {function}",
        "kernel/sched/idle.c",
    ),
)

"""Completions, and what they stand for: a work item's end, a thread's, a bio's, an RCU grace period.

Mirrors kernel/sched/completion.c, kernel/workqueue.c (flush_work), kernel/fork.c (vfork), kernel/kthread.c
(kthread_stop), kernel/rcu/update.c (wait_rcu_gp).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.requests import name_bios
from kernlab.linux.locks.rings import heads_of, linked
from kernlab.linux.locks.waiters import first_row, member_offset, named_on_stacks, word_at
from kernlab.linux.locks.workqueues import name_works

I64 = npt.NDArray[np.int64]

_WAITER = "struct swait_queue"
_WAITS = ("__schedule", "schedule", "io_schedule", "wait_for_co", "__wait_for_co")
_GRACE_PERIOD = "an RCU grace period"
#: By the function that waits, the first that fits.
_RCU = (
    ("synchronize_srcu", "an SRCU grace period"),
    ("__synchronize_srcu", "an SRCU grace period"),
    ("srcu_barrier", "SRCU callbacks"),
    ("rcu_barrier", "RCU callbacks"),
    ("synchronize_rcu", _GRACE_PERIOD),
    ("__wait_rcu_gp", _GRACE_PERIOD),
)


def completions(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The waits of all tasks for a completion, or on another simple wait queue (swait)."""
    every = named_on_stacks(kernel, stacks, _WAITER, "task")
    node = member_offset(kernel, _WAITER, "task_list")
    head = member_offset(kernel, "struct swait_queue_head", "task_list")
    if node is None or head is None or not len(every.at):
        return Found.nothing()
    nodes = every.at + np.uint64(node)
    keep = linked(kernel, nodes) & (word_at(kernel, nodes, 0) != nodes)
    every, nodes = every.pick(keep), nodes[keep]
    ends, _ = heads_of(kernel, nodes, None, "waiters for completions")
    queue = np.where(ends != 0, ends - np.uint64(head), np.uint64(0))
    found = Found.alike(every.row, every.at, "wait_queue", queue)
    if member_offset(kernel, "struct completion", "wait.task_list") is not None:
        _told(kernel, stacks, found)
    return found


def old_completions(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Of waits on ordinary wait queues those for completions."""
    # Linux commit a5c6234e1028 ("completion: Use simple wait queues") (in v5.7).
    if member_offset(kernel, "struct completion", "wait.head") is not None:
        _told(kernel, stacks, found)


def _told(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Which waits on queues are for completions, as their functions tell, and what these are the end of."""
    wait = member_offset(kernel, "struct completion", "wait") or 0
    names = stacks.functions()
    waiting = np.array(
        [any("wait_for_co" in name for name in names.get(row, [])) for row in found.row.tolist()], dtype=bool
    )
    rows = waiting & (found.object != 0)
    found.object[rows] -= np.uint64(wait)
    found.type[waiting] = "completion"
    _name(kernel, stacks, found)


def _name(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    rows = np.flatnonzero((found.type == "completion") & (found.object != 0))
    # A kernel thread's end is its vfork_done, too: it comes before children.
    for step in (name_works, _name_threads, _name_children, _name_grace_periods, name_bios):
        if not len(rows):
            return
        done = step(kernel, stacks, found, rows)
        rows = np.setdiff1d(rows, done)


def _name_children(kernel: Kernel, stacks: LiveStacks, found: Found, rows: I64) -> I64:
    """vfork: until the child has another program, or ended."""
    task = stacks.task
    child = first_row(task["vfork_done"].filled(0).astype(np.uint64), found.object[rows])
    rows, child = rows[child >= 0], child[child >= 0]
    found.holder[rows] = task.addresses[child]
    found.name[rows] = "exec or exit of the child (vfork)"
    return rows


def _name_threads(kernel: Kernel, stacks: LiveStacks, found: Found, rows: I64) -> I64:
    """kthread_stop and kthread_park: until the thread has ended, or sleeps."""
    task = stacks.task
    # Linux commit e32cf5dfbe22 ("kthread: Generalize pf_io_worker so it can point to struct kthread") (in v5.17).
    member = "worker_private" if task.has("worker_private") else "set_child_tid"
    kthread = member_offset(kernel, "struct kthread", "exited")
    if kthread is None or not task.has(member):
        return np.zeros(0, dtype=np.int64)
    own = np.where((task["flags"].has(0x00200000)).true, task[member].filled(0), 0).astype(np.uint64)
    known = [rows[:0]]
    for name, what in (("exited", "end"), ("parked", "parking")):
        offset = member_offset(kernel, "struct kthread", name)
        if offset is None:
            continue
        who = first_row(np.where(own != 0, own + np.uint64(offset), np.uint64(0)), found.object[rows])
        hit, who = rows[who >= 0], who[who >= 0]
        found.holder[hit] = task.addresses[who]
        found.name[hit] = f"the {what} of a kernel thread"
        known.append(hit)
    return np.concatenate(known)


def _name_grace_periods(kernel: Kernel, stacks: LiveStacks, found: Found, rows: I64) -> I64:
    """synchronize_rcu and its kin: a struct rcu_synchronize on the stack, whose callback is wakeme_after_rcu.

    Since Linux 6.10 it may have none, but hang on a list of the grace period's; then the function tells.
    """
    offset = member_offset(kernel, "struct rcu_synchronize", "completion")
    wake = kernel.symbols.get("wakeme_after_rcu")
    func = member_offset(kernel, "struct callback_head", "func")
    start = found.object[rows] - np.uint64(offset or 0)
    called = word_at(kernel, start, func) == np.uint64(wake or 1)
    names = stacks.functions()
    known = []
    for row, own in zip(rows.tolist(), called.tolist(), strict=True):
        functions = names.get(int(found.row[row]), [])
        what = next((what for start, what in _RCU if _caller(functions).startswith(start)), None)
        if what is None and own:
            what = _GRACE_PERIOD
        if what is not None:
            found.type[row], found.name[row] = "rcu", what
            known.append(row)
    return np.array(known, dtype=np.int64)


def _caller(functions: list[str]) -> str:
    """The innermost function that is neither the scheduler's nor the completion's."""
    return next((name for name in functions if not name.startswith(_WAITS)), "")

"""What waits for which CPU, in the order in which it would have run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, lookup, nullable, table
from kernlab.linux.scheduling import queued as found
from kernlab.linux.scheduling.optional import optional
from kernlab.linux.scheduling.run_queues import run_queues, since
from kernlab.linux.scheduling.task_groups import group_names

#: include/uapi/linux/sched.h, in which ISO is reserved.
_NAMES = ("OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE", "EXT")
_POLICIES = [f"SCHED_{name}" for name in _NAMES]


@table(rows="struct task_struct")
def queued(kernel: Kernel) -> pd.DataFrame:
    """One row per task that runs or waits for a CPU, by CPU and class, the most urgent first; idle tasks are on none.

    Columns: cpu, class ("stop", "deadline", "rt", "fair" or "ext"), pid, comm, running (it has the CPU), waiting (how
    long it has been queued without running, by the latest of the queues' clocks; missing for what runs or is delayed),
    policy, prio (as the scheduler has it: below 0 deadline, below 100 real-time), weight (of fair tasks),
    vruntime_ns (of fair tasks; within a group it counts for its members only), deadline_ns (the virtual deadline of
    fair tasks, since Linux 6.6, which orders them; that of deadline tasks by the queue's clock), group (whose own
    queue it stands on: the path of a control group, "/autogroup-12" for a session's, "/" for none; missing for classes
    that have none), delayed (it sleeps, and was left on the queue until it made up for what it had too much; since
    Linux 6.12), throttled (its group used up its time, so it could not run), address (of the task_struct).

    Fair tasks are in the order of their tree, after the one that runs. Mirrors kernel/sched/fair.c, rt.c, deadline.c.

    >>> dump.queued[["cpu", "class", "pid", "comm", "running", "prio", "group"]]
       cpu class  pid         comm  running  prio group
    0    1  fair    1         init     True   120     /
    1    1  fair   15  rcu_preempt    False   120     /
    """
    every, queues = found.queued(kernel), run_queues(kernel)
    task = every.task
    here = queues.queue[every.row]
    running = here["curr"] == task.addresses
    fair = every.kind == found.CLASSES.index("fair")
    deadline = every.kind == found.CLASSES.index("deadline")
    delayed = optional(task, "se.sched_delayed") != 0
    waiting = (
        since(kernel, task["sched_info.last_queued"])
        if task.has("sched_info.last_queued")
        else Column.missing(len(task), "int")
    )
    absolute = task["dl.deadline"].where(deadline).int64
    due = _virtual(task, "se.deadline", fair).otherwise(absolute)
    policy = task["policy"].int64
    policy = policy.where((policy < len(_POLICIES)).true)
    group = every.group
    return frame(
        kernel,
        "queued",
        cpu=queues.cpu[every.row],
        **{"class": lookup(every.kind, found.CLASSES)},
        pid=nullable(task["pid"]),
        comm=task["comm"],
        running=nullable(running),
        waiting=waiting.where(~running.true & ~delayed.true).timedelta,
        policy=lookup(policy.filled(-1), _POLICIES),
        prio=nullable(task["prio"]),
        weight=nullable(task["se.load.weight"].where(fair).int64),
        vruntime_ns=nullable(_virtual(task, "se.vruntime", fair)),
        deadline_ns=nullable(due),
        group=group_names(kernel, group.values, group.valid),
        delayed=nullable(delayed),
        throttled=nullable(every.throttled),
        address=task,
    )


def _virtual(task: StructArray, path: str, fair: npt.NDArray[np.bool_]) -> Column:
    """A virtual time of fair tasks, missing of others: it begins below zero, as an unsigned number (init_cfs_rq)."""
    if not task.has(path):
        return Column.missing(len(task), "int")
    found = task[path]
    return Column(found.values.astype(np.uint64).view(np.int64), found.valid & fair, "int")

"""The queue of each CPU: what runs, how much waits, and how far behind its clock is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.scheduling.optional import optional
from kernlab.linux.scheduling.queued import queued
from kernlab.linux.scheduling.run_queues import latest_clock, run_queues, since
from kernlab.linux.scheduling.task_groups import group_queues, task_groups
from kernlab.linux.scheduling.ticks import ticks
from kernlab.walk.cpus import cpus


@table(rows="struct rq")
def runqueues(kernel: Kernel) -> pd.DataFrame:
    """One row per possible CPU: what ran on it at the end, and what waited for it.

    Columns: cpu; pid, comm (of what ran; pid 0 is the idle task), running (since when it had the CPU, missing for the
    idle task); nr_running (tasks that run or could), fair, rt, deadline, ext (of which class they are; ext is missing
    on kernels without CONFIG_SCHED_CLASS_EXT; deadline also counts servers of other classes that are on its tree, which
    are no tasks, since Linux 6.8), delayed (fair tasks that sleep and were left on the queue until they
    made up for what they had too much, since Linux 6.12), throttled (tasks whose groups used up their time, which are
    not part of nr_running), throttled_groups (how many such groups); nr_uninterruptible (added over all CPUs it is the
    number of tasks in D state), nr_iowait; load_weight, load_avg, util_avg (of fair tasks; a CPU that is busy all the
    time has a util_avg of 1,024), capacity; clock (since boot, as the queue last saw it), lag (behind the latest of
    them: a CPU that is idle, or handles no interrupts, does not update it), nr_switches, idle, online, tick_stopped,
    rt_throttled (real-time tasks used up their share; missing since Linux 6.12, where that is gone), locked (somebody
    held the queue's lock), address (of the struct rq). Missing what this kernel does not keep.

    Mirrors kernel/sched/sched.h and kernel/sched/debug.c (print_cpu).

    >>> dump.runqueues[["cpu", "pid", "comm", "nr_running", "fair", "idle", "nr_switches"]]
       cpu  pid       comm  nr_running  fair   idle  nr_switches
    0    0    0  swapper/0           0     0   True        29433
    1    1    1       init           2     2  False        29717
    """
    found = run_queues(kernel)
    queue, waiting = found.queue, queued(kernel)
    current = queue.follow("curr")
    idle = queue["curr"] == queue["idle"]
    held = np.bincount(waiting.row[waiting.throttled.true], minlength=len(queue))
    clock = queue["clock"]
    lag = Column.missing(len(queue), "int") if (now := latest_clock(kernel)) is None else now - clock.int64
    return frame(
        kernel,
        "runqueues",
        cpu=found.cpu,
        pid=nullable(current["pid"]),
        comm=current["comm"],
        running=_running(kernel, current, idle).timedelta,
        nr_running=nullable(queue["nr_running"]),
        # Linux commit 7b8a702d943827 ("sched: Rename h_nr_running to h_nr_queued") (in v6.14).
        fair=nullable(queue.first("cfs.h_nr_queued", "cfs.h_nr_running")),
        rt=nullable(queue["rt.rt_nr_running"].int64),
        deadline=nullable(queue["dl.dl_nr_running"].int64),
        ext=nullable(optional(queue, "scx.nr_running")),
        delayed=nullable(_delayed(queue)),
        throttled=nullable(held),
        throttled_groups=nullable(_throttled_groups(kernel, found.cpu)),
        nr_uninterruptible=nullable(_signed(queue["nr_uninterruptible"])),
        nr_iowait=nullable(queue["nr_iowait.counter"]),
        load_weight=nullable(queue["cfs.load.weight"].int64),
        load_avg=nullable(optional(queue, "cfs.avg.load_avg")),
        util_avg=nullable(optional(queue, "cfs.avg.util_avg")),
        capacity=nullable(optional(queue, "cpu_capacity")),
        clock=clock.timedelta,
        lag=lag.timedelta,
        nr_switches=nullable(queue["nr_switches"].int64),
        idle=nullable(idle),
        online=nullable(_online(kernel, found.cpu)),
        tick_stopped=nullable(ticks(kernel, found.cpu).stopped),
        rt_throttled=nullable(optional(queue, "rt.rt_throttled") != 0),
        locked=nullable(_locked(queue)),
        address=queue,
    )


def _running(kernel: Kernel, current: StructArray, idle: Column) -> Column:
    """How long the task that runs had the CPU, in ns. Nothing notes it of an idle task, which is never queued."""
    if not current.has("sched_info.last_arrival"):  # CONFIG_SCHED_INFO is off
        return Column.missing(len(current), "int")
    return since(kernel, current["sched_info.last_arrival"]).where(~idle.true)


def _signed(number: Column) -> Column:
    """What one CPU counted up and another down, which is below zero on the latter (unsigned in the kernel)."""
    values = number.values
    # 32 bits wide from Linux commit e6fe3f422be1 (in v5.14) to 36569780b0d6 (in v6.16).
    return Column(values.view(f"i{values.dtype.itemsize}").astype(np.int64), number.valid, "int")


def _delayed(queue: StructArray) -> Column:
    """Linux commit 7b8a702d943827 (in v6.14) replaced h_nr_delayed, of v6.12, by h_nr_runnable."""
    if queue.has("cfs.h_nr_delayed"):
        return queue["cfs.h_nr_delayed"].int64
    if queue.has("cfs.h_nr_runnable"):
        return queue["cfs.h_nr_queued"] - queue["cfs.h_nr_runnable"]
    return Column.missing(len(queue), "int")


def _throttled_groups(kernel: Kernel, numbers: npt.NDArray[np.int64]) -> Column:
    """How many groups used up their time on each CPU; missing without CONFIG_CFS_BANDWIDTH."""
    groups = task_groups(kernel)
    if not len(groups) or not groups.has("cfs_rq"):
        return Column.missing(len(numbers), "int")
    kind = kernel.find_type("struct cfs_rq")
    own = StructArray(kernel, kind, group_queues(kernel, groups, numbers, "cfs_rq"))
    if not own.has("throttled"):
        return Column.missing(len(numbers), "int")
    state = own["throttled"]
    # A group's queue on a CPU that was never there is none.
    state = Column.of((state != 0).values.astype(np.int64), state.valid | (own.addresses == 0))
    return state.added_by(np.tile(np.arange(len(numbers)), len(groups)), len(numbers))


def _online(kernel: Kernel, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    return np.isin(numbers, cpus(kernel, "online"))


def _locked(queue: StructArray) -> Column:
    """Is the queue's lock taken?"""
    # Linux commit 5cb9eaa3d274 ("sched: Wrap rq::lock access") (in v5.14) renamed it; a lock of a single CPU is empty.
    for path in ("__lock.raw_lock.val.counter", "lock.raw_lock.val.counter"):
        if queue.has(path):
            return queue[path] != 0
    return Column.missing(len(queue), "bool")

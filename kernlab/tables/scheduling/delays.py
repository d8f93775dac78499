"""How long each thread ran, and how long it waited, and for what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.scheduling.optional import optional
from kernlab.linux.scheduling.run_queues import since
from kernlab.linux.tasks import find_tasks

#: Columns by what struct task_delay_info calls them (include/linux/delayacct.h).
_WAITS = {
    "block_io": "blkio",
    "swap_in": "swapin",
    "reclaim": "freepages",
    "thrashing": "thrashing",
    # Linux commit 5bf18281534451 ("delayacct: track delays from memory compact") (in v5.17).
    "compaction": "compact",
    # Linux commit 662ce1dc9caf ("delayacct: track delays from write-protect copy") (in v6.0).
    "write_copy": "wpcopy",
    # Linux commit a3b2aeac9d15 ("delayacct: track delays from IRQ/SOFTIRQ") (in v6.5).
    "interrupts": "irq",
}


@table(rows="struct task_struct")
def delays(kernel: Kernel) -> pd.DataFrame:
    """One row per thread, by pid: its time on CPUs, and its time without one that it had use for.

    Columns: pid, tgid, comm; cpu_time (that it ran, as the scheduler counts it), run_delay (that it waited for a CPU
    while it could run), runs (how often it got one; both as in /proc/PID/schedstat, missing without
    CONFIG_SCHED_INFO), last_run (how long before the end it got one last; what runs still has it since then; missing
    for idle tasks, and what never ran), voluntary, involuntary (switches: it slept, or was made to leave); block_io,
    swap_in, reclaim, thrashing, compaction, write_copy, interrupts (time that it waited for these), and how often:
    block_io_count and so on. Those are kept only while delay accounting is on (delayacct on the kernel's command line,
    or kernel.task_delayacct=1): missing for threads that began before, and where this kernel does not know that kind.
    address (of the task_struct). What a thread waits for at the end is not part of them yet.

    Mirrors fs/proc/base.c (proc_pid_schedstat) and kernel/delayacct.c.

    >>> dump.delays.nlargest(2, "run_delay")[["pid", "comm", "cpu_time", "run_delay", "voluntary"]]
        pid         comm                  cpu_time                 run_delay  voluntary
    16   15  rcu_preempt 0 days 00:00:15.568971797 0 days 00:00:02.730352938       9163
    2     1         init 0 days 00:00:26.068957952 0 days 00:00:01.364320657       7032
    """
    task = find_tasks(kernel)
    task = task[np.lexsort((task.addresses, task["pid"].values, ~task["pid"].valid))]
    return frame(
        kernel,
        "delays",
        pid=nullable(task["pid"]),
        tgid=nullable(task["tgid"]),
        comm=task["comm"],
        cpu_time=task["se.sum_exec_runtime"].timedelta,
        run_delay=optional(task, "sched_info.run_delay").timedelta,
        runs=nullable(optional(task, "sched_info.pcount")),
        last_run=_last_run(kernel, task).timedelta,
        voluntary=nullable(task["nvcsw"].int64),
        involuntary=nullable(task["nivcsw"].int64),
        **_accounted(kernel, task),
        address=task,
    )


def _last_run(kernel: Kernel, task: StructArray) -> Column:
    """Since when each task has the CPU, or had it last, in ns."""
    if not task.has("sched_info.last_arrival"):
        return Column.missing(len(task), "int")
    return since(kernel, task["sched_info.last_arrival"])


def _accounted(kernel: Kernel, task: StructArray) -> dict[str, Any]:
    """What delay accounting keeps of each task; says why where it keeps nothing."""
    if not task.has("delays"):
        kernel.lost("delays of threads are off in this kernel (CONFIG_TASK_DELAY_ACCT)")
        nothing = Column.missing(len(task), "int")
        return _columns(dict.fromkeys(_WAITS, (nothing, nothing)))
    info = task.follow("delays")
    if not info.valid.any():
        kernel.lost(
            "delays of threads were not accounted: the kernel does so when it is started with delayacct, or after "
            "sysctl kernel.task_delayacct=1"
        )
    return _columns(
        {
            name: (optional(info, f"{kind}_delay"), optional(info, f"{kind}_count"))
            for name, kind in _WAITS.items()
        }
    )


def _columns(found: dict[str, tuple[Column, Column]]) -> dict[str, Any]:
    times = {name: time.timedelta for name, (time, _) in found.items()}
    return times | {f"{name}_count": nullable(count) for name, (_, count) in found.items()}

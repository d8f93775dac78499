"""Work items of the kernel's workqueues."""

from __future__ import annotations

import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.devices.functions import function_names
from kernlab.linux.devices.works import pool_columns, running_for
from kernlab.linux.devices.works import works as find_works


@table(rows="struct work_struct")
def works(kernel: Kernel) -> pd.DataFrame:
    """One row per work item: running ones first, then those that wait for a worker, then those that wait for a time.

    state is running, scheduled (its worker takes it up next, after the one before), pending (no worker has begun with
    it), inactive (its workqueue may not have more at a time) or delayed (until its timer, expires after the crash;
    negative: it is late). function is what is done, workqueue whose it is. pool is the number of the pool of workers,
    cpu the CPU that it is for, unbound whether any CPU will do, nice the priority of its workers; pid is the worker.
    running_for is how long that has been at it, where the kernel notes it; stalled how long ago the pool last took up
    a work, of pools in which some wait: more than a few seconds say that the pool is stuck.

    Mirrors kernel/workqueue.c (show_one_worker_pool, wq_watchdog_timer_fn).

    >>> dump.works.query("state == 'delayed'")[["function", "workqueue", "expires"]].head(3)
                         function       workqueue                expires
    0     flush_memcg_stats_dwork  events_unbound 0 days 00:00:00.024000
    1  wb_update_bandwidth_workfn       writeback 0 days 00:00:00.132000
    2               vmstat_update    mm_percpu_wq 0 days 00:00:00.604000
    """
    found = find_works(kernel)
    pool = pool_columns(kernel, StructArray(kernel, "struct worker_pool", found.pool))
    worker = StructArray(kernel, "struct worker", found.worker)
    busy = found.state == "running"
    queue = StructArray(kernel, "struct workqueue_struct", found.queue)
    cpu = pool.cpu.otherwise(found.wants)
    return frame(
        kernel,
        "works",
        state=found.state.tolist(),
        function=function_names(kernel, found.work["func"]),
        workqueue=queue["name"],
        pool=nullable(pool.number),
        cpu=nullable(cpu),
        unbound=nullable(Column.of(pool.unbound.filled(False), pool.unbound.valid)),
        nice=nullable(pool.nice),
        pid=nullable(worker["task->pid"]),
        running_for=running_for(kernel, worker).where(busy).timedelta,
        stalled=pool.stalled.timedelta,
        expires=found.left.timedelta,
        address=found.work,
    )

"""Work items: which are being done, wait for a worker, or for their time.

Mirrors kernel/workqueue.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.devices.timer_owners import works_of
from kernlab.linux.devices.timers import of_jiffies, wheel_timers
from kernlab.linux.locks.workqueues import find_workers
from kernlab.walk.lists import list_entries
from kernlab.walk.xarray import idr_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: include/linux/workqueue.h, WORK_STRUCT_PWQ: the rest of `data` is a pointer to a pool_workqueue.
_HAS_QUEUE = np.uint64(1 << 2)


@dataclass(frozen=True, slots=True)
class Works:
    """N work items: `work` n structs; the state of each in a word; the pool, the worker and the workqueue that it is
    with, 0 where there is none or that is not known; for how many ns it still has to wait ("int"), of delayed ones;
    the CPU that those want ("int"), missing where any will do."""

    work: StructArray
    state: npt.NDArray[np.object_]
    pool: U64
    worker: U64
    queue: U64
    left: Column
    wants: Column


@dataclass(frozen=True, slots=True)
class Pools:
    """Of the pools of N works: number, CPU (missing: of any), whether it is for no CPU in particular, its workers'
    nice value, and how long ago it last took up a work, in ns, where some wait."""

    number: Column
    cpu: Column
    unbound: Column
    nice: Column
    stalled: Column


@fact
def pools(kernel: Kernel) -> StructArray:
    """Every `struct worker_pool`, by its number."""
    _, _, found = idr_entries(kernel, [kernel.symbol("worker_pool_idr")], what="the idr of worker pools")
    return StructArray(kernel, "struct worker_pool", found)


def works(kernel: Kernel) -> Works:
    """Every work item that is queued, running or delayed: running ones first, then by pool as they will be done."""
    found = find_workers(kernel)
    worker, pool = found.worker, pools(kernel)
    running = np.flatnonzero(found.work != 0)
    of_worker = worker["pool"].filled(0).astype(np.uint64)
    parts = [
        _part(
            kernel,
            "running",
            found.work[running],
            of_worker[running],
            worker.addresses[running],
            found.queue_of[running],
        )
    ]
    at, linked = _listed(kernel, worker, "scheduled", "works of workers")
    parts.append(_part(kernel, "scheduled", linked, of_worker[at], worker.addresses[at]))
    at, waiting = _listed(kernel, pool, "worklist", "works of pools")
    parts.append(_part(kernel, "pending", waiting, pool.addresses[at]))
    at, queue = list_entries(
        kernel,
        found.queue.follow("pwqs").addresses,
        "struct pool_workqueue",
        "pwqs_node",
        what="pools of workqueues",
    )
    # Linux commit f97a4a1a3f87 ("workqueue: Rename "delayed" (delayed by active management) to "inactive"") (in v5.15).
    held = "inactive_works" if queue.has("inactive_works") else "delayed_works"
    row, inactive = _listed(kernel, queue, held, "inactive works")
    with_pool = queue["pool"].filled(0).astype(np.uint64)
    parts.append(_part(kernel, "inactive", inactive, with_pool[row], queue_of=found.queue.addresses[at[row]]))
    parts.append(_delayed(kernel))
    return Works(
        StructArray(kernel, "struct work_struct", np.concatenate([part.work.addresses for part in parts])),
        np.concatenate([part.state for part in parts]),
        np.concatenate([part.pool for part in parts]),
        np.concatenate([part.worker for part in parts]),
        np.concatenate([part.queue for part in parts]),
        _together([part.left for part in parts]),
        _together([part.wants for part in parts]),
    )


def pool_columns(kernel: Kernel, pool: StructArray) -> Pools:
    """What is known of the pool of each work: `pool` n structs, NULL where there is none."""
    cpu = pool["cpu"].int64
    # worker_pool.last_progress_ts since v7.1 or v7.2, watchdog_ts before.
    last = pool.first("last_progress_ts", "watchdog_ts")
    waiting = pool.follow("worklist")
    first = waiting["next"]
    waits = first.valid & (first.values != waiting.addresses)
    return Pools(
        pool["id"].int64,
        cpu.where((cpu >= 0).true),
        Column.of(cpu.filled(0) < 0, cpu.valid),
        pool["attrs->nice"].int64,
        _ago(kernel, last).where(waits),
    )


def running_for(kernel: Kernel, worker: StructArray) -> Column:
    """For how many ns each worker has been at its work ("int"); missing where the kernel does not note it."""
    # worker.current_start since v7.1 or v7.2; current_at, before that, is CPU time.
    if not worker.has("current_start"):
        return Column.missing(len(worker), "int")
    return _ago(kernel, worker["current_start"])


def _ago(kernel: Kernel, stamp: Column) -> Column:
    """How long before the last tick it was, in ns: of a time in jiffies."""
    return -of_jiffies(kernel, stamp)


def _together(columns: list[Column]) -> Column:
    return Column.of(
        np.concatenate([column.values for column in columns]),
        np.concatenate([column.valid for column in columns]),
    )


def _listed(kernel: Kernel, structs: StructArray, member: str, what: str) -> tuple[I64, U64]:
    """The works on the list `member` of each struct: (row int64[m], work uint64[m])."""
    at, work = list_entries(
        kernel, structs.follow(member).addresses, "struct work_struct", "entry", what=what
    )
    # What marks a place in the list is no work (kernel/workqueue.c, mayday_cursor_func).
    cursor = kernel.find_symbol("mayday_cursor_func")
    real = ~(work["func"] == np.uint64(cursor or 0)).true
    return at[real], work.addresses[real]


def _part(
    kernel: Kernel,
    state: str,
    work: U64,
    pool: U64,
    worker: U64 | None = None,
    queue_of: U64 | None = None,
) -> Works:
    structs = StructArray(kernel, "struct work_struct", work)
    count = len(work)
    none, nothing = np.zeros(count, dtype=np.uint64), Column.missing(count, "int")
    queue = _queues(kernel, structs) if queue_of is None else queue_of
    states = np.full(count, state, dtype=object)
    return Works(structs, states, pool, none if worker is None else worker, queue, nothing, nothing)


def _queues(kernel: Kernel, work: StructArray) -> U64:
    """The workqueue of each work that is queued, by its `data` (get_work_pwq)."""
    # The shift has a name of its own since v6.9; before that the flags took all bits below the pointer.
    bits = kernel.types.enumerator_or_none("WORK_STRUCT_PWQ_SHIFT")
    if bits is None:
        bits = kernel.types.enumerator("WORK_STRUCT_FLAG_BITS")
    data = work["data.counter"].filled(0).astype(np.int64).view(np.uint64)
    there = data & _HAS_QUEUE != 0
    pointer = np.where(there, data & ~np.uint64((1 << bits) - 1), np.uint64(0))
    return StructArray(kernel, "struct pool_workqueue", pointer)["wq"].filled(0).astype(np.uint64)


def _delayed(kernel: Kernel) -> Works:
    """The works whose timer is set; nothing of them is with a pool yet."""
    try:
        timers = wheel_timers(kernel)
    except KernlabError as error:
        kernel.lost(f"delayed works: {error}")
        return _part(kernel, "delayed", np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    every = works_of(kernel, timers.timer)
    rows = np.flatnonzero(every.valid)
    rows = rows[np.argsort(timers.left.filled(0)[rows], kind="stable")]
    delayed = every[rows]
    none = np.zeros(len(rows), dtype=np.uint64)
    wants = delayed["cpu"].int64
    # WORK_CPU_UNBOUND is as many as the kernel could have.
    bound = (wants.filled(-1) >= 0) & (wants.filled(-1) < len(kernel.percpu_offsets))
    return Works(
        delayed.follow("work"),
        np.full(len(rows), "delayed", dtype=object),
        none,
        none,
        delayed["wq"].filled(0).astype(np.uint64),
        timers.left[rows],
        wants.where(bound),
    )

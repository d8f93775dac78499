"""Locks: every lock that somebody waits for, or that a sleeping thread is known to hold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses as address_column
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.held import held_locks
from kernlab.linux.locks.live_stacks import live_stacks
from kernlab.linux.locks.sleep_times import slept
from kernlab.linux.locks.waiting import waiting
from kernlab.linux.whatis.objects import object_names
from kernlab.tables.processes.waits import holders

#: What a lock's type is called by that of those who wait for it.
LOCK_TYPES = {
    "mutex": "mutex", "rwsem_read": "rwsem", "rwsem_write": "rwsem", "rtmutex": "rtmutex", "semaphore": "semaphore",
    "percpu_rwsem": "percpu_rwsem", "futex": "futex", "spinlock": "spinlock", "rwlock_read": "rwlock",
    "rwlock_write": "rwlock",
}  # fmt: skip


@table
def locks(kernel: Kernel) -> pd.DataFrame:
    """One row per lock with a waiter, or with a holder that is known, those of most waiters first.

    address: of a futex in the memory of who waits; type: "mutex", "rwsem", "rtmutex", "semaphore", "percpu_rwsem",
    "futex", "spinlock", "rwlock"; name: what it is, or what it lies in; holder_pid, holder_comm: who has it, missing
    where nobody has or nothing tells; waiters: how many threads sleep or spin for it; longest: for how long
    the first of them has slept, missing where all spin; note: what is to be said of it.
    Of locks that nobody waits for only those are here whose holder sleeps with a pointer to it on its stack.

    >>> hung = kernlab.open(kernlab.sample("hung"))
    >>> hung.locks[["type", "name", "holder_pid", "holder_comm", "waiters"]].head(1)
        type                            name  holder_pid holder_comm  waiters
    0  mutex  inventory_lock [kernlab_story]         176  inventoryd        6
    """
    found, held = waiting(kernel), held_locks(kernel)
    found = found.pick(np.isin(found.type, list(LOCK_TYPES)) & (found.object != 0))
    waited = len(found)
    every = Found.of([found, held.pick(~np.isin(held.object, found.object))])
    kinds = np.array([LOCK_TYPES[kind] for kind in every.type.tolist()], dtype=object)
    # A futex is a word of one process's memory: the same address in two is two.
    process = np.array(
        [name or "" if kind == "futex" else "" for kind, name in zip(kinds, every.name, strict=True)]
    )
    groups: dict[tuple[str, int, str], list[int]] = {}
    for row, key in enumerate(zip(kinds.tolist(), every.object.tolist(), process.tolist(), strict=True)):
        groups.setdefault(key, []).append(row)
    rows = sorted(groups.values(), key=lambda several: (-sum(row < waited for row in several), several[0]))
    best = np.array(
        [max(several, key=lambda row: int(every.holder[row])) for several in rows], dtype=np.int64
    )
    first = every.pick(best)
    holder_pid, holder_comm = holders(kernel, first)
    stacks = live_stacks(kernel)
    asleep = (np.arange(len(every)) < waited) & stacks.asleep[every.row]
    since = slept(kernel, stacks.task[every.row]).where(asleep)
    longest = np.array([since[np.array(several)].filled(-1).max() for several in rows], dtype=np.int64)
    own = first.name.tolist()
    names = object_names(kernel, np.where([name is None for name in own], first.object, np.uint64(0)))
    return frame(
        kernel,
        "locks",
        address=address_column(kernel, first.object, first.object != 0),
        type=kinds[best].tolist(),
        name=Column.texts(
            [mine if mine is not None else other for mine, other in zip(own, names, strict=True)]
        ),
        holder_pid=nullable(holder_pid),
        holder_comm=holder_comm,
        waiters=np.array([sum(row < waited for row in several) for several in rows], dtype=np.int64),
        longest=Column.of(longest, longest >= 0, "int").timedelta,
        note=first.note.tolist(),
    )

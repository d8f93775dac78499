"""rt_mutexes, and all that PREEMPT_RT makes of them: mutexes, spinlocks, rw_semaphores; and futexes with priority
inheritance. Mirrors kernel/locking/rtmutex.c and rwbase_rt.c.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.locks.found import NOBODY, UNKNOWN, Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.waiters import member_offset, pointed_to, word_at

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Bits 0 of rt_mutex.owner: somebody waits (RT_MUTEX_HAS_WAITERS).
_OWNER_FLAGS = np.uint64(1)
_READ, _WRITE = ("__rwbase_read_lock", "rwbase_read_lock"), ("__rwbase_write_lock", "rwbase_write_lock")
#: rwbase_rt.readers counts from this on while no writer is there, and is this when one is (READER_BIAS, WRITER_BIAS).
_WRITER_BIAS, _READERS_BITS = 1 << 30, (1 << 32) - 1


def rt_mutexes(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The waits of all tasks for a lock of this kind: task_struct.pi_blocked_on names the waiter."""
    task = stacks.task
    if not task.has("pi_blocked_on"):
        return Found.nothing()
    blocked = task["pi_blocked_on"]
    rows = np.flatnonzero(blocked.true & stacks.asleep)
    waiter = StructArray(kernel, "struct rt_mutex_waiter", blocked.values[rows])
    with kernel.quiet():
        owner, lock = waiter["task"], waiter["lock"]
    good = (owner == task.addresses[rows]).true & lock.true
    if not good.all():
        kernel.lost("tasks' pi_blocked_on do not lead to a waiter of theirs", mask=~good)
    rows, lock_at = rows[good], lock.filled(0).astype(np.uint64)[good]
    found = Found.alike(rows, blocked.values[rows].astype(np.uint64), "rtmutex", lock_at)
    holder = word_at(kernel, lock_at, _owner_offset(kernel)) & ~_OWNER_FLAGS
    found.holder = np.where(holder == 0, NOBODY, holder)
    found.say(holder == 0, "nobody holds it: it was being handed over")
    inner = member_offset(kernel, "struct rwbase_rt", "rtmutex")
    outer = member_offset(kernel, "struct rw_semaphore", "rwbase")
    if inner is not None and outer is not None:
        _name_rwsems(stacks, found, np.uint64(inner + outer))
    return Found.of([found, _draining(kernel, stacks, found)])


def _owner_offset(kernel: Kernel) -> int | None:
    """Where a lock's owner is."""
    # Linux 5.15 took what both need out of struct rt_mutex.
    base = member_offset(kernel, "struct rt_mutex_base", "owner")
    return base if base is not None else member_offset(kernel, "struct rt_mutex", "owner")


def _name_rwsems(stacks: LiveStacks, found: Found, offset: np.uint64) -> None:
    """Of rw_semaphores the inner lock is what is waited for, and held: what people know is the outer one."""
    for where, functions in enumerate(_functions(stacks, found.row)):
        for prefix, kind in ((_READ, "rwsem_read"), (_WRITE, "rwsem_write")):
            if any(name.startswith(prefix) for name in functions):
                found.type[where] = kind
                found.object[where] -= offset


def _functions(stacks: LiveStacks, rows: I64) -> list[list[str]]:
    every = stacks.functions()
    return [every.get(int(row), []) for row in rows]


def _draining(kernel: Kernel, stacks: LiveStacks, found: Found) -> Found:
    """Writers of an rw_semaphore that have the inner lock and wait until the last reader has left, without a waiter."""
    inner = member_offset(kernel, "struct rwbase_rt", "rtmutex")
    outer = member_offset(kernel, "struct rw_semaphore", "rwbase")
    if inner is None or outer is None:
        return Found.nothing()
    rows = [
        row
        for row, names in stacks.functions().items()
        if stacks.asleep[row] and any(name.startswith(_WRITE) for name in names)
    ]
    wanted = np.setdiff1d(np.array(rows, dtype=np.int64), found.row)
    owner = inner + (_owner_offset(kernel) or 0)

    def mine(row: I64, words: U64) -> npt.NDArray[np.bool_]:
        held = word_at(kernel, words, owner) & ~_OWNER_FLAGS
        same: npt.NDArray[np.bool_] = held == stacks.task.addresses[row]
        return same

    locks = pointed_to(kernel, stacks, wanted, mine)
    row = np.array(sorted(locks), dtype=np.int64)
    base = np.array([locks[one] for one in row.tolist()], dtype=np.uint64)
    part = Found.alike(row, np.zeros(len(row), np.uint64), "rwsem_write", base - np.uint64(outer))
    part.holder[:] = UNKNOWN
    count, _ = kernel.words(base, 4, what="")
    for where, value in enumerate(count.tolist()):
        readers = (value + _WRITER_BIAS) & _READERS_BITS if value >= 1 << 31 else value
        part.say(
            np.array([where]), f"waits for {readers & 0xFFFF:,} reader(s) to leave, of whom nothing tells"
        )
    return part

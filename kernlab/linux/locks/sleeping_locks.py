"""Mutexes, rw_semaphores and semaphores: their waiters are alike, a list_head and the task.

Mirrors kernel/locking/mutex.c, rwsem.c and semaphore.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.locks.found import NOBODY, UNKNOWN, Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.rings import heads_of, linked
from kernlab.linux.locks.waiters import (
    Candidates,
    first_offset,
    member_offset,
    named_on_stacks,
    pointed_to,
    word_at,
)

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Bits of mutex.owner that are no part of the address (kernel/locking/mutex.h, MUTEX_FLAGS); bit 0: somebody waits.
_MUTEX_FLAGS, _MUTEX_WAITERS = np.uint64(7), np.uint64(1)
#: Of rw_semaphore.owner: bit 0 says that a reader wrote it, the others that nobody shall spin.
_RWSEM_FLAGS, RWSEM_READER_OWNED = np.uint64(7), np.uint64(1)
#: Of rw_semaphore.count: held by a writer; somebody waits; readers are counted from bit 8 on.
RWSEM_WRITER, _RWSEM_WAITERS, RWSEM_READERS = np.uint64(1), np.uint64(2), np.uint64(8)
_MOST_READERS = np.uint64(1 << 40)
_NO_WAITERS = "its word does not say that anybody waits"
_WAITING_FOR_READ = "RWSEM_WAITING_FOR_READ"


@dataclass(frozen=True, slots=True)
class Lock:
    """A kind of lock: its struct, that of its waiters, and the beginnings of the functions that wait for it."""

    type: str
    struct: str
    waiter: str
    functions: tuple[str, ...]


LOCKS = (
    Lock(
        "mutex",
        "struct mutex",
        "struct mutex_waiter",
        ("__mutex_lock", "mutex_lock", "__ww_mutex_lock", "ww_mutex"),
    ),
    Lock(
        "rwsem",
        "struct rw_semaphore",
        "struct rwsem_waiter",
        ("rwsem_", "__down_read", "__down_write", "down_read", "down_write"),
    ),
    Lock("semaphore", "struct semaphore", "struct semaphore_waiter", ("__down", "___down", "down")),
)


def sleeping_locks(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The waits of all tasks for one of these locks."""
    done = np.zeros(0, dtype=np.int64)
    parts = []
    for lock in LOCKS:
        part = _waits(kernel, stacks, lock, done)
        done = np.concatenate([done, part.row])
        parts.append(part)
    return Found.of(parts)


def _waits(kernel: Kernel, stacks: LiveStacks, lock: Lock, done: I64) -> Found:
    every = named_on_stacks(kernel, stacks, lock.waiter, "task")
    node = member_offset(kernel, lock.waiter, "list")
    if node is None:
        return Found.nothing()
    # The three cannot be told apart by themselves: the function whose frame it lies in says which it is.
    every = every.pick(_called(every, lock) & ~np.isin(every.row, done))
    nodes = every.at + np.uint64(node)
    whole = linked(kernel, nodes)
    # One that was taken off its list may still lie there, and only a damaged one is whole nowhere.
    sole = whole | ~np.isin(every.row, every.row[whole])
    every, nodes, whole = every.pick(sole), nodes[sole], whole[sole]
    found = Found.alike(every.row, every.at, lock.type, _locks_of(kernel, stacks, lock, every, nodes, whole))
    found.say(~whole, "the list of waiters is damaged")
    if len(damaged := np.flatnonzero(~whole)):
        kernel.lost(
            f"the list of a {lock.type}'s waiters is damaged at {int(nodes[damaged[0]]):#018x}: "
            f"{len(damaged):,} waiters are told by their stacks alone"
        )
    if lock.type == "rwsem":
        found.type[:] = _modes(kernel, every)
    _OWNERS[lock.type](kernel, found)
    return found


def _called(every: Candidates, lock: Lock) -> Mask:
    return np.array([name.startswith(lock.functions) for name in every.function.tolist()], dtype=bool)


def _locks_of(
    kernel: Kernel, stacks: LiveStacks, lock: Lock, every: Candidates, nodes: U64, whole: Mask
) -> U64:
    """The lock that each waiter waits for, 0 where nothing tells."""
    result = np.zeros(len(nodes), dtype=np.uint64)
    listed = member_offset(kernel, lock.struct, "wait_list")
    circle = np.zeros(len(nodes), dtype=np.uint64)
    if len(nodes) and whole.any():
        head, circle[whole] = heads_of(kernel, nodes[whole], None, f"waiters of a {lock.type}")
        if listed is not None:
            result[whole] = np.where(head != 0, head - np.uint64(listed), np.uint64(0))
    # Linux 7.1 has no head in the lock any more, but a pointer to the first waiter.
    first = first_offset(kernel, lock.struct, "first_waiter", "wait_list")
    said = _said_by_task(stacks, lock, every.row)
    good = (said != 0) & (result == 0) & np.isin(word_at(kernel, said, first), nodes)
    result[good] = said[good]
    rows = np.unique(every.row[result == 0])
    if len(rows) and first is not None:
        last = None if listed is None else listed + 8
        owner = member_offset(kernel, lock.struct, "owner")

        def leads(_: I64, words: U64) -> Mask:
            """Pointers to what has a waiter where the lock has its first or last."""
            ends = np.isin(word_at(kernel, words, first), nodes) | np.isin(
                word_at(kernel, words, last), nodes
            )
            outside: Mask = ends & ~stacks.holds(words)
            return outside

        def owned(row: I64, words: U64) -> Mask:
            """… and a task where it has its owner: a pointer to the inside of a lock leads to something alike."""
            who = word_at(kernel, words, owner) & ~_MUTEX_FLAGS
            both: Mask = leads(row, words) & np.isin(who, stacks.task.addresses)
            return both

        for test in (owned, leads):
            tried = pointed_to(kernel, stacks, rows, test)
            for row in np.flatnonzero(result == 0).tolist():
                result[row] = tried.get(int(every.row[row]), 0)
    # All of one list wait for one lock.
    for start in np.unique(circle[(circle != 0)]).tolist():
        same = circle == start
        known = result[same & (result != 0)]
        if len(known):
            result[same & (result == 0)] = known[0]
    return result


def _said_by_task(stacks: LiveStacks, lock: Lock, rows: I64) -> U64:
    """What the task itself says that it waits for: `blocked_on` (mutexes), `blocker` (the kind in its low bits)."""
    task = stacks.task[rows]
    said = np.zeros(len(rows), dtype=np.uint64)
    if task.has("blocker"):
        said = task["blocker"].filled(0).astype(np.uint64) & ~np.uint64(3)
    if lock.type == "mutex" and task.has("blocked_on"):
        on = task["blocked_on"].filled(0).astype(np.uint64)
        said = np.where(on != 0, on, said)
    return said


def _modes(kernel: Kernel, every: Candidates) -> npt.NDArray[np.object_]:
    offset = member_offset(kernel, "struct rwsem_waiter", "type")
    mode, _ = kernel.words(every.at + np.uint64(offset or 0), 4, what="")
    known = kernel.types.enumerator_or_none(_WAITING_FOR_READ)
    read = 1 if known is None else known
    return np.where(mode == np.uint64(read), "rwsem_read", "rwsem_write").astype(object)


def _mutex_owner(kernel: Kernel, found: Found) -> None:
    """mutex.owner is the task, and up to 7.x three flags."""
    offset = member_offset(kernel, "struct mutex", "owner")
    known = found.object != 0
    word = word_at(kernel, found.object, offset)
    owner = word & ~_MUTEX_FLAGS
    found.holder = np.where(known, np.where(owner == 0, NOBODY, owner), UNKNOWN)
    found.say(known & (owner == 0), "nobody holds it: it was being handed over")
    found.say(known & (word & _MUTEX_WAITERS == 0), _NO_WAITERS)


def _rwsem_owner(kernel: Kernel, found: Found) -> None:
    """rw_semaphore.owner is the writer, or the last reader that took it, be it gone or not."""
    known = found.object != 0
    owner = word_at(kernel, found.object, member_offset(kernel, "struct rw_semaphore", "owner"))
    count = word_at(kernel, found.object, member_offset(kernel, "struct rw_semaphore", "count"))
    task = owner & ~_RWSEM_FLAGS
    written = known & ((count & RWSEM_WRITER) != 0)
    readers = (count >> RWSEM_READERS) & (_MOST_READERS - np.uint64(1))
    read = known & ~written & (readers > 0)
    found.holder = np.where(written, np.where(task == 0, UNKNOWN, task), UNKNOWN)
    # Who reads is not written down; the last who began to is a candidate, to be held against its own stack.
    found.holder[read] = task[read]
    for row in np.flatnonzero(read).tolist():
        number = int(readers[row])
        found.say(np.array([row]), f"held by {number:,} reader{'' if number == 1 else 's'}")
    free = known & ~written & ~read
    found.holder[free] = NOBODY
    found.say(free, "nobody holds it: it was being handed over")
    found.say(known & (count & _RWSEM_WAITERS == 0), _NO_WAITERS)
    odd = written & ((owner & RWSEM_READER_OWNED) != 0)
    found.say(odd, "its count says that a writer holds it, its owner that a reader does")


def _semaphore_owner(kernel: Kernel, found: Found) -> None:
    """Who a semaphore's last holder was, newer kernels note (with DETECT_HUNG_TASK_BLOCKER); others nobody does."""
    offset = member_offset(kernel, "struct semaphore", "last_holder")
    last = word_at(kernel, found.object, offset) if offset is not None else np.zeros(len(found), np.uint64)
    found.holder = np.where(found.object != 0, last, UNKNOWN)
    found.say(last != 0, "a semaphore has no owner: this is who last took it")
    free, read = kernel.words(
        found.object + np.uint64(member_offset(kernel, "struct semaphore", "count") or 0), 4, what=""
    )
    found.say((found.object != 0) & read & (free != 0), "its count says that it is free")


_OWNERS = {"mutex": _mutex_owner, "rwsem": _rwsem_owner, "semaphore": _semaphore_owner}

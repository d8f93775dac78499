"""Locks that sleeping tasks hold, waited for or not: a pointer to one on its stack, and its owner is that task."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import ArrayType, StructType, Type
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import live_stacks
from kernlab.linux.locks.rings import linked
from kernlab.linux.locks.sleeping_locks import RWSEM_WRITER
from kernlab.linux.locks.waiters import first_offset, member_offset, word_at
from kernlab.linux.whatis.engine import what_lies_at

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: Members of members are looked at no deeper.
_DEEPEST = 8
_OWNER_FLAGS = np.uint64(7)


@fact
def held_locks(kernel: Kernel) -> Found:
    """Mutexes and rw_semaphores (held by a writer) of which the stack of a task that does not run tells that it has
    them: `row` and `holder` are the holder's. Not complete: a lock that is held is not always pointed to."""
    stacks = live_stacks(kernel)
    keep = kernel.arch.is_kernel(stacks.word) & (stacks.word % np.uint64(8) == 0)
    # Nothing on a stack is a lock that others wait for, and a waiter names the task, too.
    keep &= ~stacks.holds(stacks.word)
    word, row = stacks.word[keep], stacks.row[keep]
    me = stacks.task.addresses[row]
    parts = []
    for kind, struct in (("mutex", "struct mutex"), ("rwsem_write", "struct rw_semaphore")):
        offset = member_offset(kernel, struct, "owner")
        if offset is None:
            continue
        hit = np.flatnonzero((word_at(kernel, word, offset) & ~_OWNER_FLAGS) == me)
        hit = hit[_is_lock(kernel, struct, word[hit])]
        unique, first = np.unique(word[hit], return_index=True)
        sure = _by_type(kernel, struct, unique)
        unique, first = unique[sure], first[sure]
        part = Found.alike(row[hit[first]], np.zeros(len(unique), dtype=np.uint64), kind, unique)
        part.holder = me[hit[first]]
        parts.append(part)
    return Found.of(parts)


def _by_type(kernel: Kernel, struct: str, addresses: U64) -> Mask:
    """Which are locks by the type of what they lie in, where that is known; where not, whose list of waiters is one.

    Since Linux 7.1 a lock has no such list, and a task and zeros look like one.
    """
    answers = what_lies_at(kernel, addresses, quick=True)
    listed = member_offset(kernel, struct, "wait_list") is not None
    good = np.full(len(addresses), listed)
    for row in range(len(addresses)):
        kind, name = answers.type[row], answers.name[row]
        whole = kernel.type_or_none(str(kind) if kind else f"struct {name}")
        if isinstance(whole, StructType):
            good[row] = _begins(whole, int(answers.offset[row]), struct)
    return good


def _begins(whole: Type, offset: int, struct: str) -> bool:
    """Does a struct of a name begin there, within another?"""
    for _ in range(_DEEPEST):
        if isinstance(whole, ArrayType):
            whole = whole.element.strip()
            offset %= max(whole.size, 1)
        if not isinstance(whole, StructType):
            return False
        if offset == 0 and f"struct {whole.name}" == struct:
            return True
        inner = next((one for one in whole.members if 0 <= offset - one.offset < one.type.size), None)
        if inner is None:
            return False
        offset -= inner.offset
        whole = inner.type.strip()
    return False


def _is_lock(kernel: Kernel, struct: str, addresses: U64) -> Mask:
    """Which may be a lock of that kind: the list of waiters is whole, a lock held by a writer says so."""
    listed = member_offset(kernel, struct, "wait_list")
    first = first_offset(kernel, struct, "first_waiter")
    good = np.ones(len(addresses), dtype=bool)
    if listed is not None:
        good = linked(kernel, addresses + np.uint64(listed))
    elif first is not None:
        waiter = word_at(kernel, addresses, first)
        good = (waiter == 0) | (kernel.arch.is_kernel(waiter) & linked(kernel, waiter))
    if struct == "struct rw_semaphore":
        count = word_at(kernel, addresses, member_offset(kernel, struct, "count"))
        good &= (count & RWSEM_WRITER) != 0
    else:
        lock = member_offset(kernel, struct, "wait_lock")
        value, read = kernel.words(addresses + np.uint64(lock or 0), 4, what="")
        # Nobody spins on the lock of a list for long: unlocked, locked, or with a few in its queue.
        good &= read & (value < np.uint64(1 << 31))
    return good

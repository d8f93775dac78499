"""Futexes: what word of whose memory a thread waits for.

Mirrors kernel/futex/ (struct futex_q, union futex_key; before 5.17 kernel/futex.c).
"""

from __future__ import annotations

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.locks.found import NOBODY, UNKNOWN, Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.rings import linked
from kernlab.linux.locks.waiters import first_offset, member_offset, named_on_stacks, word_at
from kernlab.linux.whatis.threads import say_thread

_QUEUED = "struct futex_q"
#: Bits of the key's offset: the word lies in a file's or shared memory, or is shared within one mm (FUT_OFF_*).
_INODE, _FLAGS = np.uint64(1), np.uint64(3)
_OWNER_FLAGS = np.uint64(1)


def futexes(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The waits of all tasks on a futex; the object is the word's address in the thread's own memory."""
    every = named_on_stacks(kernel, stacks, _QUEUED, "task")
    node = member_offset(kernel, _QUEUED, "list.node_list")
    key = member_offset(kernel, _QUEUED, "key")
    if node is None or key is None or not len(every.at):
        return Found.nothing()
    # A wait queue's entry has the same words at the same places.
    every = every.pick(np.array(["futex" in name for name in every.function.tolist()], dtype=bool))
    lock = word_at(kernel, every.at, member_offset(kernel, _QUEUED, "lock_ptr"))
    good = kernel.arch.is_kernel(lock) & linked(kernel, every.at + np.uint64(node))
    every = every.pick(good)
    whole = StructArray(kernel, "union futex_key", every.at + np.uint64(key))
    page, offset = whole["both.word"].filled(0).astype(np.uint64), whole["both.offset"].filled(0)
    offset = offset.astype(np.uint64)
    shared = (offset & _INODE) != 0
    # The key of what is shared by a file has the page in it; where this thread has it, its own system call says.
    address = np.where(shared, np.uint64(0), page + (offset & ~_FLAGS))
    found = Found.alike(every.row, every.at, "futex", address)
    task = stacks.task[every.row]
    comm, pid = task.follow("group_leader")["comm"], task["tgid"]
    for row in range(len(found)):
        if shared[row]:
            found.name[row] = f"shared memory: byte {int(offset[row] & ~_FLAGS)} of its page {int(page[row])}"
        elif comm[row] is not None and pid[row] is not None:
            found.name[row] = f"memory of {say_thread(comm[row], pid[row])}"
    _pi_owners(kernel, found)
    return found


def _pi_owners(kernel: Kernel, found: Found) -> None:
    """With priority inheritance (FUTEX_LOCK_PI) the kernel knows who has it; of others only the programs do."""
    state = word_at(kernel, found.at, member_offset(kernel, _QUEUED, "pi_state"))
    mutex = member_offset(kernel, "struct futex_pi_state", "pi_mutex")
    owner = first_offset(kernel, "struct rt_mutex_base", "owner")
    if owner is None:
        owner = first_offset(kernel, "struct rt_mutex", "owner")
    if mutex is None or owner is None:
        return
    holder = word_at(kernel, np.where(state != 0, state, np.uint64(0)), mutex + owner) & ~_OWNER_FLAGS
    found.holder = np.where(state != 0, np.where(holder == 0, NOBODY, holder), UNKNOWN)

"""Are they who a lock says has it? Whether they still live, are who they were, and what their own stacks say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.locks.found import NOBODY, UNKNOWN, Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.sleep_times import fell_asleep
from kernlab.linux.locks.waiters import first_row, members
from kernlab.linux.whatis.engine import what_lies_at
from kernlab.linux.whatis.threads import say_thread

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Two clocks of the kernel are compared, which begin within a second of each other.
_CLOCKS_APART = 1_000_000_000
_EXCLUSIVE = ("mutex", "rwsem_write", "rtmutex")
_READ_HELD = "held by "
#: Who waits for one of these may do so inside of a section that a lock guards; others came from user mode with none.
_WITHIN = frozenset({
    "mutex", "rwsem_read", "rwsem_write", "rtmutex", "semaphore", "percpu_rwsem", "completion", "work", "request",
    "folio", "bit", "jbd2", "rcu",
})  # fmt: skip


def task_rows(stacks: LiveStacks, holders: U64) -> I64:
    """The row of the task whose task_struct each address is, -1 where it is none's."""
    return first_row(stacks.task.addresses, holders)


def check_holders(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Say of each holder that cannot be one that it is not, and take back what is not known."""
    named = (found.holder != UNKNOWN) & (found.holder != NOBODY)
    rows = np.flatnonzero(named)
    if not len(rows):
        return
    who = task_rows(stacks, found.holder[rows])
    gone = rows[who < 0]
    for row in gone.tolist():
        found.say(
            np.array([row]),
            f"its holder is gone: {int(found.holder[row]):#018x} is not the task_struct of a task any more",
        )
    found.holder[gone] = UNKNOWN
    if len(gone):
        kernel.lost(
            f"locks name holders that are no tasks any more: {len(gone):,} waiters, the first of the lock at "
            f"{int(found.object[gone[0]]):#018x}"
        )
    rows, who = rows[who >= 0], who[who >= 0]
    dead = (stacks.task[who]["exit_state"] != 0).true
    found.say(rows[dead], "its holder has exited without letting go of it")
    itself = (who == found.row[rows]) & np.isin(found.type[rows], _EXCLUSIVE)
    found.say(rows[itself], "it has the lock itself")
    _reused(kernel, stacks, found, rows, who)
    _readers(kernel, stacks, found, rows, who)


def _reused(kernel: Kernel, stacks: LiveStacks, found: Found, rows: I64, who: I64) -> None:
    """A holder that was started after the last of the waiters fell asleep is not who took the lock."""
    locks = np.isin(found.type[rows], (*_EXCLUSIVE, "rwsem_read"))
    rows, who = rows[locks], who[locks]
    asleep = fell_asleep(kernel, stacks.task[found.row[rows]])
    born = stacks.task[who]["start_time"]
    locks, of = np.unique(found.object[rows], return_inverse=True)
    for mine in members(of, len(locks)):
        known = mine[asleep.valid[mine] & born.valid[mine]]
        if len(known) and int(born.values[known[0]]) > int(asleep.values[known].max()) + _CLOCKS_APART:
            found.say(
                rows[mine],
                "its holder was started after the last waiter fell asleep: the task_struct is another task's by now",
            )
            found.holder[rows[mine]] = UNKNOWN


def _readers(kernel: Kernel, stacks: LiveStacks, found: Found, rows: I64, who: I64) -> None:
    """The owner of a lock that readers have is the last that took it: on its stack it shows whether it is still in."""
    read = np.array([_READ_HELD in note for note in found.note[rows].tolist()], dtype=bool)
    rows, who = rows[read], who[read]
    if not len(rows):
        return
    locks, of = np.unique(found.object[rows], return_inverse=True)
    answers = what_lies_at(kernel, locks, quick=True)
    # What people pass around is often not the lock but what it lies in.
    start = np.where((answers.slab >= 0) & (answers.start != 0), answers.start, locks)
    running = ~np.isin(np.arange(len(stacks.task)), np.unique(stacks.row))
    waits = dict(zip(found.row.tolist(), found.type.tolist(), strict=True))
    # Of all words few point to one of these.
    pointing = np.flatnonzero(first_row(np.concatenate([locks, start]), stacks.word) >= 0)
    word, pointer_of = stacks.word[pointing], stacks.row[pointing]
    for one, several in enumerate(members(of, len(locks))):
        mine, last = rows[several], int(who[several[0]])
        holds = np.unique(pointer_of[(word == locks[one]) | (word == start[one])])
        holds = np.setdiff1d(holds, found.row[found.object == locks[one]])
        task = stacks.task[np.array([last])]
        called = say_thread(task["comm"][0] or "?", task["pid"][0] if task["pid"][0] is not None else "?")
        if running[last]:
            found.say(mine, f"the last reader, {called}, runs: whether it is still in is not known")
        elif last in holds:
            found.say(mine, f"the last reader, {called}, is still in, by its stack")
        elif len(holds) == 1:
            found.holder[mine] = stacks.task.addresses[holds[0]]
            found.say(mine, f"the last reader, {called}, has left; the holder is told by its stack")
        elif waits.get(last, "") in _WITHIN:
            # That nothing on a stack points to a lock proves nothing: a function may look it up once more to unlock.
            found.say(mine, f"the last reader was {called}; whether it is still in, its stack does not tell")
        else:
            found.holder[mine] = UNKNOWN
            found.say(mine, f"the last reader, {called}, has left, by its stack")

"""Journals of file systems (jbd2): whose commit or handle a thread waits for.

Mirrors fs/jbd2/transaction.c, commit.c and journal.c.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.waiters import member_offset, word_at

U64 = npt.NDArray[np.uint64]

_JOURNAL = "struct journal_s"
#: Queues that the journal's thread wakes when it has committed a transaction.
_COMMITS = ("j_wait_transaction_locked", "j_wait_done_commit")
#: … and the one on which it waits until all who write to a transaction have ended their handles.
_UPDATES = "j_wait_updates"


def name_journals(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Who commits, of those who wait for that; who has the transaction open, of who commits."""
    thread = member_offset(kernel, _JOURNAL, "j_task")
    rows = np.flatnonzero((found.type == "jbd2") & (found.object != 0))
    if thread is None or not len(rows):
        return
    for name in (*_COMMITS, _UPDATES):
        offset = member_offset(kernel, _JOURNAL, name)
        if offset is None:
            continue
        journal = found.object[rows] - np.uint64(offset)
        commits = word_at(kernel, journal, thread)
        # Which of the queues it is shows by what is around it: the journal's thread where a journal has that.
        known = np.isin(commits, stacks.task.addresses)
        if name != _UPDATES:
            found.holder[rows[known]] = commits[known]
            continue
        for row, where in zip(rows[known].tolist(), journal[known].tolist(), strict=True):
            writers = _writers(kernel, stacks, where)
            if len(writers) == 1:
                found.holder[row] = writers[0]
            found.say(np.array([row]), _open(len(writers)))


def _writers(kernel: Kernel, stacks: LiveStacks, journal: int) -> U64:
    """The tasks with a handle of the transaction that a journal commits."""
    committing = StructArray(kernel, _JOURNAL, [journal])["j_committing_transaction"].filled(0)[0]
    handle = stacks.task["journal_info"].filled(0).astype(np.uint64)
    of = member_offset(kernel, "struct jbd2_journal_handle", "h_transaction") or 0
    mine = (handle != 0) & (committing != 0) & (word_at(kernel, handle, of) == np.uint64(committing))
    found: U64 = stacks.task.addresses[mine]
    return found


def _open(count: int) -> str:
    return (
        "1 thread has its transaction open" if count == 1 else f"{count:,} threads have its transaction open"
    )

"""Open descriptors of all processes: tables of files in, one (process, number, struct file) each out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.tasks import find_tasks
from kernlab.walk.bitmaps import bitmap_bits

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open descriptors, of equal lengths n, by process, task and number.

    `pid` is the process (its tgid), `task` the task_struct whose table has the descriptor: the leader's, but for
    tables that threads do not share with it. `fd` is the number, `file` the struct file, `close_on_exec` FD_CLOEXEC.
    """

    pid: Column
    task: U64
    fd: I64
    file: StructArray
    close_on_exec: Mask

    def __len__(self) -> int:
        return len(self.fd)


@fact
def descriptors(kernel: Kernel) -> Descriptors:
    """One row per open descriptor of each process, as /proc/PID/fd lists them.

    Processes that share a table have a row each. A thread with a table of its own (unshare, CLONE_FILES without it)
    adds that; so do the threads of a process whose leader has ended, of which the kernel lists none.
    What cannot be read is told. Mirrors fs/file.c and fs/proc/fd.c.
    """
    task = one_of_each(find_tasks(kernel), "files")
    tables, of = np.unique(task["files"].values, return_inverse=True)
    table = (
        StructArray(kernel, "struct files_struct", tables)
        .follow("fdt")
        .prefetch("max_fds", "fd", "close_on_exec", "open_fds")
    )
    owner, fd, file, leaves = _entries(kernel, table)
    # All descriptors of each task's table: by where each table's begin and end.
    begin, end = (np.searchsorted(owner, of, side=side) for side in ("left", "right"))
    count = end - begin
    kernel.budget.room(int(count.sum()), 64, "a row for each descriptor of each process")
    row = np.repeat(np.arange(len(of)), count)
    entry = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count) + np.repeat(begin, count)
    return Descriptors(
        pid=task["tgid"][row],
        task=task.addresses[row],
        fd=fd[entry],
        file=StructArray(kernel, "struct file", file[entry]),
        close_on_exec=leaves[entry],
    )


def one_of_each(task: StructArray, member: str) -> StructArray:
    """Of each process the leader, and of what it has not the first thread that does, by process: `member` is a pointer
    that threads may have in common ("files", "fs", "mm"), and tasks without one are left out."""
    task = task[(task["tgid"].true & task[member].true)]
    pid, tgid, shared = task["pid"], task["tgid"], task[member]
    order = np.lexsort((task.addresses, pid.values, pid.values != tgid.values, tgid.values))
    task, group, pointer = task[order], tgid.values[order], shared.values[order]
    pair = np.stack([group.astype(np.uint64), pointer], axis=1)
    _, first = np.unique(pair, axis=0, return_index=True)
    return task[np.sort(first)]


def _entries(kernel: Kernel, table: StructArray) -> tuple[I64, I64, U64, Mask]:
    """All open descriptors of `struct fdtable`s: (table's row, number, struct file, closed by exec), in that order."""
    size, array, open_fds, on_exec = (table[name] for name in ("max_fds", "fd", "open_fds", "close_on_exec"))
    whole = size.valid & array.true & open_fds.true & on_exec.true
    claimed: I64 = np.where(whole, size.int64.filled(0), 0)
    # The largest last: what one claims too much costs no other.
    rising = np.argsort(claimed, kind="stable")
    count = np.zeros(len(claimed), dtype=np.int64)
    count[rising] = kernel.budget.counts(claimed[rising], 8, "descriptors in tables of files")
    owners, numbers = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for one in np.unique(count[count > 0]).tolist():
        rows = np.flatnonzero(count == one)
        owner, bit, read = bitmap_bits(kernel, open_fds.values[rows], one)
        # Without the bitmap of what is open the array of files tells by itself.
        blind = rows[~read]
        owners += [rows[owner], np.repeat(blind, one)]
        numbers += [bit, np.tile(np.arange(one), len(blind))]
    owner, number = np.concatenate(owners), np.concatenate(numbers)
    order = np.lexsort((number, owner))
    owner, number = owner[order], number[order]
    offset = number.astype(np.uint64)
    file, read = kernel.words(array.values[owner] + offset * np.uint64(8), what="entries of tables of files")
    # A number that is taken and has no file yet is being opened (fs/file.c, get_unused_fd_flags).
    there = read & (file != 0)
    owner, number, offset, file = owner[there], number[there], offset[there], file[there]
    words, _ = kernel.words(
        on_exec.values[owner] + (offset >> np.uint64(6)) * np.uint64(8), what="bitmaps of what exec closes"
    )
    leaves: Mask = (words >> (offset & np.uint64(63)) & np.uint64(1)) != 0
    return owner, number, file, leaves

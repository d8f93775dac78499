"""Signals of each thread: what is pending, blocked, ignored and caught."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.signals import ignored_and_caught, pending_signals, set_names
from kernlab.linux.tasks import find_tasks

#: include/linux/sched/signal.h
_GROUP_EXIT = 0x4


@table(rows="struct task_struct")
def signals(kernel: Kernel) -> pd.DataFrame:
    """One row per thread, by pid: sets of signals in words, and as masks (bit 0 is signal 1).

    Columns: pid, tgid, comm; pending (for this thread), shared_pending (for its process, for whichever thread takes
    it first), blocked, ignored, caught: "all", '' for none, else names with commas between; queued (how many wait
    with what is known of them, of the thread and its process: `queued_signals` has them), exiting (the whole process
    ends), pending_mask, shared_pending_mask, blocked_mask, ignored_mask, caught_mask, address (of the task_struct).
    ignored and caught are missing of what has ended. The masks are those of
    /proc/PID/status. Mirrors fs/proc/array.c, task_sig.

    >>> dump.signals[["pid", "comm", "blocked", "ignored", "caught"]].query("caught != ''").head(2)
        pid    comm blocked         ignored          caught
    2     1    init                 SIGQUIT  SIGINT,SIGCHLD
    59  116  app<1>          SIGINT,SIGQUIT      SIGRTMIN+1
    """
    task = find_tasks(kernel)
    task = task[np.lexsort((task.addresses, task["pid"].values, ~task["pid"].valid))]
    table_of = task["sighand"]
    every, of = np.unique(table_of.filled(0), return_inverse=True)
    ignored, caught = (
        column[of]
        for column in ignored_and_caught(kernel, StructArray(kernel, "struct sighand_struct", every))
    )
    masks = {
        "pending": task["pending.signal.sig[0]"],
        "shared_pending": task["signal->shared_pending.signal.sig[0]"],
        "blocked": task["blocked.sig[0]"],
        "ignored": ignored,
        "caught": caught,
    }
    waiting = pending_signals(kernel, task)
    groups, member = np.unique(task["signal"].filled(0), return_inverse=True)
    own = np.bincount(waiting.row[~waiting.shared], minlength=len(task))
    of_group = np.bincount(member[waiting.row[waiting.shared]], minlength=len(groups))
    return frame(
        kernel,
        "signals",
        pid=nullable(task["pid"]),
        tgid=nullable(task["tgid"]),
        comm=task["comm"],
        **{name: set_names(mask) for name, mask in masks.items()},
        queued=nullable(own + of_group[member], _readable(kernel, task)),
        exiting=nullable(task["signal->flags"].has(_GROUP_EXIT)),
        **{f"{name}_mask": nullable(mask) for name, mask in masks.items()},
        address=task,
    )


def _readable(kernel: Kernel, task: StructArray) -> npt.NDArray[np.bool_]:
    """Whose queues can be read: what could not is told by the walk."""
    with kernel.quiet():
        own, shared = task["pending.list.next"], task["signal->shared_pending.list.next"]
    return own.valid & (shared.valid | (task["signal"] == 0).true)

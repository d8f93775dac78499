"""Whose a timer is: the task that it wakes or sends a signal to, the work that it queues.

By the timer's function, which says in what struct it lies. Mirrors kernel/time/*.c, kernel/workqueue.c and
kernel/sched/deadline.c.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.tasks import find_tasks

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: A pointer to the signal_struct may be marked in its lowest bit (kernel/time/posix-timers.c, since v6.15).
_MARK = np.uint64(1)


def _sleeper(timer: StructArray) -> U64:
    return _pointer(timer.container("struct hrtimer_sleeper", "timer"), "task")


def _scheduled(timer: StructArray) -> U64:
    # Linux 4.15 put the timer of schedule_timeout into a struct.
    return _pointer(timer.container("struct process_timer", "timer"), "task")


def _deadline(timer: StructArray) -> U64:
    return timer.container("struct task_struct", "dl.dl_timer").addresses


def _inactive(timer: StructArray) -> U64:
    return timer.container("struct task_struct", "dl.inactive_timer").addresses


def _itimer(timer: StructArray) -> U64:
    return _leaders(timer.kernel, timer.container("struct signal_struct", "real_timer").addresses)


def _posix(timer: StructArray) -> U64:
    owner = _pointer(timer.container("struct k_itimer", "it.real.timer"), "it_signal")
    return _leaders(timer.kernel, owner & ~_MARK)


#: By the timer's function: the task that it is of, of many.
_TASKS: dict[str, Callable[[StructArray], U64]] = {
    "hrtimer_wakeup": _sleeper,
    "process_timeout": _scheduled,
    "dl_task_timer": _deadline,
    "inactive_task_timer": _inactive,
    "it_real_fn": _itimer,
    "posix_timer_fn": _posix,
}


def tasks_of(kernel: Kernel, timer: StructArray) -> U64:
    """The task_struct that each timer wakes, sends a signal to or is part of; 0 for none, and where it is not known.

    Of timers of a process (setitimer, timer_create) its leader.
    """
    function = timer["function"].filled(0).astype(np.uint64)
    found = np.zeros(len(timer), dtype=np.uint64)
    for name, of in _TASKS.items():
        rows = np.flatnonzero(function == np.uint64(kernel.symbols.get(name) or 0))
        rows = rows[function[rows] != 0]
        if len(rows):
            try:
                found[rows] = of(timer[rows])
            except KernlabError as error:
                kernel.lost(f"whose timers {name} calls: {error}")
    # A deadline server of a CPU has such a timer, too, and lies in no task.
    return np.where(np.isin(found, find_tasks(kernel).addresses), found, np.uint64(0))


def works_of(kernel: Kernel, timer: StructArray) -> StructArray:
    """The `struct delayed_work` that each timer (`struct timer_list`) queues when it is due; NULL for others."""
    symbol = kernel.symbols.get("delayed_work_timer_fn")
    queues = (timer["function"] == np.uint64(symbol or 0)).true
    work = timer.container("struct delayed_work", "timer")
    return StructArray(kernel, work.type, np.where(queues, work.addresses, np.uint64(0)))


def _pointer(structs: StructArray, member: str) -> U64:
    return structs[member].filled(0).astype(np.uint64)


def _leaders(kernel: Kernel, signals: U64) -> U64:
    """The leader of the threads that share each signal_struct; 0 where none is known."""
    task = find_tasks(kernel)
    mine = (task["group_leader"] == task.addresses).true
    theirs, leader = task["signal"].filled(0).astype(np.uint64)[mine], task.addresses[mine]
    order = np.argsort(theirs)
    theirs, leader = theirs[order], leader[order]
    at = np.searchsorted(theirs, signals).clip(max=max(len(theirs) - 1, 0))
    if not len(theirs):
        return np.zeros(len(signals), dtype=np.uint64)
    return np.where((theirs[at] == signals) & (signals != 0), leader[at], np.uint64(0))

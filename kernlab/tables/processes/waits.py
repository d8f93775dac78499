"""Waits: what every sleeping thread waits for, and who holds it; and the graph of who waits for whom."""

from __future__ import annotations

import numpy as np

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses as address_column
from kernlab.dataframes import frame, nullable, table
from kernlab.dataframes.with_methods import TableWithMethods
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.holders import task_rows
from kernlab.linux.locks.live_stacks import live_stacks
from kernlab.linux.locks.sleep_times import slept
from kernlab.linux.locks.spinning import spinners
from kernlab.linux.locks.timers import time_left
from kernlab.linux.locks.waiting import waiting
from kernlab.linux.whatis.objects import object_names
from kernlab.tables.processes.tasks import state
from kernlab.tables.processes.wait_graph import WaitGraph


class Waits(TableWithMethods):
    """`dump.waits`, whose selections have `.graph()`, too."""

    named = "dump.waits"

    def graph(self) -> WaitGraph:
        """Who waits for whom, through which lock: only threads that wait for another one, and those.

        `.cycles` names deadlocks; `.edges` is a DataFrame; a notebook shows the drawing.
        """
        self.need("pid", "comm", "type", "name", "object", "holder_pid", "holder_comm")
        return WaitGraph.of(self)


@table(rows="struct task_struct")
def waits(kernel: Kernel) -> Waits:
    """One row per thread that waits for something that can be named, asleep or spinning, by pid.

    type: "mutex", "rwsem_read", "rwsem_write", "rtmutex", "semaphore", "percpu_rwsem", "completion", "work", "futex",
    "folio", "request", "rcu", "epoll", "poll", "select", "pipe", "socket", "jbd2", "child", "signal", "stopped",
    "ptrace", "frozen", "timer", "idle" (a kernel thread without work), else "wait_queue"; of who spins "spinlock",
    "rwlock_read", "rwlock_write". object: the lock, queue or
    what else there is; of a futex its address in the thread's memory. name: what the object is. holder_pid: who has the
    lock, does the work, or is the child that is waited for; missing where nobody or where it is not known, which note
    says. function: where it sleeps, as /proc/PID/wchan. since: how long it has been asleep,
    missing of who spins. left: how long it has still to sleep at most, where a timer will wake it. address: its
    task_struct.

    >>> hung = kernlab.open(kernlab.sample("hung"))
    >>> hung.waits.query("type == 'mutex'").set_index("pid")[["comm", "name", "holder_comm"]].head(2)
            comm                            name holder_comm
    pid
    179  order-1  inventory_lock [kernlab_story]  inventoryd
    180  order-2  inventory_lock [kernlab_story]  inventoryd
    """
    stacks, found = live_stacks(kernel), waiting(kernel)
    task = stacks.task[found.row]
    order = np.lexsort((task.addresses, task["pid"].values))
    found, task = found.pick(order), task[order]
    sleeps = stacks.sleeps_in() | {one.row: one.function for one in spinners(kernel) if one.function}
    holder_pid, holder_comm = holders(kernel, found)
    return Waits.of(
        frame(
            kernel,
            "waits",
            pid=nullable(task["pid"]),
            comm=task["comm"],
            state=state(task),
            type=found.type.tolist(),
            object=address_column(kernel, found.object, found.object != 0),
            name=Column.texts(wait_names(kernel).at(found)),
            holder_pid=nullable(holder_pid),
            function=Column.texts([sleeps.get(row) for row in found.row.tolist()]),
            since=slept(kernel, task).where(stacks.asleep[found.row]).timedelta,
            left=time_left(kernel)[found.row].timedelta,
            holder_comm=holder_comm,
            note=found.note.tolist(),
            address=task,
        )
    )


def holders(kernel: Kernel, found: Found) -> tuple[Column, Column]:
    """The pid and comm of the holder of each wait, missing where nobody has it or nobody knows."""
    stacks = live_stacks(kernel)
    rows = task_rows(stacks, found.holder)
    there = rows >= 0
    task = stacks.task[np.where(there, rows, 0)]
    return task["pid"].where(there), task["comm"].where(there)


class Names:
    """The names of what is waited for, each found once."""

    def __init__(self, objects: dict[int, str | None]):
        self._objects = objects

    def at(self, found: Found) -> list[str | None]:
        """The name of each wait's object."""
        return [
            own if own is not None else self._objects.get(lock)
            for own, lock in zip(found.name.tolist(), found.object.tolist(), strict=True)
        ]


@fact
def wait_names(kernel: Kernel) -> Names:
    """What lies at the objects of all waits that have no name of their own."""
    found = waiting(kernel)
    nameless = np.array([name is None for name in found.name.tolist()], dtype=bool) & (found.object != 0)
    unique = np.unique(found.object[nameless])
    return Names(dict(zip(unique.tolist(), object_names(kernel, unique).tolist(), strict=True)))

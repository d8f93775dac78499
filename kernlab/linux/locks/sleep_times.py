"""Since when a task sleeps, by the scheduler's own clock.

A task's `se.exec_start` is the time of the last accounting of what it ran, which the scheduler does when it puts a task
to sleep (kernel/sched/fair.c, update_curr; the other classes do the same), in the CPU's clock_task: the clock less the
time that interrupts and a hypervisor took. "Now" is the latest clock of all CPUs: that of one that idles stands still.
"""

from __future__ import annotations

import numpy as np

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.cpus import percpu, possible_cpus


@fact
def _clocks(kernel: Kernel) -> tuple[Column, Column]:
    """Each possible CPU's clock and clock_task, by its number."""
    numbers = possible_cpus(kernel)
    queue = StructArray(kernel, "struct rq", percpu(kernel, kernel.symbol("runqueues"), numbers))
    width = int(numbers.max(initial=0)) + 1
    columns = []
    for name in ("clock", "clock_task"):
        read = queue[name]
        values, valid = np.zeros(width, dtype=np.uint64), np.zeros(width, dtype=bool)
        values[numbers], valid[numbers] = read.filled(0), read.valid
        columns.append(Column.of(values, valid))
    return columns[0], columns[1]


def crash_clock(kernel: Kernel) -> int | None:
    """The scheduler's clock when the machine died, in ns; None where it cannot be read."""
    clock, _ = _clocks(kernel)
    return int(clock.values[clock.valid].max()) if clock.valid.any() else None


def fell_asleep(kernel: Kernel, task: StructArray) -> Column:
    """When each task went to sleep, in ns of that clock ("int"); missing where it never ran or that is not known."""
    clock, clock_task = _clocks(kernel)
    cpu = task.first("thread_info.cpu", "cpu") if task.has("cpu") or task.has("thread_info.cpu") else None
    number = (
        cpu.int64.clip(0, len(clock) - 1).filled(0)
        if cpu is not None
        else np.zeros(len(task), dtype=np.int64)
    )
    start = task["se.exec_start"]
    when = start + (clock - clock_task)[number]
    now = crash_clock(kernel)
    known = (start != 0).true & when.valid
    if now is not None:
        # The clocks of CPUs differ by less than a tick.
        return when.clip(0, now).where(known)
    return when.where(known & False)


def slept(kernel: Kernel, task: StructArray) -> Column:
    """For how long each task has been asleep, in ns ("int")."""
    when, now = fell_asleep(kernel, task), crash_clock(kernel)
    return (-when + now).int64 if now is not None else when

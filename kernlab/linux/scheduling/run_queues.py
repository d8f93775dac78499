"""The queue of each CPU (struct rq), and the clock that all of them go by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.cpus import percpu, possible_cpus


@dataclass(frozen=True, slots=True)
class RunQueues:
    """One row per possible CPU: its number, and its `struct rq`."""

    cpu: npt.NDArray[np.int64]
    queue: StructArray


@fact
def run_queues(kernel: Kernel) -> RunQueues:
    """The queues of all possible CPUs, ascending (kernel/sched/core.c, runqueues)."""
    cpus = possible_cpus(kernel)
    return RunQueues(cpus, StructArray(kernel, "struct rq", percpu(kernel, kernel.symbol("runqueues"), cpus)))


@fact
def latest_clock(kernel: Kernel) -> int | None:
    """The latest that any queue's clock said, in ns since boot: as near to the end as the scheduler's clocks come.

    A CPU that spins with interrupts off, or sleeps, updates its own no more; None where no clock can be read.
    """
    clock = run_queues(kernel).queue["clock"].int64
    return int(clock.values[clock.valid].max()) if clock.valid.any() else None


def since(kernel: Kernel, then: Column) -> Column:
    """How long before the latest clock these times of queues' clocks were, in ns: missing for 0 (never) and the future.

    Clocks of two CPUs may differ by less than a tick, which is no time.
    """
    now = latest_clock(kernel)
    if now is None:
        return Column.missing(len(then), "int")
    passed = now - then.int64.where(then.true)
    return passed.where((passed >= -_SKEW).true).clip(0)


#: By how many ns the clocks of two CPUs may differ (kernel/sched/clock.c keeps them within a tick; HZ is 100 at least).
_SKEW = 10_000_000

"""RCU's grace periods: what runs, since when, and what it waits for."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.devices.cpu_lists import listed
from kernlab.linux.scheduling.rcu import (
    SEQ_STATE,
    Rcu,
    ago,
    blocking_tasks,
    number_of_period,
    rcu,
    stall_timeout,
    waited_for,
)
from kernlab.tables.scheduling.rcu import TINY
from kernlab.walk.strings import c_strings

#: kernel/rcu/tree_stall.h, gp_state_names, without RCU_GP_ before them.
_STATES = (
    "IDLE", "WAIT_GPS", "DONE_GPS", "ONOFF", "INIT", "WAIT_FQS", "DOING_FQS", "CLEANUP", "CLEANED",
)  # fmt: skip


@table(rows="struct rcu_state")
def grace_periods(kernel: Kernel) -> pd.DataFrame:
    """Two rows: the grace period of RCU that runs or ran last, and the expedited one.

    Columns: name ("rcu_preempt" or "rcu_sched"), expedited, number, running, state (what its kernel thread does:
    "WAIT_FQS" is waiting for readers), started, activity (how long ago it began, and its thread last did something),
    stalled (it has run for so long that the kernel warns; for the expedited one nobody notes these four), forced (how
    often CPUs were asked since boot), pid (of the thread), waiting_cpus ("1,3-5"), waiting_tasks (pids of readers that
    lost their CPU, "17,204"; '' for none, both), address (struct rcu_state).

    Mirrors kernel/rcu/tree_stall.h (print_other_cpu_stall, rcu_check_gp_kthread_starvation).

    >>> dump.grace_periods[["name", "expedited", "running", "state", "started", "waiting_cpus"]]
              name  expedited  running     state                started waiting_cpus
    0  rcu_preempt      False     True  WAIT_FQS 0 days 00:00:00.008000
    1  rcu_preempt       True    False       NaN                    NaT
    """
    found = rcu(kernel)
    if found is None:
        kernel.lost(TINY)
        return empty(
            kernel,
            "grace_periods",
            name="str",
            expedited="bool",
            number="Int64",
            running="boolean",
            state="str",
            started="timedelta64[ns]",
            activity="timedelta64[ns]",
            stalled="boolean",
            forced="Int64",
            pid="Int64",
            waiting_cpus="str",
            waiting_tasks="str",
            address="struct rcu_state",
        )
    # Both stand in the one struct.
    state = StructArray(kernel, found.state.type, np.repeat(found.state.addresses, 2))
    normal = np.array([True, False])
    sequence = found.state["gp_seq"], found.state["expedited_sequence"]
    both = Column(
        np.array([int(one.values[0]) for one in sequence], dtype=np.uint64),
        np.array([one.valid[0] for one in sequence]),
        "uint",
    )
    running = (both & SEQ_STATE) != 0
    number = state["gp_state"].int64
    names = [
        _STATES[value]
        if value is not None and 0 <= value < len(_STATES)
        else None
        if value is None
        else str(value)
        for value in number
    ]
    started = ago(kernel, state["gp_start"])
    # Whoever warns puts jiffies_stall off until the next time.
    overdue = ((ago(kernel, state["jiffies_stall"]) > 0) | (started >= stall_timeout(kernel))) & running
    return frame(
        kernel,
        "grace_periods",
        name=c_strings(kernel, state["name"], 64),
        expedited=~normal,
        number=nullable(number_of_period(both)),
        running=nullable(running),
        state=Column.texts(names).where(normal),
        started=started.where(running.true & normal).timedelta,
        activity=ago(kernel, state["gp_activity"]).where(normal).timedelta,
        stalled=nullable(overdue.where(normal)),
        forced=nullable(state["n_force_qs"].int64.where(normal)),
        pid=nullable(state["gp_kthread->pid"].where(normal)),
        waiting_cpus=Column.texts([_cpus(found, mask) for mask in ("qsmask", "expmask")]),
        waiting_tasks=Column.texts([_pids(kernel, found, first) for first in ("gp_tasks", "exp_tasks")]),
        address=state,
    )


def _cpus(found: Rcu, mask: str) -> str:
    cpu = found.cpu[waited_for(found, mask).true]
    return str(listed(np.zeros(len(cpu), dtype=np.int64), cpu, 1)[0])


def _pids(kernel: Kernel, found: Rcu, first: str) -> str:
    return ",".join("?" if pid is None else str(pid) for pid in blocking_tasks(kernel, found, first)["pid"])

"""Softirqs, as /proc/softirqs counts them, and which are pending where."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, spread, table
from kernlab.linux.devices.cpu_lists import listed, online_cpus
from kernlab.linux.devices.functions import function_names
from kernlab.linux.devices.interrupts import summed
from kernlab.linux.devices.softirqs import pending
from kernlab.linux.enum_names import names_in
from kernlab.util.addresses import wrapped
from kernlab.walk.cpus import percpu, possible_cpus

# include/linux/interrupt.h: by number, as softirq_to_name calls them.
_NAMES = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")


@table(rows="struct softirq_action")
def softirqs(kernel: Kernel) -> pd.DataFrame:
    """One row per softirq, by number: name, handler (its function), count, pending_on, cpu0 …

    count is how often it ran in all, cpu0 … how often on each CPU that is online; pending_on lists the CPUs on
    which it was raised and had not run yet, '' for none. Mirrors fs/proc/softirqs.c.

    >>> dump.softirqs[["name", "handler", "count", "pending_on"]].head(3)
         name            handler  count pending_on
    0      HI  tasklet_hi_action      0
    1   TIMER  run_timer_softirq   9501
    2  NET_TX      net_tx_action      0
    """
    possible = possible_cpus(kernel)
    stat = StructArray(kernel, "struct kernel_stat", percpu(kernel, kernel.symbol("kstat"), possible))
    counted = stat["softirqs"]
    number = counted.values.shape[1]
    every = [
        Column.of(counted.values[cpu].astype(np.int64), np.full(number, bool(counted.valid[cpu])))
        for cpu in range(len(possible))
    ]
    known = [*_NAMES[:number], *(str(one) for one in range(len(_NAMES), number))]
    start, step = wrapped(kernel.symbol("softirq_vec")), kernel.find_type("struct softirq_action").size
    action = StructArray(
        kernel, "struct softirq_action", start + np.arange(number, dtype=np.uint64) * np.uint64(step)
    )
    shown = set(online_cpus(kernel).tolist())
    return frame(
        kernel,
        "softirqs",
        name=names_in(kernel, "softirq_to_name", known),
        handler=function_names(kernel, action["action"]),
        count=nullable(summed(every, number)),
        pending_on=_pending(kernel, possible, number),
        cpus=spread(
            (f"cpu{cpu}", nullable(column))
            for cpu, column in zip(possible.tolist(), every, strict=True)
            if cpu in shown
        ),
        address=action,
    )


def _pending(kernel: Kernel, numbers: npt.NDArray[np.int64], count: int) -> Column:
    """The CPUs on which each softirq is pending, as a list; all of them missing where that of a CPU is."""
    raised = pending(kernel, numbers)
    bit = np.arange(count, dtype=np.int64)
    which, at = np.nonzero(raised.filled(0)[None, :] >> bit[:, None] & 1)
    known = np.full(count, bool(raised.valid.all()))
    return Column.of(listed(which, numbers[at], count), known, "text")

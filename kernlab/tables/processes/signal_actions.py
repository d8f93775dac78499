"""What programs do with signals: their handlers, and what they ignore."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, frame, lookup, nullable, table
from kernlab.linux.signals import DEFAULT, IGNORE, MOST, actions, flag_names, set_names, signal_name
from kernlab.linux.tasks import find_tasks


@table(rows="struct sighand_struct")
def signal_actions(kernel: Kernel) -> pd.DataFrame:
    """One row per process and signal that it does not leave to the kernel's default; kernel threads handle none.

    Columns: pid (of the process), comm, number, signal, ignored, handler (an address of the program's; missing where
    the signal is ignored), flags ("SA_RESTART,SA_SIGINFO"), masked (what is blocked while it runs: "all", '' for
    none, else names with commas between), address (of the struct sighand_struct). Mirrors kernel/signal.c.

    >>> dump.signal_actions.query("pid == 1")[["comm", "signal", "ignored", "handler", "flags"]]
       comm   signal  ignored             handler        flags
    0  init   SIGINT    False  0x0000000000525892  SA_RESTORER
    1  init  SIGQUIT     True                <NA>  SA_RESTORER
    2  init  SIGCHLD    False  0x0000000000525892  SA_RESTORER
    """
    task = find_tasks(kernel)
    task = task[(task["pid"] == task["tgid"]).true & task["mm"].true & task["sighand"].true]
    task = task[np.argsort(task["pid"].values, kind="stable")]
    sighand = task.follow("sighand")
    found = actions(kernel, sighand)
    row, number = np.nonzero((found.handler != DEFAULT) & found.known[:, None])
    handler = found.handler[row, number]
    ignored = handler == IGNORE
    flags, which = np.unique(found.flags[row, number], return_inverse=True)
    mine = task[row]
    return frame(
        kernel,
        "signal_actions",
        pid=nullable(mine["pid"]),
        comm=mine["comm"],
        number=number + 1,
        signal=lookup(number, [signal_name(each + 1) for each in range(MOST)]),
        ignored=ignored,
        handler=addresses(kernel, handler, ~ignored),
        flags=lookup(which, [flag_names(each) for each in flags.tolist()]),
        masked=set_names(Column.of(found.mask[row, number])),
        address=StructArray(kernel, "struct sighand_struct", sighand.addresses[row]),
    )

"""Pressure stall information (PSI) of the machine and of each cgroup."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, table
from kernlab.linux.containers.cgroups import find_cgroups
from kernlab.linux.containers.pressure import is_off
from kernlab.linux.containers.pressure import pressure as measured


@table(rows="struct psi_group")
def pressure(kernel: Kernel) -> pd.DataFrame:
    """One row per cgroup, resource and kind: how much of the time tasks stood still for want of something.

    path: the cgroup's, as in `cgroups` (version 2); "/" is the whole machine, /proc/pressure; resource: "cpu", "io",
    "memory", and "irq" where the kernel measures it; kind: "some" (at least one task waited) or "full" (all did);
    avg10, avg60, avg300: percent of the last 10, 60 and 300 s; total: time in all; address: struct psi_group.

    As reading the files at the crash would have shown them: what CPUs had not handed up yet is added, weighted as
    the kernel does it, and averages that were due (every 2 s) are worked out. When that was is the latest time that
    the log or a run queue has; what waited then has waited until then. Cgroups that were removed, or told not to
    measure (cgroup.pressure), have no rows. Mirrors kernel/sched/psi.c.

    >>> dump.pressure[["path", "resource", "kind", "avg10", "total"]].head(3)
      path resource  kind  avg10                     total
    0    /      cpu  some  14.49 0 days 00:00:09.028706664
    1    /      cpu  full   0.00 0 days 00:00:00.000000000
    2    /       io  some   0.00 0 days 00:00:00.445210123
    """
    if why := is_off(kernel):
        kernel.lost(why)
        dtypes = dict.fromkeys(("path", "resource", "kind"), "str")
        dtypes |= dict.fromkeys(("avg10", "avg60", "avg300"), "float64") | {"total": "timedelta64[ns]"}
        return empty(kernel, "pressure", **dtypes, address="struct psi_group")
    found = measured(kernel)
    states = len(found.states)
    path: list[str | None] = ["/"]
    if len(found.row) > 1:
        path += find_cgroups(kernel).path[found.row[1:]].tolist()
    valid = np.repeat(found.valid, states)
    average = {
        name: Column.of(found.average[:, :, index].reshape(-1) / 100, valid)
        for index, name in enumerate(("avg10", "avg60", "avg300"))
    }
    return frame(
        kernel,
        "pressure",
        path=Column.texts([text for text in path for _ in range(states)]),
        resource=[resource for _ in path for resource, _ in found.states],
        kind=[kind for _ in path for _, kind in found.states],
        **average,
        total=Column.of(found.total.reshape(-1), valid).timedelta,
        address=found.group[np.repeat(np.arange(len(path)), states)],
    )

"""`dump.clocks`: how each clock lies on the common axis, and how that is known."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, table
from kernlab.traces.clock import clocks as known_clocks
from kernlab.traces.clock.clocks import COUNTER
from kernlab.traces.clock.relation import FAR
from kernlab.util.text import few

#: Counts of less than this many ns are counts of ns.
_NS = 0.01


@table
def clocks(kernel: Kernel) -> pd.DataFrame:
    """One row per clock, by ftrace's names, and "printk" and "real" (the wall clock).

    clock, unit_ns (how long one count of it lasts: 1, less for the TSC, 10,000,000 for "uptime"), offset (what to add
    to its time for the axis, at the crash), rate (how much faster the axis runs, in parts per million), error (how far
    off that may be, near the last tick), source (how it is known, or why it is not; then the rest is missing).
    The axis is the log's clock: seconds since boot as dmesg shows them.

    >>> dump.clocks[["clock", "offset", "error"]].head(2)
        clock offset  error
    0  printk 0 days 0 days
    1    perf 0 days 0 days
    """
    found = known_clocks.clocks(kernel)
    known = [found.clock(name) for name in found.names]
    unit, rate = (np.full(len(known), np.nan) for _ in range(2))
    offsets = np.full(len(known), np.iinfo(np.int64).min)
    errors = offsets.copy()
    why: dict[str, list[str]] = defaultdict(list)
    for row, clock in enumerate(known):
        relation = clock.relation
        if relation is None:
            if clock.name != COUNTER:
                why[clock.source].append(clock.name)
            continue
        counted = float(relation.rate)
        unit[row] = 1.0 if abs(counted - 1) < _NS else counted
        errors[row] = min(relation.error, FAR)
        if unit[row] == 1.0:
            rate[row] = (counted - 1) * 1e6
            offsets[row] = relation.axis - relation.zero
        else:
            rate[row] = 0.0
            offsets[row] = relation.axis - int(relation.zero * relation.rate)
    kernel.lost(*(f"clocks {few(names)} are not known: {reason}" for reason, names in why.items()))
    return frame(
        kernel,
        "clocks",
        clock=Column.texts([clock.name for clock in known]),
        unit_ns=unit,
        offset=offsets.view("m8[ns]"),
        rate=rate,
        error=errors.view("m8[ns]"),
        source=Column.texts([clock.source for clock in known]),
    )

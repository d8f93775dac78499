"""RCU on each CPU: is it waited for, and what waits there."""

from __future__ import annotations

import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.scheduling.optional import optional
from kernlab.linux.scheduling.rcu import callbacks, number_of_period, offloaded, waited_for
from kernlab.linux.scheduling.rcu import rcu as find

_COUNTS = ("callbacks", "ready", "waiting", "next_ready", "next", "lazy", "bypass", "invoked")
#: What a kernel without CONFIG_TREE_RCU is told.
TINY = "RCU of this kernel is for a single CPU and keeps no account (CONFIG_TINY_RCU)"


@table(rows="struct rcu_data")
def rcu(kernel: Kernel) -> pd.DataFrame:
    """One row per possible CPU: `grace_periods` tells of the whole machine's.

    Columns: cpu; waited_for, waited_for_expedited (the grace period cannot end before this CPU was seen to read
    nothing); period (the number of the last grace period that this CPU knows of), behind (how many it has not heard
    of), ticks (since it heard of this one); callbacks (in all), and of these ready (to be called), waiting (for this
    grace period), next_ready, next (for the one after it, and later ones), missing before Linux 5.12; lazy (that may
    wait long), bypass (not queued yet), invoked (called since boot), offloaded (threads call them, by rcu_nocbs;
    missing without CONFIG_RCU_NOCB_CPU), address (struct rcu_data). Mirrors kernel/rcu/tree.h, tree_stall.h.

    >>> dump.rcu[["cpu", "waited_for", "behind", "callbacks", "invoked"]]
       cpu  waited_for  behind  callbacks  invoked
    0    0       False       0         14    59168
    1    1       False       0         10    58441
    """
    found = find(kernel)
    if found is None:
        kernel.lost(TINY)
        return empty(
            kernel,
            "rcu",
            cpu="int64",
            **dict.fromkeys(("waited_for", "waited_for_expedited"), "boolean"),
            **dict.fromkeys(("period", "behind", "ticks", *_COUNTS), "Int64"),
            offloaded="boolean",
            address="struct rcu_data",
        )
    data = found.data
    period = number_of_period(data["gp_seq"])
    latest = number_of_period(found.state["gp_seq"])
    behind = int(latest.values[0]) - period if latest.valid[0] else Column.missing(len(data), "int")
    counts = callbacks(found) | {
        # Linux commit 77a40f97030b ("rcu: Remove kfree_rcu() special casing and lazy-callback handling") took away the
        # lazy callbacks of v5.4, and v6.2 has others.
        "lazy": optional(data, "lazy_len", "cblist.len_lazy"),
        "bypass": optional(data, "nocb_bypass.len"),
        # Not in v5.4.
        "invoked": optional(data, "n_cbs_invoked"),
    }
    return frame(
        kernel,
        "rcu",
        cpu=found.cpu,
        waited_for=nullable(waited_for(found, "qsmask")),
        waited_for_expedited=nullable(waited_for(found, "expmask")),
        period=nullable(period),
        behind=nullable(behind),
        ticks=nullable(data["ticks_this_gp"].int64),
        **{name: nullable(counts[name]) for name in _COUNTS},
        offloaded=nullable(offloaded(kernel, found)),
        address=data,
    )

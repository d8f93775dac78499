"""The kernel's log: one row per printk record."""

from __future__ import annotations

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, table
from kernlab.linux.kernel_log import callers, read_log


@table
def log(kernel: Kernel) -> pd.DataFrame:
    """One row per record that is still whole, oldest first.

    timestamp (since boot), level and facility (int), caller (`T12` a thread, `C0` a CPU, '' where the kernel does not
    note it), text without prefix, and seq (the record's number). Mirrors kernel/printk/printk_ringbuffer.c,
    and before Linux 5.10 kernel/printk/printk.c (log_store).

    >>> dump.log.query("level <= 1")[["timestamp", "caller", "text"]].head(3)
                        timestamp caller                                               text
    390 0 days 00:01:29.516683209     T1  Kernel panic - not syncing: sysrq triggered crash
    """
    log = read_log(kernel)
    texts, infos = log.texts(), log.infos
    return frame(
        kernel,
        "log",
        timestamp=infos["ts_nsec"].timedelta,
        level=infos["level"].int64,
        facility=infos["facility"].int64,
        caller=callers(infos),
        text=texts,
        seq=log.sequence,
    )

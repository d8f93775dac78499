"""The memory summary that everybody knows, key by key as /proc/meminfo prints it (fs/proc/meminfo.c)."""

from __future__ import annotations

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import series, table
from kernlab.linux.meminfo import Summary

_LOST = "pages that they need are not in the dump"


@table
def meminfo(kernel: Kernel) -> pd.Series:
    """A Series (Int64) by the keys of this kernel's /proc/meminfo, in its order: bytes where the file says kB,
    HugePages_* as counts. What cannot be read is missing.

    Counters hold what single CPUs still kept to themselves, which the file leaves out.

    >>> dump.meminfo[["MemTotal", "MemFree", "Slab"]]
    MemTotal    455098368
    MemFree     322895872
    Slab         24584192
    Name: meminfo, dtype: Int64
    """
    summary = Summary(kernel)
    found = summary.keys()
    lost = [key for key, value in found.items() if value is None]
    if lost:
        kernel.lost(f"meminfo: {', '.join(lost)} cannot be known: {summary.why[0] if summary.why else _LOST}")
    return series(kernel, "meminfo", found.items())

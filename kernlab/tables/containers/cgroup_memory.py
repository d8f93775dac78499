"""memory.stat of all memory cgroups: what their memory is used for, and what happened in it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, nullable, spread, table
from kernlab.errors import KernlabError
from kernlab.linux.containers.cgroups import find_cgroups, has_cgroups
from kernlab.linux.containers.memory_stat import memory_stat


@table(rows="struct mem_cgroup")
def cgroup_memory(kernel: Kernel) -> pd.DataFrame:
    """One row per cgroup whose memory is controlled, in the order of `cgroups`.

    hierarchy, path: as in `cgroups`; one column for each line of memory.stat, by its name, with `_bytes` behind it
    where it is bytes (anon_bytes, file_bytes, kernel_stack_bytes, slab_bytes, …), else a count of pages or times
    (workingset_refault_anon, pgfault, pgscan, …): with what is below the cgroup; address: struct mem_cgroup. Which
    lines there are is the kernel's list (memory_stats); in version 1 they are version 2's, too. As reading the file
    does it, what CPUs had not handed up yet is added; 5.10's file lacks that. Mirrors mm/memcontrol.c.
    Raises KernlabError without CONFIG_MEMCG.

    >>> dump.cgroup_memory[["path", "anon_bytes", "slab_bytes", "pgfault"]]
      path  anon_bytes  slab_bytes  pgfault
    0    /    23609344           0   402229
    """
    if kernel.types.get("struct mem_cgroup") is None or not has_cgroups(kernel):
        # What columns it would have only such a kernel knows.
        raise KernlabError("this kernel has no memory cgroups (CONFIG_MEMCG)")
    found, stat = find_cgroups(kernel), memory_stat(kernel)
    group = found.part("memory", "struct mem_cgroup")
    rows = np.flatnonzero(group.valid)
    return frame(
        kernel,
        "cgroup_memory",
        hierarchy=found.hierarchy[rows],
        path=found.path[rows],
        stat=spread(
            (f"{name}_bytes" if name in stat.in_bytes else name, nullable(column[rows]))
            for name, column in stat.numbers.items()
        ),
        address=group[rows],
    )

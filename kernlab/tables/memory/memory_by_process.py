"""Memory by process: what each holds by the page tables, and its fair share of what it shares."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.map_usage import PSS_SHIFT, usage
from kernlab.linux.task_identity import cgroup_of, program_of
from kernlab.linux.tasks import find_tasks

_PF_KTHREAD = 0x00200000  # include/linux/sched.h


@table(rows="struct task_struct")
def memory_by_process(kernel: Kernel) -> pd.DataFrame:
    """One row per process that has memory, the largest share first.

    rss_bytes: resident, as smaps counts it; pss_bytes: the same with each page shared fairly among those that map it,
    so that the column adds up to the memory that processes use; uss_bytes: what nobody else maps, and the process' end
    would free; anon_bytes, shmem_bytes, file_bytes: what rss is made of; swap_bytes: swapped out of its own memory, as
    VmSwap; shmem_swap_bytes: swapped out of the shared memory that it maps, which VmSwap leaves out; hugetlb_bytes (not
    in rss); page_tables_bytes as VmPTE, the kernel's own count: without the top, and with the tables that it keeps for
    when a huge page is split. All but that is missing where page tables are lost. vfork()ed processes share an mm: each
    shows all of it. Mirrors fs/proc/task_mmu.c (smaps_account).

    >>> dump.memory_by_process[["pid", "comm", "rss_bytes", "pss_bytes"]].head(3)
       pid    comm  rss_bytes  pss_bytes
    0  121  app<6>    4792320    3879850
    1  120  app<5>    4251648    3339178
    2  119  app<4>    3764224    2851754
    """
    found = usage(kernel)
    task = find_tasks(kernel)
    tgid, pid, mm, flags = task["tgid"], task["pid"], task["mm"], task["flags"]
    user = tgid.valid & mm.true & ~flags.has(_PF_KTHREAD).true
    # A process is its leader; where that one has ended before the others, the thread that came next.
    rows = np.flatnonzero(user)
    rows = rows[np.lexsort((pid.values[rows], tgid.values[rows]))]
    rows = rows[np.unique(tgid.values[rows], return_index=True)[1]]
    task = task[rows]
    space = np.searchsorted(found.mm.addresses, mm.values[rows])
    known = space < len(found.mm)
    known[known] = found.tables_known[space[known]]
    swap_known = np.ones(max(len(found.mm), 1), dtype=bool)
    swap_known[found.owner[~found.swap_known]] = False
    of = np.where(known, space, 0)
    sums = {name: np.zeros(max(len(found.mm), 1), dtype=np.int64) for name in found.sums}
    for name, values in found.sums.items():
        np.add.at(sums[name], found.owner, values)
    order = np.argsort(np.where(known, -sums["pss"][of], 1), kind="stable")
    task, of, known = task[order], of[order], known[order]

    def held(name: str) -> Column:
        return Column.of(sums[name][of], known)

    file = held("rss") - held("anon") - held("shmem")
    return frame(
        kernel,
        "memory_by_process",
        pid=nullable(task["tgid"]),
        comm=task["comm"],
        uid=nullable(task["real_cred->uid.val"]),
        rss_bytes=nullable(held("rss")),
        pss_bytes=nullable(held("pss") >> PSS_SHIFT),
        uss_bytes=nullable(held("uss")),
        anon_bytes=nullable(held("anon")),
        shmem_bytes=nullable(held("shmem")),
        file_bytes=nullable(file),
        swap_bytes=nullable(held("swap")),
        shmem_swap_bytes=nullable(held("shmem_swap").where(swap_known[of])),
        hugetlb_bytes=nullable(held("hugetlb")),
        page_tables_bytes=nullable(task["mm->pgtables_bytes.counter"]),
        cgroup=cgroup_of(kernel, task),
        exe=program_of(kernel, task, task["mm"]),
        start_time=task.first("start_boottime", "real_start_time").timedelta,
        oom_score_adj=nullable(task["signal->oom_score_adj"]),
        address=task,
        mm=task["mm"],
    )

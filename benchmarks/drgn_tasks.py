"""drgn's side of the tasks benchmark: the same columns as kernlab's `tasks`, as a DataFrame.

python benchmarks/drgn_tasks.py DUMP VMLINUX [--figures]
"""

from __future__ import annotations

import drgn
import pandas as pd
from drgn.helpers.linux import (
    for_each_task,
    task_cpu,
    task_is_kthread,
    task_on_cpu,
    task_rss,
    task_state_to_char,
)
from drgn_program import main
from figures import task_figures

COLUMNS = [
    "address",
    "pid",
    "tgid",
    "ppid",
    "comm",
    "state",
    "cpu",
    "on_cpu",
    "kthread",
    "mm",
    "vsz_bytes",
    "rss_bytes",
    "uid",
    "prio",
    "nice",
    "utime",
    "stime",
    "start_time",
]


def tasks(prog: drgn.Program) -> pd.DataFrame:
    page_size = prog["PAGE_SIZE"].value_()
    rows = []
    for task in for_each_task(prog, idle=True):
        mm = task.mm.read_()
        if mm:
            rss = task_rss(task)
            vsz_bytes = mm.total_vm.value_() * page_size
            rss_bytes = (rss.file + rss.anon + rss.shmem) * page_size
        else:
            vsz_bytes = rss_bytes = None
        rows.append(
            (
                task.value_(),
                task.pid.value_(),
                task.tgid.value_(),
                task.real_parent.tgid.value_(),
                task.comm.string_().decode("utf-8", "backslashreplace"),
                task_state_to_char(task),
                task_cpu(task),
                task_on_cpu(task),
                task_is_kthread(task),
                mm.value_(),
                vsz_bytes,
                rss_bytes,
                task.real_cred.uid.val.value_(),
                task.prio.value_(),
                task.static_prio.value_() - 120,
                task.utime.value_(),
                task.stime.value_(),
                task.start_boottime.value_(),
            )
        )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame = frame.astype({"address": "uint64", "mm": "uint64", "vsz_bytes": "Int64", "rss_bytes": "Int64"})
    for column in ("utime", "stime", "start_time"):
        frame[column] = pd.to_timedelta(frame[column], unit="ns")
    return frame


if __name__ == "__main__":
    main(tasks, task_figures)

"""Tasks: every thread of the machine, from the pid idr, the task list and the task_struct slab together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, table
from kernlab.linux import mounts
from kernlab.linux.containers.containers import container_of
from kernlab.linux.task_identity import cgroup_of, program_of
from kernlab.linux.tasks import find_tasks
from kernlab.walk.cpus import percpu, possible_cpus, smp
from kernlab.walk.percpu_counters import percpu_sums

# include/linux/sched.h; macros, so no type information has them.
PF_KTHREAD = 0x00200000
_TASK_REPORT = 0x7F
_TASK_IDLE = 0x402  # TASK_UNINTERRUPTIBLE | TASK_NOLOAD
_SHOWN_AS_D = 0x1000 | 0x8000  # TASK_RTLOCK_WAIT, TASK_FROZEN
_STATE_LETTERS = np.array(list("RSDTtXZPI"))
_DEFAULT_PRIO = 120

#: What an mm counts (include/linux/mm_types_task.h): what is resident, and what is swapped out.
_RESIDENT = ("MM_FILEPAGES", "MM_ANONPAGES", "MM_SHMEMPAGES")
_SWAPPED = ("MM_SWAPENTS",)


@table(rows="struct task_struct")
def tasks(kernel: Kernel) -> pd.DataFrame:
    """One row per thread, and one per CPU's idle task (pid 0), by pid.

    swap_bytes is what of its own memory is swapped out (VmSwap); cgroup and exe as /proc/PID shows them to pid 1;
    container is what its cgroups' names tell: "docker:0123456789ab", "podman:…", "kubernetes:…", "lxc:mail",
    "machine:web", or else the systemd unit ("nginx.service", "session-3.scope"), missing where they tell nothing;
    mount_namespace is the number that readlink /proc/PID/ns/mnt has. Times are timedeltas, sizes bytes. Mirrors
    fs/proc/array.c and fs/proc/task_mmu.c.

    >>> dump.tasks.query("on_cpu")[["pid", "comm", "cpu", "state"]]
       pid       comm  cpu state
    1    0  swapper/0    0     R
    2    1       init    1     R
    >>> dump.tasks.nlargest(2, "rss_bytes")[["pid", "comm", "rss_bytes"]]
        pid    comm  rss_bytes
    64  121  app<6>    4792320
    92  175   wrk-0    4792320
    """
    task = find_tasks(kernel)
    order = np.lexsort((task.addresses, task["pid"].values, ~task["pid"].valid))
    task = task[order]
    mm = task["mm"]
    return frame(
        kernel,
        "tasks",
        address=task,
        pid=nullable(task["pid"]),
        tgid=nullable(task["tgid"]),
        ppid=nullable(task["real_parent->tgid"]),
        comm=task["comm"],
        state=state(task),
        cpu=nullable(_cpu(kernel, task)),
        on_cpu=_on_cpu(kernel, task),
        kthread=task["flags"].has(PF_KTHREAD),
        mm=mm,
        vsz_bytes=nullable(task["mm->total_vm"] * kernel.page_size),
        rss_bytes=nullable(counted(kernel, task, mm, _RESIDENT)),
        swap_bytes=nullable(counted(kernel, task, mm, _SWAPPED)),
        uid=nullable(task["real_cred->uid.val"]),
        prio=nullable(task["prio"]),
        nice=nullable(task["static_prio"] - _DEFAULT_PRIO),
        utime=task["utime"].timedelta,
        stime=task["stime"].timedelta,
        # Linux commit cf25e24db61c ("time: Rename tsk->real_start_time to ->start_boottime") (in v5.5).
        start_time=task.first("start_boottime", "real_start_time").timedelta,
        cgroup=cgroup_of(kernel, task),
        container=container_of(kernel, task),
        exe=program_of(kernel, task, mm),
        mount_namespace=nullable(mounts.of_tasks(kernel, task)),
    )


def _cpu(kernel: Kernel, task: StructArray) -> Column:
    """The CPU that each task was on last; a kernel for a single one (CONFIG_SMP is off) does not note it."""
    # Linux commit bcf9033e5449 ("sched: move CPU field back into thread_info if THREAD_INFO_IN_TASK=y") (in v5.16).
    paths = ("thread_info.cpu", "cpu")
    if not any(map(task.has, paths)) and not smp(kernel):
        return Column.of(np.zeros(len(task), dtype=np.int64), task.valid)
    return task.first(*paths)


def _on_cpu(kernel: Kernel, task: StructArray) -> Column:
    """Which tasks were running (kernel/sched/sched.h, task_on_cpu)."""
    if task.has("on_cpu"):
        return task["on_cpu"] != 0
    # Without CONFIG_SMP only the CPU's queue knows.
    where = percpu(kernel, kernel.symbol("runqueues"), possible_cpus(kernel))
    current = StructArray(kernel, "struct rq", where)["curr"]
    known = np.full(len(task), bool(current.valid.all()))
    return Column.of(np.isin(task.addresses, current.filled(0)), known)


def state(task: StructArray) -> Column:
    """The letter that ps shows, per task (fs/proc/array.c, get_task_state)."""
    # Linux commit 2f064a59a11f ("sched: Change task_struct::state") (in v5.14) renamed state to __state.
    bits = task.first("__state", "state")
    known = (bits | task["exit_state"]) & _TASK_REPORT
    report = np.where((bits & _TASK_IDLE == _TASK_IDLE).true, _TASK_REPORT + 1, known.filled(0))
    report = np.where(bits.has(_SHOWN_AS_D).true, 2, report)
    # fls(): the letter's index is one more than the number of the highest bit.
    index = np.frexp(report.astype(np.float64))[1]
    letters = _STATE_LETTERS[np.clip(index, 0, len(_STATE_LETTERS) - 1)]
    return Column.of(letters, known.valid)


def counted(kernel: Kernel, task: StructArray, mm: Column, kinds: tuple[str, ...]) -> Column:
    """Bytes of each task's mm by its own counters of these `kinds`, all deltas summed (include/linux/mm.h)."""
    spaces, inverse = np.unique(mm.filled(0), return_inverse=True)
    space = StructArray(kernel, "struct mm_struct", spaces)
    total = Column.of(np.zeros(len(space), dtype=np.int64), space.valid)
    for name in kinds:
        kind = kernel.types.enumerator(name)
        # Linux commit f1a7941243c1 ("mm: convert mm's rss stats into percpu_counter") (in v6.2).
        pages = (
            percpu_sums(kernel, space.follow(f"rss_stat[{kind}]"))
            if space.has("rss_stat[0].count")
            else _split_rss(space, task, inverse, kind)
        )
        # The kernel shows a counter that is below zero for the moment as zero.
        total += pages.clip(0)
    return (total * kernel.page_size)[inverse].where(mm.valid)


def _split_rss(space: StructArray, task: StructArray, space_of: npt.NDArray[np.intp], kind: int) -> Column:
    count = space[f"rss_stat.count[{kind}].counter"].int64
    if task.has("rss_stat.count[0]"):  # CONFIG_SMP with SPLIT_RSS_COUNTING: each thread keeps up to 64 back
        kept = task[f"rss_stat.count[{kind}]"]
        return count + kept.added_by(space_of, len(space))
    return count

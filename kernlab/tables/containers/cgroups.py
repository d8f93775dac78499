"""Control groups: one row each, with what they may use, what they use, and what happened to them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.containers.cgroup_state import controllers_of, cpus_and_nodes, frozen, members, populated
from kernlab.linux.containers.cgroups import Cgroups, find_cgroups, group_ids, has_cgroups
from kernlab.linux.containers.cpu_stat import cpu_stat
from kernlab.linux.containers.memory_counters import counted, events, limit
from kernlab.linux.containers.memory_stat import memory_stat

#: What of memory.stat stands here; cgroup_memory has it all.
_STATS = ("anon", "file", "shmem", "slab", "kernel_stack", "sock")
_EVENTS = {
    "low": "low_events",
    "high": "high_events",
    "max": "max_events",
    "oom": "oom_events",
    "oom_kill": "oom_kills",
}
_MEMORY = (
    "usage_bytes", "peak_bytes", "swap_bytes", "kmem_bytes", "min_bytes", "low_bytes", "high_bytes", "max_bytes",
    "swap_max_bytes", *_EVENTS.values(), *(f"{name}_bytes" for name in _STATS),
)  # fmt: skip
_TIMES = ("cpu_quota", "cpu_period", "cpu_usage", "cpu_user", "cpu_system", "throttled")
#: More processes than this are no limit (kernel/cgroup/pids.c, PIDS_MAX: PID_MAX_LIMIT + 1).
_PIDS_MAX = (4 << 20) + 1


@table(rows="struct cgroup")
def cgroups(kernel: Kernel) -> pd.DataFrame:
    """One row per control group, hierarchy by hierarchy, each followed by what is below it, the oldest first.

    hierarchy: "unified" for version 2, else as in /proc/PID/cgroup ("cpu,cpuacct", "name=systemd"); path: from its
    root; id: the number of its folder (ls -i), as BPF and traces know it; level; controllers: cgroup.controllers, in
    version 1 those of the hierarchy; populated: has it or one below it tasks; tasks, processes: in it alone;
    descendants, dying_descendants: below it, those that were removed and still held; dying: was removed itself;
    frozen: all of its tasks are.

    Memory, with what is below it, missing where memory is not controlled: usage_bytes, peak_bytes, swap_bytes,
    kmem_bytes (version 1), min_bytes, low_bytes, high_bytes, max_bytes, swap_max_bytes (missing for none), how often
    it hit them (low_events, high_events, max_events, oom_events) and processes killed (oom_kills), and the first of
    memory.stat (anon_bytes, file_bytes, shmem_bytes, slab_bytes, kernel_stack_bytes, sock_bytes; `cgroup_memory` has
    them all). CPU: cpu_weight (100 is the default), cpu_quota in each cpu_period (missing for none), cpu_usage,
    cpu_user, cpu_system with what is below it; periods, throttled_periods, throttled (how long in all). Processes:
    pids (with what is below), pids_max (missing for none), pids_max_events (forks that were refused). cpus, mems:
    what it may run on ("0-3,7"). address: struct cgroup.

    All numbers are as the files would have shown them at the crash: what CPUs had not handed up yet is added, as
    reading a file does. Root groups have no memory.current and no limits. In version 1 cpu_user and cpu_system are
    what the ticks counted, and swap_bytes is memory.memsw less memory. Mirrors kernel/cgroup/, mm/memcontrol.c.

    >>> dump.cgroups[["hierarchy", "path", "processes", "cpu_usage"]]
      hierarchy path  processes              cpu_usage
    0   unified    /         73 0 days 00:01:40.924000
    """
    if not has_cgroups(kernel):
        kernel.lost("control groups are off in this kernel (CONFIG_CGROUPS)")
        return _none(kernel)
    found = find_cgroups(kernel)
    group = found.group
    tasks, processes = members(kernel, found)
    cpus, nodes = cpus_and_nodes(kernel, found)
    cpu = cpu_stat(kernel, found)
    return frame(
        kernel,
        "cgroups",
        hierarchy=found.hierarchy,
        path=found.path,
        id=nullable(group_ids(group)),
        level=found.level,
        controllers=controllers_of(kernel, found),
        populated=nullable(populated(found)),
        tasks=nullable(tasks),
        processes=nullable(processes),
        descendants=nullable(group["nr_descendants"]),
        dying_descendants=nullable(group["nr_dying_descendants"]),
        dying=nullable(found.dying),
        frozen=nullable(frozen(kernel, found)),
        **{name: nullable(column) for name, column in _memory(kernel, found).items()},
        cpu_weight=nullable(cpu.weight),
        cpu_quota=cpu.quota.timedelta,
        cpu_period=cpu.period.timedelta,
        cpu_usage=cpu.usage.timedelta,
        cpu_user=cpu.user.timedelta,
        cpu_system=cpu.system.timedelta,
        periods=nullable(cpu.periods),
        throttled_periods=nullable(cpu.throttled),
        throttled=cpu.throttled_time.timedelta,
        **{name: nullable(column) for name, column in _pids(kernel, found).items()},
        cpus=cpus,
        mems=nodes,
        address=group,
    )


def _none(kernel: Kernel) -> pd.DataFrame:
    dtypes: dict[str, str] = dict.fromkeys(("hierarchy", "path"), "str")
    dtypes |= {"id": "UInt64", "level": "int64", "controllers": "str", "populated": "boolean"}
    dtypes |= dict.fromkeys(("tasks", "processes", "descendants", "dying_descendants"), "Int64")
    dtypes |= dict.fromkeys(("dying", "frozen"), "boolean")
    dtypes |= dict.fromkeys((*_MEMORY, "cpu_weight"), "Int64")
    dtypes |= dict.fromkeys(_TIMES[:-1], "timedelta64[ns]")
    dtypes |= dict.fromkeys(("periods", "throttled_periods"), "Int64") | {"throttled": "timedelta64[ns]"}
    dtypes |= dict.fromkeys(("pids", "pids_max", "pids_max_events"), "Int64")
    return empty(kernel, "cgroups", **dtypes, cpus="str", mems="str", address="struct cgroup")


def _memory(kernel: Kernel, found: Cgroups) -> dict[str, Column]:
    """The columns of memory; all missing without CONFIG_MEMCG."""
    group = found.part("memory", "struct mem_cgroup")
    if not group.has("memory"):
        return dict.fromkeys(_MEMORY, Column.missing(len(found), "int"))
    below, unified = ~found.is_root, found.unified
    memory = counted(kernel, group, "memory.usage.counter")
    happened = events(kernel, group)
    stat = memory_stat(kernel).numbers
    missing = Column.missing(len(found), "int")

    def limited(path: str) -> Column:
        return limit(kernel, group, path).where(below)

    columns: dict[str, Column] = {
        "usage_bytes": memory.where(below),
        "peak_bytes": counted(kernel, group, "memory.watermark").where(below),
        "swap_bytes": _swap(kernel, group, memory, unified).where(below),
        "kmem_bytes": counted(kernel, group, "kmem.usage.counter").where(below & ~unified),
        "min_bytes": limited("memory.min").where(unified),
        "low_bytes": limited("memory.low").where(unified),
        "high_bytes": limited("memory.high").where(unified),
        "max_bytes": limited("memory.max"),
        "swap_max_bytes": limited("swap.max").where(unified),
    }
    columns |= {own: happened.get(name, missing).where(below) for name, own in _EVENTS.items()}
    return columns | {f"{name}_bytes": stat.get(name, missing) for name in _STATS}


def _swap(kernel: Kernel, group: StructArray, memory: Column, unified: Any) -> Column:
    """What is swapped out: version 1 counts it together with memory."""
    if not group.has("swap.usage"):
        return Column.missing(len(group), "int")
    swap = counted(kernel, group, "swap.usage.counter")
    both = (swap - memory).clip(0)
    return swap.where(unified).otherwise(both.where(~unified))


def _pids(kernel: Kernel, found: Cgroups) -> dict[str, Column]:
    """The columns of processes; all missing without CONFIG_CGROUP_PIDS."""
    group, below = found.part("pids", "struct pids_cgroup"), ~found.is_root
    if not group.has("counter"):
        return dict.fromkeys(("pids", "pids_max", "pids_max_events"), Column.missing(len(found), "int"))
    # A plain number in some 4.18 kernels.
    most = group.first("limit.counter", "limit")
    # Linux commit 73e75e6fc352 ("cgroup/pids: Separate semantics of pids.events related to pids.max") (in v6.11).
    number = kernel.types.enumerator_or_none("PIDCG_MAX")
    path = "events_limit.counter" if group.has("events_limit") else f"events[{number}].counter"
    return {
        "pids": group["counter.counter"].int64.where(below),
        "pids_max": most.int64.where(below & (most < _PIDS_MAX).true),
        "pids_max_events": group[path].int64.where(below),
    }

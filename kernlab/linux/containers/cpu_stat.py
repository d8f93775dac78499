"""CPU time of control groups: what each ran, what of it in user mode, and how often its quota held it back."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, whole
from kernlab.linux.containers.cgroups import Cgroups
from kernlab.linux.containers.percpu_parts import percpu_added
from kernlab.walk.cpus import percpu, possible_cpus

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: What version 2 counts of a cgroup (struct cgroup_base_stat).
_TIMES = ("cputime.sum_exec_runtime", "cputime.utime", "cputime.stime")
#: What of enum cpu_usage_stat is user and what is system time (kernel/cgroup/rstat.c, root_cgroup_cputime).
_USER, _SYSTEM = ("CPUTIME_USER", "CPUTIME_NICE"), ("CPUTIME_SYSTEM", "CPUTIME_IRQ", "CPUTIME_SOFTIRQ")
#: How times are kept: 2^10 of a share are one share (include/linux/sched.h, SCHED_FIXEDPOINT_SHIFT).
_SHARE_SHIFT, _LEAST_SHARES, _DEFAULT_SHARES, _DEFAULT_WEIGHT = 10, 2, 1024, 100
_UNLIMITED = np.iinfo(np.uint64).max


@dataclass(frozen=True, slots=True)
class CpuStat:
    """n cgroups: CPU time in ns, and what holds them back; columns that a cgroup does not have are not valid in it."""

    usage: Column
    user: Column
    system: Column
    weight: Column
    quota: Column
    period: Column
    periods: Column
    throttled: Column
    throttled_time: Column


def cpu_stat(kernel: Kernel, cgroups: Cgroups) -> CpuStat:
    """What cpu.stat, cpu.weight and cpu.max of each cgroup show, and cpuacct.usage and cpuacct.stat in version 1.

    usage, user, system with all below it: of version 2 as the file has them, which makes user and system add up to
    usage (kernel/sched/cputime.c, cputime_adjust); of version 1 user and system as the ticks found them. weight, quota
    and period are missing for roots, which have no such files. weight: 100 for the default, in version 1, too.
    """
    usage, user, system = _times(kernel, cgroups)
    group = cgroups.part("cpu", "struct task_group")
    below = ~cgroups.is_root
    missing = Column.missing(len(cgroups), "int")
    weight = quota = period = periods = throttled = held = missing
    if group.has("shares"):
        shares = (group["shares"] >> _SHARE_SHIFT).clip(_LEAST_SHARES)
        weight = ((shares * _DEFAULT_WEIGHT + _DEFAULT_SHARES // 2) // _DEFAULT_SHARES).where(below)
    # Without CONFIG_CFS_BANDWIDTH nothing is held back.
    if group.has("cfs_bandwidth.quota"):
        bandwidth = group.follow("cfs_bandwidth")
        limit = bandwidth["quota"]
        quota = limit.where(below & (limit.values != _UNLIMITED)).int64
        period = bandwidth["period"].int64.where(below)
        periods = bandwidth["nr_periods"]
        throttled = bandwidth["nr_throttled"]
        held = bandwidth["throttled_time"].int64
    return CpuStat(usage, user, system, weight, quota, period, periods, throttled, held)


def _times(kernel: Kernel, cgroups: Cgroups) -> tuple[Column, Column, Column]:
    """Usage, user and system time of each, in ns."""
    unified, unified_known = _unified(kernel, cgroups)
    old, old_known = _accounted(kernel, cgroups)
    root = cgroups.unified & cgroups.is_root
    machine, machine_known = _machine(kernel)
    values = np.where(cgroups.unified[:, None], unified, old)
    values[root] = machine
    known = np.where(cgroups.unified, unified_known, old_known)
    known[root] = machine_known
    usage, user, system = (Column.of(values[:, index], known) for index in range(3))
    return usage, user, system


def _unified(kernel: Kernel, cgroups: Cgroups) -> tuple[I64, Mask]:
    """Of version 2: what CPUs and the cgroups below had not handed up is added (cgroup_base_stat_flush)."""
    group = cgroups.group
    # Seen in 7.2, not in 6.12: what CPUs count of a cgroup itself has a struct of its own.
    member = "rstat_base_cpu" if group.has("rstat_base_cpu") else "rstat_cpu"
    kind = "struct cgroup_rstat_base_cpu" if member == "rstat_base_cpu" else "struct cgroup_rstat_cpu"
    here = _base(group, "bstat")
    # Linux commit 1bb5ec2eec48 ("cgroup: use cgroup->last_bstat instead of cgroup->pending_bstat") (in v5.8): the later
    # way keeps what was handed up, the former what was not yet added.
    if group.has("last_bstat"):
        given = _base(group, "last_bstat")
    else:
        waiting = _base(group, "pending_bstat")
        given, here = here, (here[0] + waiting[0], here[1] & waiting[1])
    parts, known = np.zeros((len(group), len(_TIMES)), dtype=np.int64), np.ones(len(group), dtype=bool)
    for index, name in enumerate(_TIMES):
        part, read = percpu_added(
            kernel,
            group[member],
            kind,
            lambda cpu, name=name: (cpu[f"bstat.{name}"], cpu[f"last_bstat.{name}"]),  # type: ignore[misc]
            1,
        )
        parts[:, index], known = part[:, 0], known & read
    total, sure = cgroups.summed(parts + here[0] - given[0], known & here[1] & given[1])
    before = group.follow("prev_cputime")
    shown = (before[name].int64.values for name in ("utime", "stime"))
    return adjusted(total + given[0], *shown), sure


def _base(group: StructArray, member: str) -> tuple[I64, Mask]:
    columns = [group[f"{member}.{name}"].int64 for name in _TIMES]
    return np.stack([column.values for column in columns], axis=1), np.logical_and.reduce(
        [column.valid for column in columns]
    )


def adjusted(times: I64, shown_user: I64, shown_system: I64) -> I64:
    """User and system time such that they are the usage together, and never less than was shown before.

    Parameters: times int64[n, 3] (usage, user, system), int64[n] each of what was shown last. Returns int64[n, 3].
    Mirrors kernel/sched/cputime.c, cputime_adjust.
    """
    usage, user, system = times.T
    # Products of two times take more than 64 bits.
    both = (user.astype(object) + system).tolist()
    products = zip(system.tolist(), usage.tolist(), both, strict=True)
    share = np.array(
        [part * all_ // whole_ if whole_ else 0 for part, all_, whole_ in products], dtype=np.int64
    )
    share = np.where(system == 0, 0, np.where(user == 0, usage, share))
    share = np.maximum(share, shown_system)
    rest = np.maximum(usage - share, shown_user)
    stale = shown_user + shown_system >= usage
    return np.stack(
        [usage, np.where(stale, shown_user, rest), np.where(stale, shown_system, usage - rest)], axis=1
    )


def _machine(kernel: Kernel) -> tuple[I64, bool]:
    """The root of version 2: the whole machine's, as /proc/stat has it; stolen time counts as usage."""
    where = kernel.find_symbol("kernel_cpustat")
    if where is None:
        return np.zeros(3, dtype=np.int64), False
    cpus = StructArray(kernel, "struct kernel_cpustat", percpu(kernel, where, possible_cpus(kernel)))
    user, system = _sum(kernel, cpus, _USER), _sum(kernel, cpus, _SYSTEM)
    stolen = _sum(kernel, cpus, ("CPUTIME_STEAL",))
    known = bool((user.valid & system.valid & stolen.valid).all())
    total = [int(column.filled(0).sum()) for column in (user + system + stolen, user, system)]
    return np.array(total, dtype=np.int64), known


def _accounted(kernel: Kernel, cgroups: Cgroups) -> tuple[I64, Mask]:
    """Of version 1: what its controller cpuacct counts, which each tick adds to all cgroups above, too."""
    group = cgroups.part("cpuacct", "struct cpuacct")
    if not group.valid.any():
        return np.zeros((len(cgroups), 3), dtype=np.int64), np.zeros(len(cgroups), dtype=bool)
    usage, known = percpu_added(kernel, group["cpuusage"], "u64", lambda cpu: (_numbers(cpu),), 1)
    ticks, counted = percpu_added(
        kernel,
        group["cpustat"],
        "struct kernel_cpustat",
        lambda cpu: (cpu["cpustat"],),
        kernel.types.enumerator_or_none("NR_STATS") or 1,
    )
    number = kernel.types.enumerator_or_none
    user, system = (
        sum(ticks[:, at] for name in names if (at := number(name)) is not None) for names in (_USER, _SYSTEM)
    )
    return np.stack([usage[:, 0], user, system], axis=1), known & counted & group.valid


def _numbers(array: StructArray) -> Column:
    numbers = whole(array)
    assert isinstance(numbers, Column)
    return numbers


def _sum(kernel: Kernel, cpus: StructArray, names: tuple[str, ...]) -> Column:
    """What CPUs spent in ways of these names (enum cpu_usage_stat) together, in ns."""
    numbers = [at for name in names if (at := kernel.types.enumerator_or_none(name)) is not None]
    parts = [cpus[f"cpustat[{number}]"].int64 for number in numbers]
    return functools.reduce(operator.add, parts, Column.of(np.zeros(len(cpus), dtype=np.int64)))

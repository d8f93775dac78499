"""Pressure stall information: of the machine and of each cgroup, as its files would have shown it at the crash.

Mirrors kernel/sched/psi.c (psi_show): reading a file adds what CPUs had not handed up yet, and brings the averages up
to date where they are due.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.containers.cgroups import find_cgroups, has_cgroups
from kernlab.linux.kernel_log import read_log
from kernlab.linux.sched_clock import is_stable, offsets
from kernlab.linux.scheduling.run_queues import latest_clock
from kernlab.linux.timekeeping import tick
from kernlab.walk.cpus import possible_cpus

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: Resource, kind and enumerator of each state, in the order of the files in /proc/pressure.
STATES = (
    ("cpu", "some", "PSI_CPU_SOME"),
    # Linux commit e7fcd7622823 ("psi: Add PSI_CPU_FULL state") (in v5.13).
    ("cpu", "full", "PSI_CPU_FULL"),
    ("io", "some", "PSI_IO_SOME"),
    ("io", "full", "PSI_IO_FULL"),
    # Linux commit 52b1364ba0b1 ("sched/psi: Add PSI_IRQ to track IRQ/SOFTIRQ pressure") (in v6.1), with
    # CONFIG_IRQ_TIME_ACCOUNTING.
    ("irq", "full", "PSI_IRQ_FULL"),
    ("memory", "some", "PSI_MEM_SOME"),
    ("memory", "full", "PSI_MEM_FULL"),
)
#: Averages are fixed-point numbers of 11 bits behind the point (include/linux/sched/loadavg.h).
_SHIFT = 11
_ONE = 1 << _SHIFT
#: By how much averages over 10, 60 and 300 s decay in each period of two seconds.
DECAYS = (1677, 1981, 2034)
_PERIOD = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Pressure:
    """n groups: `row` of their cgroups in `find_cgroups` (-1: the machine), `total` int64[n, states] in ns, `average`
    int64[n, states, 3] in hundredths of a percent, `valid` bool[n]; `states` are what there is of `STATES`."""

    group: StructArray
    row: I64
    states: list[tuple[str, str]]
    total: I64
    average: I64
    valid: Mask


def is_off(kernel: Kernel) -> str:
    """Why this kernel measures no pressure; '' where it does."""
    where = kernel.find_symbol("psi_system")
    if where is None or kernel.types.get("struct psi_group") is None:
        return "pressure is off in this kernel (CONFIG_PSI)"
    key = kernel.find_symbol("psi_disabled")
    if key is not None and kernel.word("psi_disabled", 4):
        return "pressure was off when this kernel ran (psi=0 on its command line, or CONFIG_PSI_DEFAULT_DISABLED)"
    return ""


def pressure(kernel: Kernel) -> Pressure:
    """The machine's pressure and that of every cgroup that measures any.

    Where it is not known when the machine died, totals and averages are those that the kernel last worked out, and
    that is told.
    """
    group, row = _groups(kernel)
    known = [
        (resource, kind, number)
        for resource, kind, name in STATES
        if (number := kernel.types.enumerator_or_none(name)) is not None
    ]
    numbers = [number for _, _, number in known]
    idle = kernel.types.enumerator("PSI_NONIDLE")
    total, whole = _numbers(kernel, group, "total", idle)
    average, read = _numbers(kernel, group, "avg", 3 * idle)
    average, valid = average.reshape(len(group), idle, 3), whole & read
    now = _now(kernel)
    if now is None:
        kernel.lost(
            "pressure: when the machine died is not known; these are the kernel's last sums and averages"
        )
    else:
        recent, counted = _recent(kernel, group, idle, now)
        total, valid = total + recent, valid & counted
        average = _brought_up(kernel, group, total, average, idle, now)
    # The kernel cuts what is beyond two digits.
    hundredths = (average >> _SHIFT) * 100 + ((average & (_ONE - 1)) * 100 >> _SHIFT)
    total, hundredths = total[:, numbers], hundredths[:, numbers]
    # All of a machine waiting for a CPU is not defined, and shown as 0.
    for index, (resource, kind, _) in enumerate(known):
        if (resource, kind) == ("cpu", "full"):
            total[row < 0, index], hundredths[row < 0, index] = 0, 0
    states = [(resource, kind) for resource, kind, _ in known]
    return Pressure(group, row, states, total, hundredths, valid)


def _groups(kernel: Kernel) -> tuple[StructArray, I64]:
    """The groups that measure: the machine's first, and those of cgroups."""
    system = np.array([kernel.symbol("psi_system")], dtype=np.uint64)
    found, row = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    if has_cgroups(kernel) and kernel.types.has_member("struct cgroup", "psi"):
        cgroups = find_cgroups(kernel)
        # Linux commit 5f69a6577bc3 ("psi: dont alloc memory for psi by default") (in v6.0) made it a pointer.
        own = cgroups.group.follow("psi")
        use = own.valid & cgroups.unified & ~cgroups.is_root & ~cgroups.dying.filled(True)
        if own.has("enabled"):
            use &= own["enabled"].filled(True).astype(bool)
        use &= own["pcpu"].filled(1) != 0
        row = np.flatnonzero(use)
        found = own.addresses[row]
    rows = np.concatenate([np.array([-1], dtype=np.int64), row])
    return StructArray(kernel, "struct psi_group", np.concatenate([system, found])), rows


def _numbers(
    kernel: Kernel, structs: StructArray, member: str, count: int, dtype: str = "<i8"
) -> tuple[I64, Mask]:
    """The first `count` numbers of an array (of arrays) in each struct: (int64[n, count], bool[n])."""
    access = resolve(structs.type, member)
    size = count * np.dtype(dtype).itemsize
    rows, status = kernel.gather(
        structs.addresses + np.uint64(access.hops[-1]), size, "groups that measure pressure"
    )
    return np.ascontiguousarray(rows).view(dtype).astype(np.int64), (status == 0) & structs.valid


def _now(kernel: Kernel) -> int | None:
    """The latest that the clock of the run queues and of the log said, in ns; None where neither can be read."""
    told = []
    # What the log lacks is its table's to tell.
    with kernel.scope("the end"), kernel.quiet():
        with suppress(KernlabError):
            told.append(latest_clock(kernel))
        with suppress(KernlabError):
            times = read_log(kernel).infos["ts_nsec"].int64
            told.append(int(times.values[times.valid].max(initial=-1)))
    possible = sorted(ns for ns in told if ns is not None and 0 < ns < 1 << 62)
    # A line of the log that is damaged may claim any time; after the last tick come seconds at most.
    return (
        None if not possible else possible[-1] if possible[-1] - possible[0] < 60 * _PERIOD else possible[0]
    )


def _recent(kernel: Kernel, group: StructArray, idle: int, now: int) -> tuple[I64, Mask]:
    """What CPUs measured since their times were last added: ns by state, weighted as collect_percpu_times does it."""
    jiffy = tick(kernel)
    pointer = group["pcpu"]
    weighted = np.zeros((len(group), idle), dtype=np.uint64)
    weight, known = np.zeros(len(group), dtype=np.uint64), pointer.valid.copy()
    bits = np.arange(idle + 1, dtype=np.uint64)
    for offset in kernel.percpu_offsets[possible_cpus(kernel)]:
        cpu = StructArray(kernel, "struct psi_group_cpu", pointer.values + offset, pointer.true)
        times, read = _numbers(kernel, cpu, "times", idle + 1, "<u4")
        before, also = _numbers(kernel, cpu, "times_prev", idle + 1, "<u4")
        mask, start = cpu["state_mask"], cpu["state_start"]
        # Times are of 32 bits, and wrap (get_recent_times).
        running = (mask.filled(0).astype(np.uint64)[:, None] >> bits & np.uint64(1)).astype(np.int64)
        going = np.maximum(now - start.int64.filled(now), 0)[:, None]
        passed = (times - before + running * going) & 0xFFFF_FFFF
        share = (passed[:, idle] // jiffy).astype(np.uint64)
        weighted += passed[:, :idle].astype(np.uint64) * share[:, None]
        weight += share
        known &= read & also & mask.valid & start.valid
    return (weighted // np.maximum(weight, np.uint64(1))[:, None]).astype(np.int64), known


def _brought_up(kernel: Kernel, group: StructArray, total: I64, average: I64, idle: int, now: int) -> I64:
    """The averages as reading them at `now` would have left them (update_averages)."""
    # Averages go by sched_clock, which the clock of run queues is ahead of by a constant.
    clock = now - (offsets(kernel)[0] if is_stable(kernel) else 0)
    if not 0 <= clock < 1 << 62:
        kernel.lost("pressure: the clock of averages is not known; these are the kernel's last averages")
        return average
    before, read = _numbers(kernel, group, "avg_total", idle)
    due, last = group["avg_next_update"].int64, group["avg_last_update"].int64
    period = _period(kernel)
    late = clock - due.filled(clock + 1)
    missed = np.where(late >= period, late // period, 0)
    length = np.maximum(clock - (last.filled(clock) + missed * period), 1)
    sample = np.clip(total - before, 0, length[:, None])
    percent = (sample * 100 // length[:, None]) << _SHIFT
    use = (late >= 0) & read & due.valid & last.valid
    found = average.copy()
    for index, decay in enumerate(DECAYS):
        old = found[:, :, index]
        old = np.where((missed > 0)[:, None], faded(old, decay, missed[:, None]), old)
        found[:, :, index] = np.where(use[:, None], load(old, decay, percent), found[:, :, index])
    return found


def _period(kernel: Kernel) -> int:
    """Nanoseconds between two updates of averages: 2 s and a tick (psi_init); without the tick where none is told."""
    if kernel.find_symbol("psi_period") is None:
        return _PERIOD
    period = kernel.word("psi_period")
    if _PERIOD <= period < 2 * _PERIOD:
        return period
    kernel.lost(f"pressure: psi_period is {period:,} ns, not 2 s and a tick; 2 s are taken")
    return _PERIOD


def load(average: I64, decay: I64 | int, active: I64 | int) -> I64:
    """An average after one more period (include/linux/sched/loadavg.h, calc_load): fixed-point numbers, all of them."""
    new = average * decay + active * (_ONE - decay)
    return np.where(active >= average, new + _ONE - 1, new) // _ONE


def faded(average: I64, decay: int, periods: I64) -> I64:
    """An average after periods in which nothing happened (kernel/sched/loadavg.c, calc_load_n)."""
    counts, of = np.unique(periods, return_inverse=True)
    power = np.array([_power(decay, count) for count in counts.tolist()], dtype=np.int64)
    return load(average, power[of].reshape(periods.shape), 0)


def _power(base: int, exponent: int) -> int:
    """kernel/sched/loadavg.c, fixed_power_int."""
    result, half = _ONE, 1 << (_SHIFT - 1)
    while exponent > 0:
        if exponent & 1:
            result = (result * base + half) >> _SHIFT
        exponent >>= 1
        base = (base * base + half) >> _SHIFT
    return result

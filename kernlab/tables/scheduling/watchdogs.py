"""The watchdogs of each CPU: when it last showed that it lives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.errors import KernlabError
from kernlab.linux.devices.timers import hrtimers
from kernlab.linux.scheduling.run_queues import latest_clock
from kernlab.linux.timekeeping import monotonic
from kernlab.walk.cpus import percpu, possible_cpus

#: The watchdog counts in units of 2^30 ns, which it calls seconds (kernel/watchdog.c, get_timestamp).
_UNIT_BITS = 30
#: What stands in place of a time until the next look: begin anew, say nothing (SOFTLOCKUP_RESET, 0 before Linux 5.13).
_NOT_A_TIME = ((1 << 64) - 1, 0)
#: Bits of watchdog_enabled.
_HARD, _SOFT = 1, 2


@table(rows="struct hrtimer")
def watchdogs(kernel: Kernel) -> pd.DataFrame:
    """One row per possible CPU: its soft-lockup watchdog, and the counter by which hard lockups are seen.

    Columns: cpu; since_touch (since the watchdog's own task last ran there, in steps of 1.07 s, by the latest of the
    queues' clocks; missing where it was told to begin anew, and where its timer is not set: the CPU is offline, or the
    watchdog is off), threshold (from when on that is a soft lockup: 2 * watchdog_thresh), soft_lockup (it is longer),
    interrupts, interrupts_saved (its timer's interrupts, and how many they were when somebody last looked whether they
    go on; missing without CONFIG_HARDLOCKUP_DETECTOR), timer_late (for how long its timer should have fired: interrupts
    are off there), soft, hard (is each kind switched on), address (of its struct hrtimer). Mirrors kernel/watchdog.c.

    >>> dump.watchdogs[["cpu", "since_touch", "threshold", "soft_lockup", "interrupts", "timer_late"]]
       cpu               since_touch       threshold  soft_lockup  interrupts timer_late
    0    0 0 days 00:00:01.073741824 0 days 00:00:20        False          22     0 days
    1    1 0 days 00:00:01.073741824 0 days 00:00:20        False          22     0 days
    """
    touch, timer = kernel.find_symbol("watchdog_touch_ts"), kernel.find_symbol("watchdog_hrtimer")
    if touch is None or timer is None:
        kernel.lost("soft lockups are not watched for in this kernel (CONFIG_SOFTLOCKUP_DETECTOR)")
        return empty(
            kernel,
            "watchdogs",
            cpu="int64",
            since_touch="timedelta64[ns]",
            threshold="timedelta64[ns]",
            soft_lockup="boolean",
            interrupts="Int64",
            interrupts_saved="Int64",
            timer_late="timedelta64[ns]",
            soft="boolean",
            hard="boolean",
            address="struct hrtimer",
        )
    cpus = possible_cpus(kernel)
    stamps, read = kernel.words(percpu(kernel, touch, cpus), what="times of watchdogs")
    timers = StructArray(kernel, "struct hrtimer", percpu(kernel, timer, cpus))
    now, alive = latest_clock(kernel), _set(kernel, timers)
    good = read & ~np.isin(stamps, _NOT_A_TIME) & (stamps < 1 << 33)
    passed = np.where(good, stamps, 0).astype(np.int64) << _UNIT_BITS
    age = (
        Column.missing(len(cpus), "int")
        if now is None
        else Column((now >> _UNIT_BITS << _UNIT_BITS) - passed, good & alive, "int").clip(0)
    )
    seconds, switched = _number(kernel, "watchdog_thresh", 4), _number(kernel, "watchdog_enabled", 8)
    threshold = _repeated(None if seconds is None else 2 * seconds * 1_000_000_000, len(cpus))
    bits = _repeated(switched, len(cpus))
    return frame(
        kernel,
        "watchdogs",
        cpu=cpus,
        since_touch=age.timedelta,
        threshold=threshold.timedelta,
        # As the kernel compares: whole units with seconds.
        soft_lockup=nullable((age >> _UNIT_BITS) > threshold // 1_000_000_000),
        interrupts=nullable(_counter(kernel, "hrtimer_interrupts", cpus)),
        interrupts_saved=nullable(_counter(kernel, "hrtimer_interrupts_saved", cpus)),
        timer_late=_late(kernel, timers).where(alive).timedelta,
        soft=nullable(bits.has(_SOFT)),
        hard=nullable(bits.has(_HARD)),
        address=timers,
    )


def _number(kernel: Kernel, name: str, size: int) -> int | None:
    """A setting of the watchdogs; None where it cannot be read, which is told, or is no setting."""
    try:
        value = kernel.word(name, size)
    except KernlabError as error:
        kernel.lost(f"{name} is not known: {error}")
        return None
    return value if value < 1 << 31 else None


def _repeated(value: int | None, count: int) -> Column:
    return Column(np.full(count, value or 0, dtype=np.int64), np.full(count, value is not None), "int")


def _counter(kernel: Kernel, name: str, cpus: npt.NDArray[np.int64]) -> Column:
    """A counter of each CPU, of which 32 bits count; missing where this kernel has none."""
    symbol = kernel.find_symbol(name)
    if symbol is None:
        return Column.missing(len(cpus), "int")
    values, read = kernel.words(percpu(kernel, symbol, cpus), 4, "counters of watchdogs")
    return Column(values.astype(np.int64), read, "int")


def _set(kernel: Kernel, timers: StructArray) -> npt.NDArray[np.bool_]:
    """Whose timer is pending or running. That of a CPU that went offline, or of a watchdog that was switched off, is
    not, and what they kept is old."""
    # A plain "is_queued" in place of "state"; seen in v7.2.
    pending = timers.first("is_queued", "state") != 0
    try:
        running = np.isin(timers.addresses, hrtimers(kernel).timer.addresses)
    except KernlabError as error:
        kernel.lost(f"which watchdogs run is not known: {error}")
        return np.ones(len(timers), dtype=bool)
    return pending.true | running


def _late(kernel: Kernel, timers: StructArray) -> Column:
    """For how many ns each timer should have fired, 0 for one that is not due; missing for one that is not set."""
    expires = timers["node.expires"].int64
    try:
        return (monotonic(kernel) - expires).where((expires > 0).true).clip(0)
    except KernlabError as error:
        kernel.lost(f"whether the watchdogs' timers are late is not known: {error}")
        return Column.missing(len(timers), "int")

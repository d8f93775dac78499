"""Each CPU's tick: when it came last, and whether it is stopped because the CPU sleeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.timekeeping import monotonic, tick
from kernlab.walk.cpus import percpu

#: kernel/time/tick-sched.h, flags since Linux 6.10: the CPU is idle, its tick is stopped.
_IN_IDLE, _STOPPED = 1, 2
#: The clock's last reading may be older than a tick: by less than this many ns, or nobody kept it.
_STALE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Ticks:
    """By CPU: ns since the last tick (missing where that is stopped), and since it fell idle (missing where not)."""

    since_tick: Column
    idle_for: Column
    stopped: Column


def ticks(kernel: Kernel, cpus: npt.NDArray[np.int64]) -> Ticks:
    """The ticks of CPUs by the clock's last reading (kernel/time/tick-sched.c); missing without CONFIG_TICK_ONESHOT."""
    nothing = Column.missing(len(cpus), "int")
    symbol = kernel.find_symbol("tick_cpu_sched")
    if symbol is None or kernel.type_or_none("struct tick_sched") is None:
        return Ticks(nothing, nothing, Column.missing(len(cpus), "bool"))
    each = StructArray(kernel, "struct tick_sched", percpu(kernel, symbol, cpus))
    # Linux commit a478ffb2ae23 ("tick: Move individual bit features to debuggable mask accesses") (in v6.10).
    if each.has("flags"):
        inside, stopped = each["flags"].has(_IN_IDLE), each["flags"].has(_STOPPED)
    else:
        inside, stopped = each["inidle"] != 0, each["tick_stopped"] != 0
    try:
        now, period = monotonic(kernel), tick(kernel)
    except KernlabError as error:
        kernel.lost(f"when ticks came last is not known: {error}")
        return Ticks(nothing, nothing, stopped)
    # The timer is armed for the next tick: it came a period before. What is late waits for its interrupt.
    expires = each["sched_timer.node.expires"].int64
    passed = now - (expires - period)
    began = each["idle_entrytime"].int64
    return Ticks(
        passed.where((expires > 0).true & ~stopped.true & (passed >= -_STALE).true).clip(0),
        (now - began).where(inside.true & began.true).clip(0),
        stopped,
    )

"""Timers that are pending or running: the timer wheels and the hrtimers of every CPU.

Mirrors kernel/time/timer.c, kernel/time/hrtimer.c and kernel/time/timer_list.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.types import EnumType
from kernlab.errors import KernlabError
from kernlab.linux.timekeeping import monotonic, tick
from kernlab.walk.cpus import percpu, possible_cpus
from kernlab.walk.lists import chain_nodes
from kernlab.walk.rbtree import rbtree_entries

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]

#: kernel/time/timer.c, BASE_*: by how many wheels a CPU has.
_WHEELS = {
    # Without CONFIG_NO_HZ_COMMON.
    1: ("standard",),
    2: ("standard", "deferrable"),
    # Linux commit 83a665dc99a7 ("timers: Keep the pinned timers separate from the others") (in v6.9).
    3: ("local", "global", "deferrable"),
}
#: A time that never comes (KTIME_MAX; LONG_MAX jiffies).
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Timers:
    """N timers of one kind: `timer` n structs; of each the CPU int64[n] and the base's name; whether its function was
    running; when it is due, as the struct has it ("int": jiffies, or ns of its clock), and how long after the last
    tick before the crash that is, in ns ("int"; below 0 where it is late, missing where it never is)."""

    timer: StructArray
    cpu: I64
    base: Texts
    running: Mask
    due: Column
    left: Column


@fact
def wheel_timers(kernel: Kernel) -> Timers:
    """The timers in the wheels of all CPUs, by CPU and base, and those whose function was running."""
    numbers = possible_cpus(kernel)
    symbol = kernel.symbol("timer_bases")
    size = kernel.find_type("struct timer_base").size
    wheels = min(max(kernel.symbols.room(symbol) // size, 1), max(_WHEELS))
    step = np.arange(wheels, dtype=np.uint64) * np.uint64(size)
    where = (percpu(kernel, symbol, numbers)[:, None] + step[None, :]).reshape(-1)
    base = StructArray(kernel, "struct timer_base", where)
    owner, head = base.elements("vectors")
    first, read = kernel.words(head.addresses, what="slots of timer wheels")
    some = np.flatnonzero(read & (first != 0))
    at, nodes = chain_nodes(kernel, first[some], what="timer wheels")
    row = owner[some][at]
    runs = base["running_timer"]
    # A timer is taken out of the wheel before its function is called.
    busy = np.flatnonzero(runs.true & ~np.isin(runs.values, nodes))
    every = np.concatenate([nodes, runs.values[busy].astype(np.uint64)])
    row = np.concatenate([row, busy])
    order = np.argsort(row, kind="stable")
    row, every = row[order], every[order]
    timer = container(kernel, "struct timer_list", "entry", every)
    names = np.array(_WHEELS[wheels], dtype=object)
    due = timer["expires"]
    return Timers(
        timer,
        numbers[row // wheels],
        names[row % wheels],
        runs.valid[row] & (runs.values[row] == every),
        due.int64,
        of_jiffies(kernel, due),
    )


def of_jiffies(kernel: Kernel, due: Column) -> Column:
    """How many ns after the last tick each time in jiffies is ("int"); missing where it is too far away, or that tick
    is not known, which is told."""
    try:
        now, long = kernel.word("jiffies"), tick(kernel)
    except KernlabError as error:
        kernel.lost(f"how far away times in jiffies are: {error}")
        return Column.missing(len(due), "int")
    distance = (due.filled(0).astype(np.uint64) - np.uint64(now)).view(np.int64)
    known = due.valid & (np.abs(distance) < _NEVER // long)
    return Column.of(np.where(known, distance, 0) * long, known)


@fact
def hrtimers(kernel: Kernel) -> Timers:
    """The hrtimers of all CPUs, by CPU and clock, soonest first, and those whose function was running."""
    numbers = possible_cpus(kernel)
    place = percpu(kernel, kernel.symbol("hrtimer_bases"), numbers)
    owner, base = StructArray(kernel, "struct hrtimer_cpu_base", place).elements("clock_base")
    # A rb_root_cached, or where nodes are linked, too (seen in v7.2), a rb_root_linked: both begin with the tree.
    # Before Linux commit 511885d7061e ("lib/timerqueue: Rely on rbtree semantics for next timer") (in v5.4): the tree.
    roots = base.follow("active.rb_root.rb_root" if base.has("active.rb_root") else "active.head")
    row, found = rbtree_entries(kernel, roots.addresses, "struct hrtimer", "node", what="hrtimers")
    runs = base["running"]
    busy = np.flatnonzero(runs.true & ~np.isin(runs.values, found.addresses))
    every = np.concatenate([found.addresses, runs.values[busy].astype(np.uint64)])
    row = np.concatenate([row, busy])
    order = np.argsort(row, kind="stable")
    row, every = row[order], every[order]
    timer = StructArray(kernel, "struct hrtimer", every)
    due = timer["node.expires"]
    try:
        now = monotonic(kernel)
        left = ((due - base["offset"][row]) - now).where((due < _NEVER).true)
    except KernlabError as error:
        kernel.lost(f"how long hrtimers have still to go: {error}")
        left = Column.missing(len(timer), "int")
    return Timers(
        timer,
        numbers[owner[row]],
        _clocks(kernel, base)[row],
        runs.valid[row] & (runs.values[row] == every),
        due.int64,
        left,
    )


def _clocks(kernel: Kernel, base: StructArray) -> Texts:
    """The clock of each base: monotonic, realtime, boottime, tai, and "(soft)" behind it where softirqs run them."""
    kind = kernel.types.get("enum hrtimer_base_type")
    known = kind.enumerators if isinstance(kind, EnumType) else {}
    names = {number: name.removeprefix("HRTIMER_BASE_").lower() for name, number in known.items()}
    texts = [
        "" if index is None else names.get(index, str(index)).replace("_soft", " (soft)")
        for index in base["index"].tolist()
    ]
    return np.array(texts, dtype=object)

"""Sleeps until a time: hrtimer_sleeper (nanosleep, schedule_hrtimeout), process_timer (schedule_timeout).

Mirrors kernel/time/hrtimer.c, timer.c and sleep_timeout.c.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import LiveStacks, live_stacks
from kernlab.linux.locks.waiters import Candidates, member_offset, named_on_stacks, word_at
from kernlab.linux.timekeeping import monotonic, tick

#: Who asks for no time at all gets the end of time (KTIME_MAX; schedule_timeout takes LONG_MAX for never).
_NEVER = 1 << 62


def timers(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The timers on the stacks of sleeping tasks that shall wake them: of tasks that wait for nothing else, what they
    wait for; of others how long they want to."""
    parts = []
    for struct in _LEFT:
        every = _sleepers(kernel, stacks, struct)
        part = Found.alike(every.row, every.at, "timer", every.at.copy())
        part.name[:] = "a time"
        parts.append(part)
    return Found.of(parts)


@fact
def time_left(kernel: Kernel) -> Column:
    """How long each task of `find_tasks` has still to sleep at most, in ns ("int"): until its timer, as of the last
    tick before the crash; below 0 where that was over. Missing of those who sleep without one."""
    stacks = live_stacks(kernel)
    count = len(stacks.task)
    values, valid = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
    for struct, left_of in _LEFT.items():
        every = _sleepers(kernel, stacks, struct)
        if not len(every.row):
            continue
        try:
            left = left_of(kernel, StructArray(kernel, struct, every.at))
        except KernlabError as error:
            kernel.lost(f"how long threads have still to sleep: {error}")
            continue
        # The one that was set up last is the innermost, and the lowest on the stack.
        outermost_first = np.argsort(every.at, kind="stable")[::-1]
        rows = every.row[outermost_first]
        values[rows], valid[rows] = left.filled(0)[outermost_first], left.valid[outermost_first]
    return Column.of(values, valid)


def _sleepers(kernel: Kernel, stacks: LiveStacks, struct: str) -> Candidates:
    """Where on the stacks of sleeping tasks a timer of this kind lies that wakes them."""
    every = named_on_stacks(kernel, stacks, struct, "task")
    start = kernel.symbols.get(_WAKERS[struct])
    offset = member_offset(kernel, struct, "timer.function")
    if start is None or offset is None:
        return every.pick(np.zeros(len(every.at), dtype=bool))
    return every.pick(word_at(kernel, every.at, offset) == np.uint64(start))


def _of_hrtimer(kernel: Kernel, sleeper: StructArray) -> Column:
    """… in the time of its clock, which is so far from the monotonic one as its base says."""
    expires, offset = sleeper["timer.node.expires"], sleeper.follow("timer.base")["offset"]
    return ((expires - offset) - monotonic(kernel)).int64.where((expires < _NEVER).true)


def _of_timer(kernel: Kernel, sleeper: StructArray) -> Column:
    """… in jiffies, which begin so that they overflow five minutes after the boot."""
    now = kernel.word("jiffies")
    expires = sleeper["timer.expires"]
    distance = (expires.filled(0).astype(np.uint64) - np.uint64(now)).view(np.int64)
    most = _NEVER // tick(kernel)
    known = expires.valid & (np.abs(distance) < most)
    return Column.of(np.where(known, distance, 0) * tick(kernel), known)


#: By the struct that lies on the stack: the function that wakes its task, and how long it has still to run.
_WAKERS = {"struct hrtimer_sleeper": "hrtimer_wakeup", "struct process_timer": "process_timeout"}
_LEFT: dict[str, Callable[[Kernel, StructArray], Column]] = {
    "struct hrtimer_sleeper": _of_hrtimer,
    "struct process_timer": _of_timer,
}

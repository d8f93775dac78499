"""Sleeps until a time: hrtimer_sleeper (nanosleep, schedule_hrtimeout), process_timer (schedule_timeout).

Mirrors kernel/time/hrtimer.c, timer.c and sleep_timeout.c.
"""

from __future__ import annotations

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import LiveStacks
from kernlab.linux.locks.waiters import member_offset, named_on_stacks, word_at

_KINDS = (
    ("struct hrtimer_sleeper", "timer.function", "hrtimer_wakeup"),
    ("struct process_timer", "timer.function", "process_timeout"),
)


def timers(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The timers on the stacks of sleeping tasks that shall wake them: of tasks that wait for nothing else, what they
    wait for; of others how long they want to."""
    parts = []
    for struct, member, function in _KINDS:
        every = named_on_stacks(kernel, stacks, struct, "task")
        start, offset = kernel.symbols.get(function), member_offset(kernel, struct, member)
        if start is None or offset is None:
            continue
        every = every.pick(word_at(kernel, every.at, offset) == np.uint64(start))
        part = Found.alike(every.row, every.at, "timer", every.at.copy())
        part.name[:] = "a time"
        parts.append(part)
    return Found.of(parts)

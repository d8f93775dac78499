"""The stack of a report in, what its CPU did there out: beneath the tick that looked, where there is no dump to ask."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from kernlab.oops.frames import frame_of
from kernlab.oops.functions import normal
from kernlab.verdict.trap import in_interrupt

#: What looks whether a CPU goes on, from a tick on top of what it looks at (kernel/watchdog.c, kernel/time/timer.c).
_LOOKS = frozenset({"watchdog_timer_fn", "update_process_times", "watchdog_overflow_callback"})
#: Where an interrupt of the kernel begins: arch/x86/entry/entry_64.S (4.x: apic_timer_interrupt), arch/arm64/kernel,
#: arch/arm/kernel/entry-armv.S.
_ENTERED = re.compile(
    r"asm_\w+|apic_timer_interrupt|ret_from_intr|el1h?_(?:\d+_)?irq|__irq_svc|(?:end_)?repeat_nmi|nmi"
)
#: Functions in which a CPU spins for a lock (kernel/locking/{qspinlock,qrwlock}.c), or for an answer of others
#: (kernel/{smp,stop_machine}.c).
_FOR_A_LOCK = re.compile(
    r"_*(?:pv_|native_)?queued_(?:spin|read|write)_lock_slowpath|_*pv_(?:kick|wait)\w*|do_raw_spin_lock"
)
_FOR_OTHERS = re.compile(
    r"smp_call_function\w*|csd_lock_wait|multi_cpu_stop|on_each_cpu_cond_mask|text_poke_bp_batch"
)


def beneath_the_look(report: pd.Series[Any]) -> list[str]:
    """The functions that a CPU was in, the innermost first, without the tick that looked; [] where not known."""
    frames = [one for text in report["frames"] if (one := frame_of(text)) is not None and one.reliable]
    names = [normal(one.name) for one in frames]
    looked = max((place for place, name in enumerate(names) if name in _LOOKS), default=None)
    if looked is None:
        return names
    entered = next(
        (place for place in range(looked, len(names)) if _ENTERED.fullmatch(names[place])), len(names)
    )
    return names[entered + 1 :]


def was_interrupted(report: pd.Series[Any]) -> bool:
    """Did the CPU do what it did in an interrupt, on top of a thread that has no part in it?"""
    return in_interrupt(beneath_the_look(report))


def waited_for_others(report: pd.Series[Any]) -> str:
    """Why a CPU did not go on for somebody else's sake, as a sentence; '' where its stack does not show that."""
    names = beneath_the_look(report)[:8]
    if any(_FOR_A_LOCK.fullmatch(name) for name in names):
        return "It spins for a lock: who has that is why, and nothing here tells who that is."
    if any(_FOR_OTHERS.fullmatch(name) for name in names):
        return "It waits until other CPUs answer: one that does not is why."
    return ""

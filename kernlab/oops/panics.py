"""The words of a panic in, the report that it follows from out: "Fatal exception" tells nothing that its oops has
not told."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from kernlab.oops.forms import TRAPS
from kernlab.oops.lines import Line
from kernlab.oops.report import Report
from kernlab.oops.who import who

#: mm/oom_kill.c, out_of_memory: it panics before it kills, or because there is nobody to kill.
_OOM, _A_KILL = ("OOM",), "ut of memory: Kill"
#: What a panic says that follows from a report, and of which kinds that is; () is any.
#: kernel/{panic,exit,hung_task,watchdog, workqueue,sched/core}.c, arch/*/kernel/traps.c, kernel/rcu/tree_stall.h,
#: mm/oom_kill.c, mm/{kasan,kmsan,kfence}/report.c, lib/ubsan.c, arch/x86/kernel/{nmi,cpu/mce/core}.c,
#: drivers/tty/sysrq.c.
_FOLLOWS: tuple[tuple[re.Pattern[str], Collection[str]], ...] = (
    (
        re.compile(
            r".{0,40}?Fatal exception|Aiee, killing interrupt handler|Machine halted|Oops|Attempted to kill|"
            r"Unrecoverable"
        ),
        TRAPS,
    ),
    (re.compile(r".{0,60}?panic_on_(?:warn|kmsan)|kernel: |UBSAN: |KASAN: |kasan\.fault=panic"), ()),
    (re.compile(r"hung_task: "), ("hung task",)),
    (re.compile(r"soft ?lockup: "), ("soft lockup",)),
    (re.compile(r"(?:Watchdog detected )?[Hh]ard (?:LOCKUP|lockup)"), ("hard lockup",)),
    (re.compile(r"RCU Stall"), ("RCU stall",)),
    (re.compile(r"[Ww]orkqueue"), ("workqueue stall",)),
    (re.compile(r"sysrq triggered crash"), ("sysrq",)),
    (re.compile(r"[Oo]ut of memory|System is deadlocked on memory"), _OOM),
    (
        re.compile(r"NMI: |Fatal machine check|Fatal local machine check|Timeout: Not all CPUs"),
        ("hardware error",),
    ),
    (re.compile(r"scheduling while atomic"), ("sleeping in atomic",)),
    (re.compile(r"kernel stack overflow"), ("stack overflow",)),
)
#: A panic that follows comes within seconds, and where the log has no times within so many lines.
_SOON, _LINES = 5 * 10**9, 400
#: Reports that came in between: tasks that hang are told one by one.
_BETWEEN = 8
#: kernel/exit.c, do_exit: whose end this is, by number. An oops of any other thread does not end it.
_ENDED = ((re.compile(r"Attempted to kill init!"), 1), (re.compile(r"Attempted to kill the idle task!"), 0))


def cause_of(reason: str, panic: Line, reports: Sequence[Report]) -> Report | None:
    """The last report that a panic of these words follows from; None where it has a reason of its own."""
    kinds = next((kinds for words, kinds in _FOLLOWS if words.match(reason)), None)
    if kinds is None:
        return None
    for report in reversed(reports[-_BETWEEN:]):
        if not kinds and report.trapped:  # no trap is a warning
            continue
        if not kinds or report.kind in kinds or (report.trapped and kinds is TRAPS):
            if kinds in (TRAPS, (), _OOM) and not _is_by_the_same(reason, report, panic):
                continue
            if kinds is _OOM and any(_A_KILL in line.text for line in report.lines):
                continue
            return report if _is_soon(report.lines[-1], panic) else None
    return None


def _is_by_the_same(reason: str, report: Report, panic: Line) -> bool:
    """Can the thread or CPU that panicked be the one that reported? A report and its panic have one context."""
    caller = report.lines[0].caller
    if caller and panic.caller:
        return caller == panic.caller
    pid = next((pid for words, pid in _ENDED if words.match(reason)), None)
    return pid is None or who(report).get("pid", pid) == pid


def _is_soon(last: Line, panic: Line) -> bool:
    if last.time is not None and panic.time is not None:
        return panic.time - last.time <= _SOON
    return panic.number - last.number <= _LINES

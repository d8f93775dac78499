"""A log's reports and the stacks of its CPUs in, how the machine came to its end out."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.errors import KernlabError, TypesLostError
from kernlab.oops.endings import PANIC as PANIC
from kernlab.oops.forms import TRAPS as TRAPS
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import normal

if TYPE_CHECKING:
    from kernlab.verdict.case import Case

#: Ends that somebody asked for: nothing went wrong then, but it may have been asked for because something had before.
ASKED = frozenset({"sysrq", "NMI", "watchdog", "stopped"})

#: Reports among which those of one look at all threads are, and seconds from one to the next (kernel/hung_task.c).
_ONE_LOOK, _APART = 200, 5.0
#: Lines that other CPUs may add behind the last report.
_BEHIND = 20
#: What says why, where a panic's line is all there is (kernel/{hung_task,watchdog,panic}.c, kernel/rcu/tree_stall.h,
#: mm/oom_kill.c, kernel/workqueue.c).
_WORDS = (
    (re.compile(r"hung_task: "), "hung task"),
    (re.compile(r"soft ?lockup: "), "soft lockup"),
    (re.compile(r"(?:Watchdog detected )?[Hh]ard (?:LOCKUP|lockup)"), "hard lockup"),
    (re.compile(r"RCU Stall"), "RCU stall"),
    (re.compile(r"[Ww]orkqueue: "), "workqueue stall"),
    (re.compile(r"sysrq triggered crash"), "sysrq"),
    (re.compile(r"Timeout: Not all CPUs entered broadcast exception handler"), "hardware error"),
    # drivers/watchdog/{softdog,pretimeout_panic,sbsa_gwdt,orion_wdt,aspeed_wdt}.c, drivers/char/ipmi/ipmi_watchdog.c.
    (
        re.compile(
            r"Software Watchdog Timer expired|(?:IPMI Watchdog: )?pre-timeout$|[Ww]atchdog (?:pre-?timeout|[Tt]imeout)|"
            r"SBSA Generic Watchdog timeout"
        ),
        "watchdog",
    ),
)
#: mm/oom_kill.c, out_of_memory; others that were given no memory say so, too.
_OOM = re.compile(r"[Oo]ut of memory|System is deadlocked on memory")
#: arch/x86/kernel/nmi.c, unknown_nmi_error; drivers/watchdog/hpwdt.c, hpwdt_pretimeout.
_UNKNOWN_NMI = "NMI received for unknown reason"
_NMI = re.compile(r"NMI: Not continuing|(?:hpwdt: |[0-9a-f]{2}: )?An NMI occurred")
#: NMIs of which the kernel knows why they came (arch/x86/kernel/nmi.c, pci_serr_error, io_check_error).
_KNOWN_NMI = re.compile(r"NMI: (?:PCI system error|IOCK error|memory parity error)")
#: kernel/panic.c, __stack_chk_fail: one variable's end was passed, no stack is too small.
_CANARY = re.compile(r"stack-?protector: ")
#: Checkers report, and go on: theirs is no trap.
_CHECKERS = ("KASAN: ", "KFENCE: ", "KMSAN: ", "UBSAN: ")
#: A line so many seconds after a report is of a machine that went on.
_WENT_ON = 2.0
#: What ends a machine, as a stack shows it (kernel/{panic,crash_core,kexec_core}.c, arch/x86/kernel/dumpstack.c).
CRASHING = frozenset({"panic", "vpanic", "nmi_panic", "__crash_kexec", "crash_kexec", "oops_end", "die"})
#: What calls that, and what it means.
_CALLERS = {
    "sysrq_handle_crash": "sysrq",
    "check_hung_uninterruptible_tasks": "hung task",
    "watchdog_timer_fn": "soft lockup",
    "watchdog_overflow_callback": "hard lockup",
    "watchdog_hardlockup_check": "hard lockup",
    "panic_on_rcu_stall": "RCU stall",
    "rcu_sched_clock_irq": "RCU stall",
    "wq_watchdog_timer_fn": "workqueue stall",
    "out_of_memory": "OOM",
    "__warn": "WARNING",
    "mce_panic": "hardware error",
    "__ghes_panic": "hardware error",
    "arm64_serror_panic": "hardware error",
    "unknown_nmi_error": "NMI",
    "hpwdt_pretimeout": "NMI",
    "softdog_fire": "watchdog",
    "ipmi_nmi": "watchdog",
    "ipmi_wdog_pretimeout_handler": "watchdog",
    "pretimeout_panic": "watchdog",
    "sbsa_gwdt_interrupt": "watchdog",
    "exc_general_protection": "general protection",
    "exc_divide_error": "divide error",
    "exc_double_fault": "double fault",
}


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """How a machine came to its end.

    `kind` is one of `kernlab.oops.forms.KINDS`, "NMI" where one was sent to stop the machine, "watchdog" where one that
    was not told in time that the machine works stopped it, or "stopped" where nothing panicked. `report` is the row of
    `Case.reports` that it ended with, None where the log has none; `panic` the panic's line, '' where nothing panicked.
    `cpu` is the CPU whose stack tells it, where the log does not. `outlived`: the log shows that the machine went on
    after the report, which is the last trap that it tells of. `others`: places in `Case.reports` of those that the
    panic is for, too: all threads that one look found hung.
    """

    kind: str
    report: pd.Series[Any] | None
    panic: str
    cpu: int | None = None
    outlived: bool = False
    others: tuple[int, ...] = ()

    @property
    def asked(self) -> bool:
        """Did somebody ask for it, a person, a host or a watchdog?"""
        return self.kind in ASKED


def end_of(case: Case) -> End:
    """By the report that a panic followed, by one that it did not outlive, by the stack of the CPU that died; else it
    was stopped."""
    try:
        reports = case.reports
    except TypesLostError:
        raise
    except KernlabError:
        # A log that cannot be read tells nothing; the stacks may.
        return _of_stacks(case)
    fatal = _the_panic(case, reports)
    if fatal is not None:
        last, panic = fatal
        place, *others = _hung_together(reports, last, panic)
        row = reports.iloc[place]
        return End(_kind(case, row, panic), row, panic, others=tuple(others))
    # With panic_on_oops the crash kernel is started from the trap, and no panic is logged (oops_end, crash_kexec).
    died = not case.has_dump or not pd.isna(case.info["panic_cpu"])
    if len(reports) and died and _is_last(case, reports.iloc[-1]):
        row = reports.iloc[-1]
        return End(_kind(case, row, ""), row, "", outlived=not case.has_dump and _went_on(case, row))
    return _of_stacks(case) if case.has_dump else End("stopped", None, "")


def _the_panic(case: Case, reports: pd.DataFrame) -> tuple[int, str] | None:
    """The report that a panic followed from, or that is one: its place, and the panic's line. Of several the first: no
    machine comes back from panic(), and what goes wrong on its way out is no cause (kernel/panic.c, vpanic).

    Where the time goes back in between, another boot began: then it is the first after that.
    """
    texts = case.log["text"].fillna("").tolist()
    found: tuple[int, str] | None = None
    later = None
    places = zip(
        range(len(reports) - 1, -1, -1), reports["details"][::-1], reports["offset"][::-1], strict=True
    )
    for place, details, offset in places:
        # A record may have lines of its own.
        said = str(texts[int(offset)])
        panic = str(details.get("panic", "")) or next(
            (line for line in said.split("\n") if line.startswith(PANIC)), ""
        )
        if not panic:
            continue
        time = reports["timestamp"].iloc[place]
        if later is not None and not pd.isna(time) and time > later:
            break
        found = place, panic
        later = later if pd.isna(time) else time
    return found


def _hung_together(reports: pd.DataFrame, last: int, panic: str) -> list[int]:
    """The places of the reports that a panic is for, `last` the last of them: of threads that one look found hung the
    one that had waited longest comes first.

    kernel/hung_task.c, check_hung_uninterruptible_tasks, panics when it has looked at all; it tells each thread once.
    """
    if reports["kind"].iloc[last] != "hung task" or "hung_task: " not in panic:
        return [last]
    hung = reports.iloc[: last + 1]
    hung = hung[hung["kind"] == "hung task"]
    first: dict[int | None, int] = {}
    told = [None if pd.isna(pid) else int(pid) for pid in hung["pid"]]
    for pid, offset in zip(told, hung["offset"].tolist(), strict=True):
        first.setdefault(pid, offset)
    places = hung.index.tolist()
    count = 1
    while count < min(len(places), _ONE_LOOK):
        one, next_one = hung.iloc[-count - 1], hung.iloc[-count]
        apart = next_one["timestamp"] - one["timestamp"]
        if told[-count - 1] in told[len(told) - count :] or (
            not pd.isna(apart) and apart.total_seconds() > _APART
        ):
            break
        count += 1
    waited = [int(details.get("seconds", 0)) for details in hung["details"]]
    chosen = range(len(places) - count, len(places))
    return [places[each] for each in sorted(chosen, key=lambda each: (-waited[each], first[told[each]]))]


def _kind(case: Case, report: pd.Series[Any], panic: str) -> str:
    """What ended it: a report's kind, unless the report is only the means by which somebody ended it."""
    reason = panic.removeprefix(PANIC).lstrip(":, ")
    # Before 5.0 SysRq c wrote through a NULL pointer (drivers/tty/sysrq.c, sysrq_handle_crash).
    at = frame_of(str(report["details"].get("at", "")))
    if "sysrq_handle_crash" in (report["function"], at and normal(at.name)):
        return "sysrq"
    if _NMI.match(reason):
        first = max(int(report["offset"]) - _BEHIND, 0)
        lines = [line for _, line in case.lines(first, int(report["end"]))]
        unknown = any(_UNKNOWN_NMI in line for line in lines)
        if "An NMI occurred" in reason or unknown or not any(_KNOWN_NMI.match(line) for line in lines):
            return "NMI"
    if report["kind"] == "stack overflow" and _CANARY.match(reason):
        return "out of bounds"
    if report["kind"] == "OOM" and _says_panic(case, report) and not _OOM.match(reason):
        return "panic"
    if report["kind"] == "panic":
        return next((kind for words, kind in _WORDS if words.match(reason)), "panic")
    return str(report["kind"])


def _says_panic(case: Case, report: pd.Series[Any]) -> bool:
    """Is the panic's line all that the report is?"""
    return PANIC in str(case.log["text"].iloc[int(report["offset"])])


def _is_last(case: Case, report: pd.Series[Any]) -> bool:
    """Is it of the CPU that started the crash kernel, with nothing said after it?"""
    if report["kind"] not in TRAPS or str(report["title"]).startswith(_CHECKERS):
        return False
    return len(case.log) - int(report["end"]) <= _BEHIND


def _went_on(case: Case, report: pd.Series[Any]) -> bool:
    """Does the log show that no panic followed from its last report?

    Where a trap ends the machine, the crash kernel is started before "end trace" is printed, or the panic follows it
    at once (arch/x86/kernel/dumpstack.c, oops_end; arch/arm64/kernel/traps.c, die).
    """
    lines = case.lines(int(report["offset"]), int(report["end"]))
    if any(line.lstrip("-").startswith("[ end trace") for _, line in lines):
        return True
    end = case.log["timestamp"].iloc[int(report["end"]) - 1]
    later = case.log["timestamp"].iloc[int(report["end"]) :].max()
    return not (pd.isna(end) or pd.isna(later)) and (later - end).total_seconds() > _WENT_ON


def _of_stacks(case: Case) -> End:
    """What the stack of the CPU that died tells, where the log does not."""
    try:
        stacks = case.stacks
    except KernlabError:
        return End("panic" if not pd.isna(case.info["panic_cpu"]) else "stopped", None, "")
    for cpu in stacks["cpu"].dropna().unique():
        rows = stacks[(stacks["cpu"] == cpu) & stacks["reliable"] & stacks["symbol"].notna()]
        names = names_of(rows)
        crash = next((place for place, name in enumerate(names) if name in CRASHING), None)
        if crash is not None:
            kind = next((_CALLERS[name] for name in names[crash:] if name in _CALLERS), "panic")
            return End(kind, None, "", int(cpu))
    if pd.isna(case.info["panic_cpu"]):
        return End("stopped", None, "")
    return End("panic", None, "", int(case.info["panic_cpu"]))


def names_of(frames: pd.DataFrame) -> list[str]:
    """The functions of rows of `stacks`, as all releases call them; '' where a row has none."""
    return [normal(one.name) if (one := frame_of(text)) else "" for text in frames["symbol"].fillna("")]

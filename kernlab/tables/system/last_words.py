"""Why a machine died, in the words of its log: which line names the cause."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from kernlab.oops.interleaving import reports_of
from kernlab.oops.lines import Log
from kernlab.oops.report import Report

#: How a panic begins; what follows is its own reason.
_PANIC = "Kernel panic - not syncing:"

#: Panics whose words name no cause: it stands above them (arch/*/kernel/traps.c, kernel/panic.c, kernel/exit.c).
_CONSEQUENCE = (
    rf"{_PANIC} (?:.*Fatal exception|.*panic_on_warn set|Machine halted|Aiee, killing interrupt handler)"
)

#: A panic that follows from a trap in init, if there was one just before (within so many rows), or from its own end.
_INIT, _JUST_BEFORE = rf"{_PANIC} Attempted to kill (?:init|the idle task)", 200

#: Kinds of reports that a machine outlives, or that only a panic with words of its own makes an end of.
_OUTLIVED = {
    "WARNING",
    "refcount",
    "UBSAN",
    "lock bug",
    "memory leak",
    "hung task",
    "RCU stall",
    "OOM",
    "I/O error",
    "file system error",
    "network stall",
    "unexpected reboot",
}


def cause_row(texts: pd.Series[str]) -> int | None:
    """The row of a log that names what the machine died of; None where none does.

    A panic says it by itself, unless it only follows from a report. Then, and without a panic, it is the first line of
    the last report that names a cause: "kernel BUG at …" or "BUG: kernel NULL pointer dereference …", not the trap
    behind it; "list_del corruption …" where that is what BUG() was called for. Earlier reports the machine outlived.
    """
    reports, _ = reports_of(Log(texts))
    panics = np.flatnonzero(texts.str.startswith(_PANIC).fillna(False).to_numpy(dtype=bool))
    if not len(panics):
        return _first_line([report for report in reports if _is_cause(report)])
    end = int(panics[0])
    panic = texts.iloc[end]
    before = [report for report in reports if report.lines[0].number < end and report.form.role != "panic"]
    trapped = re.match(_INIT, panic) and any(
        report.trapped and report.lines[-1].number >= end - _JUST_BEFORE for report in before
    )
    if not trapped and not re.match(_CONSEQUENCE, panic):
        return end
    found = _first_line([report for report in before if "panic_on_warn" in panic or _is_cause(report)])
    return end if found is None else found


def panic_message(texts: pd.Series[str]) -> str | None:
    """The line of a log that says why the machine died; None where none does."""
    row = cause_row(texts)
    return None if row is None else str(texts.iloc[row]).splitlines()[0]


def _is_cause(report: Report) -> bool:
    return report.trapped or report.kind not in _OUTLIVED


def _first_line(causes: list[Report]) -> int | None:
    """Where the last of them begins; what goes wrong while a report is printed belongs to it."""
    if not causes:
        return None
    last = causes[-1]
    while last.inside is not None:
        last = last.inside
    return last.lines[0].number

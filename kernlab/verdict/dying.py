"""What a machine did between its panic and its last moment: how long that took, which CPUs would not stop for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.oops.endings import PANIC
from kernlab.verdict.reported import kernel_text

if TYPE_CHECKING:
    from kernlab.verdict.case import Case

#: arch/arm64/kernel/smp.c, smp_send_stop and crash_smp_send_stop: after a second or more without an answer.
_WOULD_NOT = re.compile(r"SMP: failed to stop secondary CPUs (?P<cpus>[\d,-]{1,200})\s*")
#: A CPU that does not stop is waited for; less than this is a machine that dies as usual.
_LONG = 5.0
_MOST_CPUS = 8192

#: Durations up to the machine's last moment, in tables that rules look at.
UP_TO_THE_END = {
    "waits": ("since",),
    "works": ("running_for", "stalled"),
    "watchdogs": ("since_touch", "timer_late"),
    "delays": ("last_run",),
}


def panicked_at(case: Case) -> Any:
    """The time of the panic's line, since boot; NaT where nothing panicked or the log does not tell when."""
    report = case.end.report
    if report is None or not case.end.panic:
        return pd.NaT
    first = int(report["offset"])
    own = case.log["text"].iloc[first:].fillna("").str.contains(PANIC, regex=False)
    return case.log["timestamp"].iloc[first + int(own.to_numpy().argmax())] if own.any() else pd.NaT


def seconds_of_dying(case: Case) -> float:
    """How many seconds the machine took from its panic to the log's last line, where that is long; else 0.

    Nothing went on meanwhile: what waited then shows nothing of the time before.
    """
    apart = case.log["timestamp"].max() - panicked_at(case)
    return 0.0 if pd.isna(apart) or apart.total_seconds() < _LONG else float(apart.total_seconds())


def as_at_the_panic(table: pd.DataFrame, seconds: float) -> None:
    """Take the time of dying off a table's durations, in place; none becomes less than 0."""
    nothing = pd.Timedelta(0)
    for column in UP_TO_THE_END.get(str(table.attrs["table"]), ()):
        if column in table:
            left: pd.Series[Any] = table[column] - pd.Timedelta(seconds=seconds)
            table[column] = left.mask(left < nothing, nothing)


def would_not_stop(case: Case) -> dict[int, int]:
    """The CPUs that the panic could not stop, each with the label of the line that says so: they took no interrupt."""
    report = case.end.report
    if report is None:
        return {}
    found: dict[int, int] = {}
    own = kernel_text(case).iloc[int(report["offset"]) :]
    for label, text in zip(own.index.tolist(), own.tolist(), strict=True):
        if match := _WOULD_NOT.fullmatch(text):
            for cpu in _numbers(match["cpus"]):
                found.setdefault(cpu, label)
    return found


def _numbers(text: str) -> list[int]:
    """The CPUs of a list as the kernel prints it (%*pbl): "1,3-5"."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            numbers += range(int(first), min(int(last or first), _MOST_CPUS) + 1)
    return numbers[:_MOST_CPUS]

"""The clock: times of the log that go back, a clock source given up, a machine that stood still as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.escape import show_short
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule, weighing
from kernlab.verdict.reported import kernel_text

#: CPUs write their times a little out of order; while a machine starts, its clock is set up several times.
_APART, _STARTING = 1.0, 60.0
#: Lines on each side of a jump that are asked.
_LINES = 3
#: kernel/time/clocksource.c, __clocksource_unstable and clocksource_watchdog.
_UNSTABLE = re.compile(r".*Marking clocksource '(?P<name>[^']{1,40})' as unstable")
#: A watchdog of CPUs looks every few seconds, and tells after twice its threshold: 20 s, of the largest that can be set
#: (60 s, kernel/watchdog.c) two minutes.
_FIRST_SEEN = 150


@rule
def clock_jumps(case: Case) -> Iterator[Finding]:
    """Where a line of the log is older than the one before it by more than a second, the clock went back."""
    seconds = case.log["timestamp"].dt.total_seconds().to_numpy(dtype=np.float64)
    if len(seconds) < 2:
        return
    # A log of a console begins anew with each boot.
    back = np.diff(seconds)
    jumps = np.flatnonzero((back < -_APART) & (seconds[:-1] > _STARTING) & (seconds[1:] > _STARTING))
    for place in [each for each in jumps.tolist() if _stays(seconds, each)][-1:]:
        labels = (int(case.log.index[place]), int(case.log.index[place + 1]))
        yield Finding(
            "clock jump",
            f"back by {human_time(-float(back[place]))}",
            # A text may have been put together of several.
            0.6 if case.has_dump else 0.45,
            (
                Evidence(
                    "log",
                    f"one line is of {seconds[place]:.3f} s after boot, the next of {seconds[place + 1]:.3f} s",
                    labels,
                ),
            ),
            f"dump.log.iloc[{max(place - 2, 0)}:{place + 4}]",
            against=("Two CPUs whose clocks differ would write the same.",),
            since=case.before_end(case.log["timestamp"].iloc[place + 1]),
        )


def _stays(seconds: npt.NDArray[np.float64], place: int) -> bool:
    """Are the lines on both sides of a jump of these times, too? One line alone that is of another time is damaged."""
    before = np.nanmedian(seconds[max(place - _LINES + 1, 0) : place + 1])
    return bool(before - np.nanmedian(seconds[place + 1 : place + 1 + _LINES]) > _APART)


@rule
def clock_unstable(case: Case) -> Iterator[Finding]:
    """A clock source that the kernel gave up went wrong, or the machine stood still for a while: a hint."""
    text = kernel_text(case)
    places = np.flatnonzero(text.str.contains(_UNSTABLE.pattern.replace("?P<name>", "?:")))
    for place in places[-1:].tolist():
        line = str(text.iloc[place])
        found = _UNSTABLE.match(line)
        if found is None:
            continue
        label = int(text.index[place])
        yield Finding(
            "clock unstable",
            show_short(found["name"]),
            0.45,
            (Evidence("log", show_short(line.splitlines()[0], 300), (label,)),),
            f"dump.log.loc[[{label}]]",
            against=("The kernel goes on with another clock; guests on a busy host lose theirs often.",),
            since=case.before_end(case.log["timestamp"].iloc[place]),
        )


@weighing
def stood_still(case: Case, findings: list[Finding]) -> list[Finding]:
    """A lockup first seen minutes after it began: all stood still, as a guest does whose host did not let it run."""
    report = case.end.report
    if report is None or case.end.kind != "soft lockup":
        return findings
    stuck = int(report["details"].get("seconds", 0))
    earlier = case.reports[
        (case.reports["kind"] == "soft lockup") & (case.reports["offset"] < report["offset"])
    ]
    if not pd.isna(report["cpu"]):
        earlier = earlier[earlier["cpu"] == report["cpu"]]
    if stuck <= _FIRST_SEEN or len(earlier):
        return findings
    why = (
        f"It was first seen after {stuck:,} s, though the watchdog looks every few seconds: the whole machine may have "
        "stood still, as a guest does whose host does not let it run."
    )
    return [each.doubted(why, 0.7) if _is_of_the_end(case, each) else each for each in findings]


def _is_of_the_end(case: Case, finding: Finding) -> bool:
    return finding.role == "end" or case.end.kind in finding.explains

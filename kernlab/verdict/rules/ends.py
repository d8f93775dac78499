"""The end as the machine itself saw it: the report of its log that a panic followed, a panic of its own, or SysRq."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import is_boilerplate, normal
from kernlab.verdict.case import Blamed, Case
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule

#: Ends in which a CPU did not go on: where it stood is what it did all the time.
_STOOD = frozenset({"soft lockup", "hard lockup", "RCU stall", "stack overflow"})
#: Ends that a tick or an NMI saw, whose own frames lie above what they interrupted.
_SEEN = frozenset({"soft lockup", "hard lockup", "RCU stall"})
_BORROWED = {"irq": "an interrupt", "softirq": "a softirq", "nmi": "an NMI"}


@rule
def last_report(case: Case) -> Iterator[Finding]:
    """The report that the panic followed is what the machine died of, as far as its log tells."""
    end = case.end
    if end.report is None:
        return
    report = end.report
    place, last = int(report["offset"]), max(int(report["end"]) - 1, int(report["offset"]))
    labels = case.log.index
    said = str(case.log["text"].iloc[place]).splitlines()[0]
    evidence = [Evidence("log", show_controls(said), (int(labels[place]),))]
    if end.panic and end.panic != said:
        evidence.append(Evidence("log", show_controls(end.panic), (int(labels[last]),)))
    borrowed = _borrowed(case, report)
    if borrowed is not None:
        evidence.append(borrowed)
    blamed = _blamed(report)
    yield Finding(
        end.kind,
        _subject(report) if borrowed is None else borrowed.says.partition(" ran")[0],
        0.9 if report["corrupted"] else 0.97,
        tuple(evidence),
        f"dump.log.iloc[{place}:{last + 1}]",
        pid=None if pd.isna(report["pid"]) or borrowed is not None else int(report["pid"]),
        module=blamed.module,
        function=blamed.function,
        against=(f"The report is not whole: {report['why']}.",) if report["corrupted"] else (),
        since=case.before_end(report["timestamp"]),
        role="end",
    )


def _subject(report: pd.Series[Any]) -> str:
    """Who was there: the thread, else the title."""
    comm = _text(report["comm"])
    if comm is None:
        return show_controls(str(report["title"]))
    return show_controls(say_thread(comm, "?" if pd.isna(report["pid"]) else int(report["pid"])))


def _blamed(report: pd.Series[Any]) -> Blamed:
    """The function and the module that the report is about."""
    at = frame_of(str(report["details"].get("at", ""))) if report["kind"] in _STOOD else None
    if at is not None and not is_boilerplate(normal(at.name)):
        return Blamed(normal(at.name), at.module or None)
    return Blamed(_text(report["function"]), _text(report["module"]))


def _borrowed(case: Case, report: pd.Series[Any]) -> Evidence | None:
    """On whose CPU an interrupt ran: the thread beneath has no part in it. None where it was the thread's own doing."""
    if not case.has_dump or pd.isna(report["cpu"]):
        return None
    rows = case.stack_of_cpu(int(report["cpu"]))
    kinds = rows["kind"].astype(str).tolist()
    above = {"irq", "nmi"} if report["kind"] in _SEEN else {"exception"}
    while kinds and kinds[0] in above:
        kinds.pop(0)
    what = _BORROWED.get(kinds[0]) if kinds else None
    comm = _text(report["comm"])
    if what is None:
        return None
    chosen = rows.index[len(rows) - len(kinds) :]
    below = "" if comm is None else f" on top of {_subject(report)}"
    said = f"{what} on CPU {int(report['cpu'])} ran{below}, which it interrupted"
    return Evidence("stacks", show_controls(said), rows_of(rows, list(chosen)))


def _text(value: object) -> str | None:
    return None if value is None or pd.isna(value) or not value else str(value)  # type: ignore[call-overload]

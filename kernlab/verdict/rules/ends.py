"""The end as the machine itself saw it: the report of its log that a panic followed, a panic of its own, or SysRq."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule


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
    yield Finding(
        end.kind,
        _subject(report),
        0.9 if report["corrupted"] else 0.97,
        tuple(evidence),
        f"dump.log.iloc[{place}:{last + 1}]",
        pid=None if pd.isna(report["pid"]) else int(report["pid"]),
        module=_text(report["module"]),
        function=_text(report["function"]),
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


def _text(value: object) -> str | None:
    return None if value is None or pd.isna(value) or not value else str(value)  # type: ignore[call-overload]

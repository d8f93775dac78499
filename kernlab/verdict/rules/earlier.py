"""Reports of the log that the machine outlived: told beside, as what they are and when. They accuse nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.ending import TRAPS
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.oom_report import read_oom_report
from kernlab.verdict.registry import weighing
from kernlab.verdict.reported import lines_cell, text_or_none

#: Kinds of reports that are told at most, the latest first.
_MOST = 8
#: What other rules tell, in their own words, or what is no trouble by itself.
_ELSEWHERE = frozenset({"hardware error", "file system error", "sysrq", "panic", "unexpected reboot"})
#: What goes on until something ends it: seen again and again, by one watchdog or several.
_STALLS = frozenset({"hung task", "soft lockup", "hard lockup", "RCU stall", "workqueue stall"})
#: Stalls of one trouble are seen within this time of each other (hung tasks are looked for every two minutes).
_ONE_TROUBLE = 300.0
#: Of a report that is so near to an end of which the log tells nothing, it may be the end itself that is torn.
_NEAR = 1.0
#: What die() says on all architectures: "Oops: 0002 [#1] SMP". Checkers that only report do not.
_DIED = re.compile(r" \[#\d{1,9}\]")
#: mm/oom_kill.c, __oom_kill_process.
_KILLED = re.compile(
    r"(?:Memory cgroup out|Out) of memory: Kill(?:ed)? process (?P<pid>\d+),? \((?P<comm>.*?)\)"
)


@weighing
def earlier_reports(case: Case, findings: list[Finding]) -> list[Finding]:
    """A report before the end that no finding speaks of was outlived: that it was there is true, and no more."""
    told = {
        label
        for finding in findings
        for each in finding.evidence
        if each.table == "log"
        for label in each.rows
        if isinstance(label, int)
    }
    return findings + list(_outlived(case, told))


def _outlived(case: Case, told: set[int]) -> Iterator[Finding]:
    reports = case.reports
    end = case.end.report
    if end is not None:
        reports = reports[reports["offset"] < int(end["offset"])]
        # A report within another is told with it; the same once more is what went on until the end.
        same = (reports["kind"] == end["kind"]) & (
            reports["function"].fillna("") == (text_or_none(end["function"]) or "")
        )
        # The limit of a cgroup is not the machine's memory.
        of_cgroup = [bool(details.get("cgroup")) for details in reports["details"]]
        same &= np.array(of_cgroup, dtype=bool) == _is_of_a_cgroup(case)
        reports = reports[~same & ~reports["offset"].isin([end["details"].get("inside")])]
    reports = reports[~reports["kind"].isin(_ELSEWHERE)]
    if case.end.kind in _STALLS:
        long_ago = [(case.before_end(stamp) or 0.0) > _ONE_TROUBLE for stamp in reports["timestamp"]]
        reports = reports[~reports["kind"].isin(_STALLS) | np.array(long_ago, dtype=bool)]
    labels = case.log.index
    own = [
        place
        for place, (first, last) in enumerate(zip(reports["offset"], reports["end"], strict=True))
        if told.isdisjoint(labels[int(first) : int(last)].tolist())
    ]
    reports = reports.iloc[own]
    groups = [rows for _, rows in reports.groupby(["kind", "title"], sort=False)]
    groups.sort(key=lambda rows: -int(rows["offset"].iloc[-1]))
    for rows in groups[:_MOST]:
        yield _told(case, rows)


def _is_of_a_cgroup(case: Case) -> bool:
    """Did the machine end for a cgroup's limit?"""
    return bool(case.oom is not None and case.oom.group)


def _told(case: Case, rows: pd.DataFrame) -> Finding:
    last = rows.iloc[-1]
    finding = kind = str(last["kind"])
    if last["details"].get("cgroup"):
        # The machine's memory and that of a cgroup are two things.
        finding = "memory cgroup out of memory"
    places = [int(case.log.index[int(offset)]) for offset in rows["offset"]]
    since = case.before_end(last["timestamp"])
    # Of a log alone that tells no end, its last line is all that is known.
    ended = case.has_dump or case.end.report is not None
    end = "the end" if ended else "the log's last line"
    when = f"before {end}" if since is None else f"{_ago(since)} before {end}"
    subject = (
        f"an earlier report, {when}" if len(rows) == 1 else f"{len(rows):,} earlier reports, the last {when}"
    )
    evidence = [Evidence("log", show_short(str(last["title"]), 300), tuple(places[:100]))]
    evidence += _consequences(case, last, places[-1])
    outlived = case.end.report is not None or (case.has_dump and since is not None and since >= _NEAR)
    against = ["The machine went on after it." if outlived else "What came of it is not in the log."]
    if case.end.report is not None:
        module, ties = text_or_none(last["module"]), list[str]()
        if module is not None and module == text_or_none(case.end.report["module"]):
            ties.append(f"the end is in the same module, {module}")
        if _is_of_the_same_thread(last, case.end.report):
            ties.append("the end is of the same thread")
        evidence += [Evidence("log", show_controls(each), (places[-1],)) for each in ties]
        if ties:
            against.append("Nothing else ties the end to it.")
        elif kind not in _STALLS | {case.end.kind}:
            against.append("Nothing shows that the end has to do with it.")
    return Finding(
        finding,
        subject,
        0.9,
        tuple(evidence),
        lines_cell(last),
        module=text_or_none(last["module"]),
        function=text_or_none(last["function"]),
        against=tuple(against),
        since=since,
    )


def _is_of_the_same_thread(report: pd.Series, end: pd.Series) -> bool:
    """Did a thread report, and end the machine at once? Of an interrupt a report names whom it interrupted."""
    if pd.isna(report["pid"]) or pd.isna(end["pid"]) or report["pid"] != end["pid"] or report["pid"] == 0:
        return False
    if str(report["caller"] or "C").startswith("C") or pd.isna(report["timestamp"]):
        return False
    return bool(0 <= (end["timestamp"] - report["timestamp"]).total_seconds() < _NEAR)


def _consequences(case: Case, report: pd.Series, label: int) -> Iterator[Evidence]:
    """What became of the thread: one that traps in the kernel is killed, and out of memory says whom it killed."""
    comm = text_or_none(report["comm"])
    died = any(_DIED.search(line) for _, line in case.lines(int(report["offset"]), int(report["end"])))
    if report["kind"] in TRAPS and died and comm is not None and not pd.isna(report["pid"]):
        said = f"{say_thread(comm, int(report['pid']))} was killed for it"
        yield Evidence("log", show_controls(said), (label,))
    if report["kind"] == "OOM":
        oom = read_oom_report(case.told(report))
        if oom is not None and oom.group:
            yield Evidence("log", f"the cgroup {show_short(oom.group)} reached its limit", (label,))
        for place, line in case.lines(int(report["offset"]), int(report["end"])):
            if found := _KILLED.match(line):
                said = f"{say_thread(found['comm'], int(found['pid']))} was killed for it"
                yield Evidence("log", show_controls(said), (place,))
                return


def _ago(seconds: float) -> str:
    if seconds < 0.1:
        return "less than 0.1 s"
    return f"{seconds:.1f} s" if seconds < 60 else human_time(seconds)

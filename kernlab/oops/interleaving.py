"""Heads and lines of a log in, the lines of each report out: nested and interleaved ones apart, each in its
caller's stream."""

from __future__ import annotations

import re

from kernlab.oops import faults, panics, stalls
from kernlab.oops.forms import Form
from kernlab.oops.frames import frames_of, looks_like_report
from kernlab.oops.functions import enters
from kernlab.oops.heads import Head, heads
from kernlab.oops.lines import Line, Log
from kernlab.oops.report import Report

#: A log of that many reports is no kernel's: a ring of 16 MiB holds fewer.
MOST_REPORTS = 20_000
#: Lines of one caller that look like no part of a report, one after the other, end one.
_PATIENCE = 48
#: Lines of a report: a list of all tasks of a machine may follow it, which is no part.
_LONGEST = 3000
#: From the first line of a fault or of what is said before BUG() to that of its trap there are no more lines than
#: this.
_TOGETHER = 30
#: Who prints slower than this (ns) has gone on to something else.
_SILENCE = 60 * 10**9

#: What says that another kernel begins, or that this one was told to stop.
_STOPS = re.compile(
    r"reboot: |Restarting system|Rebooting in|Kernel panic|sysrq: |SysRq|Power down|kexec|"
    r"Starting new kernel|crash kernel"
)
#: Lines above a kernel's first one in which that is said.
_ABOVE = 60

#: Marks of lines that tell one fault: the cause, and the trap that follows.
_FAULTS = {each.mark for each in faults.FORMS if each.role in ("report", "trap")} | {
    "kernel BUG at lib/list_debug.c",
    "kernel BUG at mm/usercopy.c",
}
#: Marks of lines that another line just before or after names.
_NAMED = {"WARNING: ", "kernel BUG at", "kernel BUG at lib/list_debug.c", "kernel BUG at mm/usercopy.c"}
#: Marks of reports that are one line.
_ONE_LINE = {each.mark for each in stalls.FORMS if each.blame == "none"}


def reports_of(log: Log) -> tuple[list[Report], list[str]]:
    """The reports of a log in the order of their first lines, and what was left out."""
    found = heads(log)
    collector = _Collector(log)
    places, left = sorted(found), []
    if len(places) > MOST_REPORTS:
        # A disk that fails fills a log; what the machine died of stands at its end.
        places = places[-MOST_REPORTS:]
        left.append(f"The log has too many reports: those before line {places[0]:,} were left out.")
    cursor = places[0] if places else 0
    for place in places:
        collector.follow(cursor, place)
        collector.head(place, found[place])
        cursor = place + 1
    collector.follow(cursor, len(log))
    return collector.done(), left


class _Collector:
    """Gives each line to the report of its caller that is open."""

    def __init__(self, log: Log):
        self.log = log
        self.reports: list[Report] = []
        self.open: dict[str, Report] = {}  # by caller
        self.booted: int | None = None  # the last line with which a kernel began

    def follow(self, begin: int, end: int) -> None:
        """Lines that begin nothing: each is of its caller's open report, until none is open."""
        for place in range(begin, end):
            if not self.open:
                return
            line = self.log.line(place)
            report = self._going_on(line)
            if report is not None:
                self._add(report, line)
            else:
                self._of_another(line)

    def head(self, place: int, head: Head) -> None:
        """A line that begins, names or ends a report."""
        form, match = head
        line = self.log.line(place)
        report = self._going_on(line)
        if form.role == "end":
            if report is not None:
                self._take(report, line)
                self._close(line.caller)
        elif form.role == "panic":
            self._panic(report, line, head)
        elif form.kind == "unexpected reboot":
            self._reboot(line, place, head)
        elif report is not None and _belongs(report, form):
            _absorb(report, head)
            self._take(report, line)
        elif report is not None and _is_aside(report, form):
            self.reports.append(Report(form, match, [line]))
            self._add(report, line)
        else:
            self._begin(report, line, head)

    def done(self) -> list[Report]:
        """All reports, whole."""
        for caller in list(self.open):
            self._close(caller)
        return self.reports

    def _going_on(self, line: Line) -> Report | None:
        """The report that a line's caller is printing."""
        report = self.open.get(line.caller)
        if report is None:
            return None
        before = report.lines[-1].time
        if line.time is not None and before is not None and abs(line.time - before) > _SILENCE:
            self._close(line.caller)
            return None
        return report

    def _add(self, report: Report, line: Line) -> None:
        if looks_like_report(line.text) or frames_of(line.text) is not None:
            self._take(report, line)
        else:
            report.lines.append(line)
            if len(report.lines) - report.kept > _PATIENCE:
                self._close(line.caller)
        if len(report.lines) > _LONGEST:
            self._close(line.caller)

    def _take(self, report: Report, line: Line) -> None:
        report.lines.append(line)
        report.kept = len(report.lines)

    def _of_another(self, line: Line) -> None:
        """The backtrace that another CPU prints of itself belongs to the stall that asked for it."""
        for report in list(self.open.values())[:4]:
            if report.form.blame == "stalled" and len(report.other_cpus) < _LONGEST:
                report.other_cpus.append(line)

    def _begin(self, outer: Report | None, line: Line, head: Head) -> None:
        form, match = head
        report = Report(form, match, [line], trapped=form.role == "trap")
        if outer is not None:
            broken = outer.form.blame != "none" and outer.form.role != "says" and not _has_stack(outer)
            if broken:
                outer.nested = report
            if broken or (form.mark in _FAULTS and outer.trapped):
                report.inside = outer
            self._close(line.caller)
        self.reports.append(report)
        self.open[line.caller] = report

    def _panic(self, report: Report | None, line: Line, head: Head) -> None:
        """A panic that follows from a report belongs to it; one with a reason of its own is a report."""
        cause = panics.cause_of(head[1]["reason"] or "", line, self.reports)
        if cause is None:
            if report is None or not report.panic:
                self._begin(report, line, head)
            return
        cause.panic = cause.panic or line.text.strip()
        if cause is report:
            self._take(report, line)
        elif report is not None:
            self._close(line.caller)

    def _reboot(self, line: Line, place: int, head: Head) -> None:
        """A kernel that begins in the middle of a log, where nothing said that it would."""
        begin = max(0, place - _ABOVE) if self.booted is None else max(self.booted + 1, place - _ABOVE)
        above = [self.log.line(each) for each in range(begin, place)]
        expected = any(_STOPS.search(each.text) for each in above) or any(
            each.panic for each in self.reports[-1:]
        )
        if not expected and any(each.time for each in above):
            self._begin(self.open.get(line.caller), line, head)
        self.booted = place

    def _close(self, caller: str) -> None:
        report = self.open.pop(caller)
        del report.lines[report.kept :]


def _belongs(report: Report, form: Form) -> bool:
    """Whether a head is one more line of a report."""
    if len(report.lines) > _TOGETHER or _has_stack(report):
        return False
    mine = report.form
    if form.role == "trap":
        return not report.trapped and (mine.mark in _FAULTS or mine.kind == "execute of data")
    if mine.role == "says":
        return form.role == "says" or form.mark in _NAMED or mine.kind == "execute of data"
    if form.role == "says":
        return mine.mark in _NAMED or mine.mark in _FAULTS
    if mine.mark == "BUG: memory leak":
        return form.kind == mine.kind and form.mark != mine.mark  # the object that was lost
    if mine.kind in ("RCU stall", "hardware error"):
        return form.kind == mine.kind
    # One line of a fault after the other: "BUG: unable to handle …", "Unhandled fault: …".
    return mine.mark in _FAULTS and form.mark in _FAULTS and mine.mark != form.mark


def _absorb(report: Report, head: Head) -> None:
    form, match = head
    report.trapped = report.trapped or form.role == "trap"
    if report.form.role == "says":
        report.says.append((report.form, report.match))
        report.form, report.match = form, match
    elif form.role == "says":
        report.says.append(head)


def _is_aside(report: Report, form: Form) -> bool:
    """Whether a report has no lines of its own to take from the one that is open: another task said it meanwhile."""
    return form.blame == "none" and (form.mark in _ONE_LINE or (form.kind == "OOM" and _is_in_stack(report)))


def _has_stack(report: Report) -> bool:
    """Whether a report has shown a frame that is none of its first lines' own."""
    last = report.lines[-_TOGETHER:]
    return any(frame is not None and not frame.register for frame in (frames_of(line.text) for line in last))


def _is_in_stack(report: Report) -> bool:
    """Whether a report is in the middle of its stack: its last line is a frame that something called."""
    frame = frames_of(report.lines[-1].text)
    return frame is not None and not enters(frame)

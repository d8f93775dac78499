"""A report in, its row of the table out."""

from __future__ import annotations

import re
from typing import Any

from kernlab.oops.blame import blamed, main_stack, panic_is_of_it
from kernlab.oops.details import details_of
from kernlab.oops.faults import FIRST_PAGE
from kernlab.oops.frames import Frame
from kernlab.oops.functions import shown
from kernlab.oops.lines import Line
from kernlab.oops.report import Report
from kernlab.oops.sections import Section, sections_of
from kernlab.oops.signature import signature_of
from kernlab.oops.who import who


def row(report: Report) -> dict[str, Any]:
    """What a report says, by column."""
    sections = _sections(report)
    frames = main_stack(report, sections)
    told = blamed(report, frames)
    details = details_of(report, sections, frames)
    said = who(report, panic_is_of_it(report, sections))
    kind = report.kind
    if kind == "bad pointer" and details.get("access") == "execute":
        kind = "execute of data"
    if (
        kind == "bad pointer"
        and report.form.blame == "top"
        and details.get("address", FIRST_PAGE) < FIRST_PAGE
    ):
        kind = "null dereference"
    function = told[0] if told else None
    why = _why(report, frames)
    return {
        "kind": kind,
        "title": _title(report, function, details.get("access")),
        "function": shown(function.name) if function else None,
        "module": function.module or None if function else None,
        "cpu": said.get("cpu"),
        "pid": said.get("pid"),
        "comm": said.get("comm"),
        "offset": report.lines[0].number,
        "end": report.lines[-1].number + 1,
        "timestamp": next((line.time for line in report.lines if line.time is not None), None),
        "caller": report.lines[0].caller,
        "release": said.get("release"),
        "taint": said.get("taint"),
        "frames": [str(frame) for frame in frames],
        "corrupted": bool(why),
        "why": why,
        "details": details,
        "signature": signature_of(kind, told),
    }


def _sections(report: Report) -> list[Section]:
    """The stacks of a report, and those that other CPUs printed of themselves for it."""
    callers: dict[str, list[Line]] = {}
    for line in report.other_cpus:
        callers.setdefault(line.caller, []).append(line)
    others = [part for lines in callers.values() for part in sections_of(lines) if part.what == "cpu"]
    return sections_of(report.lines) + others


def _title(report: Report, function: Frame | None, access: str | None) -> str:
    naming, match = report.naming
    title = naming.title_of(match).replace(" {access}", f" {access.title()}" if access else "")
    if function is None:
        return re.sub(r" (?:in|on) \{function\}|\{function\}", "", title)
    return title.replace("{function}", shown(function.name))


def _why(report: Report, frames: list[Frame]) -> str:
    """What is wrong with a report; '' where nothing is."""
    if report.nested is not None:
        return "broken off by another report"
    naming, match = report.naming
    if frames or "none" in (naming.blame, report.form.blame) or "function" in match.groupdict():
        return ""
    return "no stack"

"""Findings in, the same as they stand beside each other out: told twice, out of time, read from what is damaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_short
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding

#: A cause that is less sure than this stands behind what it would explain.
LIKELY = 0.6
#: How the sentence begins that tells of other causes.
ANOTHER = "Another cause is as sure: "
#: Causes that are as sure as each other, but for this.
_EQUAL = 0.05
#: What clocks and watchdogs may be apart: a share of the time, and seconds.
_SHARE, _SLACK = 0.1, 5.0
#: What is taken of a finding that is told later than what it would explain, and that was read from a damaged table.
_TOO_LATE, _DAMAGED = 0.6, 0.95
#: Where `Case.memory` keeps tables that evidence names.
_MEMORY = {
    "slabs": "slabs",
    "memory_by_process": "processes",
    "memory_by_cgroup": "cgroups",
    "memory_by_file": "files",
}
#: A table says so of what concerns all.
_OF_THE_DUMP = "the dump itself has"


def merged(findings: list[Finding]) -> list[Finding]:
    """What two rules found of the same subject is one finding, with the evidence of both and the surer confidence."""
    found: dict[tuple[str, str], Finding] = {}
    for each in findings:
        key = (each.finding, each.subject)
        found[key] = _one(found[key], each) if key in found else each
    return list(found.values())


def _one(first: Finding, second: Finding) -> Finding:
    end = "end" in (first.role, second.role)
    one, other = (first, second) if first.confidence >= second.confidence else (second, first)
    known = {(each.table, each.says) for each in one.evidence}
    sinces = [each.since for each in (one, other) if each.since is not None]
    return dataclasses.replace(
        one,
        evidence=(*one.evidence, *(each for each in other.evidence if (each.table, each.says) not in known)),
        against=tuple(dict.fromkeys((*one.against, *other.against))),
        pid=other.pid if one.pid is None else one.pid,
        module=one.module or other.module,
        function=one.function or other.function,
        device=one.device or other.device,
        explains=one.explains | other.explains,
        since=max(sinces, default=None),
        role="end" if end else one.role,
    )


def in_time(case: Case, finding: Finding) -> Finding:
    """A cause that began after what it would explain is doubted; one of which that is not known is not."""
    sign = _first_sign(case)
    if finding.role == "end" or case.end.kind not in finding.explains or None in (sign, finding.since):
        return finding
    assert sign is not None
    assert finding.since is not None
    if finding.since >= sign * (1 - _SHARE) - _SLACK:
        return finding
    return finding.doubted(
        f"It began {human_time(finding.since)} before the end, after what it would explain "
        f"({human_time(sign)} before).",
        _TOO_LATE,
    )


def _first_sign(case: Case) -> float | None:
    """Seconds before the end at which what its report tells of began: a watchdog says for how long it had been so."""
    report = case.end.report
    if report is None:
        return None
    reported = case.before_end(report["timestamp"])
    return None if reported is None else reported + float(report["details"].get("seconds", 0))


def of_whole_tables(case: Case, finding: Finding) -> Finding:
    """What was read from a table that says it is not whole is doubted a little, once, and what the table lacks is
    told."""
    if finding.role == "end" or not case.has_dump:
        return finding
    lacks = list(_lacks(case, {each.table for each in finding.evidence} - {"log", "info"}))
    if not lacks:
        return finding
    doubted = finding.doubted(lacks[0], _DAMAGED)
    return dataclasses.replace(doubted, against=(*doubted.against, *lacks[1:2]))


def _lacks(case: Case, tables: set[str]) -> Iterator[str]:
    for name in sorted(tables):
        # Only those that a rule has built.
        table = vars(case).get(name)
        if table is None and name in _MEMORY and "memory" in vars(case):
            table = vars(case.memory).get(_MEMORY[name])
        if isinstance(table, pd.DataFrame):
            own = [each for each in table.attrs.get("problems", ()) if not each.startswith(_OF_THE_DUMP)]
            if own:
                yield f"The table {name} is not whole: {show_short(own[0], 200)}."


def rivals(findings: list[Finding]) -> list[Finding]:
    """Causes that are as sure as the first one: each names the others."""
    likely = [each for each in findings if each.role == "cause" and each.confidence >= LIKELY]
    top = max((each.confidence for each in likely), default=1.0)
    equal = [each for each in likely if each.confidence >= top - _EQUAL]
    if len(equal) < 2:
        return findings
    return [_beside(each, equal) if any(each is one for one in equal) else each for each in findings]


def _beside(finding: Finding, equal: list[Finding]) -> Finding:
    names = [show_short(f"{each.finding} ({each.subject})", 200) for each in equal if each is not finding]
    more = f" and {len(names) - 2:,} more" if len(names) > 2 else ""
    said = f"{ANOTHER}{'; '.join(names[:2])}{more}."
    return (
        finding if said in finding.against else dataclasses.replace(finding, against=(*finding.against, said))
    )

"""All findings in, in their order out: what the machine died of first, its consequences and the rest behind it."""

from __future__ import annotations

import dataclasses

from kernlab.errors import KernlabError, TypesLostError
from kernlab.util import losses
from kernlab.verdict.case import Case, LogAloneError
from kernlab.verdict.doubts import LIKELY, in_time, merged, of_whole_tables, rivals
from kernlab.verdict.finding import Finding
from kernlab.verdict.registry import Weighing, weighings

#: Findings that are told at most, the surest first.
MOST = 20
#: For what somebody may end a machine that does not go on.
_HANGS = frozenset(
    {
        "deadlock",
        "lock not released",
        "stuck I/O",
        "hung task",
        "soft lockup",
        "hard lockup",
        "RCU stall",
        "workqueue stall",
    }
)
#: Tables that show what was so at the end, and not only earlier.
_AT_THE_END = frozenset({"waits", "inflight", "works", "stacks", "locks"})
#: Somebody ends a machine for something only if that is certain.
_CERTAIN = 0.8


def weigh(case: Case, findings: list[Finding]) -> list[Finding]:
    """The findings as they stand when all are known, in the order of the verdict.

    What explains the end of the machine (`Finding.explains`) is a cause; the surest one that is likely comes first,
    then the end itself, then less likely causes, then what else is wrong, the surest first. An end that somebody asked
    for is explained by what had hung for long, and hung until then.
    """
    findings = merged(findings)
    for each in weighings():
        findings = _weighed(case, findings, each)
    findings = [of_whole_tables(case, in_time(case, finding)) for finding in findings]
    placed = sorted(rivals([_placed(case, finding) for finding in findings]), key=_order)
    if len(placed) > MOST:
        losses.lost(f"verdict: {len(placed) - MOST:,} findings that are less sure are not told")
    return placed[:MOST]


def _weighed(case: Case, findings: list[Finding], by: Weighing) -> list[Finding]:
    """As one of those that weigh leaves them; as they are where it cannot look at what it needs."""
    try:
        return by(case, findings)
    except (LogAloneError, TypesLostError):
        return findings
    except KernlabError as error:
        losses.lost(f"verdict: {by.__name__.replace('_', ' ')} could not be asked: {error}")
        return findings


def _placed(case: Case, finding: Finding) -> Finding:
    if finding.role == "end":
        return finding
    if case.end.kind in finding.explains:
        return dataclasses.replace(finding, role="cause")
    if _is_asked_for(case, finding):
        why = "Whether that is why it was ended, no dump tells."
        return dataclasses.replace(finding, role="cause", against=(*finding.against, why))
    return finding


def _is_asked_for(case: Case, finding: Finding) -> bool:
    """Would somebody have ended the machine for it?"""
    return (
        case.end.asked
        and case.has_dump
        and finding.finding in _HANGS
        and finding.confidence >= _CERTAIN
        and finding.since is not None
        and finding.since >= case.hung_after
        and any(each.table in _AT_THE_END for each in finding.evidence)
    )


def _order(finding: Finding) -> tuple[int, float]:
    likely = finding.confidence >= LIKELY
    place = {"cause": 0 if likely else 2, "end": 1, "beside": 3}[finding.role]
    return place, -finding.confidence

"""All findings in, in their order out: what the machine died of first, its consequences and the rest behind it."""

from __future__ import annotations

import dataclasses

from kernlab.errors import KernlabError, TypesLostError
from kernlab.util import losses
from kernlab.verdict.case import Case
from kernlab.verdict.case_tables import LogAloneError
from kernlab.verdict.chains import LOCKUPS
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
        "workqueue stall",
        *LOCKUPS,
    }
)
#: Tables that show what was so at the end, and not only earlier.
_AT_THE_END = frozenset({"waits", "inflight", "works", "stacks", "locks", "watchdogs"})
#: A CPU that did one thing only for so many seconds is stuck: the kernel's watchdog says so after 20.
_STUCK = 60.0
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
    stuck = _stuck(findings)
    placed = sorted(rivals([_placed(case, finding, stuck) for finding in findings]), key=_order)
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


def _stuck(findings: list[Finding]) -> float | None:
    """For how many seconds a CPU did nothing else, until the end; None where none is known to be stuck."""
    known = [
        each.since for each in findings if each.finding in LOCKUPS and each.role != "end" and _is_shown(each)
    ]
    return max((since for since in known if since is not None), default=None)


def _is_shown(finding: Finding) -> bool:
    """Do tables show it at the end, and not only the log before?"""
    return any(each.table in _AT_THE_END for each in finding.evidence)


def _placed(case: Case, finding: Finding, stuck: float | None) -> Finding:
    if case.end.outlived:
        return dataclasses.replace(finding, role="beside")
    if finding.role == "end":
        return finding
    if case.end.kind in finding.explains:
        return dataclasses.replace(finding, role="cause")
    if _is_asked_for(case, finding, stuck):
        why = "Whether that is why it was ended, no dump tells."
        return dataclasses.replace(finding, role="cause", against=(*finding.against, why))
    return finding


def _is_asked_for(case: Case, finding: Finding, stuck: float | None) -> bool:
    """Would somebody have ended the machine for it? `stuck`: for how many seconds a CPU had spun, if one did."""
    if not (case.end.asked and case.has_dump and finding.finding in _HANGS):
        return False
    if finding.confidence < _CERTAIN or not _is_shown(finding):
        return False
    spins = finding.finding in LOCKUPS or not finding.explains.isdisjoint(LOCKUPS)
    since = stuck if finding.since is None and spins else finding.since
    return since is not None and since >= (min(_STUCK, case.hung_after) if spins else case.hung_after)


def _order(finding: Finding) -> tuple[int, float]:
    likely = finding.confidence >= LIKELY
    place = {"cause": 0 if likely else 2, "end": 1, "beside": 3}[finding.role]
    return place, -finding.confidence

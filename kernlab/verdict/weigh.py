"""All findings in, in their order out: what the machine died of first, its consequences and the rest behind it."""

from __future__ import annotations

import dataclasses

from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.registry import weighings

#: A cause that is less sure than this stands behind what it would explain.
_LIKELY = 0.6


def weigh(case: Case, findings: list[Finding]) -> list[Finding]:
    """The findings as they stand when all are known, in the order of the verdict.

    What explains the end of the machine (`Finding.explains`) is a cause; the surest one that is likely comes first,
    then the end itself, then less likely causes, then what else is wrong, the surest first.
    """
    for each in weighings():
        findings = each(case, findings)
    placed = [_placed(case, finding) for finding in findings]
    return sorted(placed, key=_order)


def _placed(case: Case, finding: Finding) -> Finding:
    if finding.role == "end" or case.end.kind not in finding.explains:
        return finding
    return dataclasses.replace(finding, role="cause")


def _order(finding: Finding) -> tuple[int, float]:
    likely = finding.confidence >= _LIKELY
    place = {"cause": 0 if likely else 2, "end": 1, "beside": 3}[finding.role]
    return place, -finding.confidence

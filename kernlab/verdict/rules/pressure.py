"""What tasks stood still for in the last minutes, as the kernel itself measured it (kernel/sched/psi.c)."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.linux.swap import has_swap
from kernlab.util.text import human_bytes
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import weighing

#: All tasks at once stood still for this part of the last 10 and 60 seconds, or of the last 300: a machine that is
#: well does not come near it. Percent.
_LIMITS = {"memory": ("memory pressure", 25.0, 10.0, 15.0), "io": ("I/O pressure", 50.0, 25.0, 25.0)}
_CELL = "dump.pressure[(dump.pressure.path == '/') & (dump.pressure.kind == 'full')]"
#: What tells of slow disks better than their slowness.
_DISKS = frozenset({"stuck I/O", "I/O error", "hung task", "lock not released", "deadlock"})
#: Swap of which less is left is full.
_LEFT = 0.02
#: Where this part of memory is to be had, the machine is not short of it.
_PLENTY = 0.25
#: What may be so on a machine that is well is a hint.
_HINT = 0.45


@weighing
def under_pressure(case: Case, findings: list[Finding]) -> list[Finding]:
    """That all stood still for want of memory bears out who took it; where nobody did, it is told beside."""
    if not case.has_dump:
        return findings
    try:
        told = dict(_measured(case))
        swap = _full_swap(case)
    except KernlabError as error:
        case.kernel.lost(f"verdict: under what pressure the machine was could not be asked: {error}")
        return findings
    ran_out = case.end.kind == "OOM"
    result = []
    for each in findings:
        if ran_out and "OOM" in each.explains and each.confidence >= 0.5:
            for evidence in (told.get("memory"), swap):
                each = each if evidence is None else each.confirmed(evidence, 0.0)
        result.append(each)
    if ran_out:
        return result
    for resource, evidence in told.items():
        finding = _LIMITS[resource][0]
        if resource == "io" and any(each.finding in _DISKS for each in findings):
            continue
        more = (swap,) if swap is not None and resource == "memory" else ()
        against = _harmless(case, resource)
        confidence = _HINT if against else 0.9
        result.append(
            Finding(finding, "the whole machine", confidence, (evidence, *more), _CELL, against=against)
        )
    return result


def _harmless(case: Case, resource: str) -> tuple[str, ...]:
    """Why all may have waited on a machine that is well."""
    if resource == "io":
        return ("Where one program does nothing but read or write, such as a backup, that is always so.",)
    try:
        total, available = (case.meminfo.get(name) for name in ("MemTotal", "MemAvailable"))
    except KernlabError:
        return ()
    if pd.isna(total) or pd.isna(available) or available < _PLENTY * total:
        return ()
    return (
        f"{human_bytes(int(available))} of {human_bytes(int(total))} were to be had: it may be the limit of a cgroup.",
    )


def _measured(case: Case) -> Iterator[tuple[str, Evidence]]:
    table = case.pressure
    own = table[(table["path"] == "/") & (table["kind"] == "full")]
    for row in own.index:
        resource = str(own["resource"][row])
        if resource not in _LIMITS:
            continue
        _, ten, sixty, long = _LIMITS[resource]
        short = own["avg10"][row] >= ten and own["avg60"][row] >= sixty
        if not short and not own["avg300"][row] >= long:
            continue
        what = "memory" if resource == "memory" else "disks"
        parts = [f"{own[f'avg{span}'][row]:.0f}% of the last {span} s" for span in (10, 60, 300)]
        yield (
            resource,
            Evidence("pressure", f"all tasks at once waited for {what} for {', '.join(parts)}", (int(row),)),
        )


def _full_swap(case: Case) -> Evidence | None:
    """Swap of which nothing is left (mm/swapfile.c, nr_swap_pages); None where some is, or there is none."""
    if not has_swap(case.kernel):
        return None
    table = case.swap
    size, used = (
        int(table[name].astype("float64").fillna(0.0).sum()) for name in ("size_bytes", "used_bytes")
    )
    if not size or size - used > _LEFT * size:
        return None
    rows = tuple(int(row) for row in table.index[:32])
    return Evidence("swap", f"swap is full: {human_bytes(used)} of {human_bytes(size)} are used", rows)

"""Memory that the kernel never gave back, where the machine ended before it ran out: only what is unmistakable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pandas as pd

from kernlab.util.text import human_bytes, percent
from kernlab.verdict.allocators import allocated_at
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.holders import Holder
from kernlab.verdict.kernel_holders import kinds, slabs, vmalloc_areas
from kernlab.verdict.registry import rule

#: Of these counters of /proc/meminfo, the part of memory that no machine uses that is well, and who may hold it.
_LIMITS: tuple[tuple[str, float, Callable[[Case], Iterable[Holder]], str], ...] = (
    ("SUnreclaim", 0.5, slabs, "slab"),
    ("VmallocUsed", 0.5, vmalloc_areas, "vmalloc"),
    ("Percpu", 0.3, kinds, "percpu"),
    ("PageTables", 0.5, kinds, "page tables"),
    ("KernelStack", 0.3, kinds, "stack"),
)
#: One holder has at least this part of what is counted.
_MOSTLY = 0.6
#: Where more than this part of memory is to be had, all of it may be as somebody wants it.
_AVAILABLE = 0.25
#: Tasks that waited for memory for this part of a minute or of five had too little. Percent.
_WAITED = 5.0
#: Counters that grow with the number of processes and threads.
_OF_PROCESSES = frozenset({"PageTables", "KernelStack"})


@rule
def unmistakable_leak(case: Case) -> Iterator[Finding]:
    """One holder in the kernel that has most of memory, with hardly any left for others, has a leak."""
    if case.end.kind == "OOM":
        return
    counted = case.meminfo
    total, available = _number(counted, "MemTotal"), _number(counted, "MemAvailable")
    if not total or available is None or available > _AVAILABLE * total:
        return
    for name, limit, holders, asks in _LIMITS:
        size = _number(counted, name)
        if size is None or size < limit * total:
            continue
        held = max(
            (one for one in holders(case) if one.asks == asks), key=lambda one: one.bytes, default=None
        )
        if held is None or held.bytes < _MOSTLY * size:
            continue
        left = f"{human_bytes(available)} of {human_bytes(total)} are left for all else, {percent(available / total)}"
        evidence = [*held.evidence, Evidence("meminfo", left, ("MemAvailable", name))]
        function, module = held.function, held.module
        if (place := allocated_at(case, held)) is not None:
            evidence.append(place.evidence)
            function, module = place.function, place.module or module
        felt = _felt(case)
        doubts = [
            "A dump shows how much it is, and not whether it grew.",
            "The machine did not run out of memory.",
        ]
        if not felt:
            doubts.append("Nothing had to wait for memory: it may be given back when somebody needs it.")
        yield Finding(
            # Of processes and threads there may be that many.
            held.finding if name in _OF_PROCESSES else "memory leak",
            held.subject,
            0.75 if felt else 0.45,
            tuple(evidence),
            held.cell,
            module=module,
            function=function,
            against=(*held.against, *doubts),
        )


def _felt(case: Case) -> bool:
    """Was there too little memory: did the OOM killer have to kill, or tasks wait (kernel/sched/psi.c)?

    What a cache keeps without the kernel's counting it so, such as that of ZFS, is given back before that. A cgroup
    that reached its limit says nothing of the machine's memory.
    """
    kills = case.reports.loc[case.reports["kind"] == "OOM", "details"]
    if any(details.get("cgroup") is False for details in kills):
        return True
    table = case.pressure
    own = table[(table["path"] == "/") & (table["resource"] == "memory") & (table["kind"] == "some")]
    return bool((own[["avg60", "avg300"]].astype("float64") >= _WAITED).any(axis=None))


def _number(counted: pd.Series, name: str) -> int | None:
    value = counted.get(name)
    return None if value is None or pd.isna(value) else int(value)

"""Memory that ran out: who took it. An OOM panic is the consequence; who holds the memory is the cause."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls, show_short
from kernlab.util.text import human_bytes
from kernlab.verdict.allocators import allocated_at
from kernlab.verdict.askers import Asker, asked_for_cache, asker
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.holders import Holder, files, processes
from kernlab.verdict.kernel_holders import huge_pages, kinds, slabs, socket_memory, vmalloc_areas
from kernlab.verdict.logged_holders import by_class, logged_holders, managed
from kernlab.verdict.oom_report import OomReport
from kernlab.verdict.oom_shortage import shortage
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import label_of, pid_of

#: Whoever holds less than this part of memory did not use it up; of what is usual nothing counts, and what is unusual
#: counts twice: that processes have much is what memory is for.
_LEAST, _UNUSUAL = 0.1, 2.0
#: Who holds this part of memory or more is meant, where nobody else holds as much.
_CERTAIN = 0.4
#: Of two for which nearly as much speaks, neither is accused: the larger may have been so for ever.
_CLEARLY = 1.5
#: Holders that are told at most; those behind the first are hints.
_MOST, _HINT = 4, 0.45
#: A process for which this part of what speaks for the first one speaks is told beside it.
_BESIDE = 0.5
#: What page structs say of the size of memory, by what the kernel itself said.
_TOO_MUCH = 1.33
#: How sure it is who took it where nothing but the last one that asked tells.
_INFERRED = {"uncounted": 0.85}
#: Who holds much and asked for more of it when there was none is the likelier to have grown.
_ASKED = 1.5
#: Who may hold memory, by the tables that tell of it.
_SOURCES: tuple[tuple[str, Callable[[Case], Iterable[Holder]]], ...] = (
    ("processes", processes),
    ("files in memory", files),
    ("slab caches", slabs),
    ("vmalloc areas", vmalloc_areas),
    ("pages of other kinds", kinds),
    ("huge pages", huge_pages),
    ("sockets", socket_memory),
)
#: What the OOM killer counts, in words, and by how much more it must be to contradict.
_CLASSES = {
    "anonymous": "of anonymous memory",
    "shmem": "of files in memory and shared memory",
    "slab": "in slab caches that nothing shrinks",
    "page tables": "of page tables",
    "uncounted": "that is in none of its counters (vmalloc, per-CPU memory, pages of drivers)",
}
_MORE = 1.3
_ENOUGH = (
    "By the report's own numbers memory was free: something that it does not say kept it from being used."
)
#: What nobody notes who asks for: who asks at the end is taken for who asked before.
_UNNOTED = frozenset({"percpu", "large kmalloc", "uncounted"})
#: What the report does not count.
_UNCOUNTED = frozenset({"vmalloc", "percpu"})


@dataclasses.dataclass(frozen=True, slots=True)
class _Weighed:
    """A holder, and how much speaks for it, in bytes. `inferred`: only who asked last tells who it is."""

    holder: Holder
    weight: float
    inferred: bool = False


@rule
def took_the_memory(case: Case) -> Iterator[Finding]:
    """Where memory ran out, whoever holds by far the most of what cannot be taken back used it up."""
    report, oom = case.end.report, case.oom
    if report is None or oom is None or (lack := shortage(oom)).kind != "memory":
        return
    first, last = int(report["offset"]), int(report["end"])
    label = int(case.log.index[first])
    found = _by_tables(case, report, oom, label) if case.has_dump else []
    if all(each.confidence < 0.5 for each in found):
        # Also a dump that lacks pages may have all of its log.
        holders = logged_holders(oom, label, f"dump.log.iloc[{first}:{last}]")
        told = [each for each, _ in _ranked(case, holders, report, managed(oom))]
        if any(each.confidence >= 0.5 for each in told) or not found:
            found = told
    for each in found:
        yield each if lack.sure else each.doubted(_ENOUGH, 0.5)


def _by_tables(case: Case, report: pd.Series[Any], oom: OomReport, label: int) -> list[Finding]:
    """Who took the memory by the tables of a dump, held against what the OOM killer counted."""
    holders, missing = list[Holder](), list[str]()
    for what, source in _SOURCES:
        try:
            holders += source(case)
        except KernlabError as error:
            missing.append(show_short(f"What {what} hold could not be looked at: {error}", 300))
    whole = managed(oom)
    try:
        if whole and case.memory.managed > _TOO_MUCH * whole:
            # Page structs that make more memory than the kernel itself said there is are damaged.
            holders = [each for each in holders if each.evidence[0].table != "memory"]
        else:
            # Page structs that are not in the dump are not counted, but are memory all the same.
            whole = max(whole, case.memory.managed)
    except KernlabError as error:
        missing.append(show_short(f"How much memory there is could not be looked at: {error}", 300))
    counted = by_class(oom)
    result = []
    for found, holder in _ranked(case, holders, report, whole):
        found = _compared(found, holder, counted, label)
        for why in missing:
            found = found.doubted(why, 0.5)
        result.append(found)
    return result


def _ranked(
    case: Case, holders: Iterable[Holder], report: pd.Series[Any], whole: int
) -> list[tuple[Finding, Holder]]:
    """Holders that count, for which most speaks first; the others are hints."""
    if not whole:
        return []
    held = sorted((_weighed(case, each, report, whole) for each in holders), key=lambda each: -each.weight)
    result = []
    for place, each in enumerate(held[:_MOST]):
        if each.weight <= 0 or each.weight < _LEAST * whole:
            break
        # A process that has less than another is innocent; what the kernel has beyond what is usual is a hint.
        if place and each.holder.usual is None and each.weight < _BESIDE * held[0].weight:
            continue
        rival = next((one for one in held if one is not each), None)
        confidence = _confidence(each, rival, whole)
        if place:
            confidence = min(max(confidence, each.weight / whole), _HINT)
        told = Finding(
            each.holder.finding,
            each.holder.subject,
            confidence,
            each.holder.evidence,
            each.holder.cell,
            pid=each.holder.pid,
            module=each.holder.module,
            function=each.holder.function,
            against=(*each.holder.against, *_against(each, rival)),
            explains=frozenset({"OOM"}),
        )
        result.append((told, each.holder))
    return result


def _compared(found: Finding, holder: Holder, counted: dict[str, int], label: int) -> Finding:
    """A finding by tables, held against what the OOM killer itself counted at the time."""
    own = holder.asks if holder.asks in counted else "uncounted"
    # What sockets hold lies in slab caches and in pages that nobody counts.
    if own not in counted or holder.asks == "network":
        return found
    said = f"the OOM killer counted {human_bytes(counted[own])} {_CLASSES[own]}"
    if holder.bytes > _MORE * counted[own]:
        return found.doubted(f"{said[0].upper()}{said[1:]}, which is less.", 0.5)
    most = max(counted, key=lambda one: counted[one])
    if counted[most] > _MORE * max(counted[own], holder.bytes):
        more = f"{human_bytes(counted[most])} {_CLASSES[most]}"
        return found.doubted(f"The OOM killer counted more that is something else: {more}.", 0.5)
    return dataclasses.replace(found, evidence=(*found.evidence, Evidence("log", said, (label,))))


def _confidence(each: _Weighed, rival: _Weighed | None, whole: int) -> float:
    """Alone it is certain; beside one for which as much speaks it is one of two."""
    share = min(each.holder.bytes / whole / _CERTAIN, 1.0)
    other = max(rival.weight, 0.0) if rival is not None else 0.0
    sure = _INFERRED.get(each.holder.asks, 0.92) if each.inferred else 0.97
    confidence = sure * share * each.weight**2 / (each.weight**2 + other**2)
    return confidence if each.weight >= _CLEARLY * other else min(confidence, _HINT)


def _against(each: _Weighed, rival: _Weighed | None) -> Iterator[str]:
    if rival is None or rival.weight <= 0.5 * each.weight:
        return
    mine, other = each.holder.bytes, rival.holder.bytes
    size = human_bytes(other)
    if other > mine:
        yield f"{rival.holder.subject}: {size}, which is more."
    elif other > 0.5 * mine:
        yield f"{rival.holder.subject}: {size}, which is nearly as much."
    else:
        yield f"{rival.holder.subject}: {size}, which is more than usual."


def _weighed(case: Case, holder: Holder, report: pd.Series[Any], whole: int) -> _Weighed:
    """How much speaks for a holder, and who asked for its memory, as far as dump or log tell."""
    weight = float(holder.bytes)
    if holder.usual is not None:
        weight = _UNUSUAL * max(weight - holder.usual * whole, 0.0)
    if weight < _LEAST * whole:
        return _Weighed(holder, weight)
    if case.has_dump and (counted := allocated_at(case, holder)) is not None:
        found = dataclasses.replace(
            _more(holder, counted.evidence),
            function=counted.function,
            module=counted.module or holder.module,
            cell=counted.cell or holder.cell,
        )
        return _Weighed(found, weight * _ASKED)
    asked = asker(report["frames"])
    pid = pid_of(report)
    label = (label_of(case, report),)
    uncounted = holder.asks == "uncounted" and asked.asks in _UNCOUNTED and asked.module is not None
    if not uncounted and (not holder.asks or asked.asks != holder.asks):
        return _Weighed(holder, weight)
    if holder.asks == "anonymous":
        if _process(case, pid) not in holder.pids:
            return _Weighed(holder, weight)
        who = "it" if holder.pid is not None else f"one of them, {show_controls(str(report['comm']))},"
        said = f"{who} asked for more when there was none"
        return _Weighed(_more(holder, Evidence("log", said, label)), weight * _ASKED)
    if asked.function is None:
        return _Weighed(holder, weight)
    what = f"memory of vmalloc or per-CPU memory ({asked.asks})" if uncounted else "more of it"
    said = f"when there was none left, {asked.name} asked for {what}"
    found = _more(holder, Evidence("log", show_controls(said), label))
    named = _named(case, found, asked, pid)
    inferred = named.function is not None and holder.function is None
    return _Weighed(named, weight * _ASKED, inferred)


def _named(case: Case, holder: Holder, asked: Asker, pid: int | None) -> Holder:
    """A holder with the function that asked for its memory, where that is known."""
    if holder.cache:
        if pid is None or not case.has_dump or not asked_for_cache(case, pid, holder.cache):
            return holder
        rows = case.stack_of(pid)
        said = f"what it asked for is an object of {holder.subject}: the cache's address lies in its stack"
        holder = _more(holder, Evidence("stacks", said, tuple(int(row) for row in rows.index[:100])))
    elif holder.asks not in _UNNOTED:
        return holder
    doubt = f"Nothing notes who took it all: {asked.name} is who asked for more when there was none left."
    module = asked.module or holder.module
    return dataclasses.replace(
        holder, function=asked.function, module=module, against=(*holder.against, show_controls(doubt))
    )


def _more(holder: Holder, evidence: Evidence) -> Holder:
    return dataclasses.replace(holder, evidence=(*holder.evidence, evidence))


def _process(case: Case, pid: int | None) -> int | None:
    """The process that a thread is of."""
    if not case.has_dump:
        return pid
    own = case.tasks.loc[case.tasks["pid"] == pid, "tgid"]
    return int(own.iloc[0]) if len(own) and not pd.isna(own.iloc[0]) else pid

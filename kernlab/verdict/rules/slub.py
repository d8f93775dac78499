"""What SLUB finds wrong with objects: written to behind their end, used after they were freed, freed twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import normal
from kernlab.verdict.case import Blamed, Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.leads import why_it_leads
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import label_of
from kernlab.verdict.trap import FREES, KFREES, pointed_at, registers_of, who_asked, who_did_it

#: What SLUB says of an object, and what that is (mm/slub.c: check_object, check_bytes_and_report,
#: free_consistency_checks, on_freelist, list_slab_objects).
_SAYS = (
    (r"Redzone overwritten|Left Redzone|Right Redzone|Padding overwritten|Object padding|Alignment padding",
     "out of bounds"),
    (r"Poison overwritten|Object poison overwritten", "use after free"),
    (r"Object already free|Double free|already freed", "double free"),
    (r"Invalid object pointer|Attempt to free object|page slab pointer corrupt", "invalid free"),
)  # fmt: skip
_BUG = re.compile(
    r"BUG (?P<cache>\S.{0,80}?) \([^)]*\): (?P<what>.*)|(?:INFO: )?\[(?P<zone>[^\]]* overwritten)\]"
)
#: mm/slub.c, print_track; before 5.18 with "Allocated in foo age=… cpu=… pid=…", too.
_TRACK = re.compile(
    r"(?:INFO: )?(?P<did>Allocated|Freed) (?:in|by) (?P<where>.*?)(?: age=(?P<age>\d+))?(?: cpu=\d+)? pid=(?P<pid>\d+)"
)
#: Reports that are told at most, the last before the end.
_MOST = 20
#: The line of the redzone stands above that of the report since 6.12.
_ABOVE = 3


@rule
def slub_reports(case: Case) -> Iterator[Finding]:
    """SLUB's own checks name an object that was written to where it ends, or after it was freed."""
    reports = case.reports
    kinds = ("memory corruption", "out of bounds", "use after free", "invalid free")
    for _, report in reports[reports["kind"].isin(kinds)].tail(_MOST).iterrows():
        lines = dict(case.lines(max(int(report["offset"]) - _ABOVE, 0), int(report["end"])))
        bugs = [(label, found) for label, line in lines.items() if (found := _BUG.match(line))]
        cache = next((found["cache"] for _, found in bugs if found["cache"]), None)
        if cache is None:
            continue
        words = " ".join(str(found["what"] or found["zone"]) for _, found in bugs)
        finding = next((name for pattern, name in _SAYS if re.search(pattern, words)), "memory corruption")
        evidence = [Evidence("log", show_controls(lines[label].strip()), (label,)) for label, _ in bugs[:3]]
        tracks = [(label, found) for label, line in lines.items() if (found := _TRACK.match(line))]
        for label, found in tracks[:2]:
            said = f"{found['did'].lower()} by {found['where']}, pid {found['pid']}"
            evidence.append(Evidence("log", show_controls(said), (label,)))
        leads = why_it_leads(case, report)
        if leads:
            evidence.append(Evidence("log", leads, _label(case, case.end.report)))
        told = _who(case, report, leads is not None)
        against = ["Who wrote there is not known: it was found when the object was freed or given out."]
        if finding in ("double free", "invalid free"):
            against = []
        if leads is None and case.end.report is not None:
            against.append("Nothing shows that the end has to do with it.")
        yield Finding(
            finding,
            show_short(cache),
            0.92,
            tuple(evidence),
            f"dump.slab_objects({cache!r}, stacks=True)"
            if case.has_dump
            else f"dump.log.loc[{min(lines)}:{max(lines)}]",
            pid=_pid(case, report, leads is not None),
            module=told.module,
            function=told.function,
            against=tuple(against),
            explains=frozenset({case.end.kind}) if leads is not None else frozenset(),
            since=case.before_end(report["timestamp"]),
        )


def _who(case: Case, report: pd.Series[Any], led: bool) -> Blamed:
    """Who freed or asked for the object, by the report's stack, else by that of the end where it led there."""
    told = who_asked(report)
    return (
        who_asked(case.end.report) if told.function is None and led and case.end.report is not None else told
    )


def _pid(case: Case, report: pd.Series[Any], led: bool) -> int | None:
    for source in (report, case.end.report if led else None):
        if source is not None and not pd.isna(source["pid"]):
            return who_did_it(case, source)
    return None


@rule
def freed_twice(case: Case) -> Iterator[Finding]:
    """SLUB's BUG() where it frees is its check that an object is not the first free one already: it was freed twice."""
    # mm/slub.c, set_freepointer: BUG_ON(object == fp), "naive detection of double free or corruption".
    report = case.end.report
    if report is None or report["kind"] != "BUG":
        return
    line = next(
        (
            label
            for label, text in case.lines(int(report["offset"]), int(report["end"]))
            if text.startswith("kernel BUG at mm/slub.c:")
        ),
        None,
    )
    at = frame_of(str(report["details"].get("at", "")))
    if line is None or at is None:
        return
    frees, kfrees = bool(FREES.match(normal(at.name))), bool(KFREES.match(normal(at.name)))
    if not frees and not kfrees:
        return
    # kfree() has BUG() for a pointer that is no slab's, too (before 5.17).
    what = "was the first free object" if frees else "was no object that is in use"
    evidence = [Evidence("log", f"SLUB found it in {at.name}: what it was to free {what}", (line,))]
    freed = _free_object(case, report)
    subject, cell = "a slab object", f"dump.log.loc[{line}:]"
    if freed is not None:
        address, subject = freed
        cell = f"dump.owner({address:#x})"
        said = f"the object of {subject} at {address:#x} was free already"
        evidence.append(Evidence("owner", show_controls(said)))
    told = _who(case, report, True)
    sure = freed is not None or frees
    yield Finding(
        "double free" if sure else "invalid free",
        show_short(subject),
        0.95 if freed is not None else 0.85,
        tuple(evidence),
        cell,
        pid=who_did_it(case, report),
        module=told.module,
        function=told.function,
        against=("Who freed it first is not known.",)
        if freed is not None
        else ("A list of free objects that something wrote into looks the same.",),
        explains=frozenset({"BUG"}),
        since=case.before_end(report["timestamp"]),
    )


def _free_object(case: Case, report: pd.Series[Any]) -> tuple[int, str] | None:
    """The free slab object that registers point to the beginning of, and its cache, where it is one and no more."""
    registers = registers_of(case, report)
    table = pointed_at(case, registers)
    own = table[
        (table["kind"] == "slab object")
        & (table["offset"] == 0)
        & ~table["allocated"].fillna(True).astype(bool)
    ]
    found = {(registers[str(name)], str(cache)) for name, cache in own["name"].items()}
    return found.pop() if len(found) == 1 else None


def _label(case: Case, report: pd.Series[Any] | None) -> tuple[int, ...]:
    return () if report is None else (label_of(case, report),)

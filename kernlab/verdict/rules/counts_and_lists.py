"""Lists and reference counts that do not hold together: what the kernel's check says, and whose object it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import label_of, lines_cell, text_or_none
from kernlab.verdict.trap import pointed_at, who_did_it

#: lib/list_debug.c: what is wrong with which entry; "(prev=…)", "(next=…)" name its neighbours since 4.12.
_LIST = re.compile(r"list_(?P<did>add|del)(?:_valid)? (?:corruption|double add)")
_ENTRY = re.compile(r"(?P<what>list_del corruption, |should be |new=|\bprev=|\bnext=)(?P<at>[0-9a-f]{16})\b")
_TAKEN_OFF = re.compile(r".*->(?:next|prev) is LIST_POISON")
_TWICE = re.compile(r"list_add double add")
#: lib/refcount.c, refcount_warn_saturate.
_COUNT = re.compile(r"refcount_t: (?P<said>[^\n]{1,120})")
_COUNTS = {
    "addition on 0; use-after-free": "somebody took a reference to an object that nobody had any more",
    "underflow; use-after-free": "more references were given back than taken",
    "decrement hit 0; leaking memory": "the last reference was given back where nobody frees the object",
    "saturated; leaking memory": "the count overflowed: it will never be freed",
}
#: What the check says may stand above the line that the report begins with.
_ABOVE = 4


@rule
def damaged_list(case: Case) -> Iterator[Finding]:
    """What a check of a list says, and the objects that its entries lie in: one that is free was freed on its list."""
    report = case.end.report
    if report is None or report["kind"] != "list corruption":
        return
    line = _said(case, report, _LIST)
    if line is None:
        return
    label, text = line
    evidence = [Evidence("log", show_short(text.strip(), 300), (label,))]
    if _TAKEN_OFF.match(text):
        evidence.append(
            Evidence("log", "the entry had been taken off its list already (LIST_POISON)", (label,))
        )
    if _TWICE.match(text):
        evidence.append(Evidence("log", "the entry was on that list already", (label,)))
    entries = {found["what"].strip(" ,="): int(found["at"], 16) for found in _ENTRY.finditer(text)}
    table = pointed_at(case, entries)
    objects = table[table["kind"] == "slab object"]
    for what, row in objects.iterrows():
        free = row["allocated"] is not pd.NA and not row["allocated"]
        said = (
            f"the entry at {entries[str(what)]:#x} is {int(row['offset']):,} bytes into an object of {row['name']}, "
            f"{'free' if free else 'in use'}"
        )
        if said not in [one.says for one in evidence]:
            evidence.append(Evidence("owner", show_controls(said)))
    common: dict[str, Any] = {
        "pid": who_did_it(case, report),
        "module": text_or_none(report["module"]),
        "function": text_or_none(report["function"]),
        "since": case.before_end(report["timestamp"]),
    }
    addresses = ", ".join(f"{value:#x}" for value in entries.values())
    cell = f"dump.owner([{addresses}])" if case.has_dump and entries else f"dump.log.loc[{label}:]"
    yield Finding(
        "list corruption",
        "",
        0.97,
        (Evidence("log", "", (label_of(case, report),)), *evidence),
        cell,
        against=("Who damaged the list is not known: this function only met it.",),
        explains=frozenset({case.end.kind}),
        **common,
    )
    # A neighbour in the list points here: it is on the list, and it is free.
    neighbours = objects[objects.index.isin(["prev", "next"])]
    gone = neighbours[~neighbours["allocated"].fillna(True).astype(bool)]
    for _, row in gone.head(1).iterrows():
        yield Finding(
            "use after free",
            show_short(str(row["name"])),
            0.85,
            tuple(evidence),
            cell,
            against=("Who freed it, and too early, is not known.",),
            explains=frozenset({case.end.kind}),
            **common,
        )


@rule
def damaged_count(case: Case) -> Iterator[Finding]:
    """What the check of a reference count says is what went wrong with it."""
    report = case.end.report
    if report is None or report["kind"] != "refcount":
        return
    line = _said(case, report, _COUNT)
    if line is None:
        return
    label, text = line
    found = _COUNT.search(text)
    words = found["said"].strip().rstrip(".") if found is not None else ""
    evidence = [
        Evidence("log", "", (label_of(case, report),)),
        Evidence("log", show_controls(text.strip()), (label,)),
    ]
    if words in _COUNTS:
        evidence.append(Evidence("log", _COUNTS[words], (label,)))
    yield Finding(
        "refcount",
        "",
        0.97,
        tuple(evidence),
        lines_cell(report),
        pid=who_did_it(case, report),
        module=text_or_none(report["module"]),
        function=text_or_none(report["function"]),
        against=("Who took or gave back one reference too many before is not known.",),
        explains=frozenset({case.end.kind}),
        since=case.before_end(report["timestamp"]),
    )


def _said(case: Case, report: pd.Series[Any], pattern: re.Pattern[str]) -> tuple[int, str] | None:
    """The line of a check, in the report or just above it."""
    first = max(int(report["offset"]) - _ABOVE, 0)
    for label, record in case.lines(first, int(report["end"])):
        for line in record.splitlines():
            if pattern.match(line):
                return label, line
    return None

"""What lies behind a trap: memory that was freed, a list's entry that was removed. The instruction only met it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.verdict.case import Case
from kernlab.verdict.ending import TRAPS
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule, weighing
from kernlab.verdict.reported import label_of, lines_cell, text_or_none
from kernlab.verdict.trap import (
    LIST_POISON,
    NEAR,
    PAGE_POISON,
    POISON_INUSE,
    is_allocator,
    pointed_at,
    registers_of,
    who_asked,
    who_did_it,
    words_of,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Poison:
    """What the kernel writes where nobody may look any more (include/linux/poison.h).

    `sure` is how sure it is that an access near it is what `finding` says; `against` why it may be something else.
    """

    value: int
    finding: str
    says: str
    sure: float
    against: str = ""


#: LIST_POISON1 and LIST_POISON2, as list_del() writes them; what lies further behind them may be another poison.
_ENTRIES = frozenset({LIST_POISON, LIST_POISON + 0x22})
_OF_A_LIST = 0x1FF
_LIST = "what list_del() leaves in an entry that it takes off a list (LIST_POISON)"
_POISONS = (
    Poison(
        0x6B6B6B6B6B6B6B6B,
        "use after free",
        "what SLUB writes into objects that are freed (POISON_FREE)",
        0.93,
    ),
    Poison(LIST_POISON, "list corruption", _LIST, 0.93),
    Poison(POISON_INUSE, "uninitialised value", "what SLUB writes into new objects (POISON_INUSE)", 0.9),
    Poison(
        PAGE_POISON,
        "use after free",
        "what is written into pages that are freed (PAGE_POISON)",
        0.45,
        "Compilers write the same into local variables that nobody has set.",
    ),
)


@rule
def poisoned(case: Case) -> Iterator[Finding]:
    """A trap on an address that is the kernel's own poison used memory that was freed, or an entry taken off a list."""
    report = case.end.report
    if report is None or case.end.kind not in TRAPS:
        return
    address = report["details"].get("address")
    registers = registers_of(case, report)
    # Until 5.4 a general protection fault did not tell its address: it is the one that no processor could map.
    wild = {name: value for name, value in registers.items() if _is_wild(value)}
    for poison in _POISONS:
        met = {name: value for name, value in registers.items() if abs(value - poison.value) < NEAR}
        told = isinstance(address, int) and abs(address - poison.value) < NEAR
        untold = case.end.kind == "general protection" and not isinstance(address, int)
        if not told and not (untold and met and met.keys() == wild.keys()):
            continue
        names = [f"{name} is {value:#x}" for name, value in met.items()]
        if told:
            names.insert(0, f"the address is {address:#x}")
        cache, evidence = _freed(case, registers, poison)
        pid = who_did_it(case, report)
        against = ["Who freed it, and too early, is not known: this function only met it."]
        if poison.finding == "list corruption":
            against = ["Who took the entry off its list is not known: this function only met it."]
        if poison.finding == "uninitialised value":
            against = []
        if poison.against:
            against.append(poison.against)
        yield Finding(
            poison.finding,
            show_short(cache) if cache else _who(report, pid),
            min(_as_set_up(case, poison, registers, address), 0.93 if told else 0.9),
            (
                Evidence("log", f"{', '.join(names)}: {poison.says}", (label_of(case, report),)),
                *evidence,
            ),
            f"dump.registers[dump.registers.cpu == {int(report['cpu'])}]"
            if case.has_dump and not pd.isna(report["cpu"])
            else lines_cell(report),
            pid=pid,
            module=text_or_none(report["module"]),
            function=text_or_none(report["function"]),
            against=tuple(against),
            explains=TRAPS,
            since=case.before_end(report["timestamp"]),
        )


def _as_set_up(case: Case, poison: Poison, registers: dict[str, int], address: object) -> float:
    """How sure a poison is on this machine: what it writes only where it was told to may else be data."""
    if poison.value == LIST_POISON and isinstance(address, int) and address - LIST_POISON > _OF_A_LIST:
        # Other poisons lie near: of tails of pages, of timers, of mutexes.
        return poison.sure if not _ENTRIES.isdisjoint(registers.values()) else 0.45
    if poison.value == PAGE_POISON:
        return 0.85 if _was_asked_for(case, r"\bpage_poison=(?:1|on|y)") else poison.sure
    if poison.value == POISON_INUSE:
        # "ZZZZZZZZ" is what testers of disks and memory write, too.
        return poison.sure if _was_asked_for(case, r"\bsl[au]b_debug\b") else 0.45
    return poison.sure


def _was_asked_for(case: Case, option: str) -> bool:
    """Does the kernel's command line have an option? Of a log alone, as it begins with it."""
    if case.has_dump and not pd.isna(case.info["cmdline"]):
        return re.search(option, str(case.info["cmdline"])) is not None
    boot = case.log["text"].iloc[:400].fillna("")
    return bool(boot.str.contains(f"command line: .*{option}", case=False).any())


def _is_wild(value: int) -> bool:
    """Is it an address of neither half of any address space, 57 bits wide or less?"""
    return not (value < 1 << 56 or value >= (1 << 64) - (1 << 56))


def _freed(case: Case, registers: dict[str, int], poison: Poison) -> tuple[str | None, list[Evidence]]:
    """Free slab objects full of the poison that registers point into, and the cache where all are of one."""
    table = pointed_at(case, registers)
    free = table[(table["kind"] == "slab object") & ~table["allocated"].fillna(True).astype(bool)]
    caches, evidence = set(), []
    for name, row in free.iterrows():
        if poison.value not in words_of(case, int(row["start"]), int(row["size_bytes"])).values():
            continue
        caches.add(str(row["name"]))
        said = f"{name} points {int(row['offset'])} bytes into an object of {row['name']} that is free"
        evidence.append(Evidence("owner", show_controls(said)))
    return caches.pop() if len(caches) == 1 else None, evidence[:3]


@weighing
def one_row_for_one_report(case: Case, findings: list[Finding]) -> list[Finding]:
    """A cause that is the end itself, told by the same line of the log in more detail, and the end are one row."""
    end = next((each for each in findings if each.role == "end"), None)
    if end is None or not end.evidence or not end.evidence[0].rows:
        return findings
    line = end.evidence[0].rows[0]
    same = [
        each
        for each in findings
        if each is not end
        and each.finding == end.finding
        and each.explains
        and any(one.table == "log" and line in one.rows for one in each.evidence)
    ]
    whole = end
    if case.end.report is not None and end.function is not None and is_allocator(end.function):
        # The allocator found it on behalf of whoever asked for the object, or gave it back.
        asked = who_asked(case.end.report)
        whole = dataclasses.replace(end, module=asked.module, function=asked.function or end.function)
    for each in same:
        known = {one.says for one in whole.evidence}
        more = [one for one in each.evidence if one.says and one.says not in known]
        if each.subject and each.subject != end.subject:
            more.append(Evidence("log", f"{end.subject} met it", (line,)))
        whole = dataclasses.replace(
            whole,
            subject=each.subject or whole.subject,
            confidence=max(whole.confidence, each.confidence),
            evidence=(*whole.evidence, *more),
            cell=each.cell,
            pid=None if whole.pid is None else each.pid,
            module=each.module or whole.module if each.function else whole.module,
            function=each.function or whole.function,
            against=(*whole.against, *(one for one in each.against if one not in whole.against)),
        )
    rest = [whole if each is end else each for each in findings if each not in same]
    # Rules that leave the subject to the end speak of whoever met it.
    return [each if each.subject else dataclasses.replace(each, subject=end.subject) for each in rest]


def _who(report: pd.Series[Any], pid: int | None) -> str:
    comm = text_or_none(report["comm"])
    if comm is None or pid is None:
        return show_controls(str(report["title"]))
    return show_controls(say_thread(comm, pid))

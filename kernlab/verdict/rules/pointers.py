"""Where a bad pointer stood: the object that holds it, the area of memory that it ran out of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.slab_caches import caches_by_name, every_cache
from kernlab.oops.frames import frame_of
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import label_of, text_or_none
from kernlab.verdict.trap import (
    LEAST_POINTER,
    base_of,
    is_allocator,
    is_poison,
    pointed_at,
    registers_of,
    who_did_it,
    words_of,
)

#: Ends whose address tells of a pointer.
_POINTERS = frozenset({"bad pointer", "general protection", "execute of data"})
#: Printable characters.
_TEXT = frozenset(range(0x20, 0x7F))


@rule
def behind_an_area(case: Case) -> Iterator[Finding]:
    """An access to the page that nothing maps behind an area of vmalloc reached past the area's end."""
    # mm/vmalloc.c, __get_vm_area_node: each area has a guard page behind it.
    report, address = case.end.report, _address(case)
    if report is None or address is None or not case.has_dump:
        return
    row = pointed_at(case, {"the address": address}).iloc[0]
    if row["kind"] not in ("vmalloc", "vmap") or pd.isna(row["offset"]) or pd.isna(row["size_bytes"]):
        return
    usable = int(row["size_bytes"]) - case.kernel.page_size
    beyond = int(row["offset"]) - usable
    if usable <= 0 or beyond < 0:
        return
    name = "" if pd.isna(row["name"]) else str(row["name"])
    whose = f" of {name}" if name else ""
    yield Finding(
        "out of bounds",
        show_short(f"the {row['kind']} area{whose}"),
        0.9,
        (
            Evidence(
                "owner",
                show_controls(
                    f"{address:#x} is {beyond:,} bytes behind the end of the {row['kind']} area{whose}"
                ),
            ),
            Evidence(
                "log",
                "nothing is mapped there, so that an access traps (a guard page)",
                (label_of(case, report),),
            ),
        ),
        f"dump.owner({address:#x})",
        pid=who_did_it(case, report),
        module=text_or_none(report["module"]),
        function=text_or_none(report["function"]),
        explains=frozenset({"bad pointer"}),
        since=case.before_end(report["timestamp"]),
    )


@rule
def where_it_led(case: Case) -> Iterator[Finding]:
    """What lies at the address of a trap, where something does: data that was executed, memory that is read only."""
    report, address = case.end.report, _address(case)
    if report is None or address is None or not case.has_dump:
        return
    row = pointed_at(case, {"the address": address}).iloc[0]
    if row["kind"] not in ("slab object", "symbol", "kernel stack", "percpu", "module"):
        return
    free = row["allocated"] is not pd.NA and not row["allocated"]
    what = {
        "slab object": f"an object of {row['name']}, {'free' if free else 'in use'}",
        "kernel stack": f"the stack of {row['name']}",
    }.get(str(row["kind"]), str(row["name"]))
    yield Finding(
        case.end.kind,
        "",
        0.9,
        (
            Evidence("log", "", (label_of(case, report),)),
            Evidence("owner", show_controls(f"the address {address:#x} is in {what}")),
        ),
        f"dump.owner({address:#x})",
        pid=who_did_it(case, report),
        module=text_or_none(report["module"]),
        function=text_or_none(report["function"]),
        explains=frozenset({case.end.kind}),
        since=case.before_end(report["timestamp"]),
    )


@rule
def where_it_stood(case: Case) -> Iterator[Finding]:
    """A bad pointer that stands in an object which a register points to was read there: the object holds bad data."""
    report, address = case.end.report, _address(case)
    if report is None or address is None or not case.has_dump:
        return
    registers = registers_of(case, report)
    pointer = base_of(address, registers)
    if pointer is None or is_poison(address):
        return
    held = _holder(case, registers, pointer)
    if held is None:
        return
    name, cache, start, places, free, words = held
    full = len(places) * 2 > words
    where = (
        f"fills the object of {cache} at {start:#x}"
        if full
        else (f"stands {places[0]:,} bytes into the object of {cache} at {start:#x}")
    )
    looks = f" It is text: {_as_text(pointer)!r}." if _is_text(pointer) else ""
    evidence = Evidence(
        "owner",
        show_controls(
            f"the pointer {pointer:#x} {where}, {'free' if free else 'in use'}, to which {name} points.{looks}"
        ),
    )
    common: dict[str, Any] = {
        "pid": who_did_it(case, report),
        "module": text_or_none(report["module"]),
        "function": text_or_none(report["function"]),
        "since": case.before_end(report["timestamp"]),
    }
    first = str(case.log["text"].iloc[int(report["offset"])]).splitlines()[0]
    said = Evidence("log", show_controls(first), (label_of(case, report),))
    yield Finding(
        case.end.kind,
        show_short(f"an object of {cache}"),
        0.9,
        (said, evidence),
        f"dump.owner({start:#x})",
        explains=frozenset({case.end.kind}),
        **common,
    )
    if free and _at_freelist(case, cache, places) and not is_allocator(_at(report)):
        yield Finding(
            "use after free",
            show_short(cache),
            0.9,
            (
                evidence,
                Evidence(
                    "owner", "there SLUB keeps its link to the next free object, written when it is freed"
                ),
            ),
            f"dump.owner({start:#x})",
            against=("Who freed it, and too early, is not known: this function only met it.",),
            explains=frozenset({case.end.kind}),
            **common,
        )
    elif free or full or looks:
        why = (
            "It may have been freed after its pointer was read."
            if free
            else "The object is in use: code that has it may have written that, or code next to it."
        )
        yield Finding(
            "use after free",
            show_short(cache),
            0.4,
            (evidence,),
            f"dump.owner({start:#x})",
            against=(why,),
            explains=frozenset({case.end.kind}),
            **common,
        )


def _holder(
    case: Case, registers: dict[str, int], pointer: int
) -> tuple[str, str, int, list[int], bool, int] | None:
    """The one slab object that holds a pointer and that a register points to: the register, cache, start, offsets of
    the pointer in it, whether it is free, and how many words it has."""
    table = pointed_at(case, registers)
    objects = table[(table["kind"] == "slab object") & table["start"].notna()].drop_duplicates("start")
    found = []
    for name, row in objects.iterrows():
        words = words_of(case, int(row["start"]), int(row["size_bytes"]))
        places = [offset for offset, word in words.items() if word == pointer]
        free = row["allocated"] is not pd.NA and not row["allocated"]
        if places:
            found.append((str(name), str(row["name"]), int(row["start"]), places, free, len(words)))
    return found[0] if len(found) == 1 else None


def _at_freelist(case: Case, cache: str, places: list[int]) -> bool:
    """Is one of the places in an object where the cache's links between free objects stand, encoded?"""
    # mm/slub.c, freelist_ptr_encode: with CONFIG_SLAB_FREELIST_HARDENED no link is a pointer that code may have stored.
    caches, named = every_cache(case.kernel), caches_by_name(case.kernel).get(cache, [])
    rows = [row for row, address in enumerate(caches.addresses.tolist()) if address in named]
    if len(rows) != 1 or not caches.has("random"):
        return False
    offset = caches["offset"]
    return bool(offset.valid[rows[0]]) and int(offset.values[rows[0]]) in places


def _at(report: pd.Series[Any]) -> str:
    """The function in which the processor stood."""
    at = frame_of(str(report["details"].get("at", "")))
    return "" if at is None else at.name


def _address(case: Case) -> int | None:
    """The address that a trap was about, where it is more than a member of nothing."""
    report = case.end.report
    if report is None or case.end.kind not in _POINTERS:
        return None
    address = report["details"].get("address")
    return address if isinstance(address, int) and address >= LEAST_POINTER else None


def _is_text(word: int) -> bool:
    return all(byte in _TEXT for byte in word.to_bytes(8, "little"))


def _as_text(word: int) -> str:
    return word.to_bytes(8, "little").decode("ascii")

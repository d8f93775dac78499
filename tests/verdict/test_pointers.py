"""Where a bad pointer stood, and what lies where it led."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from support.captures import captures
from verdict.asked import ENDS
from verdict.cases import found_by, made_case, verdict_of

import kernlab
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules import pointers
from kernlab.verdict.rules.pointers import behind_an_area, where_it_led, where_it_stood

_LOG = """\
[   14.000000] [    T172] {head}
[   14.000001] [    T172] CPU: 1 UID: 0 PID: 172 Comm: miller Kdump: loaded Not tainted 6.12.1-amd64 #1
[   14.000002] [    T172] RIP: 0010:{at}+0x10/0x20
[   14.000003] [    T172] RSP: 0018:ff485e780041bd00 EFLAGS: 00010246
[   14.000004] [    T172] RAX: {pointer:016x} RBX: 0000000000000008 RCX: 0000000000000000
[   14.000005] [    T172] RDX: 0000000000000001 RSI: ffffffffc02345c3 RDI: ff1302e281f57720
[   14.000006] [    T172] Call Trace:
[   14.000007] [    T172]  <TASK>
[   14.000008] [    T172]  mill_write+0x10b/0x2b0 [kernlab_mill]
[   14.000009] [    T172]  </TASK>
[   14.000013] [    T172] ---[ end trace 0000000000000000 ]---
[   14.000014] [    T172] Kernel panic - not syncing: Fatal exception
"""
_OBJECT = 0xFF1302E281F57720
_WILD, _TEXT = 0x1122334455667780, 0x5757575757575757
_RULES = (*ENDS, behind_an_area, where_it_led, where_it_stood)


def _case(
    monkeypatch: pytest.MonkeyPatch,
    *,
    address: int,
    pointer: int,
    words: Mapping[int, int] = {},
    allocated: bool = True,
    there: Mapping[str, Any] = {},
    at: str = "job_finish",
    page_fault: bool = False,
) -> Case:
    """A trap on an address, with one register into an object that has some words; `there` lies at the address."""

    def pointed_at(_: Case, registers: dict[str, int]) -> pd.DataFrame:
        rows = []
        for name, value in registers.items():
            row: dict[str, Any] = {"kind": "not mapped", "name": None, "start": pd.NA, "offset": pd.NA}
            row |= {"size_bytes": pd.NA, "allocated": pd.NA}
            if name == "di":
                row |= {
                    "kind": "slab object",
                    "name": "mill_job",
                    "start": _OBJECT,
                    "offset": value - _OBJECT,
                }
                row |= {"size_bytes": 96, "allocated": allocated}
            rows.append(row | dict(there if name == "the address" else {}))
        return pd.DataFrame(rows, index=list(registers))

    monkeypatch.setattr(pointers, "pointed_at", pointed_at)
    monkeypatch.setattr(
        pointers, "words_of", lambda *_: {offset: words.get(offset, 0) for offset in range(0, 96, 8)}
    )
    monkeypatch.setattr(pointers, "_at_freelist", lambda case, cache, places: 48 in places)
    head = f"Oops: general protection fault, probably for non-canonical address {address:#x}: 0000 [#1] SMP"
    if page_fault:
        head = f"BUG: unable to handle page fault for address: {address:016x}"
    return made_case(_LOG.format(head=head, pointer=pointer, at=at))


def _by_finding(found: list[Finding]) -> dict[str, Finding]:
    return {each.finding: each for each in found}


def test_the_object_that_held_a_bad_pointer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 bytes into it: the trap's row says so, and nothing is concluded from it alone."""
    case = _case(monkeypatch, address=_WILD + 8, pointer=_WILD, words={8: _WILD})
    (only,) = verdict_of(case, *_RULES)
    assert (only.finding, only.subject, only.role) == ("general protection", "an object of mill_job", "end")
    said = " ".join(each.says for each in only.evidence)
    assert "stands 8 bytes into the object of mill_job" in said
    assert "in use, to which di points" in said
    assert only.cell == f"dump.owner({_OBJECT:#x})"


@pytest.mark.parametrize(
    ("words", "pointer"),
    [
        ({}, _WILD),  # it stood nowhere that is known
        ({8: _WILD}, 0x99),  # no register is the base of the access
    ],
)
def test_what_is_not_known_is_not_said(
    words: dict[int, int], pointer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trap is all there is."""
    case = _case(monkeypatch, address=_WILD + 8, pointer=pointer, words=words)
    assert not found_by(case, where_it_stood)


@pytest.mark.parametrize("words", [dict.fromkeys(range(0, 96, 8), _TEXT), {8: _TEXT}])
def test_text_in_place_of_a_pointer_is_a_hint(words: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that somebody else has, or one that was overwritten: nobody knows which."""
    case = _case(monkeypatch, address=_TEXT, pointer=_TEXT, words=words)
    found = verdict_of(case, *_RULES)
    assert [each.finding for each in found] == ["general protection", "use after free"]
    assert found[1].confidence < 0.5
    assert found[1].against
    assert "It is text: 'WWWWWWWW'" in " ".join(each.says for each in found[0].evidence)


@pytest.mark.parametrize(
    ("offset", "at", "sure"),
    [(48, "job_finish", True), (8, "job_finish", False), (48, "kmem_cache_alloc_noprof", False)],
)
def test_a_link_between_free_objects_is_no_pointer_of_anybody(
    offset: int, at: str, sure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever read it as one used an object that was free: not the allocator, whose link it is."""
    case = _case(monkeypatch, address=_WILD, pointer=_WILD, words={offset: _WILD}, allocated=False, at=at)
    found = _by_finding(verdict_of(case, *_RULES))
    assert (found["use after free"].confidence >= 0.8) == sure
    assert found["use after free"].confidence >= 0.8 or found["use after free"].confidence < 0.5


@pytest.mark.parametrize(("offset", "found"), [(4096 + 64, 1), (4095, 0)])
def test_behind_an_area_nothing_is_mapped(offset: int, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last page of an area is its guard."""
    area = {"kind": "vmalloc", "name": "ledger_read [kernlab_mill]", "start": 0xFF8C7B964009D000}
    there = {**area, "offset": offset, "size_bytes": 8192}
    address = 0xFF8C7B964009D000 + offset
    case = _case(monkeypatch, address=address, pointer=address, there=there, page_fault=True)
    causes = found_by(case, behind_an_area)
    assert len(causes) == found
    if causes:
        assert (causes[0].finding, causes[0].subject) == (
            "out of bounds",
            "the vmalloc area of ledger_read [kernlab_mill]",
        )
        assert "64 bytes behind the end" in causes[0].evidence[0].says
        assert verdict_of(case, *_RULES)[0].finding == "out of bounds"


@pytest.mark.parametrize(
    ("story", "finding", "says"),
    [
        ("fault-use-after-free-[0-9]*", "general protection", "the object of mill_job"),
        ("fault-bad-page-*", "out of bounds", "64 bytes behind the end of the vmalloc area"),
        ("fault-execute-*", "execute of data", "is in an object of kmalloc-"),
    ],
)
def test_captures(story: str, finding: str, says: str) -> None:
    """What was true of each guest."""
    folders = captures(story)
    if not folders:
        pytest.skip(f"no capture of {story}: KERNLAB_LAB_CAPTURES")
    with kernlab.open(folders[0] / "vmcore") as dump:
        found = verdict_of(Case(dump.kernel), *_RULES)
        shown = eval(found[0].cell, {"dump": dump})
    assert found[0].finding == finding
    assert says in " ".join(each.says for each in found[0].evidence)
    assert len(shown)


def test_poison_stands_in_whatever_was_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it fills the object says no more than that: the rule of poison tells it."""
    poison = 0x6B6B6B6B6B6B6B6B
    words = dict.fromkeys(range(0, 96, 8), poison)
    case = _case(monkeypatch, address=poison + 8, pointer=poison, words=words, allocated=False)
    assert not found_by(case, where_it_stood)

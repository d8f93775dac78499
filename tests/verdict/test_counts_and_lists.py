"""What the kernel's checks of lists and reference counts say."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from support.captures import captures
from verdict.asked import ENDS
from verdict.cases import verdict_of

import kernlab
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.rules import counts_and_lists
from kernlab.verdict.rules.counts_and_lists import damaged_count, damaged_list

_LIST = """\
[   21.348642] [    T176] {says}
[   21.349347] [    T176] ------------[ cut here ]------------
[   21.349455] [    T176] kernel BUG at lib/list_debug.c:56!
[   21.350064] [    T176] Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI
[   21.350411] [    T176] CPU: 1 UID: 0 PID: 176 Comm: miller Not tainted 6.12.1-amd64 #1
[   21.351093] [    T176] RIP: 0010:__list_del_entry_valid_or_report.cold+0x5c/0x6f
[   21.352000] [    T176] Call Trace:
[   21.352000] [    T176]  <TASK>
[   21.352000] [    T176]  queue_leave+0x59/0x80 [kernlab_mill]
[   21.352000] [    T176]  vfs_write+0xf8/0x440
[   21.352000] [    T176]  </TASK>
[   21.352000] [    T176] ---[ end trace 0000000000000000 ]---
[   21.352000] [    T176] Kernel panic - not syncing: Fatal exception
"""
_TAKEN = "list_del corruption, ff2552a004ccf010->next is LIST_POISON1 (dead000000000100)"
_OTHER = "list_del corruption. prev->next should be ff2552a004ccf010, but was 5757575757575757. (prev=ff2552a004ccf070)"
_COUNT = """\
[   22.240988] [    T171] ------------[ cut here ]------------
[   22.241330] [    T171] refcount_t: {says}.
[   22.241955] [    T171] WARNING: CPU: 1 PID: 171 at lib/refcount.c:28 refcount_warn_saturate+0xbe/0x110
[   22.243005] [    T171] CPU: 1 UID: 0 PID: 171 Comm: miller Not tainted 6.12.1-amd64 #1
[   22.250121] [    T171] RIP: 0010:refcount_warn_saturate+0xbe/0x110
[   22.252000] [    T171] Call Trace:
[   22.252000] [    T171]  <TASK>
[   22.252000] [    T171]  job_put+0x10/0x20 [kernlab_mill]
[   22.252000] [    T171]  vfs_write+0xf8/0x440
[   22.252000] [    T171]  </TASK>
[   22.252000] [    T171] Kernel panic - not syncing: kernel: panic_on_warn set ...
"""


def _found(log: str) -> list[Finding]:
    return verdict_of(Case(None, log), *ENDS, damaged_list, damaged_count)


def test_an_entry_that_was_taken_off_already() -> None:
    """One row: what the check said, what that means, and who met it."""
    (only,) = _found(_LIST.format(says=_TAKEN))
    assert (only.finding, only.subject, only.role) == ("list corruption", "miller (176)", "end")
    assert (only.function, only.module) == ("queue_leave", "kernlab_mill")
    assert "the entry had been taken off its list already (LIST_POISON)" in [
        each.says for each in only.evidence
    ]
    assert only.against


@pytest.mark.parametrize("allocated", [True, False, None])
def test_a_neighbour_that_is_free_was_freed_on_its_list(
    allocated: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry before points here: it is on the list. Where its state is not known, nothing is said."""

    def pointed_at(_: Case, entries: dict[str, int]) -> pd.DataFrame:
        row: dict[str, Any] = {"kind": "slab object", "name": "mill_job", "start": 0, "offset": 16}
        row["allocated"] = pd.NA if allocated is None else allocated
        rows = [row | {"allocated": True} if name != "prev" else row for name in entries]
        return pd.DataFrame(rows, index=list(entries)).astype({"allocated": "boolean"})

    monkeypatch.setattr(counts_and_lists, "pointed_at", pointed_at)
    found = _found(_LIST.format(says=_OTHER))
    assert [each.finding for each in found] == [
        *(["use after free"] if allocated is False else []),
        "list corruption",
    ]
    assert found[0].confidence >= 0.8
    said = [each.says for each in found[-1].evidence]
    assert any(
        each.startswith("the entry at 0xff2552a004ccf070 is 16 bytes into an object of mill_job")
        for each in said
    )


def test_an_entry_that_is_free_itself_may_have_been_taken_off_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a neighbour points to what is on the list."""

    def pointed_at(_: Case, entries: dict[str, int]) -> pd.DataFrame:
        row = {"kind": "slab object", "name": "mill_job", "start": 0, "offset": 16}
        rows = [row | {"allocated": name in ("prev", "next")} for name in entries]
        return pd.DataFrame(rows, index=list(entries)).astype({"allocated": "boolean"})

    monkeypatch.setattr(counts_and_lists, "pointed_at", pointed_at)
    assert [each.finding for each in _found(_LIST.format(says=_OTHER))] == ["list corruption"]


@pytest.mark.parametrize(
    ("says", "means"),
    [
        ("underflow; use-after-free", "more references were given back than taken"),
        ("saturated; leaking memory", "the count overflowed: it will never be freed"),
    ],
)
def test_a_reference_count(says: str, means: str) -> None:
    """The line above the warning says which way it went wrong."""
    (only,) = _found(_COUNT.format(says=says))
    assert (only.finding, only.role, only.function) == ("refcount", "end", "job_put")
    assert means in [each.says for each in only.evidence]


def test_a_capture_of_a_list() -> None:
    """The entry lies in an object of the driver's cache."""
    folders = captures("fault-list-*")
    if not folders:
        pytest.skip("no capture of fault-list: KERNLAB_LAB_CAPTURES")
    with kernlab.open(folders[0] / "vmcore") as dump:
        only, *_ = verdict_of(Case(dump.kernel), *ENDS, damaged_list)
        owners = eval(only.cell, {"dump": dump})
    assert "16 bytes into an object of mill_job, in use" in " ".join(each.says for each in only.evidence)
    assert owners["name"].tolist() == ["mill_job"]

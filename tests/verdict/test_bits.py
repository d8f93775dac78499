"""A pointer that one flipped bit may have made bad is a hint at most."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from verdict.asked import ENDS
from verdict.cases import made_case, verdict_of

from kernlab.verdict.case import Case
from kernlab.verdict.rules import bits
from kernlab.verdict.rules.bits import flipped_bit
from kernlab.verdict.trap import base_of, registers_of

_GOOD = 0xFF1302E281F57720
_LOG = """\
[   14.000000] [    T172] Oops: general protection fault, probably for non-canonical address {address:#x}: 0000 [#1] SMP
[   14.000001] [    T172] CPU: 1 UID: 0 PID: 172 Comm: miller Kdump: loaded Not tainted 6.12.1-amd64 #1
[   14.000002] [    T172] RIP: 0010:job_finish+0x10/0x20 [mill]
[   14.000004] [    T172] RAX: {pointer:016x} RBX: 0000000000000008 RCX: 0000000000000000
[   14.000006] [    T172] Call Trace:
[   14.000007] [    T172]  <TASK>
[   14.000008] [    T172]  vfs_write+0xf8/0x440
[   14.000009] [    T172]  </TASK>
[   14.000013] [    T172] ---[ end trace 0000000000000000 ]---
[   14.000014] [    T172] Kernel panic - not syncing: Fatal exception
"""


@pytest.mark.parametrize(
    ("pointer", "offset", "allocated", "more", "found"),
    [
        (_GOOD ^ 1 << 58, 0, True, (), 1),
        (_GOOD ^ 1 << 58, 0, False, (), 0),  # no object in use begins there
        (_GOOD ^ 1 << 58, 16, True, (), 0),
        (_GOOD ^ 1 << 58 ^ 1 << 57, 0, True, (), 0),  # two bits differ
        (_GOOD ^ 1 << 58, 0, True, (_GOOD ^ 1 << 58 ^ 1 << 20,), 0),  # another flip is as good
    ],
)
def test_one_bit_off(
    pointer: int,
    offset: int,
    allocated: bool,
    more: tuple[int, ...],
    found: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of one object alone, which is in use; and never sure."""

    def pointed_at(_: Case, registers: dict[str, int]) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for value in registers.values():
            there = value in (_GOOD, *more)
            row = {
                "kind": "slab object",
                "name": "mill_job",
                "start": value,
                "offset": offset,
                "allocated": allocated,
            }
            nothing = {"kind": "not mapped", "name": None, "start": 0, "offset": pd.NA, "allocated": pd.NA}
            rows.append(row if there else nothing)
        table = pd.DataFrame(rows, index=list(registers))
        return table.astype({"offset": "Int64", "allocated": "boolean"})

    monkeypatch.setattr(bits, "pointed_at", pointed_at)
    case = made_case(_LOG.format(address=pointer + 8, pointer=pointer))
    end, *hints = verdict_of(case, *ENDS, flipped_bit)
    assert end.finding == "general protection"
    assert [each.finding for each in hints] == ["bit flip"] * found
    assert all(each.confidence < 0.5 and each.against for each in hints)
    assert all("with bit 58 the other way" in each.evidence[0].says for each in hints)


def test_of_two_registers_neither_is_the_base_of_an_access() -> None:
    """Which of them the instruction used is not known; small numbers are no pointers."""
    near = 0xFF11_0000_0000_1000
    assert base_of(near + 24, {"ax": near, "bx": near + 9000}) == near
    assert base_of(near + 24, {"ax": near, "bx": near + 8}) is None
    assert base_of(0x28, {"ax": 0x10}) is None


def test_registers_that_a_report_does_not_print_are_those_of_the_dump() -> None:
    """Of its CPU."""
    log = "[   50.0] BUG: unable to handle page fault for address: ff11000000001018\n"
    log += "[   50.0] CPU: 1 UID: 0 PID: 77 Comm: till Not tainted 6.12.1 #1\n"
    kept = [{"cpu": 0, "ax": 1}, {"cpu": 1, "ax": 0xFF11_0000_0000_1000}]
    case = made_case(log, registers=kept)
    assert registers_of(case, case.reports.iloc[0]) == {"ax": 0xFF11_0000_0000_1000}
    printed = made_case(log + "[   50.0] RAX: 0000000000000007 RBX: 0000000000000008\n", registers=kept)
    assert registers_of(printed, printed.reports.iloc[0]) == {"ax": 7, "bx": 8}

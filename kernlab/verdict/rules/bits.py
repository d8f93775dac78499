"""A bad pointer that differs in one bit from a good one, as faulty memory makes it: a hint, and no more."""

from __future__ import annotations

from collections.abc import Iterator

from kernlab.escape import show_controls
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import text_or_none
from kernlab.verdict.trap import base_of, pointed_at, registers_of, who_did_it

#: Bits that an address has beyond those of an object's own first bytes: the smallest objects are of 8 bytes.
_BITS = range(3, 64)


@rule
def flipped_bit(case: Case) -> Iterator[Finding]:
    """A bad pointer of which one bit the other way makes the beginning of one object in use may be a flipped bit."""
    report = case.end.report
    if report is None or case.end.kind not in ("bad pointer", "general protection") or not case.has_dump:
        return
    address = report["details"].get("address")
    if not isinstance(address, int):
        return
    pointer = base_of(address, registers_of(case, report))
    if pointer is None:
        return
    table = pointed_at(case, {f"bit {bit}": pointer ^ 1 << bit for bit in _BITS})
    good = table[
        (table["kind"] == "slab object")
        & (table["offset"] == 0).fillna(False)
        & table["allocated"].fillna(False).astype(bool)
    ]
    if len(good) != 1:
        return
    bit, row = str(good.index[0]), good.iloc[0]
    said = (
        f"with {bit} the other way the pointer {pointer:#x} is {int(row['start']):#x}, the beginning of an object of "
        f"{row['name']} that is in use"
    )
    yield Finding(
        "bit flip",
        "a pointer in memory",
        0.4,
        (Evidence("owner", show_controls(said)),),
        f"dump.owner([{pointer:#x}, {int(row['start']):#x}])",
        pid=who_did_it(case, report),
        module=text_or_none(report["module"]),
        function=text_or_none(report["function"]),
        against=("Code that writes one byte too many, or sets a bit of it, makes the same difference.",),
        explains=frozenset({case.end.kind}),
        since=case.before_end(report["timestamp"]),
    )

"""What lies behind a trap: memory that was freed, a list's entry that was removed. The instruction only met it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import normal
from kernlab.tables.memory.owner import owner
from kernlab.verdict.case import TRAPS, Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule

#: A member of a struct lies no further behind what points to it.
_NEAR = 1 << 12
_REGISTERS = ("ax", "bx", "cx", "dx", "si", "di", "bp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")


@dataclasses.dataclass(frozen=True, slots=True)
class Poison:
    """What the kernel writes where nobody may look any more (include/linux/poison.h)."""

    value: int
    finding: str
    says: str


_POISONS = (
    Poison(
        0x6B6B6B6B6B6B6B6B, "use after free", "what SLUB writes into objects that are freed (POISON_FREE)"
    ),
    Poison(0xDEAD000000000100, "list corruption", "what list_del() leaves as the next entry (LIST_POISON1)"),
    Poison(
        0xDEAD000000000122, "list corruption", "what list_del() leaves as the entry before (LIST_POISON2)"
    ),
    Poison(0xDEAD000000000200, "list corruption", "what list_del() left as the entry before (LIST_POISON2)"),
    Poison(0xAAAAAAAAAAAAAAAA, "use after free", "what is written into pages that are freed (PAGE_POISON)"),
    Poison(0x5A5A5A5A5A5A5A5A, "uninitialised value", "what SLUB writes into new objects (POISON_INUSE)"),
)


@rule
def poisoned(case: Case) -> Iterator[Finding]:
    """A trap on an address that is the kernel's own poison used memory that was freed, or an entry taken off a list."""
    report = case.end.report
    if report is None or case.end.kind not in TRAPS:
        return
    places = _addresses(case)
    for poison in _POISONS:
        met = {name: value for name, value in places.items() if poison.value <= value < poison.value + _NEAR}
        if not met:
            continue
        names = [f"{name} is {value:#x}" for name, value in met.items()]
        direct = "the address" in met
        yield Finding(
            poison.finding,
            show_controls(say_thread(str(report["comm"]), int(report["pid"])))
            if not pd.isna(report["pid"])
            else "",
            0.93 if direct else 0.7,
            (
                Evidence(
                    "log", f"{', '.join(names)}: {poison.says}", (int(case.log.index[int(report["offset"])]),)
                ),
                *_freed(case),
            ),
            f"dump.registers.query('cpu == {int(report['cpu'])}')"
            if not pd.isna(report["cpu"])
            else "dump.registers",
            pid=None if pd.isna(report["pid"]) else int(report["pid"]),
            module=None if pd.isna(report["module"]) else str(report["module"]),
            function=None if pd.isna(report["function"]) else str(report["function"]),
            against=("Who freed it, and too early, is not known: this function only met it.",),
            explains=TRAPS,
        )


def _addresses(case: Case) -> dict[str, int]:
    """What the trap was about: the address that the report names, and the registers of its CPU."""
    report = case.end.report
    found: dict[str, int] = {}
    if report is None:
        return found
    if isinstance(address := report["details"].get("address"), int):
        found["the address"] = address
    if not case.has_dump or pd.isna(report["cpu"]):
        return found
    rows = case.registers[case.registers["cpu"] == int(report["cpu"])]
    for name in _REGISTERS:
        if name in rows and len(rows) and not pd.isna(rows[name].iloc[0]):
            found[name] = int(rows[name].iloc[0])
    return found


def _freed(case: Case) -> Iterator[Evidence]:
    """Registers that point into slab objects which are free."""
    values = _addresses(case)
    values.pop("the address", None)
    if not values:
        return
    table = owner(case.kernel, np.array(list(values.values()), dtype=np.uint64))
    free = (table["kind"] == "slab object") & ~table["allocated"].fillna(True)
    for row in np.flatnonzero(free.to_numpy(dtype=bool)).tolist()[:3]:
        name, offset = table["name"].iloc[row], int(table["offset"].iloc[row])
        said = f"{list(values)[row]} points {offset} bytes into an object of {name} that is free"
        yield Evidence("owner", show_controls(said), (row,))


#: What SLUB found wrong with an object, and what that is (mm/slub.c, object_err, check_bytes_and_report, slab_err).
_SLUB = (
    (r"Redzone overwritten|Left Redzone|Right Redzone|Padding overwritten|Object padding", "out of bounds"),
    (r"Poison overwritten|Freelist corrupt|Freepointer corrupt", "use after free"),
    (r"Object already free|Double free|already freed", "double free"),
)
_BUG = re.compile(r"BUG (?P<cache>\S+) \(.*\): (?P<what>.*)|\[(?P<zone>[^\]]* overwritten)\]")
_TRACK = re.compile(
    r"(?P<did>Allocated|Freed) (?:in|by) (?P<where>.*?)(?: age=(?P<age>\d+))?(?: cpu=\d+)? pid=(?P<pid>\d+)"
)
#: What such a report leads to: what it was set to, or a trap on what is damaged.
_SOON_SECONDS = 5.0


@rule
def slub_reports(case: Case) -> Iterator[Finding]:
    """SLUB's own checks name an object that was written to where it ends, or after it was freed."""
    reports = case.reports
    own = reports[
        reports["kind"].isin(("memory corruption", "out of bounds", "use after free", "invalid free"))
    ]
    for _, report in own.iterrows():
        first = max(int(report["offset"]) - 3, 0)
        lines = dict(case.lines(first, int(report["end"])))
        bugs = [(label, found) for label, line in lines.items() if (found := _BUG.match(line))]
        cache = next((found["cache"] for _, found in bugs if found["cache"]), None)
        if cache is None:
            continue
        words = " ".join(str(found["what"] or found["zone"]) for _, found in bugs)
        finding = next((name for pattern, name in _SLUB if re.search(pattern, words)), "memory corruption")
        evidence = [Evidence("log", show_controls(lines[label].strip()), (label,)) for label, _ in bugs[:3]]
        tracks = [(label, found) for label, line in lines.items() if (found := _TRACK.match(line))]
        evidence += [
            Evidence(
                "log",
                show_controls(f"{found['did'].lower()} by {found['where']}, pid {found['pid']}"),
                (label,),
            )
            for label, found in tracks[:2]
        ]
        since = case.before_end(report["timestamp"])
        soon = since is not None and since <= _SOON_SECONDS
        end = case.end.report
        frames = [
            one for text in (end["frames"] if end is not None and soon else []) if (one := frame_of(text))
        ]
        told = next((one for one in frames if one.module), None)
        yield Finding(
            finding,
            show_short(cache),
            0.92,
            tuple(evidence),
            f"dump.slab_objects({cache!r}, stacks=True)",
            pid=int(end["pid"]) if end is not None and soon and not pd.isna(end["pid"]) else None,
            module=told.module if told else None,
            function=normal(told.name) if told else None,
            against=("Who wrote there is not known: it was found when the object was freed or given out.",),
            explains=TRAPS | {"panic", "WARNING"} if soon else frozenset(),
            since=since,
        )

"""What does not come with the kernel: modules on the stack of who is to blame, and marks that the kernel bears."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_short
from kernlab.oops.frames import frame_of
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.ending import TRAPS
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule, weighing

#: kernel/panic.c, taint_flags: what a module brings, and what it is then.
_FOREIGN = {
    "P": "proprietary",
    "O": "out-of-tree",
    "E": "not signed",
    "F": "loaded by force",
    "C": "of the kernel's staging area",
    "K": "a live patch",
}
#: What alone makes a module one that is worth to name.
_TOLD = frozenset("POFK")
#: What an event leaves, what it was, and the kinds of reports that tell of it.
_EVENTS = {
    "D": ("an oops that it outlived", TRAPS),
    "L": ("a CPU that did not go on (soft lockup)", frozenset({"soft lockup"})),
    "M": ("a machine check", frozenset({"hardware error"})),
    "B": (
        "a page in a bad state",
        frozenset({"bad page", "memory corruption", "out of bounds", "use after free"}),
    ),
}
_MOST = 3
#: kernel/module/tracking.c, print_modules; kernel/module/main.c, module_flags.
_LISTED = re.compile(r"([\w-]{1,64})\(([A-Z+-]{1,16})\)")
#: No line of the kernel is longer.
_LONGEST = 4096


@weighing
def foreign_modules(case: Case, findings: list[Finding]) -> list[Finding]:
    """A module from outside the kernel that is blamed is called so; one that is only on the stack is told beside."""
    marks = _marks(case)
    if not marks:
        return findings
    found = [_marked(each, marks) for each in findings]
    named = {each.module for each in findings if each.role == "end" or each.explains}
    # Whoever asked for it, and whoever asked for memory last, did nothing wrong.
    if not case.end.asked and case.end.kind != "OOM":
        found += list(_on_the_stack(case, findings, marks, named))
    return found


def _marks(case: Case) -> dict[str, tuple[str, Evidence]]:
    """Modules that do not come with the kernel: what each is, and what shows it."""
    if not case.has_dump:
        return _marks_of_log(case)
    found = {}
    table = case.modules[case.modules["taint"].fillna("") != ""]
    for label, name, taint in zip(table.index.tolist(), table["name"], table["taint"], strict=True):
        if _TOLD.isdisjoint(taint) or not isinstance(name, str):
            continue
        what = ", ".join(words for letter, words in _FOREIGN.items() if letter in taint)
        found[name] = (
            what,
            Evidence("modules", f"the module {show_short(name)} is {what} (taint {taint})", (label,)),
        )
    return found


def _marks_of_log(case: Case) -> dict[str, tuple[str, Evidence]]:
    """The same of "Modules linked in:", where + and - only say that a module is being loaded or removed."""
    report, found = case.end.report, dict[str, tuple[str, Evidence]]()
    if report is None:
        return found
    for label, line in case.lines(int(report["offset"]), int(report["end"])):
        if not line.startswith("Modules linked in:"):
            continue
        for name, taint in _LISTED.findall(line[:_LONGEST]):
            if not _TOLD.isdisjoint(taint):
                what = ", ".join(words for letter, words in _FOREIGN.items() if letter in taint)
                said = f"the module {name} is {what} ({taint})"
                found.setdefault(name, (what, Evidence("log", said, (label,))))
    return found


def _marked(finding: Finding, marks: dict[str, tuple[str, Evidence]]) -> Finding:
    """With what its module is."""
    if finding.module not in marks or not (finding.role == "end" or finding.explains):
        return finding
    return dataclasses.replace(finding, evidence=(*finding.evidence, marks[finding.module][1]))


def _on_the_stack(
    case: Case, findings: list[Finding], marks: dict[str, tuple[str, Evidence]], named: set[str | None]
) -> Iterator[Finding]:
    """Modules of the stack that the machine died with which no finding names."""
    report = case.end.report
    frames = (
        [] if report is None else [one for text in report["frames"] if (one := frame_of(text)) is not None]
    )
    met: dict[str, str] = {}
    for frame in frames:
        if frame.reliable and frame.module in marks and frame.module not in named:
            met.setdefault(frame.module, frame.name)
    for module, function in list(met.items())[:_MOST]:
        what, evidence = marks[module]
        assert report is not None
        place, patched = int(report["offset"]), _FOREIGN["K"] in what
        on_it = Evidence("log", f"{function} of it is on the stack", (int(case.log.index[place]),))
        yield Finding(
            "live patch" if patched else "out-of-tree module",
            show_short(module),
            0.6,
            (on_it, evidence),
            f"dump.modules[dump.modules.name == {module!r}]"
            if case.has_dump
            else f"dump.log.iloc[{place}:{int(report['end'])}]",
            module=module,
            against=("It was called, or had called, when it happened: that makes it nobody's fault.",),
        )


@rule
def marks_of_what_the_log_lost(case: Case) -> Iterator[Finding]:
    """Where the log has lost its beginning, the kernel's taint still tells that something had happened before."""
    if not case.has_dump or case.log.empty or int(case.log["seq"].iloc[0]) == 0:
        return
    taint = case.info["taint"]
    # Bits without a name are no taint: the mask is damaged.
    if pd.isna(taint) or "bit" in str(taint) or taint == "Not tainted":
        return
    kinds = set(case.reports["kind"])
    first = case.log["timestamp"].iloc[0]
    begins = "" if pd.isna(first) else f", which begins {human_time(first.total_seconds())} after boot"
    for letter, (what, told_by) in _EVENTS.items():
        if letter in str(taint) and kinds.isdisjoint(told_by):
            yield Finding(
                "tainted kernel",
                f"{what}, before what its log still has",
                0.8,
                (
                    Evidence("info", f"the kernel is marked {taint}: {letter} is {what}", ("taint",)),
                    Evidence(
                        "log",
                        f"nothing in the log{begins}, tells of it",
                        rows_of(case.log, [case.log.index[0]]),
                    ),
                ),
                'dump.info[["taint", "uptime"]]',
                against=("The mark says neither when that was, nor that it has to do with the end.",),
            )


@rule
def forced_modules(case: Case) -> Iterator[Finding]:
    """A module that was loaded or removed by force may not fit the kernel, or have left things behind."""
    if not case.has_dump or pd.isna(case.info["taint"]) or "bit" in str(case.info["taint"]):
        return
    taint = str(case.info["taint"])
    if taint == "Not tainted":
        return
    table = case.modules
    forced = table[table["taint"].fillna("").str.contains("F", regex=False)]
    if "F" in taint and len(forced):
        names = ", ".join(show_short(str(name)) for name in forced["name"][:_MOST])
        yield Finding(
            "tainted kernel",
            f"modules loaded by force: {names}",
            0.9,
            (Evidence("modules", f"{names}: loaded by force (F)", rows_of(table, list(forced.index))),),
            'dump.modules[dump.modules.taint.str.contains("F")]',
            against=("That is no error by itself.",),
        )
    if "R" in taint:
        yield Finding(
            "tainted kernel",
            "a module was removed by force",
            0.9,
            (
                Evidence(
                    "info",
                    f"the kernel is marked {taint}: R is a module that was removed by force",
                    ("taint",),
                ),
            ),
            'dump.info[["taint"]]',
            against=("The mark says neither which module that was, nor when.",),
        )

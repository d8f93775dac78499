"""A kernel stack that overflowed: how far, and what filled it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import normal
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import lines_cell, text_or_none
from kernlab.verdict.trap import who_did_it

#: A function that is so many times on a stack, and at least half of its frames, calls itself.
_RECURSION = 8
#: A frame of this size fills a large part of a stack of 16 KiB by itself (CONFIG_FRAME_WARN is 2048).
_LARGE = 2048
#: arch/x86/kernel/traps.c, handle_stack_overflow.
_GUARD = re.compile(
    r"BUG: (?:(?P<what>\w+) )?stack guard page was hit at (?P<at>[0-9a-f]{8,16}) "
    r"\(stack is (?P<start>[0-9a-f]{8,16})\.\.(?P<end>[0-9a-f]{8,16})\)"
)
#: kernel/panic.c, __stack_chk_fail: the canary of one function's frame, not the end of the whole stack.
_CANARY = re.compile(r".*stack-?protector: Kernel stack is corrupted in: (?P<where>\S+)")


@rule
def overflowed(case: Case) -> Iterator[Finding]:
    """A stack that overflowed by one function's frames, again and again, did so by a recursion that does not end."""
    report = case.end.report
    if report is None or report["kind"] not in ("stack overflow", "double fault"):
        return
    lines = case.lines(int(report["offset"]), int(report["end"]))
    if any(_CANARY.match(line) for _, line in lines):
        return
    evidence = [Evidence("log", show_controls(lines[0][1].splitlines()[0]), (lines[0][0],))]
    guard = next(((label, found) for label, line in lines if (found := _GUARD.match(line))), None)
    if report["kind"] == "double fault" and guard is None:
        return
    if guard is not None:
        label, found = guard
        below = int(found["start"], 16) - int(found["at"], 16)
        size = int(found["end"], 16) - int(found["start"], 16)
        if below > 0:
            said = f"the access was {below:,} bytes below the stack, which has {size >> 10:,} KiB"
            evidence.append(Evidence("log", said, (label,)))
    told = _recursion(case, report)
    function, module = text_or_none(report["function"]), text_or_none(report["module"])
    if told is not None:
        function, module, said = told
        evidence.append(Evidence("log", show_controls(said), (lines[0][0],)))
    else:
        evidence += _largest(case, report)
    yield Finding(
        "stack overflow",
        "",
        0.97 if guard is not None else 0.9,
        tuple(evidence),
        lines_cell(report),
        pid=who_did_it(case, report),
        module=module,
        function=function,
        explains=frozenset({case.end.kind}),
        since=case.before_end(report["timestamp"]),
    )


@rule
def overwritten_canary(case: Case) -> Iterator[Finding]:
    """A function whose stack protector found its canary changed, or one that it called, wrote past a variable's end."""
    report = case.end.report
    if report is None or report["kind"] != "stack overflow":
        return
    for label, line in case.lines(int(report["offset"]), int(report["end"])):
        if not (found := _CANARY.match(line)):
            continue
        at = frame_of(found["where"])
        function = text_or_none(report["function"]) or (normal(at.name) if at is not None else None)
        yield Finding(
            "out of bounds",
            "a variable on the stack",
            0.9,
            (
                Evidence(
                    "log", show_controls(f"the canary on the stack was overwritten: {line.strip()}"), (label,)
                ),
            ),
            lines_cell(report),
            pid=who_did_it(case, report),
            module=text_or_none(report["module"]),
            function=function,
            against=("A function that this one called may have written there.",),
            explains=frozenset({case.end.kind}),
            since=case.before_end(report["timestamp"]),
        )
        return


def _recursion(case: Case, report: pd.Series[Any]) -> tuple[str, str | None, str] | None:
    """The function that is most often on the stack, its module, and a sentence, where it calls itself."""
    frames = [one for text in report["frames"] if (one := frame_of(text)) is not None and one.reliable]
    counted = Counter((normal(one.name), one.module or None) for one in frames)
    if not counted:
        return None
    (function, module), times = counted.most_common(1)[0]
    if times < _RECURSION or times * 2 < len(frames):
        return None
    return function, module, f"{function} is {times:,} of the {len(frames):,} frames on it: it calls itself"


def _largest(case: Case, report: pd.Series[Any]) -> Iterator[Evidence]:
    """The largest frame of the stack, where one is large."""
    if not case.has_dump or pd.isna(report["pid"]):
        return
    rows = case.stack_of(int(report["pid"]))
    rows = rows[rows["kind"].astype(str) == "task"]
    if len(rows) < 2:
        return
    sizes = rows["sp"].astype("float64").diff().shift(-1).fillna(0.0)
    place = int(sizes.argmax())
    size, symbol = int(sizes.iloc[place]), rows["symbol"].iloc[place]
    if size >= _LARGE and isinstance(symbol, str):
        said = f"the largest frame on it is of {symbol}, {size:,} bytes"
        yield Evidence("stacks", show_controls(said), (int(rows.index[place]),))

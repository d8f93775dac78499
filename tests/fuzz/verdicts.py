"""What is wrong with a result, by the rules of README.md: failures, each with its cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fuzz.cases import MISSING, NONE, ROWS, SAME, WILD
from fuzz.fork_server import Result
from fuzz.pictures import CHANGED, COLUMN_LOST, FEWER, OTHER, ROWS_LOST
from fuzz.pictures import MISSING as TURNED_MISSING

EXCEPTION, HANG, MEMORY, SILENT, HARNESS = "exception", "hang", "memory", "silent", "harness"

#: Differences that a reader must tell who met a pointer that leads nowhere. A value that the pointer was part of may
#: be another, and rows may be there that were not.
_LOSSES = (ROWS_LOST, FEWER, TURNED_MISSING, COLUMN_LOST, CHANGED, OTHER)


@dataclass(frozen=True)
class Failure:
    """One thing that went wrong: `what` of the constants above, `cause` groups failures, `detail` is this one's."""

    what: str
    cause: str
    case: str
    detail: str


def failures(result: Result, rule: str) -> list[Failure]:
    """Everything that is wrong with a case's result."""
    found = []
    for outcome in result.outcomes:
        step, kind = outcome["step"], outcome.get("failed")
        if kind is None:
            found += _silent(result.name, rule, outcome)
            continue
        detail = "\n".join(str(outcome[key]) for key in ("message", "trace") if key in outcome)
        what = kind if kind in (HANG, MEMORY, HARNESS) else EXCEPTION
        function = ":".join(str(outcome.get("place", "?")).split(":")[:2])
        cause = f"{function} ({step})" if what in (HANG, MEMORY) else f"{kind} in {function}"
        found.append(Failure(what, cause, result.name, f"{step}: {detail}"))
    return found


def _silent(name: str, rule: str, outcome: dict[str, Any]) -> list[Failure]:
    if rule == NONE or (outcome.get("told") and rule != SAME):
        return []
    kinds = {MISSING: None, SAME: None, WILD: _LOSSES, ROWS: (FEWER,)}[rule]
    kept = [one for one in outcome.get("differences", ()) if kinds is None or one["kind"] in kinds]
    if not kept:
        return []
    # One cause a step: rows lost before cells, cells before values.
    order = {FEWER: 0, ROWS_LOST: 1, COLUMN_LOST: 2, TURNED_MISSING: 3}
    worst = min(kept, key=lambda one: order.get(one["kind"], 9))
    where = f"{outcome['step']}.{worst['column']}" if worst["column"] else outcome["step"]
    more = "; ".join(f"{one['column']} {one['kind']} × {one['count']}: {one['example']}" for one in kept[:4])
    return [Failure(SILENT, f"{where}: {worst['kind']} ({rule})", name, f"{outcome['step']}: {more}")]


def undetectable(result: Result, rule: str) -> bool:
    """Did the case change something of which nothing was said, and need not be?"""
    return not failures(result, rule) and any(
        outcome.get("differences") and not outcome.get("told") for outcome in result.outcomes
    )

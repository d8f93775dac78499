"""Stacks in, what the explorer shows of them out as plain JSON: of one task, of who panicked, of those in state D."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kernlab.dashboard.table_view import Pages
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.util import text

if TYPE_CHECKING:
    from kernlab.display.stacks.stack import Stack
    from kernlab.dump import Dump

#: Lines of one stack, groups of equal ones, and names of their threads.
_MOST_LINES, _MOST_GROUPS, _NAMED = 200, 6, 8
_LONGEST = 200


def stack(dump: Dump, pages: Pages, place: int) -> dict[str, Any]:
    """The stack of the task in a row of `tasks`: its lines as the kernel prints a call trace, and why it ends early."""
    task = pages.row("tasks", place)
    return _shown(lambda: dump.stack(int(task["address"])))


def overview(dump: Dump, pages: Pages) -> dict[str, Any]:
    """The stack of the thread that panicked, and those of all in state D, equal ones together."""
    told: dict[str, Any] = {
        "panic": _shown(lambda: dump.stack.of_panic(), registers=False),
        "groups": [],
        "more": 0,
        "failed": "",
    }
    try:
        rows = dump.stacks
        groups = rows[rows["state"] == "D"].groups()
    except KernlabError as error:
        return {**told, "failed": _text(str(error))}
    for row in groups.head(_MOST_GROUPS).to_dict("records"):
        count = int(row["count"])
        told["groups"].append(
            {
                "title": "1 thread" if count == 1 else f"{count:,} threads",
                "names": text.shorten(_text(row["comms"]), _LONGEST),
                "pids": [int(pid) for pid in row["pids"][:_NAMED]],
                "lines": _lines(str(row["frames"])),
            }
        )
    told["more"] = max(len(groups) - _MOST_GROUPS, 0)
    return told


def _shown(find: Callable[[], Stack], *, registers: bool = True) -> dict[str, Any]:
    try:
        head, *lines = _lines(find().text(registers=registers))
    except KernlabError as error:
        return {"head": "", "lines": [], "failed": _text(str(error))}
    return {"head": head, "lines": [line for line in lines if line != "Call Trace:"], "failed": ""}


def _lines(shown: str) -> list[str]:
    lines = shown.split("\n")
    more = len(lines) - _MOST_LINES
    return [*map(_text, lines[:_MOST_LINES]), *([f"… {more:,} more lines"] if more > 0 else [])]


def _text(value: str) -> str:
    return text.shorten(show_controls(value), _LONGEST)

"""Stacks in, what the explorer shows of them out as plain JSON: of one task, of who panicked, of those in state D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernlab.dashboard.table_view import Pages
from kernlab.display.stacks.lines import cut_line, cut_lines, stack_lines
from kernlab.errors import KernlabError

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Groups of equal stacks, and names of their threads.
_MOST_GROUPS, _NAMED = 6, 8


def stack(dump: Dump, pages: Pages, place: int) -> dict[str, Any]:
    """The stack of the task in a row of `tasks`: its lines as the kernel prints a call trace, and why it ends early."""
    task = pages.row("tasks", place)
    return stack_lines(lambda: dump.stack(int(task["address"])))


def overview(dump: Dump, pages: Pages) -> dict[str, Any]:
    """The stack of the thread that panicked, and those of all in state D, equal ones together."""
    told: dict[str, Any] = {
        "panic": stack_lines(lambda: dump.stack.of_panic(), registers=False),
        "groups": [],
        "more": 0,
        "failed": "",
    }
    try:
        rows = dump.stacks
        groups = rows[rows["state"] == "D"].groups()
    except KernlabError as error:
        return {**told, "failed": cut_line(str(error))}
    for row in groups.head(_MOST_GROUPS).to_dict("records"):
        count = int(row["count"])
        told["groups"].append(
            {
                "title": "1 thread" if count == 1 else f"{count:,} threads",
                "names": cut_line(row["comms"]),
                "pids": [int(pid) for pid in row["pids"][:_NAMED]],
                "lines": cut_lines(str(row["frames"])),
            }
        )
    told["more"] = max(len(groups) - _MOST_GROUPS, 0)
    return told

"""A stack in, its lines for a page out: as the kernel prints a call trace, cut, with control characters shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.util.text import shorten

if TYPE_CHECKING:
    from kernlab.display.stacks.stack import Stack

_MOST_LINES, _LONGEST = 200, 200


def stack_lines(find: Callable[[], Stack], *, registers: bool = True) -> dict[str, Any]:
    """`head` and `lines` of the stack that `find` gives; where there is none, `failed` says why."""
    try:
        head, *lines = cut_lines(find().text(registers=registers))
    except KernlabError as error:
        return {"head": "", "lines": [], "failed": cut_line(str(error))}
    return {"head": head, "lines": [line for line in lines if line != "Call Trace:"], "failed": ""}


def cut_lines(shown: str) -> list[str]:
    """The lines of a text, each cut, and of too many how many more there are."""
    lines = shown.split("\n")
    more = len(lines) - _MOST_LINES
    return [*map(cut_line, lines[:_MOST_LINES]), *([f"… {more:,} more lines"] if more > 0 else [])]


def cut_line(line: str) -> str:
    """One line as a page may have it."""
    return shorten(show_controls(line), _LONGEST)

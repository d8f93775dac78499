"""A form of report: the line that begins it, the kind it is of, and how it is called. Modules beside this one list
them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Literal

#: What `kind` can be.
KINDS = (
    "null dereference",
    "bad pointer",
    "general protection",
    "stack overflow",
    "invalid opcode",
    "divide error",
    "double fault",
    "execute of data",
    "processor exception",
    "BUG",
    "WARNING",
    "use after free",
    "out of bounds",
    "invalid free",
    "memory corruption",
    "uninitialised value",
    "information leak",
    "list corruption",
    "refcount",
    "bad user copy",
    "bad page",
    "UBSAN",
    "data race",
    "hung task",
    "soft lockup",
    "hard lockup",
    "RCU stall",
    "workqueue stall",
    "lock bug",
    "sleeping in atomic",
    "OOM",
    "memory leak",
    "I/O error",
    "file system error",
    "network stall",
    "hardware error",
    "sysrq",
    "panic",
    "unexpected reboot",
)

#: Kinds that a processor's trap tells, after which panic_on_oops ends the machine (arch/x86/kernel/dumpstack.c,
#: oops_end).
TRAPS = frozenset(
    {
        "null dereference",
        "bad pointer",
        "general protection",
        "stack overflow",
        "invalid opcode",
        "divide error",
        "double fault",
        "execute of data",
        "processor exception",
        "BUG",
        "list corruption",
        "bad user copy",
    }
)

#: What a line does: it begins a report; it is the line of a trap, which follows the cause where that has a line; it
#: is said just before or after the mark of a BUG or a warning, and names it; it stops the machine; it ends a
#: report.
Role = Literal["report", "trap", "says", "panic", "end"]

#: Where the function that is to blame stands: where the CPU stood and then the stack, `reported` without what
#: reports; `stalled` what the CPU was asked to do; `waiting` who waits; `traced` the first stack that a checker
#: shows, which has no reporter in it; `head` as the line says; `none`: nowhere.
Blame = Literal["top", "reported", "stalled", "waiting", "traced", "head", "none"]

Words = str | Callable[[re.Match[str]], str]


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """One form of a report's line."""

    kind: Words
    marks: tuple[str, ...]  # one of them stands in each such line: lines are looked for by them
    pattern: re.Pattern[str]
    title: Words  # {function} and the pattern's groups are filled in
    source: str
    role: Role = "report"
    blame: Blame = "reported"
    below: str = ""  # how the line before must begin

    @property
    def mark(self) -> str:
        """What the form is known by."""
        return self.marks[0]

    def kind_of(self, match: re.Match[str]) -> str:
        """The kind, by the line's own words."""
        return self.kind if isinstance(self.kind, str) else self.kind(match)

    def title_of(self, match: re.Match[str]) -> str:
        """The title, with `{function}` in it where one belongs."""
        if not isinstance(self.title, str):
            return self.title(match)
        title = self.title
        for name, value in match.groupdict().items():
            title = title.replace(f"{{{name}}}", value or "")
        return title


def form(
    kind: Words,
    marks: str | tuple[str, ...],
    pattern: str,
    title: Words,
    source: str,
    role: Role = "report",
    blame: Blame = "reported",
    below: str = "",
) -> Form:
    """A row of a list of forms; the pattern is held against a line's beginning."""
    marks = (marks,) if isinstance(marks, str) else marks
    return Form(kind, marks, re.compile(pattern), title, source, role, blame, below)

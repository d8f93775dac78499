"""What `kernlab capture status` says: checks in, text and JSON out. The machine's strings are escaped for terminals."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from kernlab.escape import escape_terminal

#: `fail`: no usable dump; `warn`: a worse one, or not of every trouble; `note`: for the administrator to know.
State = Literal["ok", "note", "warn", "fail"]

_MARKS: dict[State, str] = {"ok": " ok ", "note": "note", "warn": "WARN", "fail": "FAIL"}
_COLOURS: dict[State, str] = {"ok": "32", "note": "36", "warn": "33", "fail": "1;31"}

#: Numbers in JSON mean what they mean here; a change of meaning changes it.
SCHEMA = 1


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, what was found, what a usable dump wants, and what to do (not where it is ok)."""

    name: str
    title: str
    state: State
    found: str
    wanted: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Its fields by name; `state` is ok, note, warn or fail."""
        return {
            "name": self.name,
            "title": self.title,
            "state": self.state,
            "found": self.found,
            "wanted": self.wanted,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class Report:
    """All checks of a machine. `inside`: this is a crash kernel, running after a crash."""

    release: str | None
    inside: bool
    checks: tuple[Check, ...]
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def armed(self) -> bool:
        """Whether a crash now would leave a usable dump, by all that could be read."""
        return not self.inside and not any(check.state == "fail" for check in self.checks)

    @property
    def verdict(self) -> str:
        """One line for people."""
        if self.inside:
            return "this is a crash kernel: a dump waits to be saved"
        fails = sum(check.state == "fail" for check in self.checks)
        warns = sum(check.state == "warn" for check in self.checks)
        also = f", {warns} {'thing' if warns == 1 else 'things'} to look at" if warns else ""
        if self.armed:
            return f"armed: a crash now would leave a dump{also}"
        return f"NOT armed: {fails} {'thing is' if fails == 1 else 'things are'} in the way{also}"

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "schema": SCHEMA,
            "release": self.release,
            "armed": self.armed,
            "inside_crash_kernel": self.inside,
            "verdict": self.verdict,
            "checks": [check.as_json() for check in self.checks],
            "unread": self.unread,
        }

    def text(self, *, width: int = 100, colour: bool = False) -> str:
        """For a terminal `width` columns wide."""
        release = escape_terminal(self.release or "of unknown release")
        lines = [f"Linux {release}: {self.verdict}", ""]
        margin = max((len(check.title) for check in self.checks), default=0)
        for check in self.checks:
            lines += _lines(check, margin, max(width, margin + 40), colour)
        if any(check.remedy.startswith("sysctl") for check in self.checks):
            lines += ["", "What sysctl -w sets holds until the next boot; a file in /etc/sysctl.d/ keeps it."]
        if self.unread:
            named = ", ".join(f"{path} ({reason})" for path, reason in sorted(self.unread.items()))
            said = f"Not read: {named}. As root, more can be checked."
            lines += ["", *textwrap.wrap(escape_terminal(said), width)]
        return "\n".join(lines)


def _lines(check: Check, margin: int, width: int, colour: bool) -> Iterable[str]:
    mark = _MARKS[check.state]
    if colour:
        mark = f"\x1b[{_COLOURS[check.state]}m{mark}\x1b[0m"
    head = f"{mark}  {check.title:<{margin}}  "
    indent = " " * (margin + 8)
    said = [check.found, f"wanted: {check.wanted}", f"remedy: {check.remedy}" if check.remedy else ""]
    if check.state == "ok":
        # What is well needs no more words; --json has them all.
        said = said[:1]
    elif check.state == "note":
        said = ["; ".join(filter(None, said))]
    first = True
    for paragraph in filter(None, said):
        wrapped = textwrap.wrap(
            escape_terminal(paragraph), width - len(indent), subsequent_indent="  ", break_on_hyphens=False
        )
        for line in wrapped:
            yield (head if first else indent) + line
            first = False

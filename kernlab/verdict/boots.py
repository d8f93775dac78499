"""The text of a log in, the same with one boot of the machine in it out: a console's log goes over several."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from kernlab.oops.prefixes import split
from kernlab.util import losses
from kernlab.verdict.ending import PANIC

#: init/main.c, start_kernel: the first line that all architectures log, and nobody else does.
_BEGINS = "Linux version "
_FIRST = re.compile(r"Linux version \d{1,3}\.\d{1,4}\S{0,100} \(")
#: Lines that come before it.
_ABOVE = re.compile(r"Booting Linux on physical CPU|microcode: |Booting the kernel|-- (?:Boot|Reboot)\b")
#: What only a kernel that saves a dump is given (Documentation/admin-guide/kdump/kdump.rst).
_CRASH_KERNEL = re.compile(r"[Cc]ommand line: [^\n]{0,4000}?\belfcorehdr=\S")


class Boot(NamedTuple):
    """One boot: the places of its first line and behind its last one, whether it panicked, and whether it was to save
    the dump of the one before."""

    first: int
    end: int
    panicked: bool
    saves: bool


def one_boot(text: str) -> tuple[str, bool]:
    """The boot of a log that died, and whether what is left is of one boot.

    It is the last of those that panicked or that a crash kernel took over from, but not a crash kernel's own where
    another died. The lines of the others are empty, so that each line keeps its number. Where none is known to have
    died it is the whole text. What was not looked at is told as lost.
    """
    if _BEGINS not in text:
        return text, True
    lines = text.split("\n")
    boots = _boots(lines)
    if len(boots) < 2:
        return text, True
    # Nothing but a crash starts the kernel that saves a dump.
    left = [next_one.saves and not boot.saves for boot, next_one in pairwise(boots)]
    ends = [boot.panicked or crashed for boot, crashed in zip(boots, [*left, False], strict=True)]
    died = [boot for boot, end in zip(boots, ends, strict=True) if end and not boot.saves] or [
        boot for boot in boots if boot.panicked
    ]
    if not died:
        losses.lost(
            f"the log is of {len(boots)} boots, none of which is known to have died: all were looked at"
        )
        return text, False
    one = died[-1]
    losses.lost(
        f"the log is of {len(boots)} boots: only that of lines {one.first + 1:,} to {one.end:,}, which died, was "
        "looked at"
    )
    kept = ["" if not one.first <= place < one.end else line for place, line in enumerate(lines)]
    return "\n".join(kept), True


def _boots(lines: list[str]) -> list[Boot]:
    """All boots, in order; what comes before the first one that begins here is of one, too."""
    begins = [place for place, line in enumerate(lines) if _BEGINS in line and _FIRST.match(split(line)[0])]
    if not begins:
        return []
    firsts = [_from(lines, place) for place in begins]
    before = lines[: firsts[0]]
    if any(PANIC in line for line in before) or (any(before) and _saves(lines, firsts[0])):
        firsts.insert(0, 0)
    else:
        # What a loader wrote, or the end of a boot of which no more is known.
        firsts[0] = 0
    ends = [*firsts[1:], len(lines)]
    return [_boot(lines, first, end) for first, end in zip(firsts, ends, strict=True)]


def _from(lines: list[str], place: int) -> int:
    """Where a boot begins: a few lines may stand above its first own one."""
    while place > 0 and _ABOVE.match(split(lines[place - 1])[0]):
        place -= 1
    return place


def _boot(lines: list[str], first: int, end: int) -> Boot:
    panicked = any(PANIC in line for line in lines[first:end])
    return Boot(first, end, panicked, _saves(lines[:end], first))


def _saves(lines: list[str], first: int) -> bool:
    """Whether the kernel that begins here was to save a dump: its command line stands among its first lines."""
    return any(_CRASH_KERNEL.search(line) for line in lines[first : first + 100] if "ommand line: " in line)

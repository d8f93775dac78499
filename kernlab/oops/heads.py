"""The lines of a log in, those that begin, name or end a report out: looked for by marks, held against the forms."""

from __future__ import annotations

import re
from collections import defaultdict

from kernlab.oops import checks, endings, faults, locks, stalls
from kernlab.oops.forms import Form
from kernlab.oops.lines import Log

#: All forms; of two that fit a line the first counts.
FORMS: tuple[Form, ...] = (*checks.FORMS, *faults.FORMS, *locks.FORMS, *stalls.FORMS, *endings.FORMS)

#: A form, and what its pattern found in the line.
Head = tuple[Form, "re.Match[str]"]


def _by_mark() -> dict[str, list[Form]]:
    marks: dict[str, list[Form]] = defaultdict(list)
    for each in FORMS:
        for mark in each.marks:
            marks[mark].append(each)
    return dict(marks)


_MARKS = _by_mark()


def heads(log: Log) -> dict[int, Head]:
    """Places of lines that begin, name or end a report."""
    found: dict[int, Head] = {}
    for place, forms in _candidates(log.text).items():
        head = _head(log, place, forms)
        if head is None and log.tail(place):
            head = _head(log, place, forms)
        if head is not None:
            found[place] = head
    return found


def _candidates(text: str) -> dict[int, list[Form]]:
    """Places of lines that hold the mark of a form, and the forms: str.find goes over a log faster than any
    pattern."""
    found: dict[int, list[Form]] = defaultdict(list)
    for mark, forms in _MARKS.items():
        place, line, counted = text.find(mark), 0, 0
        while place >= 0:
            line += text.count("\n", counted, place)
            counted = place
            found[line].extend(forms)
            end = text.find("\n", place)
            place = text.find(mark, end) if end >= 0 else -1
    return found


def _head(log: Log, place: int, forms: list[Form]) -> Head | None:
    text = log.line(place).text.lstrip(" ")
    for each in forms:
        match = each.pattern.match(text)
        if match and (not each.below or _is_below(log, place, each.below)):
            return each, match
    return None


def _is_below(log: Log, place: int, begin: str) -> bool:
    return any(log.line(above).text.startswith(begin) for above in range(max(0, place - 2), place))

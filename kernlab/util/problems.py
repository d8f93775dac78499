"""What was lost and why, as sentences: a dump's own are said once, and each table has one line of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_BEGINNING = "the dump itself has "


def in_one_line(problems: Sequence[str]) -> list[str]:
    """A dump's own problems as one sentence that every table may bear; none of none."""
    distinct = list(dict.fromkeys(problems))
    if len(distinct) < 2:
        return distinct
    return [
        f"{_BEGINNING}{len(distinct):,} problems, which dump.problems and `kernlab info` list; the first: {distinct[0]}"
    ]


def beside(problems: Iterable[str], dumps: Iterable[str]) -> list[str]:
    """Those that are none of the dump's own, nor the line of them that another table bears; each once."""
    known = set(dumps)
    return [
        problem
        for problem in dict.fromkeys(problems)
        if problem not in known and not problem.startswith(_BEGINNING)
    ]

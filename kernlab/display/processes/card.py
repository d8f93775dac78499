"""A small card for a notebook: a title, facts in pairs, and what is missing; all of it escaped."""

from __future__ import annotations

from collections.abc import Sequence

from kernlab.escape import NO_MATH, escape_html, escape_terminal
from kernlab.util.text import shorten

_LONGEST, _MOST_PROBLEMS = 600, 6


def card_html(title: str, rows: Sequence[tuple[str, str]], problems: Sequence[str]) -> str:
    """HTML of a card: one `<div>`, no scripts, nothing fetched."""
    facts = "".join(
        f"<tr><th>{escape_html(name)}</th><td>{escape_html(shorten(value, _LONGEST))}</td></tr>"
        for name, value in rows
    )
    lost = "".join(f"<li>{escape_html(problem)}</li>" for problem in problems[:_MOST_PROBLEMS])
    more = f"<li>… and {len(problems) - _MOST_PROBLEMS:,} more</li>" if len(problems) > _MOST_PROBLEMS else ""
    return (
        f'<div class="kernlab-held {NO_MATH}"><style>.kernlab-held th{{text-align:left;padding-right:1em}}'
        ".kernlab-held td{text-align:left;overflow-wrap:anywhere}</style>"
        f"<b>{escape_html(title)}</b><table>{facts}</table>{f'<ul>{lost}{more}</ul>' if lost else ''}</div>"
    )


def card_text(title: str, rows: Sequence[tuple[str, str]], problems: Sequence[str]) -> str:
    """The same for a terminal."""
    margin = max((len(name) for name, _ in rows), default=0)
    lines = [title, *(f"{name:<{margin}}  {shorten(value, _LONGEST)}" for name, value in rows)]
    lines += [f"- {problem}" for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"- … and {len(problems) - _MOST_PROBLEMS:,} more")
    return "\n".join(escape_terminal(line) for line in lines)

"""What cells say of the whole report (`REPORT_MIME`) in, checked texts out: title, leads, provenance, redaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kernlab.escape import show_controls
from kernlab.util.text import shorten

#: A dict with any of title, subtitle, provenance, redaction and leads; a later cell's entry replaces an earlier one's.
REPORT_MIME = "application/vnd.kernlab.report+json"

_LONGEST_TITLE, _LONGEST, _MOST = 300, 4000, 200
_LONGEST_OF_LEAD = {"what": 300, "why": 2000, "next": 400}


@dataclass(frozen=True)
class Lead:
    """Something to look into: what it is, why that is said, what to do next."""

    what: str
    why: str
    next: str


@dataclass(frozen=True)
class Redaction:
    """How much was taken out: the level's name, and how many times of each kind; `before`, the level at which the dump
    had been redacted already when its file was written ('' for any other)."""

    level: str
    counts: tuple[tuple[str, int], ...]
    before: str = ""


@dataclass
class ReportData:
    """All that cells said of their report. Every text has its control characters made visible."""

    title: str = ""
    subtitle: str = ""
    provenance: list[tuple[str, str]] = field(default_factory=list)
    leads: list[Lead] = field(default_factory=list)
    redaction: Redaction | None = None


def gathered(said: Iterable[Any]) -> ReportData:
    """The data of all cells that have any, in their order. What is not of the form that it should have is left out."""
    found = ReportData()
    for one in said:
        if not isinstance(one, Mapping):
            continue
        if isinstance(one.get("title"), str):
            found.title = _text(one["title"], _LONGEST_TITLE)
        if isinstance(one.get("subtitle"), str):
            found.subtitle = _text(one["subtitle"])
        if isinstance(one.get("provenance"), list):
            pairs = [pair for pair in one["provenance"] if isinstance(pair, list | tuple) and len(pair) == 2]
            found.provenance = [(_text(name, _LONGEST_TITLE), _text(value)) for name, value in pairs[:_MOST]]
        if isinstance(one.get("leads"), list):
            leads = [lead for lead in one["leads"] if isinstance(lead, Mapping)]
            found.leads = [
                Lead(*(_text(lead.get(key, ""), most) for key, most in _LONGEST_OF_LEAD.items()))
                for lead in leads[:_MOST]
            ]
        if isinstance(one.get("redaction"), Mapping):
            found.redaction = _redaction(one["redaction"])
    return found


def _redaction(said: Mapping[str, Any]) -> Redaction:
    counts = said.get("counts")
    pairs = counts.items() if isinstance(counts, Mapping) else ()
    kept = tuple((_text(kind, _LONGEST_TITLE), int(n)) for kind, n in pairs if isinstance(n, int))
    return Redaction(_text(said.get("level", "")), tuple(sorted(kept)), _text(said.get("before", "")))


def _text(value: Any, most: int = _LONGEST) -> str:
    return shorten(show_controls("" if value is None else str(value), keep="\n"), most)

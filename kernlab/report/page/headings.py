"""Headings of cells in, headings of one page out: one order without jumps, anchors that stay, a table of contents."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_DEEPEST = 6


@dataclass(frozen=True)
class Entry:
    """A line of the table of contents; `level` counts from 2."""

    level: int
    anchor: str
    text: str


class Outline:
    """Gives each heading its level and its anchor, in the order of the page.

    `levels` are those of all headings that the notebook's author wrote: the least of them is the page's second.
    """

    def __init__(self, levels: Iterable[int]):
        self.entries: list[Entry] = []
        self._shift = 2 - min(levels, default=2)
        self._last = 1
        self._anchors: set[str] = set()

    def place(self, level: int, text: str) -> Entry:
        """A heading of the author's."""
        return self._placed(level + self._shift, text)

    def section(self, level: int, text: str) -> Entry:
        """A heading of a report's section function: its level is the page's."""
        return self._placed(level, text)

    def _placed(self, level: int, text: str) -> Entry:
        self._last = max(2, min(level, self._last + 1, _DEEPEST))
        entry = Entry(self._last, self._anchor(text), text)
        self.entries.append(entry)
        return entry

    def inside(self, level: int) -> int:
        """The level of a heading within an output: below its section's, without a jump."""
        above = self.entries[-1].level if self.entries else 1
        self._last = max(above + 1, min(level, self._last + 1)) if above < _DEEPEST else _DEEPEST
        return min(self._last, _DEEPEST)

    def _anchor(self, text: str) -> str:
        slug = slug_of(text) or "section"
        anchor, count = slug, 1
        while anchor in self._anchors:
            count += 1
            anchor = f"{slug}-{count}"
        self._anchors.add(anchor)
        return anchor


def slug_of(text: str) -> str:
    """A heading as an anchor: `at-...`, the same for the text and for what Jupyter's links call it."""
    words = re.sub(r"[^\w]+", "-", text.lower()).strip("-")
    return f"at-{words[:80]}" if words else ""

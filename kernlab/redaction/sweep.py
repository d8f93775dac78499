"""Pages in, the same pages without what reads like a secret out; what begins on one page and ends on the next, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from kernlab.redaction.literals import Hit, Literals
from kernlab.redaction.patterns import Patterns

U8 = npt.NDArray[np.uint8]

#: Bytes on either side of a page's end that are looked at together.
STRIP = 256

#: What may go on behind a page's end: text.
_TEXT = np.isin(np.arange(256), np.arange(33, 127))


class Sweeper:
    """What is looked for in all pages that may hold text: strings that are known, and patterns."""

    def __init__(self, literals: Literals, patterns: Patterns):
        self.literals = literals
        self.patterns = patterns

    def hits(self, rows: U8) -> list[Hit]:
        """Everything in rows uint8[n, size], contiguous, by its place in all of them: short ones first.

        What lies within something longer is not among them.
        """
        view = rows.reshape(-1)
        data = view.tobytes()
        return _outermost([*self._every(data, view, rows.shape[1])])

    def _every(self, data: bytes, view: U8, row: int) -> Iterator[Hit]:
        yield from self.literals.hits(data, view, row)
        yield from self.patterns.hits(data, view, row)

    def sweep(self, rows: U8) -> list[Counter[str]]:
        """Change rows in place; what was found in each, by kind."""
        counts: list[Counter[str]] = [Counter() for _ in range(len(rows))]
        flat = rows.reshape(-1)
        for hit in self.hits(rows):
            flat[hit.start : hit.end] = np.frombuffer(hit.new, dtype=np.uint8)
            counts[hit.start // rows.shape[1]][hit.kind] += 1
        return counts

    def text(self, text: str) -> tuple[str, Counter[str]]:
        """The same of text that is in no page."""
        data = text.encode("utf-8", "surrogateescape")
        if not data:
            return text, Counter()
        row = np.frombuffer(data, dtype=np.uint8).copy().reshape(1, -1)
        counts = self.sweep(row)
        return row.tobytes().decode("utf-8", "surrogateescape"), counts[0]

    def across(self, strips: U8) -> Iterator[tuple[int, Hit]]:
        """What crosses the middle of strips uint8[n, 2 * STRIP]: (strip, the hit by its place in the strip)."""
        for hit in self.hits(strips):
            strip, start = divmod(hit.start, strips.shape[1])
            end = start + hit.end - hit.start
            if start < STRIP < end:
                yield strip, Hit(start, end, hit.new, hit.kind)


def goes_on(edges: U8) -> npt.NDArray[np.bool_]:
    """At which of some bytes, the last or first of pages, text may go on: bool[n]."""
    return _TEXT[edges]


def _outermost(hits: Iterable[Hit]) -> list[Hit]:
    found: list[Hit] = []
    end = 0
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
        if hit.end <= end:
            continue
        end = hit.end
        found.append(hit)
    return found

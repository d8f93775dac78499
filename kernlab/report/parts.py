"""What a section of a report is made of: words, tables, figures and what is folded; each as HTML and as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Protocol

import pandas as pd

from kernlab.display.cells import AT_RIGHT, kind_of_column, kind_of_value, readable
from kernlab.escape import NO_MATH, escape_html, escape_terminal
from kernlab.report import phrases
from kernlab.util.addresses import is_missing
from kernlab.util.text import shorten

#: Characters of a cell: a report is read on paper, too.
_LONGEST_CELL = 160


class Part(Protocol):
    """A piece of a section."""

    def html(self) -> str:
        """As HTML, all text escaped."""

    def text(self) -> str:
        """As plain text for a terminal."""


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    words: str

    def html(self) -> str:
        """As HTML, all text escaped."""
        return f"<p>{escape_html(self.words)}</p>"

    def text(self) -> str:
        """As plain text for a terminal."""
        return escape_terminal(self.words)


@dataclass(frozen=True)
class Heading:
    """A heading below the section's own."""

    words: str

    def html(self) -> str:
        """As HTML, all text escaped."""
        return f"<h3>{escape_html(self.words)}</h3>"

    def text(self) -> str:
        """As plain text for a terminal."""
        return f"\n{escape_terminal(self.words)}"


@dataclass(frozen=True)
class Items:
    """A list, with numbers where the order is one to follow."""

    items: Sequence[str]
    numbered: bool = False

    def html(self) -> str:
        """As HTML, all text escaped."""
        name = "ol" if self.numbered else "ul"
        return f"<{name}>{''.join(f'<li>{escape_html(item)}</li>' for item in self.items)}</{name}>"

    def text(self) -> str:
        """As plain text for a terminal."""
        marks = [f"{place}." if self.numbered else "-" for place in range(1, len(self.items) + 1)]
        return "\n".join(
            f"{mark} {escape_terminal(item)}" for mark, item in zip(marks, self.items, strict=True)
        )


@dataclass(frozen=True)
class Lead:
    """A place to look: what, why it looks wrong, and what shows more."""

    what: str
    why: str
    next: str


@dataclass(frozen=True)
class Leads:
    """Leads in their order."""

    leads: Sequence[Lead]

    def html(self) -> str:
        """As HTML, all text escaped."""
        items = "".join(
            f"<li><strong>{escape_html(lead.what)}</strong>. {escape_html(lead.why)}<br>"
            f"Next: <code>{escape_html(lead.next)}</code></li>"
            for lead in self.leads
        )
        return f"<ol>{items}</ol>"

    def text(self) -> str:
        """As plain text for a terminal."""
        return "\n".join(
            f"{place}. {escape_terminal(lead.what)}: {escape_terminal(lead.why)}\n   {escape_terminal(lead.next)}"
            for place, lead in enumerate(self.leads, 1)
        )


@dataclass(frozen=True)
class Lines:
    """Lines of a log or of a stack, as they are."""

    lines: Sequence[str]

    def html(self) -> str:
        """As HTML, all text escaped."""
        return f"<pre>{chr(10).join(map(escape_html, self.lines))}</pre>"

    def text(self) -> str:
        """As plain text for a terminal."""
        return "\n".join(map(escape_terminal, self.lines))


@dataclass(frozen=True)
class Table:
    """Some columns of a table, under names that people read; sizes, shares and times in units of their kind.

    `columns` maps the frame's columns to the headings.
    """

    caption: str
    frame: pd.DataFrame
    columns: Mapping[str, str]

    def _cells(self) -> tuple[list[str], list[bool], list[list[str]]]:
        heads, right, cells = [], [], []
        for name, head in self.columns.items():
            if name not in self.frame.columns:
                continue
            column = self.frame[name]
            kind = kind_of_column(name, column.dtype)
            heads.append(head)
            right.append(kind in AT_RIGHT)
            cells.append([_cell(name, column.dtype, value) for value in column])
        return heads, right, cells

    def html(self) -> str:
        """As HTML, all text escaped."""
        heads, right, cells = self._cells()
        row = "".join(
            f'<th scope="col"{_class(n)}>{escape_html(head)}</th>'
            for head, n in zip(heads, right, strict=True)
        )
        body = "".join(
            "<tr>"
            + "".join(f"<td{_class(n)}>{escape_html(cell)}</td>" for cell, n in zip(line, right, strict=True))
            + "</tr>"
            for line in zip(*cells, strict=True)
        )
        return (
            f"<table><caption>{escape_html(self.caption)}</caption><thead><tr>{row}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )

    def text(self) -> str:
        """As plain text for a terminal."""
        heads, right, cells = self._cells()
        columns = []
        for head, n, column in zip(heads, right, cells, strict=True):
            shown = [escape_terminal(shorten(cell, 60)) for cell in (head, *column)]
            width = max(map(len, shown))
            columns.append([f"{cell:>{width}}" if n else f"{cell:<{width}}" for cell in shown])
        lines = [f"  {'  '.join(row).rstrip()}" for row in zip(*columns, strict=True)]
        return "\n".join([f"{escape_terminal(self.caption)}:", *lines])


def _class(number: bool) -> str:
    return ' class="n"' if number else ""


def _cell(name: str, dtype: Any, value: Any) -> str:
    if is_missing(value):
        return "–"
    kind = kind_of_value(name, value) if pd.api.types.is_object_dtype(dtype) else kind_of_column(name, dtype)
    if kind == "number" and isinstance(value, Integral):
        return f"{int(value):,}"
    if kind == "time":
        return seconds(pd.Timedelta(value))
    return shorten(readable(kind, value)[0], _LONGEST_CELL)


def seconds(span: pd.Timedelta) -> str:
    """A span of time as a table says it, as sentences do: `12.3 s`, `450 ms`, `3 h 5 min 7 s`."""
    return phrases.span(span)


@dataclass(frozen=True)
class Markup:
    """Markup that kernlab makes itself, its strings escaped (the drawing of a graph), and what it says in words."""

    markup: str
    words: str

    def html(self) -> str:
        """As HTML, all text escaped."""
        return self.markup

    def text(self) -> str:
        """As plain text for a terminal."""
        return escape_terminal(self.words, lines=True)


@dataclass(frozen=True)
class Folded:
    """What only some readers want: shown when its summary is clicked at."""

    summary: str
    parts: Sequence[Part]

    def html(self) -> str:
        """As HTML, all text escaped."""
        inside = "".join(part.html() for part in self.parts)
        return f"<details><summary>{escape_html(self.summary)}</summary>{inside}</details>"

    def text(self) -> str:
        """As plain text for a terminal: that it is there."""
        return f"({escape_terminal(self.summary)}: in the report)"


@dataclass(frozen=True)
class Figure:
    """A plot of `dump.plot` (its axes), and one sentence that says what to see."""

    axes: Any
    words: str

    def html(self) -> str:
        """The sentence; the picture is an output of its own."""
        return f"<p>{escape_html(self.words)}</p>"

    def text(self) -> str:
        """As plain text for a terminal."""
        return escape_terminal(self.words)


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; without parts it shows nothing at all.

    In a notebook the last expression of a cell: figures become outputs of their own, all else HTML between them.
    """

    title: str
    parts: Sequence[Part] = field(default_factory=tuple)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not self.parts:
            return
        for shown in self._blocks():
            if isinstance(shown, Figure):
                display(shown.axes.figure)  # type: ignore[no-untyped-call]
                _close(shown.axes.figure)
            else:
                display(shown, raw=True)  # type: ignore[no-untyped-call]

    def _blocks(self) -> Iterator[dict[str, str] | Figure]:
        html, text = [f"<h2>{escape_html(self.title)}</h2>"], [f"== {escape_terminal(self.title)} =="]
        for part in self.parts:
            html.append(part.html())
            text.append(part.text())
            if isinstance(part, Figure):
                yield _bundle(html, text)
                yield part
                html, text = [], []
        if html:
            yield _bundle(html, text)

    def html(self) -> str:
        """All of it but the pictures, as HTML."""
        return "".join(shown["text/html"] for shown in self._blocks() if isinstance(shown, dict))

    def __repr__(self) -> str:
        shown = [block["text/plain"] for block in self._blocks() if isinstance(block, dict)]
        return "\n".join(shown) if self.parts else ""


def _bundle(html: Sequence[str], text: Sequence[str]) -> dict[str, str]:
    return {
        "text/html": f'<div class="kernlab-report {NO_MATH}">{"".join(html)}</div>',
        "text/plain": "\n".join(text),
    }


def _close(figure: Any) -> None:
    """A figure that was shown: else the notebook shows it once more at the cell's end."""
    from matplotlib import pyplot

    pyplot.close(figure)

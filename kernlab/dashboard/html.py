"""The explorer as a page that needs no widget: what an untrusted notebook and a report without scripts show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.dashboard.table_view import FIRST
from kernlab.display.card import card
from kernlab.display.html import to_html
from kernlab.errors import KernlabError
from kernlab.escape import NO_MATH, escape_html

if TYPE_CHECKING:
    from kernlab.dashboard.board import Board

#: What is worth its room in a page that cannot ask for more: table, rows, columns (None: all).
_SHOWN: tuple[tuple[str, str, int, tuple[str, ...] | None], ...] = (
    (
        "verdict",
        "Why it died",
        20,
        ("finding", "subject", "module", "function", "confidence", "evidence", "against", "cell"),
    ),
    ("suspects", "What looks wrong", 20, ("lead", "subject", "bytes", "share", "evidence", "cell")),
    ("log", "The end of the log", 24, ("timestamp", "level", "text")),
    ("tasks", "Tasks", 40, ("pid", "ppid", "comm", "state", "cpu", "on_cpu", "rss_bytes", "address")),
)


class StillExplorer:
    """An explorer that nobody clicks on: the same names in Python, and a page instead of a widget."""

    def __init__(self, board: Board):
        self._board = board

    @property
    def frame(self) -> pd.DataFrame:
        """The table that is shown. Raises KernlabError when none is."""
        return self._board.frame

    @property
    def selected(self) -> pd.Series[Any] | None:
        """The chosen row: None, as nobody chooses."""
        return self._board.selected

    def show(self, table: str, search: str = "") -> None:
        """Make a table the one that is shown, with `search` as its filter. Raises KernlabError when there is none."""
        self._board.show(table, search)

    def _repr_html_(self) -> str:
        return page(self._board, complete=True)

    def __repr__(self) -> str:
        return f"<explorer of {self._board.dump!r}>"


def page(board: Board, *, complete: bool = False) -> str:
    """The card, what looks wrong, the end of the log, tasks, and which tables there are: escaped HTML, no scripts.

    What looks wrong takes seconds to find: where it was not asked for yet, only a `complete` page has it.
    """
    pages = board.pages
    parts = [card(board.dump)]
    built = {entry["name"] for entry in pages.names() if entry["rows"] is not None}
    parts += _asked_for(board)
    for name, title, rows, columns in _SHOWN:
        if name in FIRST and not complete and name not in built:
            continue
        try:
            table = pages.table(name)
        except KernlabError as error:
            parts.append(f"<p>{escape_html(title)}: {escape_html(str(error))}</p>")
            continue
        shown = table if columns is None else table[[column for column in columns if column in table]]
        shown = shown.tail(rows) if name == "log" else shown
        said = f"{title} ({len(shown):,} of {len(table):,} rows)" if len(shown) < len(table) else title
        parts.append(
            _details(said, to_html(shown, max_rows=rows, title=name), is_open=name in (*FIRST, "log"))
        )
    names = "".join(
        f"<tr><td>{escape_html(entry['group'])}</td><td><code>{escape_html(entry['code'])}</code></td>"
        f"<td>{'' if entry['rows'] is None else format(entry['rows'], ',')}</td>"
        f"<td>{escape_html(entry['description'])}</td></tr>"
        for entry in pages.names(every=True)
    )
    heads = "<tr><th>about</th><th>table</th><th>rows</th><th>what it is</th></tr>"
    parts.append(_details("Tables", f"<table><thead>{heads}</thead><tbody>{names}</tbody></table>"))
    parts.append(
        "<p><em>This is the explorer without its widget: run the cell again with a kernel to click through it.</em></p>"
    )
    return f'<div class="kernlab-explorer-page {NO_MATH}">{"".join(parts)}</div>'


def _asked_for(board: Board) -> list[str]:
    """The table that was asked for, where one was."""
    try:
        table = board.frame
    except KernlabError:
        return []
    return [_details(str(table.attrs.get("table", "table")), to_html(table), is_open=True)]


def _details(title: str, body: str, *, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{escape_html(title)}</summary>{body}</details>"

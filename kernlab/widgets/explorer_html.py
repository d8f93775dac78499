"""The explorer as a page that needs no widget: what an untrusted notebook and a report without scripts show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.errors import KernlabError
from kernlab.frames.html import to_html
from kernlab.text import NO_MATH, escape_html
from kernlab.widgets.card import card
from kernlab.widgets.explorer_tables import Pages

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: What is worth its room in a page that cannot ask for more: table, rows, columns (None: all).
_SHOWN: tuple[tuple[str, str, int, tuple[str, ...] | None], ...] = (
    ("log", "The end of the log", 24, ("timestamp", "level", "text")),
    ("tasks", "Tasks", 40, ("pid", "ppid", "comm", "state", "cpu", "on_cpu", "rss_bytes", "address")),
)


def page(dump: Dump, pages: Pages) -> str:
    """The card, the end of the log, the tasks, and which tables there are: escaped HTML without scripts."""
    parts = [card(dump)]
    for name, title, rows, columns in _SHOWN:
        try:
            table = pages.table(name)
        except KernlabError as error:
            parts.append(f"<p>{escape_html(title)}: {escape_html(str(error))}</p>")
            continue
        shown = table if columns is None else table[[column for column in columns if column in table]]
        shown = shown.tail(rows) if name == "log" else shown
        said = f"{title} ({len(shown):,} of {len(table):,} rows)" if len(shown) < len(table) else title
        parts.append(_details(said, to_html(shown, max_rows=rows, title=name), is_open=name == "log"))
    names = "".join(
        f"<tr><td><code>dump.{escape_html(entry['name'])}{'(…)' if entry['call'] else ''}</code></td>"
        f"<td>{'' if entry['rows'] is None else format(entry['rows'], ',')}</td>"
        f"<td>{escape_html(entry['description'])}</td></tr>"
        for entry in pages.names(every=True)
    )
    heads = "<tr><th>table</th><th>rows</th><th>what it is</th></tr>"
    parts.append(_details("Tables", f"<table><thead>{heads}</thead><tbody>{names}</tbody></table>"))
    parts.append(
        "<p><em>This is the explorer without its widget: run the cell again with a kernel to click through it.</em></p>"
    )
    return f'<div class="kernlab-explorer-page {NO_MATH}">{"".join(parts)}</div>'


def _details(title: str, body: str, *, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{escape_html(title)}</summary>{body}</details>"

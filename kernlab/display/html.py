"""A table in, HTML for people out: escaped, sizes in human units, with what was cut and what was lost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from kernlab.display.cells import AT_RIGHT, Kind, kind_of_column, kind_of_value, readable, sentences
from kernlab.escape import NO_MATH, escape_attribute, escape_html, show_short
from kernlab.util.addresses import is_missing
from kernlab.util.text import shorten

#: Text in a cell, and in the tooltip of a cell that had to be cut.
_LONGEST_CELL = 120
_LONGEST_TOOLTIP = 2000
#: Lines in a cell of a column of lines (attrs["lines"]).
_MOST_LINES = 64
#: Sentences in a cell of a column of lists of them (attrs["sentences"]), and characters of each.
_MOST_SENTENCES, _LONGEST_SENTENCE = 8, 300
_MOST_COLUMNS = 60
_PROBLEMS_SHOWN = 3

# A class named twice: JupyterLab sets all cells of rendered HTML to the right, with a selector of two classes.
_STYLE = """\
.kernlab-frame{overflow-x:auto;color:var(--jp-ui-font-color1,inherit)}
.kernlab-frame table{border-collapse:collapse;font-size:var(--jp-ui-font-size1,13px);margin:0}
.kernlab-frame caption{text-align:left;white-space:nowrap;padding:0 0 4px}
.kernlab-frame.kernlab-frame th,.kernlab-frame.kernlab-frame td{padding:2px 8px;text-align:left;white-space:pre;\
unicode-bidi:isolate;border-bottom:1px solid var(--jp-border-color2,#8884)}
.kernlab-frame.kernlab-frame .n{text-align:right;font-variant-numeric:tabular-nums}
.kernlab-frame .a{font-family:var(--jp-code-font-family,monospace)}
.kernlab-frame.kernlab-frame .lines{font-family:var(--jp-code-font-family,monospace);line-height:1.35}
.kernlab-frame tr:has(.lines)>*{vertical-align:top}
.kernlab-frame.kernlab-frame tr:has(.lines)>td:not(.lines):not(.n){white-space:normal;min-width:6em;max-width:18em;\
overflow-wrap:anywhere}
.kernlab-frame .na,.kernlab-frame tbody th{opacity:.75;font-weight:normal}
.kernlab-frame .problems{border-left:3px solid var(--jp-warn-color1,#d80);padding:2px 8px;margin-top:6px}
.kernlab-frame ul{margin:0;padding-left:1.2em}"""
# Beside sentences all text is wrapped, so that none of a row's columns is far.
_SAID_STYLE = """
.kernlab-frame tr:has(.said)>*{vertical-align:top}
.kernlab-frame.kernlab-frame tr:has(.said)>td:not(.n,.said){white-space:normal;max-width:16em;overflow-wrap:break-word}
.kernlab-frame.kernlab-frame .said{white-space:normal;min-width:20em;max-width:40em;overflow-wrap:break-word}
.kernlab-frame .said div{margin:0 0 3px;padding-left:1em;text-indent:-1em}"""


def is_ours(thing: Any) -> bool:
    """Did kernlab build this DataFrame or Series, and does it still know so? Joins and groupings forget it."""
    return isinstance(thing, pd.DataFrame | pd.Series) and "kernlab" in thing.attrs


def to_html(
    table: pd.DataFrame | pd.Series,
    *,
    max_rows: int | None = 20,
    title: str | None = None,
    human_sizes: bool = True,
) -> str:
    """A table as HTML: one `<div>`, no scripts, nothing fetched, light or dark as its page is.

    Of more than `max_rows` rows (None: all are shown) the first and the last half; `title` is the table's own
    name unless given. Columns whose names end in `_bytes` are in human units, the exact number as a tooltip (or as
    exact numbers, without `human_sizes`). Columns that attrs["lines"] names hold text of several lines, shown as such,
    those that attrs["sentences"] names lists of sentences.
    A Series is shown as names and values.
    """
    attrs = table.attrs
    name = title if title is not None else str(attrs.get("table", ""))
    frame = table.to_frame("") if isinstance(table, pd.Series) else table
    rows, columns = frame.shape
    positions, cut = _positions(rows, max_rows)
    shown = frame.iloc[positions, :_MOST_COLUMNS]
    if isinstance(table, pd.Series):
        # The entries of one kind go by the Series' name, those of many (a dump's facts) by their own.
        names = [str(key if table.name is None else table.name) for key in shown.index]
        kinds = [kind_of_value(name, value) for name, value in zip(names, shown.iloc[:, 0], strict=True)]
        cells = [
            [_cell(kind, value, human_sizes) for kind, value in zip(kinds, shown.iloc[:, 0], strict=True)]
        ]
        size = f"{rows:,} {'entry' if rows == 1 else 'entries'}"
    else:
        lines, said = attrs.get("lines", ()), attrs.get("sentences", ())
        cells = [
            list(map(_lines, shown.iloc[:, i]))
            if key in lines
            else list(map(_said, shown.iloc[:, i]))
            if key in said
            else _column(_name(key), shown.iloc[:, i], human_sizes)
            for i, key in enumerate(shown.columns)
        ]
        size = f"{rows:,} row{'' if rows == 1 else 's'} × {columns:,} column{'' if columns == 1 else 's'}"
    if cut:
        size += f", the first {cut:,} and the last {len(positions) - cut:,} shown"
    if columns > _MOST_COLUMNS:
        size += f", the first {_MOST_COLUMNS:,} columns shown"
    levels = [shown.index.get_level_values(level) for level in range(shown.index.nlevels)]
    labels = ["".join(f"<th>{_label(label)}</th>" for label in row) for row in zip(*levels, strict=True)]
    body = [
        f"<tr>{head}{''.join(row)}</tr>" for head, row in zip(labels, zip(*cells, strict=True), strict=True)
    ]
    if not cells:
        body = [f"<tr>{head}</tr>" for head in labels]
    if cut:
        body.insert(cut, f"<tr>{'<td>…</td>' * (len(cells) + len(levels))}</tr>")
    caption = f"<b>{escape_html(shorten(name, _LONGEST_CELL))}</b> · {size}" if name else size
    return (
        f'<div class="kernlab-frame {NO_MATH}"><style>{_style(cells)}</style><table><caption>{caption}</caption>'
        f"{_head(table, shown)}<tbody>{''.join(body)}</tbody></table>"
        f"{_problems(attrs.get('problems', ()))}</div>"
    )


def _positions(rows: int, max_rows: int | None) -> tuple[list[int], int]:
    """Which rows are shown, and after how many of them the cut comes (0: there is none)."""
    if max_rows is None or rows <= max_rows:
        return list(range(rows)), 0
    first = max(max_rows - max_rows // 2, 1)
    return [*range(first), *range(rows - max_rows // 2, rows)], first


def _head(table: pd.DataFrame | pd.Series, shown: pd.DataFrame) -> str:
    if isinstance(table, pd.Series):
        return ""
    corners = "".join(f"<th>{'' if name is None else _label(name)}</th>" for name in shown.index.names)
    heads = "".join(
        f'<th class="n">{_label(_name(key))}</th>'
        if kind_of_column(_name(key), dtype) in AT_RIGHT
        else f"<th>{_label(_name(key))}</th>"
        for key, dtype in zip(shown.columns, shown.dtypes, strict=True)
    )
    return f"<thead><tr>{corners}{heads}</tr></thead>"


def _name(key: Any) -> str:
    """A column's name, of several levels as one."""
    return " · ".join(str(part) for part in key if str(part)) if isinstance(key, tuple) else str(key)


def _label(label: Any) -> str:
    return "–" if is_missing(label) else escape_html(show_short(str(label), _LONGEST_CELL))


def _column(name: str, column: pd.Series[Any], human_sizes: bool) -> list[str]:
    if column.dtype == object:
        return [_cell(kind_of_value(name, value), value, human_sizes) for value in column]
    kind = kind_of_column(name, column.dtype)
    return [_cell(kind, value, human_sizes) for value in column]


def _cell(kind: Kind, value: Any, human_sizes: bool) -> str:
    if is_missing(value):
        return '<td class="na" title="missing: it could not be read, or does not apply">–</td>'
    if kind == "bytes" and not human_sizes:
        kind = "number"
    text, exact = readable(kind, value)
    if kind == "text" and len(text) > _LONGEST_CELL:
        exact = f"{len(text):,} characters: {shorten(text, _LONGEST_TOOLTIP)}"
    told = f' title="{escape_attribute(exact)}"' if exact else ""
    return f"<td{_class(kind)}{told}>{escape_html(show_short(text, _LONGEST_CELL))}</td>"


def _lines(value: Any) -> str:
    if is_missing(value):
        return _cell("text", value, False)
    lines = str(value).split("\n")
    shown = [escape_html(show_short(line, _LONGEST_CELL)) for line in lines[:_MOST_LINES]]
    more = len(lines) - _MOST_LINES
    return '<td class="lines">' + "<br>".join([*shown, *([f"… {more:,} more"] if more > 0 else [])]) + "</td>"


def _said(value: Any) -> str:
    said = sentences(value)
    if said is None:
        return _cell("text", value, False)
    shown = [escape_html(show_short(one, _LONGEST_SENTENCE)) for one in said[:_MOST_SENTENCES]]
    more = len(said) - _MOST_SENTENCES
    shown += [f"… {more:,} more"] if more > 0 else []
    return f'<td class="said">{"".join(f"<div>{one}</div>" for one in shown)}</td>'


def _style(cells: list[list[str]]) -> str:
    """The style of a frame with these cells, a list a column."""
    said = any(column and column[0].startswith('<td class="said"') for column in cells)
    return _STYLE + _SAID_STYLE if said else _STYLE


def _class(kind: Kind) -> str:
    if kind in AT_RIGHT:
        return ' class="n"'
    return ' class="a"' if kind in ("address", "flags") else ""


def _problems(problems: Iterable[Any]) -> str:
    told = [str(problem) for problem in problems]
    if not told:
        return ""
    items = "".join(f"<li>{escape_html(shorten(problem, 500))}</li>" for problem in told[:_PROBLEMS_SHOWN])
    more = len(told) - _PROBLEMS_SHOWN
    if more > 0:
        items += f"<li>and {more:,} more in <code>.attrs[&quot;problems&quot;]</code></li>"
    count = f"{len(told):,} {'problem' if len(told) == 1 else 'problems'}: something was lost here"
    return f'<div class="problems">{count}<ul>{items}</ul></div>'

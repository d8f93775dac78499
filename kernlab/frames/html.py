"""A table in, HTML for people out: escaped, sizes in human units, with what was cut and what was lost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from kernlab.frames.address_values import is_missing
from kernlab.text import NO_MATH, Address, escape_html, human_bytes, shorten

#: Text in a cell, and in the tooltip of a cell that had to be cut.
_LONGEST_CELL = 120
_LONGEST_TOOLTIP = 2000
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
.kernlab-frame .na,.kernlab-frame tbody th{opacity:.6;font-weight:normal}
.kernlab-frame .problems{border-left:3px solid var(--jp-warn-color1,#d80);padding:2px 8px;margin-top:6px}
.kernlab-frame ul{margin:0;padding-left:1.2em}"""


def is_ours(thing: Any) -> bool:
    """Did kernlab build this DataFrame or Series, and has it still the shape that `to_html` shows?"""
    if not isinstance(thing, pd.DataFrame | pd.Series) or "kernlab" not in thing.attrs:
        return False
    return thing.index.nlevels == 1 and (isinstance(thing, pd.Series) or thing.columns.nlevels == 1)


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
    exact numbers, without `human_sizes`).
    A Series is shown as names and values.
    """
    attrs = table.attrs
    name = title if title is not None else str(attrs.get("table", ""))
    frame = table.to_frame("") if isinstance(table, pd.Series) else table
    rows, columns = frame.shape
    positions, cut = _positions(rows, max_rows)
    shown = frame.iloc[positions, :_MOST_COLUMNS]
    if isinstance(table, pd.Series):
        pairs = zip(shown.index, shown.iloc[:, 0], strict=True)
        cells = [[_cell(str(key), value, human_sizes) for key, value in pairs]]
        size = f"{rows:,} {'entry' if rows == 1 else 'entries'}"
    else:
        cells = [
            [_cell(str(key), value, human_sizes) for value in shown.iloc[:, i]]
            for i, key in enumerate(shown.columns)
        ]
        size = f"{rows:,} row{'' if rows == 1 else 's'} × {columns:,} column{'' if columns == 1 else 's'}"
    if cut:
        size += f", the first {cut:,} and the last {len(positions) - cut:,} shown"
    if columns > _MOST_COLUMNS:
        size += f", the first {_MOST_COLUMNS:,} columns shown"
    labels = [f"<th>{_label(label)}</th>" for label in shown.index]
    body = [
        f"<tr>{head}{''.join(row)}</tr>" for head, row in zip(labels, zip(*cells, strict=True), strict=True)
    ]
    if not cells:
        body = [f"<tr>{head}</tr>" for head in labels]
    if cut:
        body.insert(cut, f"<tr>{'<td>…</td>' * (len(cells) + 1)}</tr>")
    caption = f"<b>{escape_html(shorten(name, _LONGEST_CELL))}</b> · {size}" if name else size
    return (
        f'<div class="kernlab-frame {NO_MATH}"><style>{_STYLE}</style><table><caption>{caption}</caption>'
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
    corner = _label(shown.index.name) if shown.index.name is not None else ""
    heads = (
        f'<th class="n">{_label(name)}</th>' if _is_number(dtype) else f"<th>{_label(name)}</th>"
        for name, dtype in zip(shown.columns, shown.dtypes, strict=True)
    )
    return f"<thead><tr><th>{corner}</th>{''.join(heads)}</tr></thead>"


def _is_number(dtype: Any) -> bool:
    if isinstance(dtype, np.dtype) and dtype.kind == "m":
        return True
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def _label(label: Any) -> str:
    return escape_html(shorten(str(label), _LONGEST_CELL))


def _cell(name: str, value: Any, human_sizes: bool) -> str:
    if is_missing(value):
        return '<td class="na" title="missing: it could not be read, or does not apply">–</td>'
    if isinstance(value, Address):
        return f'<td class="a">{value}</td>'
    if isinstance(value, bool | np.bool_):
        return f"<td>{value}</td>"
    if isinstance(value, int | float | np.integer | np.floating):
        if human_sizes and (name == "bytes" or name.endswith("_bytes")):
            return f'<td class="n" title="{value:,} bytes">{human_bytes(value)}</td>'
        number = f"{value:.6g}" if isinstance(value, float | np.floating) else str(int(value))
        return f'<td class="n">{number}</td>'
    if isinstance(value, pd.Timedelta):
        return f'<td class="n">{duration(value)}</td>'
    text = value if isinstance(value, str) else str(value)
    if len(text) <= _LONGEST_CELL:
        return f"<td>{escape_html(text)}</td>"
    tooltip = f"{len(text):,} characters: {shorten(text, _LONGEST_TOOLTIP)}"
    return f'<td title="{escape_html(tooltip)}">{escape_html(shorten(text, _LONGEST_CELL))}</td>'


def duration(time: pd.Timedelta) -> str:
    """A time span to the microsecond: `[-][N days ]HH:MM:SS.ffffff`."""
    microseconds = abs(time.value) // 1000
    seconds, fraction = divmod(microseconds, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    day = f"{days:,} {'day' if days == 1 else 'days'} " if days else ""
    return f"{'-' if time.value < 0 else ''}{day}{hour:02}:{minute:02}:{second:02}.{fraction:06}"


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

"""A table in, text for a terminal out: no control characters, sizes in human units, and long texts in full."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from typing import Any

import pandas as pd

from kernlab.display.cells import Kind, kind_of_column, kind_of_value, readable
from kernlab.escape import escape_terminal
from kernlab.util.addresses import is_missing
from kernlab.util.text import few, shorten

#: Tables of up to so many rows show long texts in full, each below its row.
_FEW_ROWS = 30
_LONGEST_TEXT = 2000
#: Of other texts in a table with texts of several lines.
_BESIDE_LINES = 300
#: Entries of a list that are shown.
_MOST_LISTED = 40


def to_text(table: pd.DataFrame | pd.Series[Any], *, human_sizes: bool = True) -> str:
    """A table as pandas prints it, but with each value as people read its kind (sizes only with `human_sizes`).

    Texts that pandas would cut (the evidence of `suspects`) follow below their row where there are few rows. Of a table
    with texts of several lines (attrs["lines"]) the first rows are shown, with those and its lists below each.
    """
    if isinstance(table, pd.Series):
        return escape_terminal(repr(_facts(table, human_sizes)), lines=True)
    if table.columns.nlevels > 1:
        return escape_terminal(repr(table), lines=True)
    own = table.attrs.get("lines", ())
    left_out = max(len(table) - _FEW_ROWS, 0) if own else 0
    table = table.head(_FEW_ROWS) if left_out else table
    long = _long_columns(table) if 0 < len(table) <= _FEW_ROWS else []
    if not long:
        return _printed(table, human_sizes)
    head, *rows = _printed(table.drop(columns=long), human_sizes, whole=True).split("\n")
    lines = [head]
    width = max(shutil.get_terminal_size().columns - 1, 40)
    margin = max(map(len, long)) + 6
    for row, (_, texts) in zip(rows, table[long].iterrows(), strict=True):
        lines.append(row)
        for name, text in texts.items():
            if not is_missing(text):
                first = f"{name:>{margin - 2}}  "
                whole = few(list(map(str, text)), _MOST_LISTED) if isinstance(text, list) else str(text)
                most = _BESIDE_LINES if own and name not in own else _LONGEST_TEXT
                parts = shorten(whole, most).split("\n" if name in own else "\0")
                for part in parts:
                    lines += textwrap.wrap(
                        escape_terminal(part),
                        width,
                        initial_indent=first,
                        subsequent_indent=" " * margin,
                        break_on_hyphens=False,
                    )
                    first = " " * margin
    if left_out:
        lines.append(f"… and {left_out:,} more row{'' if left_out == 1 else 's'}")
    return "\n".join(lines)


def _long_columns(table: pd.DataFrame) -> list[str]:
    """Columns of text that pandas would cut, where something else is left to stand in the row."""
    most = pd.get_option("display.max_colwidth")
    if most is None or not table.columns.is_unique:
        return []
    own = table.attrs.get("lines", ())

    def is_long(name: Any) -> bool:
        column = table[name]
        if not isinstance(column.dtype, pd.StringDtype):
            return bool(own) and any(isinstance(value, list) for value in column)
        return name in own or bool((column.str.len() > most).any())

    long = [str(name) for name in table.columns if is_long(name)]
    return long if len(long) < len(table.columns) else []


def _printed(table: pd.DataFrame, human_sizes: bool, *, whole: bool = False) -> str:
    kinds = {name: kind_of_column(str(name), dtype) for name, dtype in table.dtypes.items()}
    formatters: Any = {name: _formatter(kind) for name, kind in kinds.items() if kind in _wanted(human_sizes)}
    if whole:
        # One line a row: what belongs to it is put below.
        text = table.to_string(formatters=formatters)
    else:
        text = table.to_string(
            formatters=formatters,
            max_rows=pd.get_option("display.max_rows"),
            min_rows=pd.get_option("display.min_rows"),
            max_cols=pd.get_option("display.max_columns"),
            max_colwidth=pd.get_option("display.max_colwidth"),
            line_width=pd.get_option("display.width"),
            show_dimensions=len(table) > pd.get_option("display.max_rows"),
        )
    return escape_terminal(text, lines=True)


def _wanted(human_sizes: bool) -> set[Kind]:
    """What pandas prints otherwise than people read it."""
    return {"share", "flags", "bytes"} if human_sizes else {"share", "flags"}


def _formatter(kind: Kind) -> Callable[[Any], str]:
    return lambda value: "<NA>" if is_missing(value) else readable(kind, value)[0]


def _facts(series: pd.Series[Any], human_sizes: bool) -> pd.Series[Any]:
    """A Series of values of many kinds with each as people read it."""
    if series.dtype != object or series.index.nlevels > 1:
        return series
    made = []
    for name, value in zip(series.index, series.to_list(), strict=True):
        kind = kind_of_value(str(name), value)
        wanted = kind in _wanted(human_sizes) and not is_missing(value)
        made.append(readable(kind, value)[0] if wanted else value)
    return pd.Series(made, index=series.index, name=series.name, dtype=object)

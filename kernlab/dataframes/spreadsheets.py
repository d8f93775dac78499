"""Tables for spreadsheets: what a dump says is text in every cell, never a formula, in CSV and in Excel's own files.

Excel's files know types, so `table.to_excel(…)` needs nothing: as soon as kernlab has made a table, pandas writes text
as text there, and addresses, which are too long for a cell's number (a float), too. CSV has no types: `table.to_csv(…)`
holds exactly what the kernel held, for other programs, and `for_spreadsheets(table).to_csv(…)` what Excel may open.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import pandas as pd

from kernlab.dataframes.plain import plain
from kernlab.escape import escape_csv, escape_sheet
from kernlab.util.addresses import is_missing
from kernlab.util.text import Address

#: Excel's number format of cells whose content stays text when somebody edits them.
_TEXT = "@"
#: What Excel's writers, or whoever edits a cell, take for a formula; errors have a type of their own.
_COMPUTED = ("=", "+", "-", "@", "#")


def for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with text that no spreadsheet computes: `kernlab.for_spreadsheets(tasks).to_csv("tasks.csv")`.

    Text that begins with `=`, `+`, `-` or `@` gets an apostrophe before it, control characters are made visible; names
    of columns and labels of rows, which may be the dump's, too. Addresses become text, numbers and times stay. For
    programs that read CSV, where `-1` is no danger, write the table itself.

    >>> kernlab.for_spreadsheets(dump.tasks)[["pid", "comm", "address"]].tail(1)
         pid          comm             address
    95  6893  ext4lazyinit  0xff4719e3b4cac080
    """
    text = plain(table, addresses="text")
    columns = {at: _column(text.iloc[:, at]).array for at in range(text.shape[1])}
    result = pd.DataFrame(columns, index=_index(text.index))
    result.columns = _index(text.columns)
    result.attrs = dict(table.attrs)
    return result


def _column(column: pd.Series[Any]) -> pd.Series[Any]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if not isinstance(column.dtype, pd.StringDtype) and column.dtype != object:
        return column
    # Most texts of a table are there many times.
    known: dict[Any, Any] = {}
    made = []
    for value in column.to_list():
        if isinstance(value, str):
            if value not in known:
                known[value] = escape_csv(value)
            value = known[value]
        made.append(_cell(value))
    return pd.Series(made, index=column.index, dtype=column.dtype)


def _cell(value: Any) -> Any:
    if is_missing(value) or isinstance(value, str | numbers.Number):
        return value
    # Lists and bytes: what str() makes of a list begins with a bracket, but a semicolon may follow.
    return escape_csv(str(value))


def _index(index: pd.Index[Any]) -> pd.Index[Any]:
    if isinstance(index, pd.RangeIndex):
        return index
    names = [escape_csv(name) if isinstance(name, str) else name for name in index.names]
    if isinstance(index, pd.MultiIndex):
        rows = [tuple(_label(part) for part in row) for row in index]
        return pd.MultiIndex.from_tuples(rows, names=names) if rows else index.set_names(names)
    labels = [_label(label) for label in index]
    return index if labels == list(index) and names == list(index.names) else pd.Index(labels, name=names[0])


def _label(label: Any) -> Any:
    return escape_csv(label) if isinstance(label, str) else label


def _with_text(convert: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """pandas' own step that makes a value one of Excel's, with text that stays text."""

    def value_with_format(writer: Any, value: Any) -> Any:
        if isinstance(value, Address):
            return convert(writer, str(value))
        if not isinstance(value, str):
            made, form = convert(writer, value)
            # What is no number, time or truth (bytes, a list) has become text.
            return _text(writer, made) if isinstance(made, str) else (made, form)
        return _text(writer, value)

    return value_with_format


def _text(writer: Any, value: str) -> tuple[Any, str | None]:
    text = escape_sheet(value, spells=writer.engine == "xlsxwriter")
    if not text.lstrip().startswith(_COMPUTED) and "://" not in text and not text.startswith("mailto:"):
        return text, None
    if writer.engine == "openpyxl":
        from openpyxl.cell.rich_text import CellRichText

        # A plain str that begins with = it writes as a formula.
        return CellRichText(text), _TEXT
    if writer.engine == "xlsxwriter":
        for sheet in writer.book.worksheets():
            sheet.strings_to_formulas = sheet.strings_to_urls = False
    return text, _TEXT


def install() -> None:
    """Put it into pandas, where this pandas has the step."""
    step: Any = getattr(pd.ExcelWriter, "_value_with_fmt", None)
    if step is not None:
        pd.ExcelWriter._value_with_fmt = _with_text(step)  # type: ignore[attr-defined]


install()

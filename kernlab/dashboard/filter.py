"""A line that somebody typed and a table in, the rows that fit out: a small language, nothing of it evaluated.

    rcu                    some text column contains it (whatever the case), or a number column is it
    0xff47                 an address that begins so
    "two words"            both, with the space between them
    comm:kworker           this column contains it
    rss_bytes>10M state=D  comparisons: = != < <= > >=; sizes may carry K, M, G, T; times are in seconds
    -idle                  not

All words of a line must fit.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes.address import AddressArray
from kernlab.errors import KernlabError
from kernlab.util.addresses import number

Mask = npt.NDArray[np.bool_]

#: Longer lines are not a search.
_LONGEST = 1000

_WORD = re.compile(r'(-?)(?:([A-Za-z_][\w.\->\[\]]*?)(:|!=|<=|>=|==|=|<|>))?(?:"([^"]*)"|(\S+))')
_SIZE = re.compile(r"(-?\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda left, right: left == right,
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def matches(table: pd.DataFrame, line: str) -> Mask | None:
    """Which rows of `table` fit, bool[n]; None where the line asks for nothing.

    A word like `column=text` whose column the table lacks is text like any other where some row holds it (a log has
    many such). Raises KernlabError for a column that is not there, and for a comparison that makes no sense for one.
    """
    if len(line) > _LONGEST:
        raise KernlabError(f"a search of {len(line):,} characters; {_LONGEST:,} are the most")
    kept: Mask | None = None
    for found in _WORD.finditer(line):
        negative, column, operator, quoted, plain = found.groups()
        value = quoted if quoted is not None else plain
        if column is None:
            fits = _anywhere(table, value)
        elif column in table.columns:
            fits = _in_column(table[column], operator, value)
        else:
            fits = _anywhere(table, f"{column}{operator}{value}")
            if not (fits.any() or negative):
                raise _no_column(table, column, f"{column}{operator}{value}")
        if negative:
            fits = ~fits
        kept = fits if kept is None else kept & fits
    return kept


def _no_column(table: pd.DataFrame, column: str, word: str) -> KernlabError:
    names = [str(name) for name in table.columns]
    near = [name for name in names if name.startswith(f"{column}_")] or difflib.get_close_matches(
        column, names, 3
    )
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}."
    return KernlabError(f"there is no column {column!r}, and no row holds {word!r}; {hint}")


def _anywhere(table: pd.DataFrame, word: str) -> Mask:
    fits = np.zeros(len(table), dtype=bool)
    for name in table.columns:
        column = table[name]
        if isinstance(column.array, AddressArray):
            fits |= _address(column, word)
        elif is_text(column):
            fits |= _contains(column, word)
        elif word.isdecimal() and pd.api.types.is_integer_dtype(column.dtype):
            fits |= _true(column == int(word))
    return fits


def _in_column(column: pd.Series[Any], operator: str, value: str) -> Mask:
    if operator == ":":
        if isinstance(column.array, AddressArray):
            return _address(column, value)
        return _contains(column if is_text(column) else column.astype("str"), value)
    compare = _COMPARE[operator]
    if isinstance(column.array, AddressArray):
        return _true(compare(column, number(value)))
    if is_text(column):
        if operator in ("=", "==", "!="):
            return _true(compare(column, value))
        raise KernlabError(f"{column.name} holds text: compare it with :, = or !=")
    if pd.api.types.is_bool_dtype(column.dtype):
        if value.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise KernlabError(f"{column.name} is true or false, not {value!r}")
        return _true(compare(column, value.lower() in ("true", "1", "yes")))
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        return _true(compare(column.dt.total_seconds(), _number(column, value)))
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _true(compare(column, _number(column, value)))
    return _true(compare(column.astype("str"), value))


def is_text(column: pd.Series[Any]) -> bool:
    """Does a column hold strings?"""
    return isinstance(column.dtype, pd.StringDtype) or column.dtype == object


def _contains(column: pd.Series[Any], word: str) -> Mask:
    found = column.astype("str").str.contains(word, case=False, regex=False, na=False)
    return np.asarray(found.to_numpy(dtype=bool))


def _address(column: pd.Series[Any], word: str) -> Mask:
    """Addresses whose 16 digits begin with the word's; without `0x` a word must be long to be meant as one."""
    digits = word[2:] if word[:2].lower() == "0x" else word if len(word) >= 6 else ""
    if not re.fullmatch(r"[0-9a-fA-F]{1,16}", digits):
        return np.zeros(len(column), dtype=bool)
    values = np.asarray(column.array.fillna(0).to_numpy(dtype=np.uint64))
    shift = np.uint64(4 * (16 - len(digits)))
    return np.asarray(((values >> shift) == np.uint64(int(digits, 16))) & ~column.isna().to_numpy())


def _number(column: pd.Series[Any], value: str) -> int | float:
    try:
        return int(value, 0)
    except ValueError:
        pass
    size = _SIZE.fullmatch(value)
    if size is None:
        raise KernlabError(f"{column.name} holds numbers; {value!r} is none (12, 0x1f, 1.5, 10M)")
    counted = float(size[1]) * _UNITS[size[2].upper()]
    return int(counted) if counted.is_integer() else counted


def _true(mask: Any) -> Mask:
    """A comparison's answer as bool[n]: what is missing fits nothing."""
    filled = mask.fillna(False) if hasattr(mask, "fillna") else mask
    return np.asarray(filled).astype(bool)

"""A table and what somebody wants of it in, the rows and columns that are meant out; nothing of it is evaluated.

`--where` takes the formulas of `kernlab.util.formula`, in which a name stands for a column, else for a member of the
struct that a row was read from, as in `.kern.where`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kernlab.dataframes.address import AddressArray
from kernlab.dataframes.gather import operand
from kernlab.errors import KernlabError
from kernlab.util import formula

#: Names that are no columns, and what they are worth.
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False}


@dataclass(frozen=True)
class Selection:
    """What is wanted: a formula, columns and sort keys with commas between, the order, and how many rows."""

    where: str | None = None
    columns: str | None = None
    sort: str | None = None
    descending: bool = False
    limit: int | None = None


def select(table: pd.DataFrame, wanted: Selection) -> pd.DataFrame:
    """The rows that fit, sorted, and of these the columns. Raises KernlabError for what is not there."""
    if wanted.where is not None:
        table = table[fitting(table, wanted.where)]
    if wanted.sort is not None:
        keys = _listed(wanted.sort)
        by = pd.DataFrame({number: column(table, name) for number, name in enumerate(keys)})
        # Numbers of rows are no key: two rows may share one.
        order = by.reset_index(drop=True).sort_values(
            list(by.columns), ascending=not wanted.descending, kind="stable"
        )
        table = table.iloc[order.index.to_numpy()]
    if wanted.limit is not None:
        table = table.head(max(wanted.limit, 0))
    if wanted.columns is not None:
        names = _listed(wanted.columns)
        chosen = [column(table, name) for name in names]
        attrs = dict(table.attrs)
        table = pd.concat(chosen, axis=1) if chosen else table[[]]
        table.columns = pd.Index(names)
        table.attrs = attrs
    return table


def fitting(table: pd.DataFrame, where: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows fulfil a formula, bool[n]; one of which a needed value is missing does not.

    Raises KernlabError for what is not a formula (saying where), and for a name that is neither column nor member.
    """
    try:
        found = formula.compute(where, len(table), lambda name: _values(table, name))
    except _NoColumnError as error:
        raise KernlabError(f"--where {where}: {error}") from error
    except KernlabError as error:
        listed = ", ".join(map(str, table.columns))
        raise KernlabError(f"--where {where}: {error}. The columns are: {listed}") from error
    holds = found.values != ("" if found.values.dtype == object else 0)
    return np.asarray(found.valid & holds, dtype=bool)


def column(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    """A column, or a member of the rows' struct. Raises KernlabError, naming the nearest, where it is neither."""
    if name in table.columns:
        found = table[name]
        return found if isinstance(found, pd.Series) else found.iloc[:, 0]
    if (accessor := _structs_of(table)) is not None:
        try:
            member: pd.Series[Any] = accessor.field(name)
        except KernlabError as error:
            raise _neither(table, name, str(error)) from error
        return member
    raise _neither(table, name)


def _listed(names: str) -> list[str]:
    return [name for part in names.split(",") if (name := part.strip())]


def _structs_of(table: pd.DataFrame) -> Any:
    """`.kern` of the table where it is known which structs its rows are, None else."""
    accessor = getattr(table, "kern", None)
    if accessor is None:
        return None
    try:
        return accessor if accessor.type else None
    except KernlabError:
        return None


class _NoColumnError(KernlabError):
    """A name that is neither a column nor a member."""


def _neither(table: pd.DataFrame, name: str, why: str = "") -> _NoColumnError:
    names = [str(one) for one in table.columns]
    near = difflib.get_close_matches(name, names, 2) or [one for one in names if one.startswith(name)][:2]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    member = f", and no member either: {why}" if why else ""
    columns = f"; the columns are: {', '.join(names)}"
    return _NoColumnError(f"there is no column {name!r}{hint or member + columns}")


def _values(table: pd.DataFrame, name: str) -> formula.Values:
    """What a name in a formula stands for."""
    if name not in table.columns:
        if name in _CONSTANTS:
            return formula.constant(np.bool_(_CONSTANTS[name]), len(table))
        accessor = _structs_of(table)
        if accessor is None:
            raise _neither(table, name)
        try:
            return operand(accessor.structs, name)
        except KernlabError as error:
            raise _neither(table, name, str(error)) from error
    return _of_column(column(table, name))


def _of_column(series: pd.Series[Any]) -> formula.Values:
    there = ~series.isna().to_numpy(dtype=bool)
    kind = series.dtype.kind
    if isinstance(series.array, AddressArray):
        return formula.Values(series.fillna(0).to_numpy(dtype=np.uint64), there)
    if kind == "m":
        # As they are shown: in seconds.
        return formula.Values(series.dt.total_seconds().fillna(0.0).to_numpy(dtype=np.float64), there)
    if kind == "b":
        return formula.Values(series.fillna(False).to_numpy(dtype=bool), there)
    if kind in "iu":
        wide = np.int64 if kind == "i" else np.uint64
        return formula.Values(series.fillna(0).to_numpy(dtype=wide), there)
    if kind == "f":
        return formula.Values(series.fillna(0.0).to_numpy(dtype=np.float64), there)
    if kind == "M":
        text = [value.isoformat() if known else "" for value, known in zip(series, there, strict=True)]
        return formula.Values(np.array(text, dtype=object), there)
    held = np.empty(len(series), dtype=object)
    held[:] = [value if known else "" for value, known in zip(series, there, strict=True)]
    if not all(isinstance(value, str) for value in held):
        raise KernlabError(f"the column {series.name} holds neither numbers nor text")
    return formula.Values(held, there)

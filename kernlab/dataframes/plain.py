"""A table in, the same with dtypes that every other tool knows out: for DuckDB, Dask, Excel, charts, databases."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pandas as pd

from kernlab.dataframes.address import AddressArray
from kernlab.dataframes.deferred import DeferredText
from kernlab.errors import KernlabError

Table = TypeVar("Table", pd.DataFrame, pd.Series)

ADDRESSES = ("uint64", "text")
TIMES = ("timedelta", "seconds")


def plain(table: Table, *, addresses: str = "uint64", times: str = "timedelta") -> Table:
    """The same table without kernlab's own dtype: `duckdb.sql("select pid from t")` with `t = kernlab.plain(tasks)`.

    Parameters: table, a DataFrame or Series; addresses, "uint64" (UInt64 where some are missing) or "text" (`0x` and 16
    digits, missing NaN) for what computes in floats and would drop their low bits: Excel, JavaScript and so all charts;
    times, "timedelta" as they are, or "seconds" (float64) for what knows no spans of time, such as Altair.
    Index levels are treated as columns are; every other dtype is one of pandas' own already. attrs, which are plain
    JSON values, are kept. Raises KernlabError for another choice.

    >>> kernlab.plain(dump.tasks)["address"].dtype
    dtype('uint64')
    >>> kernlab.plain(dump.tasks, addresses="text")["address"].head(1).item()
    '0xff4719e38125c180'
    """
    for name, chosen, known in (("addresses", addresses, ADDRESSES), ("times", times, TIMES)):
        if chosen not in known:
            raise KernlabError(f"{name} is one of {', '.join(map(repr, known))}, not {chosen!r}")
    result: Any
    if isinstance(table, pd.Series):
        result = pd.Series(
            _plain(table.array, addresses, times), _index(table.index, addresses, times), name=table.name
        )
    else:
        # By position: two columns may have one name.
        columns = [_plain(table.iloc[:, at].array, addresses, times) for at in range(table.shape[1])]
        index = _index(table.index, addresses, times)
        result = pd.DataFrame(dict(enumerate(columns)), index=index)
        result.columns = _index(table.columns, addresses, times)
    result.attrs = dict(table.attrs)
    kept: Table = result
    return kept


def _plain(array: Any, addresses: str, times: str) -> Any:
    if isinstance(array, AddressArray):
        if addresses == "text":
            return array.astype("str")
        return array.numbers.copy() if array.isna().any() else array.to_numpy(dtype=np.uint64, copy=True)
    if isinstance(array, DeferredText):
        return array.plain
    if times == "seconds" and array.dtype.kind == "m":
        return pd.Series(array).dt.total_seconds().array
    return array


def _index(index: pd.Index[Any], addresses: str, times: str) -> Any:
    if isinstance(index, pd.MultiIndex):
        levels = [pd.Index(_plain(level.array, addresses, times), name=level.name) for level in index.levels]
        return index.set_levels(levels)
    if isinstance(index, pd.RangeIndex):
        return index
    return pd.Index(_plain(index.array, addresses, times), name=index.name)

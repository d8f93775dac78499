"""Events of several kinds in, one table of all their fields out; and the fields of any event as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes.builder import build
from kernlab.errors import KernlabError
from kernlab.traces.ftrace import fields
from kernlab.traces.ftrace.fields import Records
from kernlab.traces.ftrace.formats import Field, Format
from kernlab.traces.ftrace.record import Compiled, Failed, getter, shape

I64 = npt.NDArray[np.int64]

#: Cells that the columns of all fields together may have: about 2 GiB.
_MOST_CELLS = 1 << 27


def fields_of_many(
    token: str,
    formats: Mapping[int, Format],
    kinds: I64,
    records: Callable[[I64], Records],
    taken: Sequence[str],
) -> list[tuple[str, Any]]:
    """A column for each field of events of several kinds, missing in the events of kinds that do not have it.

    kinds: each event's number; records(rows): their bytes; taken: names that other columns have: a field of one of
    these is called field_NAME. Raises KernlabError where the columns would not fit into memory.
    """
    names = {name for number in np.unique(kinds).tolist() for name in formats[number].field_names(taken)}
    if len(names) * len(kinds) > _MOST_CELLS:
        raise KernlabError(
            f"{len(kinds):,} events with {len(names):,} fields are too many for one table: name fewer kinds, or use "
            "the column `fields` of ftrace.all"
        )
    parts: dict[str, list[tuple[I64, Any]]] = {}
    for number in np.unique(kinds).tolist():
        rows = np.flatnonzero(kinds == number)
        some = records(rows)
        form = formats[number]
        for name, field in zip(form.field_names(taken), form.fields, strict=True):
            values = pd.Series(build(token, name, fields.column(some, field)))
            parts.setdefault(name, []).append((rows, values))
    return [(name, spread_parts(len(kinds), found)) for name, found in parts.items()]


def spread_parts(length: int, parts: Sequence[tuple[I64, Any]]) -> Any:
    """Parts of a column, each at its rows; missing elsewhere, with a dtype that can say so."""
    series = [_nullable(values).set_axis(rows) for rows, values in parts]
    kinds = {str(values.dtype) for values in series}
    if len(kinds) > 1:
        series = _of_one_kind(series)
    return pd.concat(series).reindex(range(length)).array


def _nullable(values: Any) -> Any:
    kind = values.dtype.kind
    wider = {"i": "Int64", "u": "UInt64", "b": "boolean"}
    return values.astype(wider[kind]) if isinstance(values.dtype, np.dtype) and kind in wider else values


def _of_one_kind(series: Sequence[Any]) -> list[Any]:
    """Columns of one name that events declare differently, as what holds the values of all."""
    if all(pd.api.types.is_integer_dtype(values.dtype) for values in series):
        least = min((int(values.min()) for values in series if values.notna().any()), default=0)
        most = max((int(values.max()) for values in series if values.notna().any()), default=0)
        wide = "Int64" if most < 1 << 63 else "UInt64" if least >= 0 else "object"
        return [values.astype(wide) for values in series]
    return [values.astype(object) for values in series]


def as_json(form: Format, records: Records) -> list[str]:
    """The fields of each record as a JSON object: numbers, text, lists; pointers and bytes as hexadecimal text."""
    get = [(name, field, getter(field)) for name, field in zip(form.field_names(), form.fields, strict=True)]
    found = []
    for start, size in zip(records.start.tolist(), records.size.tolist(), strict=True):
        record = records.data[start : start + size].tobytes()
        found.append(
            json.dumps({name: _value(field, read, record) for name, field, read in get}, ensure_ascii=False)
        )
    return found


def _value(field: Field, read: Compiled, record: bytes) -> Any:
    try:
        value = read(record)
    except Failed:
        return None
    if field.is_dynamic:
        value = shape(field, value)
    if isinstance(value, bytes):
        return value.hex()
    if field.element.endswith("*") and isinstance(value, int):
        return f"{value % (1 << 64):#018x}"
    return value

"""One value of a table in, what a person reads of it out: in the units and the notation of its kind."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from kernlab.util.addresses import is_missing
from kernlab.util.text import Address, human_bytes, percent

#: bytes: a size; share: a fraction of 1; flags: bits, which a decimal number hides.
Kind = Literal["address", "bool", "bytes", "flags", "number", "share", "text", "time"]

#: Kinds whose cells stand at the right, so that digits of one weight stand below each other.
AT_RIGHT: frozenset[Kind] = frozenset({"bytes", "number", "share", "time"})


def kind_of_column(name: str, dtype: Any) -> Kind:
    """The kind of a column, by its name and dtype."""
    if pd.api.types.is_bool_dtype(dtype):
        return "bool"
    if isinstance(dtype, np.dtype) and dtype.kind == "m":
        return "time"
    if pd.api.types.is_numeric_dtype(dtype):
        return _number(name, pd.api.types.is_integer_dtype(dtype))
    return "address" if getattr(dtype, "name", "") == "address" else "text"


def kind_of_value(name: str, value: Any) -> Kind:
    """The kind of one value that goes by a name, as in a Series of many kinds."""
    if isinstance(value, Address):
        return "address"
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, int | float | np.integer | np.floating):
        return _number(name, isinstance(value, int | np.integer))
    return "time" if isinstance(value, pd.Timedelta) else "text"


def _number(name: str, is_integer: bool) -> Kind:
    if _is_called(name, "bytes"):
        return "bytes"
    if not is_integer:
        return "share" if _is_called(name, "share") or name == "confidence" else "number"
    return "flags" if _is_called(name, "flags") else "number"


def _is_called(name: str, what: str) -> bool:
    return name == what or name.endswith(f"_{what}")


def readable(kind: Kind, value: Any) -> tuple[str, str]:
    """A value as text, and what that text leaves out of it ('' where nothing). Missing values have no text."""
    if is_missing(value):
        return "", ""
    if kind == "address":
        return str(Address(int(value))), ""
    if kind == "bool":
        return str(bool(value)), ""
    if kind == "bytes":
        return human_bytes(value), f"{value:,} bytes"
    if kind == "flags":
        return f"{int(value):#x}", f"{int(value):,}"
    if kind == "share":
        return percent(float(value)), f"{value:.6g}"
    if kind == "time":
        return duration(pd.Timedelta(value)), ""
    if kind == "number":
        return _digits(value), ""
    if (said := sentences(value)) is not None:
        return " · ".join(said), ""
    return value if isinstance(value, str) else str(value), ""


def sentences(value: Any) -> list[str] | None:
    """The sentences of a cell that holds a list of them, or of objects that say one of a table; None of others."""
    if not isinstance(value, list):
        return None
    said = []
    for each in value:
        if isinstance(each, dict) and "says" in each:
            said.append(f"{each.get('table', '')}: {each['says']}".removeprefix(": "))
        elif isinstance(each, str):
            said.append(each)
        else:
            return None
    return said


def _digits(value: Any) -> str:
    """Integers exactly, other numbers to six digits, or to the unit where they have more than six before the point."""
    if not isinstance(value, float | np.floating):
        return str(int(value))
    number = float(value)
    return f"{number:.0f}" if 1e6 <= abs(number) < 1e15 else f"{number:.6g}"


def duration(time: pd.Timedelta) -> str:
    """A time span to the microsecond: `[-][N days ]HH:MM:SS.ffffff`."""
    microseconds = abs(time.value) // 1000
    seconds, fraction = divmod(microseconds, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    day = f"{days:,} {'day' if days == 1 else 'days'} " if days else ""
    return f"{'-' if time.value < 0 else ''}{day}{hour:02}:{minute:02}:{second:02}.{fraction:06}"

"""`since=` and `until=`: what a user writes for an instant in, ns on the common axis out."""

from __future__ import annotations

import datetime
import math
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kernlab.errors import KernlabError
from kernlab.traces.clock.relation import FAR

if TYPE_CHECKING:
    from kernlab.traces.clock.clocks import Clocks

#: Seconds since boot, negative: before the crash; a timedelta; or a string that pandas reads.
Instant: TypeAlias = float | str | datetime.timedelta | Any

_HELP = "give seconds since boot (12.5), before the crash (-5), a Timedelta, or a string such as '12.5s' or '-500ms'"


def instant(clocks: Clocks, value: Instant) -> int:
    """An instant in ns on the axis: since boot, or before the crash where `value` is negative ('-0s' is the crash).

    `value` is a number of seconds, a timedelta (Python's, NumPy's, pandas'), or a string that pandas reads as one.
    Raises KernlabError for anything else, and where it is not a time (NaN, NaT, beyond 146 years).
    """
    import pandas as pd

    try:
        text = value.strip() if isinstance(value, str) else ""
        if isinstance(value, np.timedelta64 | datetime.timedelta) or (text and not _is_number(text)):
            ns = int(pd.Timedelta(text or value).as_unit("ns").value)
            before = ns < 0 or text.startswith("-")
        elif text or (isinstance(value, Real) and not isinstance(value, bool)):
            seconds = float(text or value)
            ns, before = _seconds(seconds), math.copysign(1.0, seconds) < 0
        else:
            raise TypeError
        if abs(ns) >= FAR:
            raise OverflowError
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise KernlabError(f"{value!r} is not an instant: {_HELP}") from error
    return clocks.crash_ns - abs(ns) if before else ns


def window(clocks: Clocks, since: Instant | None, until: Instant | None) -> tuple[int, int]:
    """(first, last) ns on the axis of a window; without bounds from before boot until long after the crash.

    Raises KernlabError where it ends before it begins.
    """
    first = -FAR if since is None else instant(clocks, since)
    last = FAR if until is None else instant(clocks, until)
    if first > last:
        raise KernlabError(
            f"the window ends before it begins: since={since!r} is {first / 1e9:,.6f} s after boot, "
            f"until={until!r} {last / 1e9:,.6f} s"
        )
    return first, last


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _seconds(value: float) -> int:
    if not math.isfinite(value):
        raise ValueError
    return round(value * 1e9)

"""Values of a replay as columns of its tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes import nullable
from kernlab.replay.memory import SOURCES
from kernlab.replay.recording import Break

I64 = npt.NDArray[np.int64]

#: Letters of blktrace's rwbs and what they mean (kernel/trace/blktrace.c, blk_fill_rwbs).
_OPS = {"R": "read", "W": "write", "D": "discard", "F": "flush", "Z": "zone"}


def by_kind(values: npt.NDArray[np.int64], known: npt.NDArray[Any]) -> list[Any]:
    """Columns of bytes by kind: int64[n, kinds] and bool[n, kinds] of which are known."""
    return [
        nullable(np.ascontiguousarray(values[:, kind]), np.ascontiguousarray(known[:, kind], dtype=bool))
        for kind in range(values.shape[1])
    ]


def begin_of(one: Break) -> int:
    """The instant (ns on the axis) at which a break is told: the last before the loss, or the first after it."""
    return one.until if one.since is None else int(one.since)


def source_of(codes: npt.NDArray[np.int8]) -> pd.Categorical:
    """Sources by their codes (`memory.DUMP` …)."""
    names: Any = list(SOURCES)
    return pd.Categorical.from_codes(codes, categories=names)


def categories(names: list[str], codes: I64) -> pd.Categorical:
    """Names by their codes, as a category."""
    distinct: Any = list(dict.fromkeys(names))
    place = np.array([distinct.index(name) for name in names], dtype=np.int64)
    return pd.Categorical.from_codes(place[codes], categories=distinct)


def texts(strings: list[str | None], rows: I64) -> Any:
    """The strings of rows; of row -1 nothing, which is missing."""
    held = np.array([*strings, None], dtype=object)[rows]
    return pd.array(held, dtype="str")


def op_of(rwbs: str) -> str:
    """What a request does, by blktrace's letters; a leading F is a flush before it, unless nothing else follows."""
    rest = rwbs.removeprefix("F")
    if rwbs.startswith("F") and rest[:1] not in ("W", "R", "D"):
        return "flush"
    return _OPS.get(rest[:1], "other")


def flushes(rwbs: str) -> bool:
    """Does a request flush the disk\'s cache before it, or write past it (FUA)? By blktrace\'s letters."""
    return rwbs.startswith("F") or "F" in rwbs[1:]

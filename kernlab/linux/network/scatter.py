"""Columns of some rows laid into columns of all, where the others have no value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column

I64 = npt.NDArray[np.int64]


def scattered(count: int, kind: str, *parts: tuple[I64, Column]) -> Column:
    """A column of `count` rows, "int", "bool" or "text": of each part (rows int64[k], column of k) its values there.

    Later parts win; rows of no part are missing.
    """
    whole = Column.missing(count, kind)
    values, valid = whole.values, whole.valid
    for rows, column in parts:
        given = column.int64 if kind == "int" else column
        values[rows], valid[rows] = given.filled("" if kind == "text" else 0), given.valid
    return Column(values, valid, kind)


def chosen(conditions: Sequence[npt.NDArray[np.bool_]], words: Sequence[str]) -> npt.NDArray[np.object_]:
    """For each row the word of the first condition that holds, '' where none does."""
    picked = np.select(list(conditions), np.arange(1, len(words) + 1).tolist(), 0)
    found: npt.NDArray[np.object_] = np.array(["", *words], dtype=object)[picked]
    return found

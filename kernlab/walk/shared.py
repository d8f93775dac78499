"""Walk roots that several owners share once, then fan the results out to every owner."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


def unique_roots(tops: npt.ArrayLike) -> tuple[npt.NDArray[np.uint64], I64]:
    """The distinct addresses among uint64[n], and for each of the n its index in them."""
    unique, index = np.unique(np.ascontiguousarray(tops, dtype=np.uint64), return_inverse=True)
    return unique, index.astype(np.int64).reshape(-1)


def fan_out(owner: I64, index: I64) -> tuple[I64, I64]:
    """What was found for distinct trees, for all owners of `unique_roots`.

    Parameters: owner int64[m], ascending indexes into the distinct trees; index int64[n] as `unique_roots` gave it.
    Returns (owner int64[k], ascending indexes into the n; row int64[k], indexes into the m).
    """
    counts = np.bincount(owner, minlength=int(index.max()) + 1 if len(index) else 0)
    starts = np.cumsum(counts) - counts
    mine = counts[index]
    ends = np.cumsum(mine)
    total = int(ends[-1]) if len(ends) else 0
    row = np.arange(total) - np.repeat(ends - mine, mine) + np.repeat(starts[index], mine)
    return np.repeat(np.arange(len(index)), mine), row

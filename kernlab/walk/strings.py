"""Strings in kernel memory, many at once: by length, or up to their NUL."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.util import text

#: Strings without a length are read so many bytes at a time.
_PIECE = 64


def sized_strings(
    kernel: Kernel,
    addresses: npt.NDArray[np.uint64],
    lengths: npt.NDArray[Any],
    limit: int,
    what: str = "strings",
) -> Column:
    """Strings of known length: addresses uint64[n], lengths in bytes (longer than `limit` counts as unreadable);
    `what` names them, in what is told of those that cannot be read.
    Returns a text column; NULs inside stay. One gather a distinct length, so that no string fails for what lies
    behind it.
    """
    values = np.full(len(addresses), "", dtype=object)
    valid = np.zeros(len(addresses), dtype=bool)
    sizes = np.asarray(lengths).astype(np.int64)
    valid[sizes == 0] = True
    for size in np.unique(sizes[(sizes > 0) & (sizes <= limit)]).tolist():
        rows = np.flatnonzero(sizes == size)
        data, status = kernel.gather(addresses[rows], size, what)
        valid[rows] = status == 0
        whole = data.tobytes()
        values[rows] = [text.decode(whole[i * size : (i + 1) * size]) for i in range(len(rows))]
    return Column.of(values, valid)


def never_empty(names: Column) -> Column:
    """Names of what always has one: an empty one was read from memory that is damaged to zeros, and is not known."""
    return names.text.where(names.true)


def c_strings(
    kernel: Kernel,
    pointers: Column | npt.NDArray[np.uint64],
    limit: int = 4096,
    what: str = "strings",
) -> Column:
    """NUL-terminated strings at pointers (a column, or uint64[n]), cut at `limit` bytes; missing where one is NULL.

    `what` names them, in what is told of those that cannot be read.
    """
    addresses = pointers.filled(0) if isinstance(pointers, Column) else pointers
    found = [b""] * len(addresses)
    valid = addresses != 0
    rows = np.flatnonzero(valid)
    current = addresses[rows]
    done = 0
    # The first piece may be short, so one more than fills the limit; what is beyond it is cut below.
    while len(rows) and done < limit + _PIECE:
        # Pieces end where a page may end, so that a string at a page's end does not need the next one.
        start = (current & np.uint64(_PIECE - 1)).astype(np.int64)
        data, status = kernel.gather(current - start.astype(np.uint64), _PIECE, what="")
        good = status == 0
        if not good.all():
            # Read again, to say where the strings lie that are lost.
            kernel.gather(current, 1, what)
        valid[rows[~good]] = False
        rows, current, start, data = rows[good], current[good], start[good], data[good]
        nul = (data == 0) & (np.arange(_PIECE) >= start[:, None])
        ended = nul.any(axis=1)
        stop = np.where(ended, nul.argmax(axis=1), _PIECE)
        before = np.arange(len(rows)) * _PIECE
        whole = data.tobytes()
        for row, first, last in zip(
            rows.tolist(), (before + start).tolist(), (before + stop).tolist(), strict=True
        ):
            found[row] += whole[first:last]
        rows, current = rows[~ended], (current + (_PIECE - start).astype(np.uint64))[~ended]
        done += _PIECE
    values = np.empty(len(addresses), dtype=object)
    values[:] = [text.decode(raw[:limit]) for raw in found]
    return Column.of(values, valid)

"""Lists whose heads are not known: from some nodes of each to the one node that is no entry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_WORD = np.uint64(8)


def linked(kernel: Kernel, nodes: U64) -> Mask:
    """Which `struct list_head` are whole: both neighbours point back (include/linux/list.h, __list_add_valid)."""
    following, read = kernel.words(nodes, what="")
    before, also = kernel.words(nodes + _WORD, what="")
    good = read & also
    back, one = kernel.words(np.where(good, following, np.uint64(0)) + _WORD, what="")
    forth, other = kernel.words(np.where(good, before, np.uint64(0)), what="")
    whole: Mask = good & one & other & (back == nodes) & (forth == nodes)
    return whole


def heads_of(
    kernel: Kernel, nodes: U64, is_entry: Callable[[U64], Mask] | None, what: str
) -> tuple[U64, U64]:
    """The head of the list that each node uint64[n] is on, 0 where it has none; and one name for all nodes of a list
    without head (the lowest of them that is known), 0 for others.

    A node that is not among `nodes`, and for which `is_entry` (asked of several at once) does not hold, is a head.
    """
    known = np.unique(nodes)
    heads: dict[int, int] = {}
    following, read = kernel.words(known, what="")
    last = _last_known(known, np.where(read, following, np.uint64(0)))
    ends = np.where(read, following, np.uint64(0))[np.maximum(last, 0)]
    circles = last < 0
    passed = _through_strangers(kernel, np.unique(ends[~circles]), known, is_entry, what)
    for row in np.flatnonzero(~circles).tolist():
        heads[row] = passed.get(int(ends[row]), 0)
    head = np.array([heads.get(row, 0) for row in range(len(known))], dtype=np.uint64)
    # Strangers may lead back to nodes that are known: then these have the head of those.
    at = np.searchsorted(known, head)
    for _ in range(len(known).bit_length() + 1):
        inside = (head != 0) & (at < len(known))
        inside[inside] = known[at[inside]] == head[inside]
        if not inside.any():
            break
        head = np.where(inside, head[np.minimum(at, len(known) - 1)], head)
        at = np.searchsorted(known, head)
    else:
        head = np.where(np.isin(head, known), np.uint64(0), head)
    circle = np.zeros(len(known), dtype=np.uint64)
    circle[circles] = _lowest_of_circles(known, following, circles)
    where = np.searchsorted(known, nodes)
    return head[where], circle[where]


def _next_rows(known: U64, following: U64) -> I64:
    """Which known node follows each, -1 where an unknown one does."""
    at = np.minimum(np.searchsorted(known, following), max(len(known) - 1, 0))
    return np.where(known[at] == following, at, -1).astype(np.int64) if len(known) else at.astype(np.int64)


def _last_known(known: U64, following: U64) -> I64:
    """The last known node on the way from each on, before an unknown one; -1 for those that go round in a circle."""
    step = _next_rows(known, following)
    here = np.arange(len(known))
    last = np.where(step < 0, here, step)
    # Each round doubles how far ahead every node sees.
    for _ in range(len(known).bit_length() + 1):
        last = last[last]
    return np.where(step[last] < 0, last, -1) if len(known) else last


def _lowest_of_circles(known: U64, following: U64, circles: Mask) -> U64:
    step = _next_rows(known, following)
    lowest, jump = known.copy(), np.where(step < 0, np.arange(len(known)), step)
    for _ in range(len(known).bit_length() + 1):
        lowest = np.minimum(lowest, lowest[jump])
        jump = jump[jump]
    return lowest[circles]


def _through_strangers(
    kernel: Kernel, starts: U64, known: U64, is_entry: Callable[[U64], Mask] | None, what: str
) -> dict[int, int]:
    """Where the way from each node that is not known ends: at a head, or at a known node; 0 where it cannot be read."""
    result = {int(start): int(start) for start in starts}
    if is_entry is None:
        return result
    current = starts.copy()
    rows = np.arange(len(starts))
    landmark, length = starts.copy(), 0
    most = kernel.budget.structs(16)
    total = 0
    with kernel.budget.walk(what):
        while len(rows) and total < most:
            stranger = ~np.isin(current, known) & (current != 0)
            entry = np.zeros(len(current), dtype=bool)
            if stranger.any():
                entry[stranger] = is_entry(current[stranger])
            for row, where in zip(rows[~entry].tolist(), current[~entry].tolist(), strict=True):
                result[int(starts[row])] = where
            rows, current, landmark = rows[entry], current[entry], landmark[entry]
            current, read = kernel.words(current, what="")
            looped = ~read | (current == landmark)
            for row in rows[looped].tolist():
                result[int(starts[row])] = 0
            rows, current, landmark = rows[~looped], current[~looped], landmark[~looped]
            total += len(rows)
            length += 1
            if length & (length - 1) == 0:
                landmark = current.copy()
        for row in rows.tolist():
            result[int(starts[row])] = 0
    return result

"""Many rows in, as many as pixels can show out: what a lane looks like stays, and so do its peaks and its breaks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.plots.replay.scene import F64, I64


def few_rows(at: I64, key: F64, first: int, last: int, cells: int) -> npt.NDArray[np.intp]:
    """Rows (ascending in time) that draw the same steps: of each cell the first, the last, the least and the most.

    `key` is what is looked at; a row where it is NaN is a break, and always kept.
    """
    if len(at) <= 4 * cells:
        return np.arange(len(at))
    cell = np.clip((at - first).astype(np.float64) / max(last - first, 1) * cells, 0, cells).astype(np.int64)
    begins = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
    ends = np.append(begins[1:], len(cell)) - 1
    order = np.lexsort((np.nan_to_num(key, nan=-np.inf), cell))
    return np.unique(
        np.concatenate([begins, ends, order[begins], order[ends], np.flatnonzero(np.isnan(key))])
    )


def ran_most(
    start: I64, end: I64, cpu: I64, who: I64, first: int, last: int, cells: int, cpus: int, codes: int
) -> F64:
    """float64[cpus, cells, codes]: which share of each cell each of `codes` had, of intervals that do not overlap.

    `who` is the code of each interval, `cpu` its row. What is left of a cell is not known.
    """
    begin, stop = np.maximum(start, first), np.minimum(end, last)
    kept = stop > begin
    begin, stop, cpu, who = begin[kept], stop[kept], cpu[kept], who[kept]
    edges = np.linspace(float(0), float(last - first), cells + 1)
    a, b = (begin - first).astype(np.float64), (stop - first).astype(np.float64)
    low = np.clip(np.searchsorted(edges, a, side="right") - 1, 0, cells - 1)
    high = np.clip(np.searchsorted(edges, b, side="left") - 1, low, cells - 1)
    count = high - low + 1
    row = np.repeat(np.arange(len(a)), count)
    cell = low[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    overlap = np.minimum(b[row], edges[cell + 1]) - np.maximum(a[row], edges[cell])
    key = (cpu[row] * cells + cell) * codes + who[row]
    total = np.bincount(key, weights=overlap, minlength=cpus * cells * codes)
    found: F64 = total.reshape(cpus, cells, codes) / (edges[1] - edges[0])
    return found


def stretches(which: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(begin, end) of each run of True."""
    turns = np.flatnonzero(np.diff(np.concatenate([[0], which.view(np.int8), [0]])))
    return [(int(begin), int(end)) for begin, end in turns.reshape(-1, 2)]


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Heights as near to those wanted as labels that need `gap` each allow, within low to high; the order stays."""
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    placed: list[float] = []
    for number, at in enumerate(order):
        floor = placed[-1] + gap if placed else low
        placed.append(max(min(wanted[at], high - gap * (len(order) - 1 - number)), floor))
    found = [0.0] * len(wanted)
    for at, height in zip(order, placed, strict=True):
        found[at] = height
    return found

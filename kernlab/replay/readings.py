"""Absolute readings of memory: the dump itself, the recorder's marks and the log's blocks in, one table of them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.replay import kinds
from kernlab.replay.end_state import EndState
from kernlab.replay.kinds import ANON, FILE, FREE, KINDS, SHMEM, SLAB, STACKS, TABLES
from kernlab.replay.marks import Marks
from kernlab.replay.mem_info import Block

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: What a block leaves open of anonymous memory may be this share of it all.
_OPEN = 0.01


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings in the order of time: `values` int64[n, kinds + 1] bytes, the last column what is swapped out, and
    `known` likewise. `end` is the row of the dump."""

    time: I64
    values: I64
    known: Mask
    end: int
    total: int | None


def readings(
    kernel: Kernel,
    end: EndState,
    crash: int,
    marks: Marks,
    mark_time: I64,
    found: list[Block],
    block_time: I64,
) -> Readings:
    """All readings; `mark_time` and `block_time` (ns on the axis) say when each mark and block was taken."""
    of_marks = _of_marks(kernel, marks, end.total)
    of_blocks = _of_blocks(kernel, found, end.total)
    last = np.append(end.values, end.swap or 0)[None, :], np.append(end.known, end.swap is not None)[None, :]
    time = np.concatenate([mark_time, block_time, [crash]]).astype(np.int64)
    values = np.concatenate([of_marks[0], of_blocks[0], last[0]])
    known = np.concatenate([of_marks[1], of_blocks[1], last[1]])
    number = np.arange(len(time))
    # What would be later than the crash is damage; the dump is the last.
    keep = (time <= crash) & (time >= 0)
    order = np.flatnonzero(keep)[np.lexsort((number[keep], time[keep]))]
    return Readings(time[order], values[order], known[order], len(order) - 1, end.total)


def _of_marks(kernel: Kernel, marks: Marks, total: int | None) -> tuple[I64, Mask]:
    count = len(marks.row)
    values, known = kinds.from_counters(marks.counter, count, kernel.page_size)
    kinds.complete(values, known, total)
    (all_of, has_all), (free, has_free) = marks.counter("swap_total"), marks.counter("swap_free")
    used = (all_of - free) * kernel.page_size
    there = has_all & has_free & (used >= 0)
    return np.column_stack([values, np.where(there, used, 0)]), np.column_stack([known, there])


def _of_blocks(kernel: Kernel, found: list[Block], total: int | None) -> tuple[I64, Mask]:
    values = np.zeros((len(found), len(KINDS)), dtype=np.int64)
    known = np.zeros(values.shape, dtype=bool)
    swap = np.zeros(len(found), dtype=np.int64)
    has_swap = np.zeros(len(found), dtype=bool)
    for row, block in enumerate(found):
        told: dict[int, Any] = {
            FREE: _sum(block, "free"),
            SHMEM: _sum(block, "shmem"),
            SLAB: _sum(block, "slab_reclaimable", "slab_unreclaimable"),
            TABLES: _sum(block, "pagetables"),
            FILE: _sum(block, "pagecache", less=("shmem", "swapcache")),
            ANON: _anon(block),
        }
        for kind, pages in told.items():
            if pages is not None and pages >= 0:
                values[row, kind], known[row, kind] = pages * kernel.page_size, True
        if block.stack_kb is not None:
            values[row, STACKS], known[row, STACKS] = block.stack_kb * 1024, True
        used = _sum(block, "swap_total_kb", less=("swap_free_kb",))
        if used is not None and used >= 0:
            swap[row], has_swap[row] = used * 1024, True
    kinds.complete(values, known, total)
    return np.column_stack([values, swap]), np.column_stack([known, has_swap])


def _sum(block: Block, *names: str, less: tuple[str, ...] = ()) -> int | None:
    counters = block.counters
    if any(name not in counters for name in (*names, *less)):
        return None
    return sum(counters[name] for name in names) - sum(counters[name] for name in less)


def _anon(block: Block) -> int | None:
    """Mapped anonymous pages: those on the lists for what swap backs, less shared memory. What cannot be reclaimed may
    be either, and the swap cache need not be mapped: where these are much it is not known."""
    lists = _sum(block, "active_anon", "inactive_anon", "isolated_anon", less=("shmem",))
    unsure = _sum(block, "unevictable", "swapcache")
    if lists is None or unsure is None or unsure > _OPEN * max(lists, 1):
        return None
    return lists

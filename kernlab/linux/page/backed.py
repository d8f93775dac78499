"""Which page structs there are: what the kernel's own page tables map of their array, and what of it the file holds.

The section table says the same, and so does `max_pfn`; but these are words, which may say anything. What is mapped is
bound by the page tables that the dump holds, and what it holds of that by its frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.memory.page_tables import Entries

I64 = npt.NDArray[np.int64]

#: Pages of page structs that are looked for in the file at a time.
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Backed:
    """Sections by number, ascending: `mapped` int64[n] that have page structs, `held` int64[m] of which the file holds
    any; `whole`: no page table was lost that could map more."""

    mapped: I64
    held: I64
    whole: bool


def backed_sections(kernel: Kernel, frames: int) -> Backed | None:
    """The sections of `frames` frames that have page structs; None where nothing says where these should lie."""
    try:
        base = kernel.vmemmap
    except KernlabError as error:
        kernel.lost(f"which memory has page structs is not known: {error}")
        return None
    size = kernel.find_type("struct page").size
    end = base + kernel.arch.most_frames * size
    walk = kernel.memory.walk_tables(
        np.zeros(1, dtype=np.int64),
        np.array([kernel.layout.page_table], dtype=np.uint64),
        kernel=True,
        # The last byte of what an entry covers: the one behind it may be 2^64.
        touches=lambda address, span: (
            (address + np.uint64(span - 1) >= np.uint64(base))
            & (address < np.uint64(min(end, (1 << 64) - 1)))
        ),
    )
    mapped, held = np.zeros((2, 0), dtype=np.int64)
    bytes_each = frames * size
    done = False
    with kernel.budget.walk("the array of page structs"):
        for entries in walk:
            here = entries.where(entries.walked & (entries.address >= np.uint64(base)))
            mapped = np.union1d(mapped, _sections(here, base, bytes_each))
            held = np.union1d(held, _held(kernel, here, base, bytes_each))
        done = True
    return Backed(mapped, held, done and not walk.lost and not walk.beyond)


def _sections(entries: Entries, base: int, bytes_each: int) -> I64:
    """The sections whose page structs some entries map."""
    first = ((entries.address - np.uint64(base)) // np.uint64(bytes_each)).astype(np.int64)
    last = (
        (entries.address - np.uint64(base) + (entries.size - 1).astype(np.uint64)) // np.uint64(bytes_each)
    ).astype(np.int64)
    every = [first + step for step in range(int((last - first).max(initial=-1)) + 1)]
    return np.unique(np.concatenate([first[:0], *(one[one <= last] for one in every)]))


def _held(kernel: Kernel, entries: Entries, base: int, bytes_each: int) -> I64:
    """The sections of which the file holds a page of the page structs that some entries map."""
    page = kernel.page_size
    pages = entries.size // page
    ends = np.cumsum(pages)
    found = [np.zeros(0, dtype=np.int64)]
    first = 0
    while first < len(pages):
        # As many entries as have so many pages, at least one.
        begin = int(ends[first] - pages[first])
        last = max(int(np.searchsorted(ends, begin + _PIECE, side="right")), first + 1)
        rows = slice(first, last)
        inside = np.arange(int(pages[rows].sum())) - np.repeat(ends[rows] - pages[rows] - begin, pages[rows])
        pfns = np.repeat(entries.pfns[rows], pages[rows]) + inside.astype(np.uint64)
        there = kernel.memory.holds(pfns)
        where = np.repeat(entries.address[rows] - np.uint64(base), pages[rows])[there]
        where += inside[there].astype(np.uint64) * np.uint64(page)
        found.append(np.unique(where // np.uint64(bytes_each)).astype(np.int64))
        first = last
    return np.unique(np.concatenate(found))

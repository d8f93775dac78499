"""The replay's kinds of memory, and what counts to each: by page of the dump, by counters of vmstat, by Mem-Info.

| kind | pages of a dump (`dump.memory`) | counters |
|---|---|---|
| free | free (not pcp: the kernel's nr_free_pages has none of it) | nr_free_pages |
| anon | anon, THP; but those that nobody maps are other | nr_anon_pages |
| file | file | nr_file_pages - nr_shmem - nr_swapcached |
| shmem | shmem | nr_shmem |
| slab | slab, large kmalloc | nr_slab_reclaimable + nr_slab_unreclaimable |
| page_tables | page table | nr_page_table_pages |
| kernel_stacks | kernel stack | nr_kernel_stack (KiB) |
| other | all else but reserved | the managed pages less all of these |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.linux.page.classifier import KIND_NAMES, Kind

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FREE, ANON, FILE, SHMEM, SLAB, TABLES, STACKS, OTHER = range(8)
KINDS = ("free", "anon", "file", "shmem", "slab", "page_tables", "kernel_stacks", "other")

#: Of which of the replay's kinds a page of each kind of `dump.memory` is.
_OF = {
    Kind.FREE: FREE,
    Kind.ANON: ANON,
    Kind.THP: ANON,
    Kind.FILE: FILE,
    Kind.SHMEM: SHMEM,
    Kind.SLAB: SLAB,
    Kind.LARGE_KMALLOC: SLAB,
    Kind.PAGE_TABLE: TABLES,
    Kind.KERNEL_STACK: STACKS,
}
OF_PAGE: npt.NDArray[np.int8] = np.array(
    [_OF.get(Kind(number), OTHER) for number in range(len(KIND_NAMES))], dtype=np.int8
)

Counter = Callable[[str], tuple[Any, Any]]


def from_counters(counter: Counter, count: int, page_size: int) -> tuple[I64, Mask]:
    """Bytes of each kind but other by vmstat's counters: (int64[count, kinds], bool[count, kinds] of what is known).

    counter(name) gives (values int64[count], bool[count] of which are known).
    """
    values = np.zeros((count, len(KINDS)), dtype=np.int64)
    known = np.zeros(values.shape, dtype=bool)

    def add(kind: int, plus: tuple[str, ...], minus: tuple[str, ...] = (), unit: int = page_size) -> None:
        whole = np.ones(count, dtype=bool)
        total = np.zeros(count, dtype=np.int64)
        for sign, names in ((1, plus), (-1, minus)):
            for name in names:
                number, there = counter(name)
                # What is not in memory of any machine is damage.
                there = there & (number >= 0) & (number < 1 << 40)
                total += sign * np.where(there, number, 0)
                whole &= there
        values[:, kind], known[:, kind] = total * unit, whole & (total >= 0)

    # Linux commit b6038942480e ("mm: memcg: add swapcache stat for memcg v2") (in v5.12) brought nr_swapcached.
    cached = ("nr_swapcached",) if np.any(counter("nr_swapcached")[1]) else ()
    add(FREE, ("nr_free_pages",))
    add(ANON, ("nr_anon_pages",))
    add(FILE, ("nr_file_pages",), ("nr_shmem", *cached))
    add(SHMEM, ("nr_shmem",))
    add(SLAB, ("nr_slab_reclaimable", "nr_slab_unreclaimable"))
    add(TABLES, ("nr_page_table_pages",))
    add(STACKS, ("nr_kernel_stack",), unit=1024)
    return values, known


def complete(values: I64, known: Mask, total: int | None) -> None:
    """What is left of the managed memory as `other`, in place, where all other kinds are known."""
    if total is None:
        return
    whole = known[:, :OTHER].all(axis=1)
    rest = total - values[:, :OTHER].sum(axis=1)
    values[:, OTHER] = np.where(whole, rest, 0)
    known[:, OTHER] = whole & (rest >= 0)

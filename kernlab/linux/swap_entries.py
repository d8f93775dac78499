"""How a machine's page tables name what is swapped out, where its kernels differ: decided by what stands in them.

arm64 moved the type and the offset of an entry twice, and no type of the kernel's says where they are: a way of reading
is right with which the entries of processes that have pages swapped out name areas and places that there are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import EnumType
from kernlab.errors import KernlabError
from kernlab.linux.swap import has_swap, swap_areas
from kernlab.linux.tasks import find_tasks
from kernlab.memory.arch import Architecture
from kernlab.walk.page_tables import PageTables
from kernlab.walk.percpu_counters import percpu_sums

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: So many entries are enough, of so many processes.
_ENOUGH, _MOST_SPACES = 4096, 16
#: The lowest bits of an entry that is not present are clear.
_PRESENT = np.uint64(3)


@fact
def settle_swap_entries(kernel: Kernel) -> bool:
    """See to it that `kernel.arch` reads entries of what is swapped out as this kernel writes them.

    Gives whether entries themselves told; else the kernel's types did, or there is only one way. Tells where entries
    contradict all ways.
    """
    arch = kernel.arch
    if not arch.swap_ways:
        return False
    usual = arch.swap_ways[_by_types(kernel)]
    arch.swap_entries = usual
    try:
        with kernel.quiet():
            pages = _area_pages(kernel)
            values = _entries(kernel) if len(pages) else np.zeros(0, dtype=np.uint64)
    except KernlabError:
        return False
    if not len(values):
        return False
    fits = [fitting(arch, way, values, pages) for way in arch.swap_ways]
    best = arch.swap_ways[int(np.argmax(fits))]
    if max(fits) == 0:
        kernel.lost("what page tables say of swapped pages names no swap area, however it is read")
        return False
    # The types' word counts where entries do not tell the ways apart.
    arch.swap_entries = usual if fits[arch.swap_ways.index(usual)] == max(fits) else best
    return True


def fitting(arch: Architecture, way: object, values: U64, pages: I64) -> int:
    """How many entries name, read in one way, an area and a page of it: `pages` of each area by its number."""
    before = arch.swap_entries
    try:
        arch.swap_entries = way
        area, offset = arch.swap_type(values), arch.kept_frame(values)
        there = area < np.uint64(len(pages))
        there &= ~arch.is_present(values, np.zeros(len(values), dtype=bool))
        number = np.where(there, area, np.uint64(0)).astype(np.int64)
        return int((there & (offset < pages[number].astype(np.uint64))).sum())
    finally:
        arch.swap_entries = before


def _by_types(kernel: Kernel) -> int:
    """Which way a kernel's types make likely: features that came with the release that changed it."""
    flags = kernel.type_or_none("enum pageflags")
    # Linux commit 78fbe906cc90 ("mm/page-flags: reuse PG_mappedtodisk as PG_anon_exclusive") (in v5.19).
    if isinstance(flags, EnumType) and "PG_anon_exclusive" not in flags.enumerators:
        return 2
    folio = kernel.type_or_none("struct folio")
    # Linux commit 05c5323b2a34 ("mm: track mapcount of large folios in single value") (in v6.10).
    return 0 if folio is not None and StructArray(kernel, folio, [0]).has("_large_mapcount") else 1


def _area_pages(kernel: Kernel) -> I64:
    """How many pages each swap area has, by its number; none where nothing can be swapped."""
    if not has_swap(kernel):
        return np.zeros(0, dtype=np.int64)
    area = swap_areas(kernel)
    number, most = area["type"].int64, area["max"].int64
    known = number.valid & most.valid & (number.values >= 0) & (number.values < 32)
    pages = np.zeros(int(number.values[known].max(initial=-1)) + 1, dtype=np.int64)
    pages[number.values[known]] = most.values[known]
    return pages


def _entries(kernel: Kernel) -> U64:
    """Some entries that are not present, of the processes that have most pages swapped out."""
    mm = find_tasks(kernel)["mm"]
    spaces = StructArray(kernel, "struct mm_struct", np.unique(mm.values[mm.true]))
    # MM_SWAPENTS is 2; percpu counters since Linux commit f1a7941243c1 (in v6.2).
    if spaces.has("rss_stat[0].count"):
        swapped = percpu_sums(kernel, spaces.follow("rss_stat[2]")).filled(0)
    else:
        swapped = spaces["rss_stat.count[2].counter"].int64.filled(0)
    order = np.argsort(-swapped, kind="stable")[:_MOST_SPACES]
    found: list[U64] = []
    count = 0
    for block in PageTables(kernel, spaces[order[swapped[order] > 0]]).entries():
        absent = block.value[(block.value & _PRESENT) == 0]
        found.append(absent)
        count += len(absent)
        if count >= _ENOUGH:
            break
    return np.concatenate([*found, np.zeros(0, dtype=np.uint64)])[:_ENOUGH]

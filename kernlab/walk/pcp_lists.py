"""The page allocator's per-CPU lists: which free frames hang on them, found by their links, all lists at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.paths import resolve
from kernlab.kernel import Kernel
from kernlab.structs import StructArray
from kernlab.walk.cpus import percpu_many, possible_cpus
from kernlab.walk.vmemmap import PageChunk, page_type

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: Migrate types that have lists of their own (MIGRATE_PCPTYPES).
_PCP_TYPES = 3

#: Orders above this have one list a type, of pageblocks (PAGE_ALLOC_COSTLY_ORDER).
_COSTLY_ORDER = 3

#: No free block is larger (MAX_PAGE_ORDER can be configured to at most this, so that a block lies in one section).
_LARGEST_BLOCK = 15


@dataclass(frozen=True, slots=True)
class PcpFrames:
    """The blocks on the lists: first frame int64[m], ascending; order int64[m]; index of the zone int64[m]."""

    pfns: I64
    orders: I64
    zone: I64


def pcp_lists(
    kernel: Kernel, zone: StructArray, pageblock_order: int, problems: list[str]
) -> tuple[U64, I64, I64, I64]:
    """The heads of the lists: (address uint64[m], order int64[m], index into zone int64[m], pages on all lists of
    each zone int64[z]).

    Mirrors mm/page_alloc.c, order_to_pindex.
    """
    # Linux commit 28f836b6777b ("mm/page_alloc: split per cpu page lists and zone stats") (in v5.14).
    split = zone.has("per_cpu_pageset")
    pointer = zone["per_cpu_pageset" if split else "pageset"]
    populated = np.flatnonzero(pointer.valid & (pointer.values != 0) & (zone["present_pages"].values != 0))
    numbers = possible_cpus(kernel, problems)
    where = percpu_many(kernel, pointer.values[populated], numbers).reshape(-1)
    pcp = StructArray(
        kernel, kernel.find_type("struct per_cpu_pages" if split else "struct per_cpu_pageset"), where
    )
    if not split:
        pcp = pcp.follow("pcp")
    owner = np.repeat(populated, len(numbers))
    count = pcp["count"]
    if not count.valid.all():
        problems.append(
            f"{int((~count.valid).sum()):,} per-CPU lists of free pages lie on pages that the dump lacks: what hangs "
            "on them counts as other kernel memory"
        )
    index, heads = pcp.elements("lists")
    per_pcp = len(heads) // max(len(pcp), 1)
    number = np.arange(len(heads)) % max(per_pcp, 1)
    order = number // _PCP_TYPES
    order = np.where(order > _COSTLY_ORDER, pageblock_order, order)
    counts = np.zeros(len(zone), dtype=np.int64)
    np.add.at(counts, owner[count.valid], count.values[count.valid].astype(np.int64))
    readable = count.valid[index]
    return heads.addresses[readable], order[readable], owner[index][readable], counts


def pcp_frames(
    kernel: Kernel,
    chunks: Iterable[PageChunk],
    zone: StructArray,
    pageblock_order: int,
    problems: list[str],
) -> PcpFrames:
    """The frames on the per-CPU lists of all zones.

    A list is not walked: every free page whose links lead to another one is a candidate, and one belongs to the list
    whose head its links lead to, forwards or backwards. So thousands of entries take as many rounds as their number
    has bits, and a broken link costs only itself.
    """
    heads, orders, owners, counts = pcp_lists(kernel, zone, pageblock_order, problems)
    empty = np.zeros(0, dtype=np.int64)
    if not counts.any():
        return PcpFrames(empty, empty, empty)
    by_address = np.argsort(heads)
    sorted_heads = heads[by_address]
    page = kernel.find_type("struct page")
    links = resolve(page, "lru.next").hops[-1]
    base, size = np.uint64(kernel.vmemmap + links), np.uint64(page.size)
    parts = [_candidates(chunk, links, sorted_heads) for chunk in chunks]
    if not parts:
        return PcpFrames(empty, empty, empty)
    pfns, nexts, prevs = (np.concatenate(column) for column in zip(*parts, strict=True))
    mine = base + pfns.astype(np.uint64) * size
    forward = _reached(mine, nexts, prevs, sorted_heads)
    backward = _reached(mine, prevs, nexts, sorted_heads)
    head = np.where(forward >= 0, forward, backward)
    found = head >= 0
    list_of = by_address[head[found]]
    result = PcpFrames(pfns[found], orders[list_of], owners[list_of])
    pages = np.bincount(result.zone, weights=1 << result.orders, minlength=len(zone)).astype(np.int64)
    wrong = np.flatnonzero(pages != counts)
    if len(wrong):
        problems.append(
            f"the per-CPU lists of free pages should hold {int(counts[wrong].sum()):,} pages, "
            f"{int(pages[wrong].sum()):,} were found; the others count as other kernel memory"
        )
    return result


def _candidates(chunk: PageChunk, links: int, heads: U64) -> tuple[I64, U64, U64]:
    """Free pages without a type whose links lead to other pages or to heads: (pfn, next, prev)."""
    kernel = chunk.kernel
    page = kernel.find_type("struct page")
    # page_type or mapcount -1 and the refcount 0, side by side in one word.
    state = np.ascontiguousarray(chunk.number(resolve(page, "_mapcount.counter").hops[-1], 8))
    # Most free pages are tails of the buddy allocator's blocks: they look alike, and are left out at once.
    rows = np.flatnonzero((state == np.uint64(0xFFFFFFFF)) & ~_in_free_blocks(chunk, state))
    following, preceding = chunk.number(links, 8)[rows], chunk.number(links + 8, 8)[rows]
    base, size = np.uint64(kernel.vmemmap + links), np.uint64(page.size)
    most = np.uint64(1 << 40)
    good = ((following - base) // size < most) & ((following - base) % size == 0)
    good |= _index(heads, following) >= 0
    rows = rows[good]
    return rows + chunk.first_pfn, following[good], preceding[good]


def _in_free_blocks(chunk: PageChunk, state: U64) -> Mask:
    """Which pages are part of a free block of the buddy allocator; `state` are their types and reference counts."""
    edges = np.zeros(len(state) + 1, dtype=np.int32)
    mark = page_type(chunk.kernel, "buddy")
    if mark is not None:
        heads = np.flatnonzero((state & np.uint64(mark[0])) == np.uint64(mark[1]))
        private = resolve(chunk.kernel.find_type("struct page"), "private").hops[-1]
        order = np.minimum(chunk.number(private, 8)[heads], np.uint64(_LARGEST_BLOCK)).astype(np.int64)
        np.add.at(edges, heads, 1)
        np.subtract.at(edges, np.minimum(heads + (np.int64(1) << order), len(state)), 1)
    inside: Mask = np.cumsum(edges[:-1], dtype=np.int32) > 0
    return inside


def _index(known: U64, wanted: U64) -> I64:
    """The index in `known` (ascending) of each wanted value, -1 where it is not there."""
    if not len(known):
        return np.full(len(wanted), -1, dtype=np.int64)
    place = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    return np.where(known[place] == wanted, place, -1)


def _reached(mine: U64, links: U64, back: U64, heads: U64) -> I64:
    """The head that each node's links lead to, -1 where to none: pointers double with every round."""
    terminal = _index(heads, links)
    following = _index(mine, links)
    # The next one must point back, or a link left over from an earlier life would join the list.
    whole = following >= 0
    whole[whole] = back[following[whole]] == mine[whole]
    own = np.arange(len(mine))
    jump = np.where((terminal < 0) & whole, following, own)
    for _ in range(max(len(mine).bit_length(), 1)):
        jump = jump[jump]
    return terminal[jump]

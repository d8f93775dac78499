"""The page allocator's per-CPU lists: which free frames hang on them, found by their links, all lists at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.page.vmemmap import PageChunk, page_type
from kernlab.util.addresses import wrapped
from kernlab.walk.cpus import percpu_many, possible_cpus

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


def pcp_lists(kernel: Kernel, zone: StructArray, pageblock_order: int) -> tuple[U64, I64, I64, Column]:
    """The heads of the lists: (address uint64[m], order int64[m], index into zone int64[m], pages on all lists of
    each of z zones, a column "int").

    Mirrors mm/page_alloc.c, order_to_pindex.
    """
    # Linux commit 28f836b6777b ("mm/page_alloc: split per cpu page lists and zone stats") (in v5.14).
    split = zone.has("per_cpu_pageset")
    pointer = zone["per_cpu_pageset" if split else "pageset"]
    populated = np.flatnonzero(pointer.true & zone["present_pages"].true)
    numbers = possible_cpus(kernel)
    where = percpu_many(kernel, pointer.values[populated], numbers).reshape(-1)
    pcp = StructArray(kernel, "struct per_cpu_pages" if split else "struct per_cpu_pageset", where)
    if not split:
        pcp = pcp.follow("pcp")
    owner = np.repeat(populated, len(numbers))
    count = pcp["count"]
    kernel.lost(
        "per-CPU lists of free pages lie on pages that the dump lacks",
        mask=~count.valid,
        why="what hangs on them counts as other kernel memory",
    )
    index, heads = pcp.elements("lists")
    per_pcp = len(heads) // max(len(pcp), 1)
    number = np.arange(len(heads)) % max(per_pcp, 1)
    order = number // _PCP_TYPES
    order = np.where(order > _COSTLY_ORDER, pageblock_order, order)
    counts = count.added_by(owner, len(zone)).where(zone.valid)
    readable = count.valid[index]
    return heads.addresses[readable], order[readable], owner[index][readable], counts


@dataclass(frozen=True, slots=True)
class Candidates:
    """Free pages whose links lead to others or to a list: pfn int64[m], where they lead uint64[m] each."""

    pfns: I64
    following: U64
    preceding: U64


class PcpSearch:
    """The search for the frames on the per-CPU lists of all zones: `candidates` of each chunk, then `frames` of all.

    A list is not walked: every free page whose links lead to another one is a candidate, and one belongs to the list
    whose head its links lead to, forwards or backwards. So thousands of entries take as many rounds as their number
    has bits, and a broken link costs only itself.
    """

    def __init__(self, kernel: Kernel, zone: StructArray, pageblock_order: int):
        self._zones = len(zone)
        self._kernel = kernel
        heads, self._orders, self._owners, self._counts = pcp_lists(kernel, zone, pageblock_order)
        self._empty = bool(self._counts.valid.all()) and not self._counts.true.any()
        self._by_address = np.argsort(heads)
        self._heads = heads[self._by_address]
        page = kernel.find_type("struct page")
        self._links: int = resolve(page, "lru.next").hops[-1]
        self._back: int = resolve(page, "lru.prev").hops[-1]
        self._state: int = resolve(page, "_mapcount.counter").hops[-1]
        self._private: int = resolve(page, "private").hops[-1]
        self._base, self._size = wrapped(kernel.vmemmap + self._links), np.uint64(page.size)
        self._buddy = page_type(kernel, "buddy")

    def candidates(self, chunk: PageChunk) -> Candidates:
        """The free pages of a chunk that may hang on a list; none where all lists are empty."""
        if self._empty:
            return _NO_CANDIDATES
        # page_type or mapcount -1 and the refcount 0, side by side in one word.
        state = chunk.number(self._state, 8)
        # Most free pages are tails of the buddy allocator's blocks: they look alike, and are left out at once.
        rows = np.flatnonzero((state == np.uint64(0xFFFFFFFF)) & ~self._in_free_blocks(chunk, state))
        following, preceding = chunk.number(self._links, 8)[rows], chunk.number(self._back, 8)[rows]
        good = ((following - self._base) // self._size < np.uint64(chunk.kernel.arch.most_frames)) & (
            (following - self._base) % self._size == 0
        )
        good |= _index(self._heads, following) >= 0
        return Candidates(rows[good] + chunk.first_pfn, following[good], preceding[good])

    def _in_free_blocks(self, chunk: PageChunk, state: U64) -> Mask:
        """Which pages are part of a free block of the buddy allocator; `state` are their types and reference counts."""
        inside: Mask = np.zeros(len(state), dtype=bool)
        if self._buddy is None:
            return inside
        mask, value = (np.uint64(part) for part in self._buddy)
        heads = np.flatnonzero((state & mask) == value)
        order = np.minimum(chunk.number(self._private, 8)[heads], np.uint64(_LARGEST_BLOCK)).astype(np.int64)
        edges = np.zeros(len(state) + 1, dtype=np.int32)
        np.add.at(edges, heads, 1)
        np.subtract.at(edges, np.minimum(heads + (np.int64(1) << order), len(state)), 1)
        np.greater(np.cumsum(edges[:-1], dtype=np.int32), 0, out=inside)
        return inside

    def frames(self, parts: Sequence[Candidates]) -> PcpFrames:
        """The frames on the lists, once the candidates of all chunks, in their order, are known."""
        if not parts or self._empty:
            return PcpFrames(_NO_FRAMES, _NO_FRAMES, _NO_FRAMES)
        pfns = np.concatenate([part.pfns for part in parts])
        nexts = np.concatenate([part.following for part in parts])
        prevs = np.concatenate([part.preceding for part in parts])
        mine = self._base + pfns.astype(np.uint64) * self._size
        forward = _reached(mine, nexts, prevs, self._heads)
        backward = _reached(mine, prevs, nexts, self._heads)
        head = np.where(forward >= 0, forward, backward)
        found = head >= 0
        list_of = self._by_address[head[found]]
        result = PcpFrames(pfns[found], self._orders[list_of], self._owners[list_of])
        pages = np.bincount(result.zone, weights=1 << result.orders, minlength=self._zones).astype(np.int64)
        wrong = np.flatnonzero((self._counts != pages).true)
        if len(wrong):
            self._kernel.lost(
                f"the per-CPU lists of free pages should hold {int(self._counts.values[wrong].sum()):,} pages, "
                f"{int(pages[wrong].sum()):,} were found; the others count as other kernel memory"
            )
        return result


_NO_FRAMES: I64 = np.zeros(0, dtype=np.int64)
_NO_CANDIDATES = Candidates(_NO_FRAMES, np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64))


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

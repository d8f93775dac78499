"""One chunk of page structs in, the kind of memory of every frame out: all the rules, in their order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kernlab.linux.page.layout import PageLayout
from kernlab.linux.page.vmemmap import PageChunk

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

# include/linux/page-flags.h: the low bits of page.mapping, and below what _mapcount is a page type.
_ANON, _MARKS = np.uint64(1), np.uint64(3)
_LOWEST_MAPCOUNT = -128

Number = TypeVar("Number", np.int32, np.int64)


class Kind(IntEnum):
    """What a frame is used for; `KIND_NAMES[kind]` is how tables say it."""

    FREE = 0
    PCP = 1
    ANON = 2
    THP = 3
    SHMEM = 4
    FILE = 5
    SWAP_CACHE = 6
    HUGETLB = 7
    SLAB = 8
    LARGE_KMALLOC = 9
    PAGE_TABLE = 10
    KERNEL_STACK = 11
    VMALLOC = 12
    VMAP = 13
    PERCPU = 14
    ZSMALLOC = 15
    NETWORK = 16
    OTHER = 17
    RESERVED = 18
    HWPOISON = 19
    UNACCEPTED = 20
    OFFLINE = 21
    EXCLUDED = 22


#: The kinds' names, by their numbers.
KIND_NAMES = (
    "free",
    "pcp",
    "anon",
    "THP",
    "shmem",
    "file",
    "swap cache",
    "hugetlb",
    "slab",
    "large kmalloc",
    "page table",
    "kernel stack",
    "vmalloc",
    "vmap",
    "percpu",
    "zsmalloc",
    "network",
    "other kernel",
    "reserved",
    "hwpoison",
    "unaccepted",
    "offline",
    "excluded",
)

#: One sentence for each kind.
KIND_MEANING = {
    "free": "on the buddy allocator's free lists (MemFree)",
    "pcp": "free, but on a CPU's own list, so not in MemFree",
    "anon": "anonymous memory of processes, THP apart",
    "THP": "anonymous memory in huge pages",
    "shmem": "tmpfs, shared anonymous memory, SysV and memfd segments",
    "file": "page cache of files and block devices",
    "swap cache": "read ahead from swap or on its way there, mapped by nobody",
    "hugetlb": "the pool of huge pages (hugetlbfs), free ones too",
    "slab": "slab caches",
    "large kmalloc": "kmalloc() above the largest cache (before 6.14 not told from other kernel memory)",
    "page table": "page tables of processes (PageTables; the upper levels count as other kernel memory where the "
    "kernel does not count them)",
    "kernel stack": "stacks of threads",
    "vmalloc": "vmalloc()",
    "vmap": "kernel pages mapped with vmap(), such as relay buffers",
    "percpu": "per-CPU allocations, without the first chunk, which is reserved",
    "zsmalloc": "compressed memory of zram and zswap (before 6.12 not told from other kernel memory)",
    "network": "data of packets and sockets in whole pages: fragments and buffers of sk_buffs, page pools, and what "
    "CPUs and threads hold to make more of them (their slabs apart)",
    "other kernel": "allocated by the kernel or a driver page by page",
    "reserved": "never given to the allocator: kernel image, memory map, crash kernel, firmware",
    "hwpoison": "taken out of use after a hardware error",
    "unaccepted": "not yet accepted from the hypervisor (TDX, SEV-SNP)",
    "offline": "given back to a hypervisor (balloon), or plugged in but offline",
    "excluded": "unknown: its page struct, or that of the head of its block, is not in the dump",
}

#: Kinds of which `page.mapping` says whose they are.
MAPPED_KINDS = (Kind.ANON, Kind.THP, Kind.SHMEM, Kind.FILE, Kind.SWAP_CACHE, Kind.HUGETLB)

#: Page types and the kinds they mean; "buddy" is a block of free pages.
_TYPE_KINDS = {
    "buddy": Kind.FREE,
    "offline": Kind.OFFLINE,
    "table": Kind.PAGE_TABLE,
    "slab": Kind.SLAB,
    "large_kmalloc": Kind.LARGE_KMALLOC,
    "hugetlb": Kind.HUGETLB,
    "zsmalloc": Kind.ZSMALLOC,
    # In v6.19 or later pages of page pools have a type; before, a mark (tables/network_frames.py).
    "netpp": Kind.NETWORK,
    "unaccepted": Kind.UNACCEPTED,
}


@dataclass(slots=True)
class Classified:
    """What `classify` finds for the rows of one chunk.

    kind uint8[n] (`Kind`), order int8[n] and head_row int32[n] (of the compound page or free block that a frame
    belongs to: 0 and its own row where to none); `wild`, how many free blocks claim an order that no block has.
    """

    kind: npt.NDArray[np.uint8]
    order: npt.NDArray[np.int8]
    head_row: npt.NDArray[np.int32]
    wild: int


def classify(layout: PageLayout, chunk: PageChunk, *, largest_order: int) -> Classified:
    """What every frame of a chunk is used for, as far as the page structs alone tell; `complete` adds the rest.

    Parameters: largest_order of a free block. Mirrors mm/page_alloc.c (PageBuddy and order in private),
    include/linux/page-flags.h (page types, PageAnon, compound pages) and mm/huge_memory.c.
    """
    count = len(chunk)
    flags, mapping, typed = layout.flags(chunk), layout.mapping(chunk), layout.mapcount(chunk)
    result = Classified(
        kind=np.full(count, Kind.OTHER, dtype=np.uint8),
        order=np.zeros(count, dtype=np.int8),
        head_row=np.arange(count, dtype=np.int32),
        wild=0,
    )
    kind = result.kind
    reserved = layout.bit("PG_reserved")
    kind[(flags & reserved) != 0] = Kind.RESERVED
    free = _typed(layout, kind, typed)
    plain = typed >= _LOWEST_MAPCOUNT
    if layout.slab_bit is not None:
        slab = (flags >> np.uint64(layout.slab_bit) & np.uint64(1)).astype(bool)
        kind[slab] = Kind.SLAB
        plain &= ~slab
    _mapped(layout, kind, flags, mapping, plain)
    _compound(layout, chunk, result, flags)
    _free_blocks(layout, chunk, result, free, largest_order)
    poisoned = layout.bit("PG_hwpoison")
    if poisoned:
        bad = np.flatnonzero((flags & poisoned) != 0)
        kind[bad[kind[bad] != Kind.HUGETLB]] = Kind.HWPOISON
    if not chunk.valid.all():
        lost = ~chunk.valid
        kind[lost] = Kind.EXCLUDED
        result.order[lost] = 0
        _headless(layout, chunk, result, largest_order)
    return result


def complete(
    kind: npt.NDArray[np.uint8],
    order: npt.NDArray[np.int8],
    head: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
    *,
    pcp: tuple[I64, npt.NDArray[np.int8], I64],
    owned: tuple[I64, npt.NDArray[np.uint8]],
) -> I64:
    """Add to what `classify` found what only lists and mappings know, in place, for a chunk or for all of memory.

    Parameters: pcp: (row, order, head) of each frame that hangs on a CPU's list; owned: (row, `Kind`) of frames that
    only the kernel's mappings know. Returns the rows that are on the lists.
    """
    rows, orders, heads = pcp
    known = valid[rows]
    rows = rows[known]
    order[rows], head[rows] = orders[known], heads[known]
    free: I64 = rows[kind[rows] != Kind.HWPOISON]
    kind[free] = Kind.PCP
    only, owner = owned
    other = kind[only] == Kind.OTHER
    kind[only[other]] = owner[other]
    return free


def _typed(layout: PageLayout, kind: npt.NDArray[np.uint8], stored: npt.NDArray[np.int32]) -> I64:
    """Give pages with a type their kind, and return the rows of free blocks' heads."""
    rows = np.flatnonzero(stored < _LOWEST_MAPCOUNT)
    values = stored[rows].view(np.uint32)
    for name, (mask, value) in layout.types.items():
        kind[rows[(values & np.uint32(mask)) == np.uint32(value)]] = _TYPE_KINDS[name]
    blocks: I64 = rows[kind[rows] == Kind.FREE]
    return blocks


def _mapped(
    layout: PageLayout, kind: npt.NDArray[np.uint8], flags: U64, mapping: U64, plain: npt.NDArray[np.bool_]
) -> None:
    """Anonymous memory, page cache and swap cache: pages without a type, by their mapping."""
    rows = np.flatnonzero(layout.kernel.arch.is_kernel(mapping) & plain)
    where = mapping[rows]
    anon = (where & _ANON) != 0
    kind[rows[anon]] = Kind.ANON
    # Bit 1 alone marks pages of drivers that can be moved (balloons, zsmalloc): no page cache.
    cached = (where & _MARKS) == 0
    backed_by_swap = (flags[rows] & layout.bit("PG_swapbacked")) != 0
    kind[rows[cached & backed_by_swap]] = Kind.SHMEM
    kind[rows[cached & ~backed_by_swap]] = Kind.FILE
    # PG_swapcache shares its bit with others; only with PG_swapbacked it means the swap cache.
    both = layout.bit("PG_swapbacked") | layout.bit("PG_swapcache")
    kind[np.flatnonzero(((flags & both) == both) & (mapping == 0) & plain)] = Kind.SWAP_CACHE


def _compound(layout: PageLayout, chunk: PageChunk, result: Classified, flags: U64) -> None:
    """Orders of compound pages, huge pages among them; tails become what their head is."""
    is_head = (flags & layout.bit("PG_head")) != 0
    tails, head_of = chunk.tails()
    # A head with no PG_head is a stale or damaged link.
    real = is_head[head_of]
    tails, head_of = tails[real], head_of[real]
    is_head[tails] = False
    heads = np.flatnonzero(is_head)
    if not len(heads):
        return
    kind, order = result.kind, result.order
    order[heads] = layout.compound_order(chunk, heads)
    if "hugetlb" not in layout.types:
        kind[heads[layout.is_hugetlb(chunk, heads)]] = Kind.HUGETLB
    huge = heads[(order[heads] >= layout.kernel.arch.huge_order) & (kind[heads] == Kind.ANON)]
    kind[huge] = Kind.THP
    kind[tails], order[tails] = kind[head_of], order[head_of]
    result.head_row[tails] = head_of


def _headless(layout: PageLayout, chunk: PageChunk, result: Classified, largest_order: int) -> None:
    """The rest of blocks whose head's page struct is not here, and which alone says what they are: EXCLUDED, too."""
    kind = result.kind
    tails, heads = chunk.tails()
    headless = tails[~chunk.valid[heads]]
    kind[headless[kind[headless] == Kind.OTHER]] = Kind.EXCLUDED
    # Where what is lost ends, a free block may go on that begins in it.
    behind = np.flatnonzero(chunk.valid[1:] & ~chunk.valid[:-1]) + 1
    if not len(behind):
        return
    # No page of a block but its head has a reference, a type, a mapping or an owner.
    busy = np.flatnonzero(chunk.valid & ((kind != Kind.OTHER) | (layout.refcount(chunk) != 0)))
    place = np.searchsorted(busy, behind)
    before = np.append(busy, -1)[place - 1]
    until = np.append(busy, len(kind))[place]
    end = behind.copy()
    for order in range(1, largest_order + 1):
        head = (behind - 1 + chunk.first_pfn & -(1 << order)) - chunk.first_pfn
        lost = (head >= 0) & (head > before)
        lost[lost] = ~chunk.valid[head[lost]]
        end = np.where(lost, np.maximum(end, head + (1 << order)), end)
    count = np.clip(np.minimum(until, end) - behind, 0, None)
    before = np.cumsum(count) - count
    rows = np.repeat(behind - before, count) + np.arange(int(count.sum()))
    # What is lost lies among them.
    kind[rows[kind[rows] == Kind.OTHER]] = Kind.EXCLUDED


def _free_blocks(
    layout: PageLayout, chunk: PageChunk, result: Classified, heads: I64, largest_order: int
) -> None:
    """Free blocks of the buddy allocator: the head alone is marked, and says the order."""
    order = layout.private(chunk, heads)
    wild = order > np.uint64(largest_order)
    result.wild = int(wild.sum())
    _expand(result, heads, np.where(wild, np.uint64(0), order).astype(np.int64), Kind.FREE)


def _expand(result: Classified, heads: I64, orders: I64, kind: Kind) -> None:
    """All frames of blocks get the kind, the order and the head's row; blocks end where the chunk ends."""
    if not len(heads):
        return
    rows, order, owner = spread(heads.astype(np.int32), orders, len(result.kind))
    result.kind[rows] = kind
    result.order[rows] = order
    result.head_row[rows] = owner


def spread(
    heads: npt.NDArray[Number], orders: I64, end: int
) -> tuple[npt.NDArray[Number], npt.NDArray[np.int8], npt.NDArray[Number]]:
    """Blocks to their frames, at most to before `end`: (frame, order of its block, head of its block)."""
    lengths = np.minimum(np.int64(1) << orders, end - heads)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    owner = np.repeat(heads, lengths)
    frames = np.arange(total, dtype=heads.dtype)
    frames += owner - np.repeat((ends - lengths).astype(heads.dtype), lengths)
    return frames, np.repeat(orders.astype(np.int8), lengths), owner

"""The page cache of one file: an address_space in, which frame or which place in swap each of its pages lies in."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.shmem import is_shmem
from kernlab.linux.swap import as_swp_entry
from kernlab.walk.xarray import xarray_spans

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: No page has more blocks than sectors.
_MOST_BLOCKS = 128


class PageState(IntEnum):
    """Where a page of a program or of a file is. Up to UNMAPPED the numbers are those of memory's Status."""

    HERE = 0
    EXCLUDED = 1
    ABSENT = 2
    LOST = 3
    UNMAPPED = 4
    #: Nobody wrote to it yet: it reads as zeros.
    ZERO = 5
    SWAPPED = 6
    #: On the disk only.
    NOT_CACHED = 7
    #: Behind the end of its file.
    BEYOND = 8
    #: No memory of the kernel's: a device's, or made by a driver when it is touched.
    DEVICE = 9
    #: The page table, or the node of the page cache, that would tell is not in the dump.
    UNKNOWN = 10


#: What each says of a page that cannot be read.
WORDS = {
    PageState.EXCLUDED: "left out of the dump",
    PageState.ABSENT: "in no memory that the dump knows of",
    PageState.LOST: "cut off or damaged in the dump's file",
    PageState.UNMAPPED: "not mapped",
    PageState.SWAPPED: "swapped out",
    PageState.NOT_CACHED: "on the disk only, not in the page cache",
    PageState.BEYOND: "behind the end of the file",
    PageState.DEVICE: "a device's memory",
    PageState.UNKNOWN: "not known: the page table or page cache node that would tell is not in the dump",
}


class PageCache:
    """What is cached of one file, by the address of its `struct address_space`.

    `index` uint64[n] (ascending, in pages of the file), `frame` uint64[n] and `state` uint8[n]: HERE (a frame),
    SWAPPED (`frame` is a swp_entry_t), NOT_CACHED (a frame that was not read from the disk yet). `dirty` and
    `writeback` are bool[n]. `whole`: no node of its tree is lost. `size_bytes` is the file's, None where it cannot be
    read; `default` the state of pages that it does not have. Mirrors mm/filemap.c, mm/shmem.c, fs/hugetlbfs/inode.c.
    """

    def __init__(self, kernel: Kernel, mapping: int):
        self.kernel, self.mapping = kernel, mapping
        space = StructArray(kernel, "struct address_space", [mapping])
        inode = space.follow("host")
        self.inode = int(inode.addresses[0])
        self.size_bytes: int | None = inode["i_size"].int64[0]
        self.is_shmem = bool(is_shmem(kernel, space).true[0])
        huge = kernel.find_symbol("hugetlbfs_aops")
        self.is_hugetlb = huge is not None and bool((space["a_ops"] == huge).true[0])
        with kernel.watched() as losses:
            _, index, length, entry = xarray_spans(
                kernel, space.follow("i_pages").addresses, what="the page cache of a file"
            )
        self.whole = not losses
        self.default = PageState.ZERO if self.is_shmem or self.is_hugetlb else PageState.NOT_CACHED
        if not self.whole:
            self.default = PageState.UNKNOWN
        value = (entry & np.uint64(1)) != 0
        # Shadows of pages that were reclaimed (mm/workingset.c), entries of DAX: nothing is cached there.
        keep = ~value | self.is_shmem
        index, length, entry, value = index[keep], length[keep], entry[keep], value[keep]
        page = StructArray(kernel, "struct page", np.where(value, np.uint64(0), entry))
        frames = self._frames_per_entry(inode, index, length)
        self._expand(page, index * np.uint64(frames[1]), frames[0], entry, value)

    def _frames_per_entry(self, inode: StructArray, index: U64, length: U64) -> tuple[U64, int]:
        """How many pages each entry stands for, and how many one of its indexes."""
        if not self.is_hugetlb:
            return length, 1
        # Linux commit a08c7193e4f1 ("mm/filemap: remove hugetlb special casing in filemap.c") (in v6.7): since then
        # hugetlbfs counts in pages, and an entry covers many; before, in huge pages.
        size = inode.follow("i_sb")["s_blocksize"].int64.filled(0)[0] // self.kernel.page_size
        if len(length) and int(length.max()) == 1 and size > 1:
            pages = int(min(size, 1 << 18))
            return np.full(len(length), pages, dtype=np.uint64), pages
        return length, 1

    def _expand(self, page: StructArray, first: U64, length: U64, entry: U64, value: Mask) -> None:
        """Single pages of entries that stand for several."""
        kernel = self.kernel
        size = np.uint64(kernel.find_type("struct page").size)
        base = np.uint64(kernel.vmemmap)
        with kernel.quiet():
            # In 6.18 the flags became a struct of one word; page.index is __folio_index since 6.16.
            flags, own = page.first("flags.f", "flags"), page.first("__folio_index", "index")
            home = page["mapping"]
        wild = ~value & ((entry < base) | (home.valid & (home != self.mapping).values))
        if wild.any():
            kernel.lost("entries of the page cache of a file lead to no page of it", mask=wild)
        lengths = kernel.budget.frames(np.where(wild, 0, length).astype(np.int64), "pages of a file")
        row = np.repeat(np.arange(len(first)), lengths)
        inside = (np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)).astype(np.uint64)
        self.index = first[row] + inside
        frame = (entry[row] - base) // size + inside
        # Before 5.17 each index of a huge page of shared memory had an entry of its own, all for the first page.
        start = own.filled(0).astype(np.uint64)
        behind = first - start
        many = own.valid & ~value & (length == 1) & (start <= first) & (behind < np.uint64(1 << 18))
        frame += np.where(many & (not self.is_hugetlb), behind, np.uint64(0))[row]
        # Of a swapped folio the entries of all its pages follow one another (mm/shmem.c, shmem_split_large_entry).
        self.frame = np.where(value[row], as_swp_entry(kernel, entry)[row] + inside, frame)
        # Each page of a large folio has a struct page of its own.
        self.page = np.where(value[row], np.uint64(0), base + frame * size)
        uptodate, dirty, writeback = (
            self._flag(flags, name) for name in ("PG_uptodate", "PG_dirty", "PG_writeback")
        )
        read = flags.valid & ~uptodate & ~value & (not self.is_hugetlb)
        partly = np.flatnonzero(read & self._flag(flags, "PG_private"))
        read[partly] = ~self._has_all_blocks(page[partly], first[partly])
        state = np.where(value, PageState.SWAPPED, np.where(read, PageState.NOT_CACHED, PageState.HERE))
        self.state: U8 = state.astype(np.uint8)[row]
        self.dirty, self.writeback = dirty[row], writeback[row]

    def _has_all_blocks(self, page: StructArray, index: U64) -> Mask:
        """Of pages that were not read in whole: which have all blocks up to the file's end (struct buffer_head)."""
        kernel, size = self.kernel, self.kernel.page_size
        wanted = (self.size_bytes or 0) - index.astype(np.int64) * size
        wanted = np.clip(wanted, 1, size)
        there = np.zeros(len(page), dtype=np.int64)
        with kernel.quiet():
            block = page["private"].filled(0).astype(np.uint64)
            for _ in range(_MOST_BLOCKS if len(page) else 0):
                buffer = StructArray(kernel, "struct buffer_head", block)
                good = buffer["b_state"].has(1).true & (there < wanted)
                length = buffer["b_size"].int64.filled(0)
                good &= (length > 0) & (length <= size)
                if not good.any():
                    break
                there[good] += length[good]
                block = np.where(good, buffer["b_this_page"].filled(0), np.uint64(0))
        return there >= wanted

    def _flag(self, flags: Column, name: str) -> Mask:
        bit = self.kernel.types.enumerator_or_none(name)
        if bit is None or bit > 63:
            return np.zeros(len(flags), dtype=bool)
        return flags.has(np.uint64(1 << bit)).true

    @property
    def pages(self) -> int:
        """How many pages the file has by its size; 0 where that is not known."""
        return -(-(self.size_bytes or 0) // self.kernel.page_size)

    def find(self, index: U64) -> tuple[U8, U64]:
        """Where the pages of these indexes uint64[n] are: (PageState uint8[n], frame or swp_entry_t uint64[n])."""
        place = np.minimum(np.searchsorted(self.index, index), max(len(self.index) - 1, 0))
        state = np.full(len(index), self.default, dtype=np.uint8)
        frame = np.zeros(len(index), dtype=np.uint64)
        if self.size_bytes is not None:
            state[index >= np.uint64(self.pages)] = PageState.BEYOND
        if len(self.index):
            found = self.index[place] == index
            state[found], frame[found] = self.state[place[found]], self.frame[place[found]]
        return state, frame

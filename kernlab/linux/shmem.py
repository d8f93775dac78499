"""Shared memory (tmpfs, memfd, SysV, shared anonymous mappings): what of its files is swapped out, and where."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import SymbolNotFoundError
from kernlab.walk.lists import list_entries
from kernlab.walk.xarray import xarray_spans

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_VM_WRITE, _VM_SHARED = 0x2, 0x8  # include/linux/mm.h: macros


def has_shmem(kernel: Kernel) -> bool:
    """Does this kernel have tmpfs (CONFIG_SHMEM), or ramfs in its place? Raises SymbolNotFoundError where not known."""
    return kernel.find_symbol("shmem_ops") is not None


def is_shmem(kernel: Kernel, mapping: StructArray) -> Column:
    """Is each `struct address_space` one of shared memory (include/linux/shmem_fs.h, shmem_mapping)?

    Not known where the kernel's symbols lack its operations; none is in a kernel without it.
    """
    operations, (wanted, told) = mapping["a_ops"], _operations(kernel)
    known = operations.valid if told else np.zeros(len(mapping), dtype=bool)
    return (operations == (wanted or 1)).where(known)


def _operations(kernel: Kernel) -> tuple[int | None, bool]:
    """Where shared memory's operations lie, None for none; and whether that is known."""
    try:
        wanted = kernel.find_symbol("shmem_aops")
        return wanted, wanted is not None or not has_shmem(kernel)
    except SymbolNotFoundError:
        return None, False


def swapped_pages(inode: StructArray) -> Column:
    """How many pages of each inode of shared memory are swapped out (shmem_inode_info.swapped)."""
    if inode.kernel.types.get("struct shmem_inode_info") is None:
        # A kernel without CONFIG_SHMEM.
        return Column.of(np.zeros(len(inode), dtype=np.int64), inode.valid)
    swapped = inode.container("struct shmem_inode_info", "vfs_inode")["swapped"]
    return swapped.int64.where(inode.valid)


def swapped_inodes(kernel: Kernel) -> StructArray | None:
    """The inodes of shared memory that may have swapped pages (mm/shmem.c, shmem_swaplist); None where nobody knows."""
    head = kernel.find_symbol("shmem_swaplist")
    if head is None:
        return None
    with kernel.watched() as losses:
        _, info = list_entries(
            kernel, [head], "struct shmem_inode_info", "swaplist", what="the list of swapped shared memory"
        )
    return None if losses else info.follow("vfs_inode")


class SwappedRanges:
    """Which pages of N mappings (uint64[n], their address_spaces) are swapped out: values in their page caches."""

    def __init__(self, kernel: Kernel, mappings: U64):
        space = StructArray(kernel, "struct address_space", mappings)
        with kernel.watched() as losses:
            owner, index, length, entry = xarray_spans(
                kernel, space.follow("i_pages").addresses, what="the page cache of shared memory"
            )
        #: False where nodes are lost: of which mapping, nobody knows.
        self.whole = not losses
        # Bit 0 marks a value; in shared memory each says where in swap pages lie (mm/shmem.c, swp_to_radix_entry).
        value = (entry & np.uint64(1)) != 0
        self._first, self._length = index[value], np.minimum(length[value], _LAST)
        self._key = _key(owner[value], self._first)
        self._below = np.cumsum(self._length) - self._length

    def count(self, mapping: I64, first: U64, end: U64) -> I64:
        """How many of the pages [first, end) of each range are swapped out; `mapping` are indexes into the N."""
        count: I64 = np.maximum(self._until(mapping, end) - self._until(mapping, first), 0)
        return count

    def _until(self, mapping: I64, end: U64) -> I64:
        """Swapped pages of all mappings before each of these, and of itself before `end`."""
        if not len(self._key):
            return np.zeros(len(mapping), dtype=np.int64)
        row = np.searchsorted(self._key, _key(mapping, end))
        last = np.maximum(row - 1, 0)
        # Of the last entry before the end a part may lie behind it, if it is one of the same mapping.
        same = (self._key[last] >> _INDEX_BITS).astype(np.int64) == mapping
        before = np.minimum(self._length[last], np.where(same, end - self._first[last], _LAST))
        return np.where(row > 0, self._below[last] + before, 0).astype(np.int64)


#: Mapping and page share 64 bits as a key: files of shared memory have fewer than 2^40 pages (4 PiB).
_INDEX_BITS = np.uint64(40)
_LAST = np.uint64((1 << 40) - 1)


def _key(mapping: I64, page: U64) -> U64:
    key: U64 = (mapping.astype(np.uint64) << _INDEX_BITS) | np.minimum(page, _LAST)
    return key


class SharedSwap:
    """What of the shared memory that M VMAs map is swapped out, as smaps counts it (smap_gather_stats).

    `pages` is int64[m], `known` bool[m]. Where a VMA is private and can be written to, what its page tables hold hides
    the pages of the file below: `hide` takes them off.
    """

    def __init__(self, kernel: Kernel, vma: StructArray):
        self.pages = np.zeros(len(vma), dtype=np.int64)
        self._page_shift = np.uint64(kernel.arch.page_shift)
        file, flags = vma["vm_file"], vma.first("vm_flags", "flags.__vma_flags[0]").values.astype(np.uint64)
        self.known = file.valid.copy()
        unique, of = np.unique(file.filled(0), return_inverse=True)
        mapping = StructArray(kernel, "struct file", unique).follow("f_mapping")
        shared, host = is_shmem(kernel, mapping), mapping.follow("host")
        swapped = swapped_pages(StructArray(kernel, host.type, host.addresses, host.valid & shared.true))
        if not _operations(kernel)[1]:
            kernel.lost(
                "which files are shared memory is not known, nor what of them is swapped out: the symbols lack "
                "shmem_aops (CONFIG_KALLSYMS_ALL)"
            )
        # A mapping whose inode is lost may well have swapped pages.
        some = shared.values & ~((swapped == 0).true)
        self.known &= ((unique == 0) | (shared.valid & (swapped.valid | ~shared.values)))[of]
        rows = np.flatnonzero(self.known & some[of])
        self._ranges = SwappedRanges(kernel, mapping.addresses[some])
        self._mapping = np.where(some, np.cumsum(some) - 1, -1)[of]
        self._first = vma["vm_pgoff"].values.astype(np.uint64)
        self._start = vma["vm_start"].values
        self._hidden = np.zeros(len(vma), dtype=bool)
        if not len(rows):
            return
        end = self._first + ((vma["vm_end"].values - self._start) >> self._page_shift)
        self.pages[rows] = self._ranges.count(self._mapping[rows], self._first[rows], end[rows])
        self._hidden[rows] = (flags[rows] & np.uint64(_VM_SHARED)) == 0
        self._hidden &= (flags & np.uint64(_VM_WRITE)) != 0
        self.known[rows] &= self._ranges.whole

    def hide(self, row: I64, address: U64, size: I64) -> None:
        """Entries of page tables that are not empty: of which VMA (its row), from which address, how many bytes."""
        mine = self._hidden[row]
        if not mine.any():
            return
        row, address, size = row[mine], address[mine], size[mine]
        first = self._first[row] + ((address - self._start[row]) >> self._page_shift)
        end = first + (size.astype(np.uint64) >> self._page_shift)
        np.subtract.at(self.pages, row, self._ranges.count(self._mapping[row], first, end))

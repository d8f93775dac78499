"""Swap areas: the kernel's table of them in, those in use out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.walk.radix_tree import has_radix_trees

# include/linux/swap.h
SWP_USED, SWP_WRITEOK, SWP_DISCARDABLE = 0x1, 0x2, 0x4

#: MAX_SWAPFILES_SHIFT is 5.
MOST_AREAS = 32

_OLD_TYPE = np.uint64(57)

#: Since 6.13 inuse_pages has a mark in this bit (SWAP_USAGE_OFFLIST_BIT).
_USAGE = (1 << 30) - 1


def has_swap(kernel: Kernel) -> bool:
    """Can this kernel swap (CONFIG_SWAP)? Raises SymbolNotFoundError where that is not known."""
    return kernel.find_symbol("swap_info") is not None


def swap_areas(kernel: Kernel) -> StructArray:
    """The `struct swap_info_struct` of every area in use (mm/swapfile.c, swap_info), by its number.

    Raises KernlabError for a kernel without CONFIG_SWAP (`has_swap`).
    """
    table, number = kernel.find_symbol("swap_info"), kernel.find_symbol("nr_swapfiles")
    if table is None or number is None:
        raise KernlabError("this kernel has no swap (CONFIG_SWAP is off)")
    kind = kernel.find_type("struct swap_info_struct")
    (count,), (counted,) = kernel.words([number], 4, "")
    slots = min(int(count), MOST_AREAS) if counted else MOST_AREAS
    pointers, read = kernel.words(
        np.uint64(table) + np.arange(slots, dtype=np.uint64) * np.uint64(8), what=""
    )
    area = StructArray(kernel, kind, pointers[read & (pointers != 0)])
    with kernel.quiet():
        flags = area["flags"]
    lost = int((~read).sum()) + int((~flags.valid).sum())
    if lost:
        kernel.lost(f"swap: {lost:,} areas cannot be read")
    return area[flags.has(SWP_USED).true]


def as_swp_entry(kernel: Kernel, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Values of a page cache uint64[n] as swp_entry_t with the area's number in bits 58 to 62 (radix_to_swp_entry)."""
    entry = values >> np.uint64(1)
    if has_radix_trees(kernel):
        # An exceptional entry had a bit less room (include/linux/swapops.h before v4.20).
        entry = entry >> _OLD_TYPE << np.uint64(58) | entry & ((np.uint64(1) << _OLD_TYPE) - np.uint64(1))
    return entry


def pages_in_use(area: StructArray) -> Column:
    """How many pages of each area are swapped out."""
    return (area.first("inuse_pages.counter", "inuse_pages") & _USAGE).int64

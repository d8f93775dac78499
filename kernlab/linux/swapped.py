"""Pages that were swapped out, as far as their bytes are still in memory: in the swap cache, in zswap, or on zram."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.frames import read_frames
from kernlab.linux.page_cache import PageState
from kernlab.linux.zram import ZramDisk, zram_disks
from kernlab.linux.zswap_pages import Zswap
from kernlab.walk.xarray import xarray_entries

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: include/linux/swapops.h, SWP_TYPE_SHIFT: a value of an XArray has 63 bits, the area's number takes the upper five.
_TYPE_SHIFT = np.uint64(58)
_OFFSET = np.uint64((1 << 58) - 1)
#: include/linux/swap.h, SWAP_ADDRESS_SPACE_SHIFT: pages that share one tree of the swap cache.
_SPACE_SHIFT = np.uint64(14)
_MOST_WHY = 3


def entry_of(kind: U64, offset: U64) -> U64:
    """swp_entry_t of swap areas and pages in them, uint64[n] each (swp_entry)."""
    return (kind << _TYPE_SHIFT) | offset


class Swapped:
    """Reads swapped pages of one kernel; what it cannot read, and why, stands in `problems`."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.problems: list[str] = []
        self._in_front: dict[int, Zswap] = {}

    def why(self) -> str:
        """Why pages could not be read, in brackets; '' where nothing is known."""
        return f" ({'; '.join(self.problems[:_MOST_WHY])})" if self.problems else ""

    def _say(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)

    @cached_property
    def _areas(self) -> StructArray:
        """struct swap_info_struct by number, NULL where there is none."""
        symbol = self.kernel.find_symbol("swap_info")
        kind = "struct swap_info_struct"
        if symbol is None:
            return StructArray(self.kernel, kind, np.zeros(0, dtype=np.uint64))
        where = np.uint64(symbol) + np.arange(32, dtype=np.uint64) * np.uint64(8)
        return StructArray(self.kernel, kind, self.kernel.words(where, what="swap areas")[0])

    @cached_property
    def _zram(self) -> dict[int, ZramDisk]:
        try:
            return {disk.gendisk: disk for disk in zram_disks(self.kernel)}
        except KernlabError as error:
            self._say(str(error))
            return {}

    def _zswap(self, number: int) -> Zswap:
        """zswap in front of the area of that number."""
        return self._in_front.setdefault(number, Zswap(self.kernel, number))

    def read(self, entries: U64) -> tuple[U8, U8]:
        """Pages by their swp_entry_t uint64[n]: (uint8[n, page size], PageState uint8[n]: HERE, ZERO, SWAPPED …)."""
        rows = np.zeros((len(entries), self.kernel.page_size), dtype=np.uint8)
        state = np.full(len(entries), PageState.SWAPPED, dtype=np.uint8)
        kind, offset = (entries >> _TYPE_SHIFT).astype(np.int64), entries & _OFFSET
        for number in np.unique(kind).tolist():
            mine = np.flatnonzero(kind == number)
            if number >= len(self._areas) or not self._areas.valid[number]:
                self._say(f"there is no swap area {number}")
                continue
            rows[mine], state[mine] = self._of_area(number, offset[mine])
        return rows, state

    def _of_area(self, number: int, offset: U64) -> tuple[U8, U8]:
        rows = np.zeros((len(offset), self.kernel.page_size), dtype=np.uint8)
        state = np.full(len(offset), PageState.SWAPPED, dtype=np.uint8)
        area = self._areas[number : number + 1]
        frame, cached = self._in_cache(number, area, offset)
        at = np.flatnonzero(cached)
        rows[at], state[at] = read_frames(self.kernel, frame[at])
        left = np.flatnonzero(state == PageState.SWAPPED)
        # Linux commit 0ca0c24e3211 ("mm: store zero pages to be swapped out in a bitmap") (in v6.12).
        zero = self._in_zeromap(area, offset[left])
        state[left[zero]] = PageState.ZERO
        left = left[~zero]
        if len(left):
            rows[left], read, there = self._zswap(number).read(offset[left])
            state[left[read]] = PageState.HERE
            for why in self._zswap(number).problems:
                self._say(why)
            left = left[~there]
        if not len(left):
            return rows, state
        disk = self._zram.get(int(area["bdev->bd_disk"].filled(0)[0])) if area.has("bdev") else None
        if disk is None:
            self._say(f"a swap area {self._name(area)} is no zram disk: what lies there is not in the dump")
            return rows, state
        rows[left], known = disk.read(offset[left])
        state[left[known]] = PageState.HERE
        for why in disk.problems:
            self._say(why)
        return rows, state

    def _name(self, area: StructArray) -> str:
        """/dev/ and the disk's name, or what can be said of it."""
        name = area["bdev->bd_disk->disk_name"]
        return f"on {name.values[0]}" if name.valid[0] else "of an unknown disk"

    def _in_zeromap(self, area: StructArray, offset: U64) -> Mask:
        """Which pages were zeros, and are marked as such instead of written."""
        if not area.has("zeromap") or not area["zeromap"].true[0] or not len(offset):
            return np.zeros(len(offset), dtype=bool)
        word, read = self.kernel.words(
            area["zeromap"].values[0] + (offset >> np.uint64(6) << np.uint64(3)), what="bitmaps of zero pages"
        )
        zero: Mask = read & ((word >> (offset & np.uint64(63)) & np.uint64(1)) != 0)
        return zero

    def _in_cache(self, number: int, area: StructArray, offset: U64) -> tuple[U64, Mask]:
        """Pages that are still, or again, in memory: (frame uint64[n], bool[n])."""
        frame, found = np.zeros(len(offset), dtype=np.uint64), np.zeros(len(offset), dtype=bool)
        symbol = self.kernel.find_symbol("swapper_spaces")
        if symbol is None or not len(offset):
            return frame, found
        (base,), (known,) = self.kernel.words([symbol + 8 * number], what="the swap cache")
        if not known or not base:
            return frame, found
        space = self.kernel.find_type("struct address_space")
        number_of, row = np.unique(offset >> _SPACE_SHIFT, return_inverse=True)
        spaces = StructArray(self.kernel, space, base + number_of * np.uint64(space.size))
        owner, index, entry = xarray_entries(
            self.kernel, spaces.follow("i_pages").addresses, what="the swap cache"
        )
        page = (entry & np.uint64(1)) == 0
        owner, index, entry = owner[page], index[page], entry[page]
        size = np.uint64(self.kernel.find_type("struct page").size)
        # Since 6.6 a tree's indexes are those of the area; before, too (swp_offset).
        place = {(int(o), int(i)): int(e) for o, i, e in zip(owner, index, entry, strict=True)}
        mask = np.uint64((1 << 14) - 1)
        for at, (which, where) in enumerate(zip(row.tolist(), offset.tolist(), strict=True)):
            head = place.get((which, where)) or place.get((which, where & int(mask)))
            if head:
                found[at] = True
                frame[at] = (np.uint64(head) - np.uint64(self.kernel.vmemmap)) // size
        return frame, found

"""A process's own memory: its VMAs, page tables and page caches in, bytes at its addresses out.

What is in no page table yet is looked for where the kernel would: in the page cache of the file that is mapped there,
or it is zeros, where nobody wrote to anonymous memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import FaultError, KernlabError, PageExcluded
from kernlab.linux.frames import read_frames, zero_frames
from kernlab.linux.page.mapcounts import mapped
from kernlab.linux.page_cache import WORDS, PageCache, PageState
from kernlab.linux.swap import has_swap
from kernlab.linux.swap_entries import settle_swap_entries
from kernlab.linux.swapped import Swapped, entry_of
from kernlab.linux.vmas import find_vmas
from kernlab.memory.page_tables import Entries

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

# include/linux/mm.h: macros
_VM_IO, _VM_PFNMAP, _VM_HUGETLB = 0x4000, 0x400, 0x400000

#: Bytes of address space whose page tables are looked at together: a million pages.
WINDOW = 1 << 32
#: Of an area that is larger (sanitizers' shadow memory has half as much) the rest is not looked at: it is damaged.
LARGEST = 1 << 45
#: So much more is walked with it, for the areas behind it.
_NEIGHBOURS = 1 << 30
#: Pages that are read together.
BATCH = 1024


@dataclass(frozen=True, slots=True)
class Area:
    """One VMA: [start, end), its vm_flags, the page of the file that it begins with, and its structs (0: none).

    `special` says that it has neither a file nor anonymous memory.
    """

    start: int
    end: int
    flags: int
    first: int
    file: int
    address: int
    special: bool

    @property
    def is_device(self) -> bool:
        """Does it map what is no memory of the kernel's?"""
        return bool(self.flags & (_VM_IO | _VM_PFNMAP))


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages of a process: address uint64[n], ascending; state uint8[n] (`PageState`); `where` uint64[n] is the frame,
    or of a swapped one its swp_entry_t."""

    address: U64
    state: U8
    where: U64

    def __len__(self) -> int:
        return len(self.address)

    def __getitem__(self, rows: slice | I64) -> Pages:
        return Pages(self.address[rows], self.state[rows], self.where[rows])

    @classmethod
    def none(cls) -> Pages:
        """No pages."""
        nothing = np.zeros(0, dtype=np.uint64)
        return cls(nothing, np.zeros(0, dtype=np.uint8), nothing)

    @classmethod
    def joined(cls, parts: Sequence[Pages]) -> Pages:
        """All of them by address, each once: what comes first counts."""
        every = [cls.none(), *parts]
        address, row = np.unique(np.concatenate([part.address for part in every]), return_index=True)
        state = np.concatenate([part.state for part in every])[row]
        return cls(address, state, np.concatenate([part.where for part in every])[row])


class UserMemory:
    """The memory of one process, by its mm_struct (a StructArray of one). Raises KernlabError where it has no mm."""

    def __init__(self, kernel: Kernel, mm: StructArray):
        if not len(mm) or not mm.valid[0]:
            raise KernlabError("it has no memory of its own: a kernel thread, or one that has ended")
        self.kernel, self.mm = kernel, mm
        self._shift = np.uint64(kernel.arch.page_shift)
        self._page = kernel.page_size
        self._caches: dict[int, PageCache | None] = {}
        self._swapped: Swapped | None = None
        #: The last range whose page tables were walked, and what they said.
        self._walked: tuple[int, int, Pages] = (0, 0, Pages.none())

    @cached_property
    def areas(self) -> list[Area]:
        """Its VMAs by address; those whose range cannot be read are told as lost."""
        _, vma = find_vmas(self.kernel, self.mm)
        start, end = vma["vm_start"], vma["vm_end"]
        flags = vma.first("vm_flags", "flags.__vma_flags[0]")
        file, first, operations = vma["vm_file"], vma["vm_pgoff"], vma["vm_ops"]
        limit = 1 << self.kernel.arch.half_bits
        page = np.uint64(self._page - 1)
        good = (end > start).true & (end <= limit).true & ((start.values | end.values) & page == 0)
        self.kernel.lost("VMAs of the process have no range that can be read", mask=~good)
        rows = np.flatnonzero(good)
        rows = rows[np.argsort(start.values[rows], kind="stable")]
        return [
            Area(
                int(start.values[row]),
                int(end.values[row]),
                int(flags.filled(0)[row]),
                int(first.filled(0)[row]),
                int(file.filled(0)[row]),
                int(vma.addresses[row]),
                bool(operations.true[row]) and not file.true[row],
            )
            for row in rows.tolist()
        ]

    @cached_property
    def _table(self) -> tuple[U64, bool]:
        pgd = self.mm["pgd"]
        physical, status = self.kernel.memory.translate(pgd.filled(0))
        return physical, bool(pgd.valid[0] and status[0] == 0)

    @cached_property
    def _swap_files(self) -> int:
        settle_swap_entries(self.kernel)
        try:
            return min(self.kernel.word("nr_swapfiles", 4), 32) if has_swap(self.kernel) else 0
        except KernlabError:
            return 0

    @cached_property
    def _zero(self) -> U64:
        return zero_frames(self.kernel)

    def pages(self, area: Area, start: int, end: int) -> Pages:
        """The pages of an area within [start, end), which its window bounds, that page tables or page caches tell of.

        All others are in the state `default(area)`.
        """
        found = [self._in_tables(start, end)]
        cache = self.cache(area)
        if cache is not None:
            found.append(self._in_cache(area, cache, start, end))
        if area.special:
            found.append(self._vdso(start, end))
        # What page tables have comes first, and counts.
        return Pages.joined(found)

    def default(self, area: Area) -> PageState:
        """What pages are that neither page tables nor page caches tell of."""
        if area.is_device or area.special:
            return PageState.DEVICE
        if not self._table[1]:
            return PageState.UNKNOWN
        if not area.file:
            return PageState.ZERO
        cache = self.cache(area)
        return PageState.UNKNOWN if cache is None else cache.default

    def cache(self, area: Area) -> PageCache | None:
        """The page cache of the file that it maps; None where it maps none, or nobody knows."""
        if not area.file:
            return None
        if area.file not in self._caches:
            mapping = StructArray(self.kernel, "struct file", [area.file])["f_mapping"]
            # Device files have mappings of which nothing is cached.
            known = bool(mapping.true[0]) and not area.is_device
            self._caches[area.file] = PageCache(self.kernel, int(mapping.values[0])) if known else None
        return self._caches[area.file]

    def _in_tables(self, start: int, end: int) -> Pages:
        """What page tables say of [start, end); those of neighbouring areas are walked with it, as there are many."""
        low, high, pages = self._walked
        if not low <= start <= end <= high:
            low, high = start, max(end, min(start + _NEIGHBOURS, 1 << self.kernel.arch.half_bits))
            pages = self._walk(low, high)
            self._walked = low, high, pages
        first, last = np.searchsorted(pages.address, np.array([start, end], dtype=np.uint64)).tolist()
        return pages[first:last]

    def _walk(self, start: int, end: int) -> Pages:
        table, known = self._table
        if not known:
            return Pages.none()
        low, high = np.uint64(start), np.uint64(end)
        walk = self.kernel.memory.walk_tables(
            np.zeros(1, dtype=np.int64),
            table,
            kernel=False,
            touches=lambda address, span: (address < high) & (address + np.uint64(span) > low),
        )
        parts = [self._of_entries(entries, start, end) for entries in walk]
        parts += [self._unknown(max(begin, start), min(stop, end)) for _, begin, stop in walk.lost]
        return Pages.joined(parts)

    def _unknown(self, start: int, end: int) -> Pages:
        address = np.arange(start, max(end, start), self._page, dtype=np.uint64)
        state = np.full(len(address), PageState.UNKNOWN, dtype=np.uint8)
        return Pages(address, state, np.zeros(len(address), dtype=np.uint64))

    def _of_entries(self, entries: Entries, start: int, end: int) -> Pages:
        # How many areas there are is found out first: with that, how entries are to be read.
        swap_files = self._swap_files
        present, swapped = entries.present, entries.swapped(swap_files)
        kept = ~present & ~swapped
        state = np.full(len(entries.address), PageState.HERE, dtype=np.uint8)
        where = np.where(present, entries.pfns, entries.kept_pfns)
        state[present & np.isin(entries.pfns, self._zero)] = PageState.ZERO
        state[swapped] = PageState.SWAPPED
        kinds = entries.arch.swap_type(entries.value)
        where[swapped] = entry_of(kinds[swapped], entries.kept_pfns[swapped])
        use = np.ones(len(state), dtype=bool)
        if kept.any():
            # On its way to another node, or else a mark (of userfaultfd, a guard region), where nothing is yet.
            page = mapped(self.kernel, entries.kept_pfns[kept])
            use[kept] = page.valid & page.owned
        shift = self._shift
        address, size = entries.address[use], entries.size[use].astype(np.uint64)
        # Of huge pages only what lies in the range.
        first = np.maximum(address, np.uint64(start))
        last = np.maximum(np.minimum(address + size, np.uint64(end)), first)
        count = ((last - first) >> shift).astype(np.int64)
        row = np.repeat(np.arange(len(address)), count)
        inside = (np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)).astype(np.uint64)
        at = first[row] + (inside << shift)
        behind = (at - address[row]) >> shift
        kind = state[use][row]
        return Pages(at, kind, where[use][row] + np.where(kind == PageState.ZERO, np.uint64(0), behind))

    def _in_cache(self, area: Area, cache: PageCache, start: int, end: int) -> Pages:
        first = area.first + (start - area.start) // self._page
        count = (end - start) // self._page
        low, high = np.searchsorted(cache.index, np.array([first, first + count], dtype=np.uint64))
        rows = slice(int(low), int(high))
        index, state, where = cache.index[rows], cache.state[rows], cache.frame[rows]
        address = np.uint64(start) + ((index - np.uint64(first)) << self._shift)
        if cache.size_bytes is None or first + count <= cache.pages:
            return Pages(address, state, where)
        # Behind the end of the file nothing is mapped.
        beyond = np.arange(max(cache.pages, first), first + count, dtype=np.uint64)
        beyond = np.uint64(start) + ((beyond - np.uint64(first)) << self._shift)
        before = address < (beyond[0] if len(beyond) else np.uint64(end))
        return Pages(
            np.concatenate([address[before], beyond]),
            np.concatenate([state[before], np.full(len(beyond), PageState.BEYOND, dtype=np.uint8)]),
            np.concatenate([where[before], np.zeros(len(beyond), dtype=np.uint64)]),
        )

    def _vdso(self, start: int, end: int) -> Pages:
        """The vDSO, which is part of the kernel's image (arch/x86/entry/vdso/vma.c, vdso_fault)."""
        if self.mm.has("context.vdso_image"):
            base, image = self.mm["context.vdso"], self.mm.follow("context.vdso_image")
            data, size = image["data"], image["size"]
            if (base.true & data.true & size.true)[0]:
                first, length = int(base.values[0]), min(int(size.values[0]), 1 << 20)
                address = np.arange(
                    max(first, start), max(min(first + length, end), start), self._page, dtype=np.uint64
                )
                physical, status = self.kernel.memory.translate(data.values + (address - np.uint64(first)))
                state = np.where(status == 0, PageState.HERE, PageState.UNKNOWN).astype(np.uint8)
                return Pages(address, state, physical >> self._shift)
        return Pages.none()

    def area_of(self, address: int) -> Area | None:
        """The VMA that an address lies in."""
        return next((area for area in self.areas if area.start <= address < area.end), None)

    def locate(self, addresses: U64) -> Pages:
        """Where the pages that begin at these addresses uint64[n] are; they ascend."""
        state = np.full(len(addresses), PageState.UNMAPPED, dtype=np.uint8)
        where = np.zeros(len(addresses), dtype=np.uint64)
        for area in self.areas:
            low, high = np.searchsorted(addresses, np.array([area.start, area.end], dtype=np.uint64)).tolist()
            while low < high:
                begin = int(addresses[low])
                stop = min(area.end, begin + WINDOW)
                last = int(np.searchsorted(addresses[:high], np.uint64(stop)))
                pages = self.pages(area, begin, min(stop, int(addresses[last - 1]) + self._page))
                rows = slice(low, last)
                state[rows] = self.default(area)
                if len(pages):
                    at = np.minimum(np.searchsorted(pages.address, addresses[rows]), len(pages) - 1)
                    found = pages.address[at] == addresses[rows]
                    state[rows] = np.where(found, pages.state[at], state[rows])
                    where[rows] = np.where(found, pages.where[at], where[rows])
                low = last
        return Pages(addresses, state, where)

    def fetch(self, pages: Pages) -> tuple[U8, U8]:
        """The bytes of pages: (uint8[n, page size], PageState uint8[n]: HERE or ZERO where they are known)."""
        rows = np.zeros((len(pages), self._page), dtype=np.uint8)
        state = pages.state.copy()
        here = np.flatnonzero(state == PageState.HERE)
        rows[here], state[here] = read_frames(self.kernel, pages.where[here])
        away = np.flatnonzero(state == PageState.SWAPPED)
        if len(away):
            rows[away], state[away] = self.swapped.read(pages.where[away])
        return rows, state

    @property
    def swapped(self) -> Swapped:
        """What reads its pages that were swapped out."""
        if self._swapped is None:
            self._swapped = Swapped(self.kernel)
        return self._swapped

    def read_partial(self, address: int, size: int) -> tuple[U8, U8]:
        """`size` bytes at an address as far as they are known: (uint8[size], PageState of each page uint8[p]).

        Raises FaultError for a range that is no process's, or that is larger than any one read.
        """
        if size < 0 or not 0 <= address <= address + size <= 1 << self.kernel.arch.half_bits:
            raise FaultError(
                f"{size:,} bytes at {address:#x} are not within a process's address space", address
            )
        start = address & ~(self._page - 1)
        count = -(-(address + size - start) // self._page) if size else 0
        self.kernel.budget.room(count, self._page, f"a read of {size:,} bytes")
        addresses = np.uint64(start) + np.arange(count, dtype=np.uint64) * np.uint64(self._page)
        rows = np.zeros((count, self._page), dtype=np.uint8)
        state = np.zeros(count, dtype=np.uint8)
        pages = self.locate(addresses)
        for first in range(0, count, BATCH):
            part = slice(first, first + BATCH)
            rows[part], state[part] = self.fetch(pages[part])
        return rows.reshape(-1)[address - start : address - start + size], state

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at an address.

        Raises FaultError where nothing is mapped, PageExcluded where the dump does not have what is.
        """
        data, state = self.read_partial(address, size)
        missing = np.flatnonzero((state != PageState.HERE) & (state != PageState.ZERO))
        if len(missing):
            page = int(missing[0])
            at = max(address, (address & ~(self._page - 1)) + page * self._page)
            raise self.fault(PageState(int(state[page])), at)
        return data.tobytes()

    def fault(self, state: PageState, address: int) -> FaultError | PageExcluded:
        """The exception for a page that cannot be read."""
        area = self.area_of(address)
        if state == PageState.UNMAPPED or area is None:
            return FaultError(f"nothing is mapped at {address:#x} in this process", address)
        if state in (PageState.BEYOND, PageState.ABSENT, PageState.DEVICE):
            return FaultError(f"the page at {address:#x} of this process is {WORDS[state]}", address)
        why = WORDS[state]
        if state == PageState.SWAPPED:
            why = f"{why}{self.swapped.why()}"
        if state == PageState.EXCLUDED:
            why += " (see dump.info.dump_level): capture with a lower dump level to keep what programs hold"
        return PageExcluded(f"the page at {address:#x} of this process is {why}", address)

    def windows(self, area: Area) -> Iterator[tuple[int, int]]:
        """An area in pieces whose page tables are looked at together, up to `LARGEST` of it."""
        end = min(area.end, area.start + LARGEST)
        for start in range(area.start, end, WINDOW):
            yield start, min(start + WINDOW, end)

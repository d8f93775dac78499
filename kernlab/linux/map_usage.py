"""What each mapping really holds: the page tables of all processes walked once, its pages summed per VMA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.frames import zero_pfns
from kernlab.linux.page.mapcounts import mapped
from kernlab.linux.shmem import SharedSwap
from kernlab.linux.swap import has_swap
from kernlab.linux.swap_entries import settle_swap_entries
from kernlab.linux.tasks import find_tasks
from kernlab.linux.vmas import find_vmas
from kernlab.memory.page_tables import Entries
from kernlab.util.progress import progress
from kernlab.walk.page_tables import PageTables

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# include/linux/sched.h, include/linux/mm.h: macros
_PF_KTHREAD = 0x00200000
_VM_PFNMAP, _VM_HUGETLB = 0x400, 0x400000
#: pss is summed in bytes << PSS_SHIFT (fs/proc/task_mmu.c).
PSS_SHIFT = 12

#: Owner and page number share 64 bits: of user addresses with five levels on x86-64 the latter takes 44.
_MOST_OWNERS = 1 << 20

#: Frames whose page structs are looked at together; a block of 2 MiB entries is cut to fit.
_MOST_FRAMES = 1 << 20


#: What a VMA is found to hold, in bytes (pss in bytes << 12); swap is its own, not that of shared memory that it maps.
_SUMS = ("rss", "pss", "uss", "anon", "shmem", "swap", "shmem_swap", "hugetlb")


@dataclass
class Usage:
    """All address spaces of processes, their VMAs, and what the page tables say of each.

    `mm` is a StructArray of n; `owner` (index into mm) and `vma` are the m VMAs, by mm and start. `sums` has int64[m]
    for each of rss, pss, uss, anon, shmem, swap, shmem_swap, hugetlb, in bytes; `known` is bool[m], False where page
    tables of the VMA are lost, `swap_known` where what is swapped out of the file that it maps is not known;
    `tables_known` is bool[n], False where any of the mm are lost.
    """

    mm: StructArray
    owner: I64
    vma: StructArray
    sums: dict[str, I64]
    known: Mask
    swap_known: Mask
    tables_known: Mask

    def of_vmas(self, addresses: U64) -> tuple[I64, Mask]:
        """The rows of VMAs by their addresses: (row int64[k], bool[k]: False for those that are not here)."""
        order = np.argsort(self.vma.addresses, kind="stable")
        known = self.vma.addresses[order]
        place = np.minimum(np.searchsorted(known, addresses), max(len(known) - 1, 0))
        if not len(known):
            return np.zeros(len(addresses), dtype=np.int64), np.zeros(len(addresses), dtype=bool)
        return order[place], known[place] == addresses


@fact
def usage(kernel: Kernel) -> Usage:
    """What all processes' page tables say."""
    task = find_tasks(kernel)
    mm, flags = task["mm"], task["flags"]
    user = mm.true & ~flags.has(_PF_KTHREAD).true
    spaces = StructArray(kernel, "struct mm_struct", np.unique(mm.values[user]))
    if len(spaces) > _MOST_OWNERS:
        kernel.lost(f"page tables: only those of {_MOST_OWNERS:,} of {len(spaces):,} processes are walked")
        spaces = spaces[:_MOST_OWNERS]
    owner, vma = find_vmas(kernel, spaces)
    start, end = vma["vm_start"], vma["vm_end"]
    whole = (end > start).true
    order = np.lexsort((start.values, owner))
    order = order[whole[order]]
    owner, vma = owner[order], vma[order]
    book = _Book(kernel, owner, vma, start.values[order], end.values[order])
    tables = PageTables(kernel, spaces)
    with progress("Walking page tables") as bar, kernel.budget.walk("page tables"):
        for block in tables.entries():
            book.add(block)
            bar.advance(len(block.owner))
    known, tables_known = book.known(tables.lost, len(spaces))
    kernel.lost(*book.losses(int(whole.size - whole.sum())))
    swap_known = book.add_shared_swap()
    return Usage(spaces, owner, vma, book.sums, known, swap_known, tables_known)


class _Book:
    """Adds entries up by VMA."""

    def __init__(self, kernel: Kernel, owner: I64, vma: StructArray, start: U64, end: U64):
        self.kernel = kernel
        self.owner, self.start, self.end = owner, start, end
        self.sums = {name: np.zeros(len(owner), dtype=np.int64) for name in _SUMS}
        self._page, self._page_shift = kernel.page_size, np.uint64(kernel.arch.page_shift)
        self._owner_shift = np.uint64(kernel.arch.half_bits - kernel.arch.page_shift)
        # What lies beyond is damage, and must not break the order.
        last = np.uint64((1 << kernel.arch.half_bits) - 1)
        self._key = self._keys(owner, np.minimum(start, last))
        flags = vma.first("vm_flags", "flags.__vma_flags[0]").values.astype(np.uint64)
        self._hugetlb = (flags & np.uint64(_VM_HUGETLB)) != 0
        self._pfnmap = (flags & np.uint64(_VM_PFNMAP)) != 0
        self._why: list[str] = []
        self._zero = zero_pfns(kernel, self._why)
        settle_swap_entries(kernel)
        self._swap_files = min(kernel.word("nr_swapfiles", 4), 32) if has_swap(kernel) else 0
        #: What is swapped out of the shared memory that VMAs map; nothing where there is no swap.
        self._shared_swap = SharedSwap(kernel, vma) if self._swap_files else None
        self._outside = self._wild = self._unread = 0
        self._first_wild = 0

    def add(self, entries: Entries) -> None:
        """Count one block."""
        row = self._rows(entries.owner, entries.address)
        self._outside += int((row < 0).sum())
        entries, row = entries.where(row >= 0), row[row >= 0]
        present = entries.present
        swapped = entries.swapped(self._swap_files)
        np.add.at(self.sums["swap"], row[swapped], entries.size[swapped])
        if self._shared_swap is not None:
            self._shared_swap.hide(row, entries.address, entries.size)
        self._count_kept(entries.where(~present & ~swapped), row[~present & ~swapped])
        huge = present & self._hugetlb[row]
        np.add.at(self.sums["hugetlb"], row[huge], entries.size[huge])
        normal = present & ~huge & ~entries.special & ~((entries.size > self._page) & self._pfnmap[row])
        entries, row = entries.where(normal), row[normal]
        pfn = entries.pfns
        frames = entries.size // self._page
        wild = (pfn >= np.uint64(self.kernel.file.max_pfn)) | (frames > self.kernel.arch.huge_pages)
        if wild.any():
            self._first_wild = self._first_wild or int(entries.address[wild][0])
            self._wild += int(wild.sum())
        use = ~wild & ~np.isin(pfn, np.array(sorted(self._zero), dtype=np.uint64))
        pfn, frames, row = pfn[use], frames[use], row[use]
        ends = np.cumsum(frames)
        first = 0
        while first < len(pfn):
            # As many entries as have _MOST_FRAMES frames, at least one.
            done = int(ends[first - 1]) if first else 0
            last = max(int(np.searchsorted(ends, done + _MOST_FRAMES, side="right")), first + 1)
            self._count(pfn[first:last], frames[first:last], row[first:last])
            first = last

    def add_shared_swap(self) -> Mask:
        """Add what of the shared memory that VMAs map is swapped out; bool[m] of the VMAs for which that is known."""
        if self._shared_swap is None:
            return np.ones(len(self.owner), dtype=bool)
        swapped = Column.of(self._shared_swap.pages) * self._page
        self.sums["shmem_swap"] += swapped.filled(0)
        return self._shared_swap.known & swapped.valid

    def _count_kept(self, entries: Entries, row: I64) -> None:
        """Pages that are resident, but mapped by nobody for now: on their way to another node, or in a device.

        As in smaps, nobody's share of them is less than the whole, and none is private (smaps_account).
        Other entries that are not present are marks: of userfaultfd, guard regions, poisoned memory.
        """
        page = mapped(self.kernel, entries.kept_pfns)
        use = page.valid & page.owned
        row, size = row[use], entries.size[use]
        huge = self._hugetlb[row]
        self._sum("hugetlb", row[huge], size[huge])
        row, size, anon, shmem = row[~huge], size[~huge], page.anon[use][~huge], page.shmem[use][~huge]
        self._sum("rss", row, size)
        self._sum("pss", row, size << PSS_SHIFT)
        self._sum("anon", row[anon], size[anon])
        self._sum("shmem", row[shmem], size[shmem])

    def _count(self, pfn: U64, frames: I64, row: I64) -> None:
        if (frames > 1).any():
            inside = np.arange(int(frames.sum())) - np.repeat(np.cumsum(frames) - frames, frames)
            pfn = np.repeat(pfn, frames) + inside.astype(np.uint64)
            row = np.repeat(row, frames)
        unique, of = np.unique(pfn, return_inverse=True)
        page = mapped(self.kernel, unique)
        count, valid = page.mapcount[of], page.valid[of]
        self._unread += int((~valid).sum())
        # A frame whose page struct is lost is resident all the same; how it is shared is not known.
        self._sum("rss", row, np.full(len(row), self._page, dtype=np.int64))
        self._sum(
            "pss",
            row,
            np.where(count >= 2, (self._page << PSS_SHIFT) // np.maximum(count, 1), self._page << PSS_SHIFT),
        )
        self._sum("uss", row, np.where(valid & (count < 2), self._page, 0))
        self._sum("anon", row, np.where(valid & page.anon[of], self._page, 0))
        self._sum("shmem", row, np.where(valid & page.shmem[of], self._page, 0))

    def _sum(self, name: str, row: I64, values: I64) -> None:
        # Entries come sorted by VMA, nearly: their sums through bincount would be floats.
        np.add.at(self.sums[name], row, values)

    def _keys(self, owner: I64, address: U64) -> U64:
        """Owner and page as one number."""
        key: U64 = (owner.astype(np.uint64) << self._owner_shift) | (address >> self._page_shift)
        return key

    def _rows(self, owner: I64, address: U64) -> I64:
        """The VMA that each address lies in; -1 for none."""
        if not len(self.owner):
            return np.full(len(owner), -1, dtype=np.int64)
        key = self._keys(owner, address)
        row = np.searchsorted(self._key, key, side="right").astype(np.int64) - 1
        there = np.maximum(row, 0)
        inside = (row >= 0) & (self.owner[there] == owner) & (address < self.end[there])
        return np.where(inside, there, -1)

    def known(self, lost: list[tuple[int, int, int]], count: int) -> tuple[Mask, Mask]:
        """Which VMAs, and which mms, no lost table concerns: (bool[m], bool[n])."""
        vmas, spaces = np.ones(len(self.owner), dtype=bool), np.ones(count, dtype=bool)
        for owner, start, end in lost:
            spaces[owner] = False
            low, high = np.searchsorted(self.owner, [owner, owner + 1])
            part = slice(int(low), int(high))
            vmas[part] &= (self.start[part] >= np.uint64(end)) | (self.end[part] <= np.uint64(start))
        return vmas, spaces

    def losses(self, cut: int) -> list[str]:
        """What did not add up, in sentences."""
        told = [f"page tables: zero pages may count as resident: {why}" for why in self._why]
        if cut:
            told.append(
                f"page tables: {cut:,} VMAs have no range that can be read; what they hold is not known"
            )
        if self._outside:
            told.append(
                f"page tables: {self._outside:,} entries lie in no VMA of their process, and are not counted"
            )
        if self._wild:
            told.append(
                f"page tables: {self._wild:,} entries map frames outside memory (the first at user address "
                f"{self._first_wild:#x}), and are not counted"
            )
        if self._unread:
            told.append(
                f"page tables: the page structs of {self._unread:,} mapped frames cannot be read; they count as "
                "shared by nobody in pss_bytes, and as neither private nor anonymous"
            )
        return told

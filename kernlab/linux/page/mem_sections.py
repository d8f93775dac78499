"""Sections of the sparse memory map: which frames have a page struct, which are online, their pageblocks' types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.told import array_length
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.page.backed import backed_sections
from kernlab.linux.zones import orders

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

# include/linux/mmzone.h, flags in the low bits of mem_section.section_mem_map.
_HAS_MEM_MAP = np.uint64(2)
_ONLINE = np.uint64(4)

#: 64 subsections of 2 MiB (SUBSECTION_SHIFT), as a power of two in bytes.
_WORD_OF_SUBSECTIONS = 27

#: Pages of the section table that are read at a time.
_PIECE = 1 << 10

#: Bits of a pageblock's flags that hold its type (PB_migrate to PB_migrate_end).
_TYPE_MASK = 7


@dataclass(frozen=True, slots=True)
class Sections:
    """The sections that have page structs: their numbers int64[m], ascending, whether each is online, and `usage`
    uint64[m], the addresses of their `struct mem_section_usage`; `frames` in each; `held` bool[m], whether the file
    can hold any of their page structs."""

    numbers: I64
    online: Mask
    usage: U64
    frames: int
    held: Mask

    def place(self, pfns: I64) -> I64:
        """The index of each frame's section in `numbers`, -1 where it has none."""
        if not len(self.numbers):
            return np.full(len(pfns), -1, dtype=np.int64)
        wanted = pfns // self.frames
        found = np.searchsorted(self.numbers, wanted).clip(max=len(self.numbers) - 1)
        return np.where(self.numbers[found] == wanted, found, -1)

    def bytes_held(self, size: int) -> int:
        """How large the page structs, of `size` bytes, are at most of which the file can hold any."""
        return int(np.count_nonzero(self.held)) * self.frames * size

    def ranges(self, *, held: bool = False) -> tuple[I64, I64]:
        """Runs of neighbouring sections (those `held` alone) as frames: (first pfn, pfn behind the last)."""
        numbers = self.numbers[self.held] if held else self.numbers
        if not len(numbers):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        first = numbers[np.concatenate([[0], breaks])]
        last = numbers[np.concatenate([breaks - 1, [len(numbers) - 1]])]
        return first * self.frames, (last + 1) * self.frames


@fact
def sections(kernel: Kernel) -> Sections:
    """The sections with page structs (mm/sparse.c, __nr_to_section), read from the kernel's own table.

    Where that table cannot be read, or says of more page structs than the file can hold, those count whose page structs
    the kernel's page tables map; a problem says what was not believed.
    """
    frames = (1 << section_bits(kernel)) // kernel.page_size
    own = _own_max_pfn(kernel)
    listed = _listed(kernel, -(-max(kernel.file.max_pfn, own) // frames))
    bytes_each = frames * kernel.find_type("struct page").size
    if listed is None:
        kernel.lost(
            "the table of memory sections cannot be read: memory is where page structs are mapped, and whether it is "
            "online is not known"
        )
        backed = backed_sections(kernel, frames)
        if backed is None:
            count = kernel.budget.count(-(-kernel.file.max_pfn // frames), bytes_each, "sections of memory")
            numbers = np.arange(count, dtype=np.int64)
            return _all_online(numbers, np.ones(count, dtype=bool), frames)
        return _all_online(backed.mapped, np.isin(backed.mapped, backed.held), frames)
    numbers, mem_map, usage = listed
    online = (mem_map & _ONLINE) != 0
    held = np.ones(len(numbers), dtype=bool)
    beyond = len(numbers) and int(numbers[-1]) * frames >= kernel.file.max_pfn
    if beyond or not kernel.budget.holds(len(numbers), bytes_each):
        backed = backed_sections(kernel, frames)
        if backed is not None:
            real = np.isin(numbers, backed.mapped)
            kernel.lost(
                "sections of memory are left out",
                mask=~real,
                why="nothing is mapped where their page structs should lie",
            )
            numbers, online, usage = numbers[real], online[real], usage[real]
            held = np.isin(numbers, backed.held)
    return Sections(numbers, online, usage, frames, held)


def _all_online(numbers: I64, held: Mask, frames: int) -> Sections:
    count = len(numbers)
    return Sections(numbers, np.ones(count, dtype=bool), np.zeros(count, dtype=np.uint64), frames, held)


def _listed(kernel: Kernel, wanted: int) -> tuple[I64, U64, U64] | None:
    """What the section table has of the first `wanted` sections: the numbers of those with page structs, and their
    words section_mem_map and usage. None where it cannot be found."""
    section = kernel.find_type("struct mem_section")
    top = kernel.section_table
    per_root = kernel.page_size // section.size
    roots = -(-wanted // per_root)
    if not top:
        return None
    pointers, readable = kernel.words(
        np.uint64(top) + np.arange(roots, dtype=np.uint64) * np.uint64(8), what=""
    )
    if not readable[:1].all():
        # Every machine has memory there.
        return None
    kernel.lost("pages of the section table cannot be read", mask=~readable)
    used = np.flatnonzero(pointers)
    # Each page of the table has sections of its own: one that is met again is damage.
    _, first = np.unique(pointers[used], return_index=True)
    used = used[np.sort(first)]
    places = [resolve(section, member).hops[-1] // 8 for member in ("section_mem_map", "usage")]
    numbers, words = [np.zeros(0, dtype=np.int64)], [np.zeros((2, 0), dtype=np.uint64)]
    lost = np.zeros(len(used), dtype=bool)
    for start in range(0, len(used), _PIECE):
        piece = used[start : start + _PIECE]
        rows, status = kernel.gather(pointers[piece], per_root * section.size, "")
        lost[start : start + _PIECE] = status != 0
        both = rows.view("<u8").reshape(-1, section.size // 8)[:, places].T
        there = (both[0] & _HAS_MEM_MAP) != 0
        numbers.append((piece[:, None] * per_root + np.arange(per_root)).reshape(-1)[there])
        words.append(both[:, there])
    kernel.lost("pages of the section table cannot be read", mask=lost)
    mem_map, usage = np.concatenate(words, axis=1)
    return np.concatenate(numbers), mem_map, usage.copy()


def section_bits(kernel: Kernel) -> int:
    """Bytes of a section as a power of two (SECTION_SIZE_BITS): what VMCOREINFO says, if the types bear it out."""
    usual, said = kernel.arch.section_bits, kernel.vmcoreinfo.number("SECTION_SIZE_BITS")
    # include/linux/mmzone.h, struct mem_section_usage: one bit for each 2 MiB of a section, in whole words.
    words = array_length(kernel, "struct mem_section_usage", "subsection_map")
    if said is None or not words:
        return said or usual
    if words == 1 << max(said - _WORD_OF_SUBSECTIONS, 0) and said >= min(usual, _WORD_OF_SUBSECTIONS):
        return said
    believed = (
        min(usual, _WORD_OF_SUBSECTIONS) if words == 1 else _WORD_OF_SUBSECTIONS + words.bit_length() - 1
    )
    kernel.dump_lost(
        f"VMCOREINFO says NUMBER(SECTION_SIZE_BITS)={said}, but the kernel's struct mem_section_usage is for sections "
        f"of 2^{believed} bytes: these were believed"
    )
    return believed


def _own_max_pfn(kernel: Kernel) -> int:
    """The kernel's own word of it, no more than page structs can be numbered by."""
    symbol = kernel.symbols.get("max_pfn")
    own = kernel.words([symbol], what="counts of frames (max_pfn)")[0][0] if symbol is not None else 0
    return min(int(own), 1 << kernel.arch.physical_bits - kernel.arch.page_shift)


@dataclass(frozen=True, slots=True)
class Pageblocks:
    """The type of each pageblock: `types` int8[m, blocks] per section of `Sections`, -1 where it cannot be read."""

    types: npt.NDArray[np.int8]
    order: int

    def of(self, sections_: Sections, pfns: I64, place: I64) -> npt.NDArray[np.int8]:
        """The migratetype of frames int64[n] whose sections are `place`; -1 where unknown."""
        if not self.types.size:
            return np.full(len(pfns), -1, dtype=np.int8)
        block = (pfns % sections_.frames) >> self.order
        return np.where(place >= 0, self.types[place, block], np.int8(-1))


def pageblock_order(kernel: Kernel, known: Sections | None = None) -> int:
    """Frames of a pageblock as a power of two (include/linux/pageblock-flags.h); `known` are the sections if read."""
    largest = orders(kernel) - 1
    found = _order_of_usage(kernel, sections(kernel) if known is None else known, largest)
    if found is not None:
        return found
    # With huge pages a pageblock is one of these, else the largest block that the buddy allocator has.
    huge = kernel.types.get("struct hstate") is not None
    return min(kernel.arch.huge_order, largest) if huge else largest


def _order_of_usage(kernel: Kernel, known: Sections, largest: int) -> int | None:
    """The order by the room that a section's flags take: those of sections that were there at boot lie side by side
    (mm/sparse.c, sparse_init_nid). None where no order alone explains it.

    Which configurations make pageblocks of huge pages has changed, and no type says it.
    """
    kind = kernel.types.get("struct mem_section_usage")
    steps = np.diff(known.usage)[np.diff(known.numbers) == 1]
    if kind is None or not len(steps):
        return None
    step, times = np.unique(steps, return_counts=True)
    room = int(step[times.argmax()]) - kind.size
    width = _pageblock_bits(kernel)
    # usemap_size(): whole words.
    fits = [n for n in range(largest + 1) if -(-(known.frames >> n) * width // 64) * 8 == room]
    usual = [n for n in (largest, min(kernel.arch.huge_order, largest)) if n in fits]
    return usual[0] if len(set(usual)) == 1 else fits[0] if len(fits) == 1 else None


def _pageblock_bits(kernel: Kernel) -> int:
    """Bits that a pageblock has of its section's flags."""
    types = kernel.types
    # Linux commit 42f46ed99ac6 ("mm/page_alloc: pageblock flags functions clean up") (in v6.17) let the bits grow.
    bits = types.enumerator_or_none("__NR_PAGEBLOCK_BITS") or types.enumerator_or_none("NR_PAGEBLOCK_BITS")
    return 4 if bits is None or bits <= 4 else 8


def pageblocks(kernel: Kernel, known: Sections) -> Pageblocks:
    """The migratetype of each pageblock (mm/page_alloc.c, get_pageblock_migratetype)."""
    order = pageblock_order(kernel, known)
    count = known.frames >> order
    types = kernel.types
    width = _pageblock_bits(kernel)
    usage_type = types.get("struct mem_section_usage")
    if usage_type is None or not len(known.numbers):
        return Pageblocks(np.zeros((0, 0), dtype=np.int8), order)
    offset = np.uint64(usage_type.member("pageblock_flags").offset)  # type: ignore[attr-defined]
    rows, status = kernel.gather(known.usage + offset, count * width // 8, "sections' types of pageblocks")
    if width == 4:
        flags = np.empty((len(rows), count), dtype=np.uint8)
        flags[:, 0::2] = rows & 0xF
        flags[:, 1::2] = rows >> 4
    else:
        flags = rows
    found = (flags & _TYPE_MASK).astype(np.int8)
    # Linux commit e904bce2d9d4 ("mm/page_isolation: make page isolation a standalone bit") (in v6.17).
    isolated = types.enumerator_or_none("PB_migrate_isolate")
    number = types.enumerator_or_none("MIGRATE_ISOLATE")
    if isolated is not None and number is not None:
        found[(flags >> isolated & 1).astype(bool)] = number
    found[(status != 0) | (known.usage == 0)] = -1
    return Pageblocks(found, order)

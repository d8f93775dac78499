"""Sections of the sparse memory map: which frames have a page struct, and which of them are online."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.told import array_length
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.page.backed import Backed, backed_sections

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


@dataclass(frozen=True, slots=True)
class Sections:
    """The sections that have page structs: their numbers int64[m], ascending, whether each is online, and `usage`
    uint64[m], the addresses of their `struct mem_section_usage` (before v5.3 of its flags alone); `frames` in each;
    `held` bool[m], whether the file can hold any of their page structs."""

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

    Of what that table does not tell, as it cannot be read or says what cannot be, those count whose page structs the
    kernel's page tables map; and no others where it tells of more than the file can hold. A problem says what was not
    believed.
    """
    frames = (1 << section_bits(kernel)) // kernel.page_size
    own = _own_max_pfn(kernel)
    most = -(-kernel.file.max_pfn // frames)
    listed = _listed(kernel, max(most, -(-own // frames)), most)
    bytes_each = frames * kernel.find_type("struct page").size
    if listed is None:
        kernel.lost(
            "the table of memory sections cannot be read: memory is where page structs are mapped, and whether it is "
            "online is not known"
        )
        backed = backed_sections(kernel, frames)
        if backed is None:
            count = kernel.budget.count(most, bytes_each, "sections of memory")
            numbers = np.arange(count, dtype=np.int64)
            return _all_online(numbers, np.ones(count, dtype=bool), frames)
        # Behind the array the kernel maps other things, which are no page structs.
        mapped = backed.mapped[backed.mapped < most]
        return _all_online(mapped, np.isin(mapped, backed.held), frames)
    found = Sections(
        listed.numbers, listed.online, listed.usage, frames, np.ones(len(listed.numbers), dtype=bool)
    )
    beyond = len(found.numbers) and int(found.numbers[-1]) * frames >= kernel.file.max_pfn
    if not beyond and not len(listed.unknown) and kernel.budget.holds(len(found.numbers), bytes_each):
        return found
    backed = backed_sections(kernel, frames)
    return found if backed is None else _as_mapped(kernel, found, listed.unknown, backed)


def _as_mapped(kernel: Kernel, listed: Sections, unknown: I64, backed: Backed) -> Sections:
    """Those that are listed and have page structs in the page tables, and those of `unknown` that have."""
    real = np.isin(listed.numbers, backed.mapped)
    kernel.lost(
        "sections of memory are left out",
        mask=~real,
        why="nothing is mapped where their page structs should lie",
    )
    more = np.intersect1d(unknown, backed.mapped)
    if len(more):
        kernel.lost(
            f"the table does not tell of {len(more):,} sections of memory: their page structs are mapped, so they "
            "count as memory that is online"
        )
    numbers = np.concatenate([listed.numbers[real], more])
    order = np.argsort(numbers)
    online = np.concatenate([listed.online[real], np.ones(len(more), dtype=bool)])
    usage = np.concatenate([listed.usage[real], np.zeros(len(more), dtype=np.uint64)])
    held = np.isin(numbers, backed.held)
    return Sections(numbers[order], online[order], usage[order], listed.frames, held[order])


def _all_online(numbers: I64, held: Mask, frames: int) -> Sections:
    count = len(numbers)
    return Sections(numbers, np.ones(count, dtype=bool), np.zeros(count, dtype=np.uint64), frames, held)


class _Listed(NamedTuple):
    """What the section table says: the numbers of sections with page structs, ascending, whether each is online, where
    its usage lies; and the numbers of those of which it does not tell anything that can be so."""

    numbers: I64
    online: Mask
    usage: U64
    unknown: I64


def _listed(kernel: Kernel, wanted: int, most: int) -> _Listed | None:
    """What the section table has of the first `wanted` sections, and of which of the first `most` it does not tell;
    None where it has none, as no machine has."""
    section = kernel.find_type("struct mem_section")
    top = kernel.section_table
    per_root = kernel.page_size // section.size
    roots = -(-wanted // per_root)
    if not top:
        return None
    pointers, readable = kernel.words(
        np.uint64(top) + np.arange(roots, dtype=np.uint64) * np.uint64(8), what=""
    )
    kernel.lost("pages of the section table cannot be read", mask=~readable)
    used = np.flatnonzero(pointers)
    # Each page of the table has sections of its own: one that is met again is damage.
    _, first = np.unique(pointers[used], return_index=True)
    again = np.setdiff1d(used, used[first])
    used = used[np.sort(first)]
    # Linux commit f1eca35a0dc7 ("mm/sparsemem: introduce struct mem_section_usage") (in v5.3).
    usage_name = "usage" if kernel.types.has_member(section.c_name, "usage") else "pageblock_flags"
    places = [resolve(section, member).hops[-1] // 8 for member in ("section_mem_map", usage_name)]
    array = _array(kernel)
    numbers, words = [np.zeros(0, dtype=np.int64)], [np.zeros((2, 0), dtype=np.uint64)]
    wrong = [np.zeros(0, dtype=np.int64)]
    lost = np.zeros(len(used), dtype=bool)
    for start in range(0, len(used), _PIECE):
        piece = used[start : start + _PIECE]
        rows, status = kernel.gather(pointers[piece], per_root * section.size, "")
        both = rows.view("<u8").reshape(-1, section.size // 8)[:, places].T
        own = (piece[:, None] * per_root + np.arange(per_root)).reshape(-1)
        there = (both[0] & _HAS_MEM_MAP) != 0
        # Each section says where the array of all page structs begins (mm/sparse.c, sparse_encode_mem_map).
        right = (
            there & ((both[0] & ~np.uint64(kernel.page_size - 1)) == array) if array is not None else there
        )
        numbers.append(own[right])
        words.append(both[:, right])
        wrong.append(own[there & ~right])
        # A page of the table comes into being with its first section (sparse_index_init).
        empty = ~there.reshape(len(piece), per_root).any(axis=1)
        lost[start : start + _PIECE] = (status != 0) | empty
    found = np.concatenate(numbers)
    if not len(found):
        return None
    kernel.lost("pages of the section table cannot be read, or are empty", mask=lost)
    bad = np.concatenate(wrong)
    if len(bad):
        kernel.lost(f"{len(bad):,} sections of the table say of their page structs what cannot be")
    pages = np.concatenate([np.flatnonzero(~readable), again, used[lost]])
    # Of what lies behind all frames of the file nothing is asked.
    pages = pages[pages * per_root < most]
    unknown = (pages[:, None] * per_root + np.arange(per_root)).reshape(-1)
    mem_map, usage = np.concatenate(words, axis=1)
    return _Listed(found, (mem_map & _ONLINE) != 0, usage.copy(), np.union1d(unknown, bad[bad < most]))


def _array(kernel: Kernel) -> np.uint64 | None:
    """Where the array of all page structs begins; None where that is not known, or there is none."""
    try:
        return np.uint64(kernel.vmemmap)
    except KernlabError:
        return None


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

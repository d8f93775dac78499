"""Pageblocks: how large they are, and the migratetype of each, by what its section of memory notes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.page.mem_sections import Sections, sections
from kernlab.linux.zones import orders

I64 = npt.NDArray[np.int64]

#: Bits of a pageblock's flags that hold its type (PB_migrate to PB_migrate_end).
_TYPE_MASK = 7


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
    before = _flags_place(kernel)
    steps = np.diff(known.usage)[np.diff(known.numbers) == 1]
    if before is None or not len(steps):
        return None
    step, times = np.unique(steps, return_counts=True)
    room = int(step[times.argmax()]) - before
    width = _pageblock_bits(kernel)
    # usemap_size(): whole words.
    fits = [n for n in range(largest + 1) if -(-(known.frames >> n) * width // 64) * 8 == room]
    usual = [n for n in (largest, min(kernel.arch.huge_order, largest)) if n in fits]
    return usual[0] if len(set(usual)) == 1 else fits[0] if len(fits) == 1 else None


def _flags_place(kernel: Kernel) -> int | None:
    """Where the flags of pageblocks begin in what `Sections.usage` leads to, in bytes: at its end; None for nowhere."""
    kind = kernel.types.get("struct mem_section_usage")
    if kind is not None:
        return kind.strip().member("pageblock_flags").offset  # type: ignore[attr-defined,no-any-return]
    # Before v5.3 the section leads to the flags themselves.
    return 0 if kernel.types.has_member("struct mem_section", "pageblock_flags") else None


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
    offset = _flags_place(kernel)
    if offset is None or not len(known.numbers):
        return Pageblocks(np.zeros((0, 0), dtype=np.int8), order)
    rows, status = kernel.gather(
        known.usage + np.uint64(offset), count * width // 8, "sections' types of pageblocks"
    )
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

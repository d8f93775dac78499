"""page_owner (mm/page_owner.c): what is noted of who allocated each frame, beside the page structs (mm/page_ext.c)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.page.mem_sections import sections

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: PAGE_EXT_INVALID: the section goes away, and so does what is noted of it.
_INVALID = np.uint64(1)


@dataclass(frozen=True, slots=True)
class Owned:
    """One allocation a row: the number of its first frame, and its struct page_owner."""

    pfn: I64
    owner: StructArray


def why_none(kernel: Kernel) -> str:
    """Why nobody notes who allocates pages; '' where page_owner is on."""
    if kernel.find_symbol("page_owner_ops") is None or kernel.type_or_none("struct page_owner") is None:
        return "page_owner is off in this kernel (CONFIG_PAGE_OWNER)"
    # A static key: its first word says whether it is on.
    if not kernel.word("page_owner_inited", 4):
        return "page_owner is off on this machine: it was not asked for at boot (page_owner=on)"
    return ""


def owned(kernel: Kernel) -> Owned:
    """All allocations of pages, by frame; as /sys/kernel/debug/page_owner lists them (read_page_owner).

    To be asked where `why_none` has nothing to say. Frames that are not in use have what was noted of them last, and
    are no allocation; nor are the tails of larger ones.
    """
    flag = np.uint64(1 << (kernel.types.enumerator("PAGE_EXT_OWNER_ALLOCATED") & 63))
    pfns, places = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    for pfn, entry, every in notes(kernel):
        flags, _ = kernel.words(entry, what="notes of who allocated pages")
        rows = np.flatnonzero(flags & flag)
        note = every[rows].prefetch("order", "handle")
        order, handle = note["order"].int64, note["handle"]
        head = order.valid & handle.true & (order.values < 64)
        head &= pfn[rows] & ((1 << np.minimum(order.values, 62)) - 1) == 0
        pfns.append(pfn[rows[head]])
        places.append(note.addresses[head])
    return Owned(np.concatenate(pfns), StructArray(kernel, "struct page_owner", np.concatenate(places)))


def notes(kernel: Kernel) -> Iterator[tuple[I64, U64, StructArray]]:
    """What is noted of every frame, in use or not, a section at a time: (their numbers, where the struct page_ext of
    each lies, the struct page_owner behind it). To be asked where `why_none` has nothing to say."""
    size = kernel.word("page_ext_size")
    offset = StructArray(kernel, "struct page_ext_operations", [kernel.symbol("page_owner_ops")])["offset"]
    if not offset.valid[0]:
        kernel.lost("page_owner: where its notes lie cannot be read")
        return
    inside = int(offset[0])
    if not inside + kernel.find_type("struct page_owner").size <= size <= kernel.page_size:
        kernel.lost(f"page_owner: its notes of a frame cannot lie in {size:,} bytes")
        return
    known = sections(kernel)
    numbers, bases = _bases(kernel, known.numbers[known.held])
    for number, base in zip(numbers.tolist(), bases.tolist(), strict=True):
        pfn = number * known.frames + np.arange(known.frames, dtype=np.int64)
        # The address is that of frame 0's note, which may lie before all memory: it wraps round.
        entry = np.uint64(base) + pfn.astype(np.uint64) * np.uint64(size)
        yield pfn, entry, StructArray(kernel, "struct page_owner", entry + np.uint64(inside))


def _bases(kernel: Kernel, numbers: I64) -> tuple[I64, U64]:
    """Where the notes of sections lie, as if they began with frame 0 (mem_section.page_ext): (numbers, addresses)."""
    section = kernel.find_type("struct mem_section")
    table = kernel.section_table
    if not table or not len(numbers):
        return numbers[:0], np.zeros(0, dtype=np.uint64)
    per_root = kernel.page_size // section.size
    where = np.uint64(table) + (numbers // per_root).astype(np.uint64) * np.uint64(8)
    root, read = kernel.words(where, what="pages of the section table")
    within = (numbers % per_root).astype(np.uint64) * np.uint64(section.size)
    base = StructArray(kernel, section, root + within, read & (root != 0))["page_ext"]
    there = base.true & ((base.values & _INVALID) == 0)
    return numbers[there], base.values[there].astype(np.uint64)

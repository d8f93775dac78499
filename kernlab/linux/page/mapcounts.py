"""Page frame numbers in, what their page structs say of who maps them out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.page.vmemmap import PageChunk, compound_heads

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_ANON = np.uint64(1)  # PAGE_MAPPING_ANON


@dataclass(frozen=True, slots=True)
class Mapped:
    """For each frame: how many mappings it has (int64[n]), whether it is anonymous memory or else shared memory (tmpfs
    and its kind), whether it is any of these or of a file at all, and whether that is known.
    """

    mapcount: I64
    anon: Mask
    shmem: Mask
    owned: Mask
    valid: Mask


def mapped(kernel: Kernel, pfns: U64) -> Mapped:
    """How often each frame is mapped (folio_precise_page_mapcount, before 6.10 page_mapcount).

    `pfns` is uint64[n]; frames that have no page struct, or whose struct cannot be read, are not valid.
    """
    size = kernel.find_type("struct page").size
    there = pfns < np.uint64(kernel.arch.most_frames)
    address = np.uint64(kernel.vmemmap) + np.where(there, pfns, np.uint64(0)) * np.uint64(size)
    rows, status = kernel.gather(address, size, "")
    valid = there & (status == 0)
    own = _number(kernel, rows, "struct page", "_mapcount.counter")
    count = own + 1
    head = _heads(kernel, rows, address)
    mapping = _number(kernel, rows, "struct page", "mapping").astype(np.uint64)
    flags = _number(kernel, rows, "struct page", "flags").astype(np.uint64)
    large = np.flatnonzero(valid & (head != 0))
    if len(large):
        # Many pages share a head: what is known of a compound page is read once.
        unique, of = np.unique(head[large], return_inverse=True)
        mapping_of, flags_of, entire, read = _compound(kernel, unique, size)
        mapping[large], flags[large] = mapping_of[of], flags_of[of]
        count[large] += entire[of]
        valid[large] &= read[of]
    anon = (mapping & _ANON) != 0
    bit = kernel.types.enumerator_or_none("PG_swapbacked")
    backed = np.zeros(len(rows), dtype=bool) if bit is None else (flags >> np.uint64(bit) & np.uint64(1)) != 0
    return Mapped(count, anon, ~anon & backed, mapping != 0, valid)


def _compound(kernel: Kernel, heads: U64, size: int) -> tuple[U64, U64, I64, Mask]:
    """Of compound pages by their heads: (mapping, flags, how often all of it is mapped at once, what could be read)."""
    page = StructArray(kernel, "struct page", heads)
    mapping = page["mapping"]
    own_flags, known = kernel.words(heads, what="flags of pages")
    # Linux commit 4b51634cd16a ("mm,thp,rmap: subpages_mapcount COMPOUND_MAPPED if PMD-mapped") (in v6.2) made the
    # two kinds of mappings, of pages and of the whole, add up for files as for anonymous memory.
    if kernel.types.has_member("struct folio", "_entire_mapcount"):
        entire = page.cast("struct folio")["_entire_mapcount.counter"]
        return (
            mapping.values,
            own_flags,
            (entire + 1).values,
            known & mapping.valid & entire.valid,
        )
    first_tail = StructArray(kernel, page.type, heads + np.uint64(size))
    entire, flags = first_tail["compound_mapcount.counter"], first_tail["flags"]
    known &= mapping.valid & entire.valid & flags.valid
    counts = entire + 1
    both = kernel.types.enumerator_or_none("PG_double_map")
    if both is not None:
        counts -= flags >> both & 1
    # Pages of files counted it in their own _mapcount already (__page_mapcount).
    return mapping.values, own_flags, np.where(mapping.has(_ANON).values, counts.values, 0), known


def _heads(kernel: Kernel, rows: npt.NDArray[np.uint8], address: U64) -> U64:
    """The head's page struct for each page of a compound one, 0 for single pages."""
    head = compound_heads(
        kernel, address, PageChunk.of_rows(kernel, 0, rows, np.ones(len(rows), dtype=bool)).links()
    )
    flags = _number(kernel, rows, "struct page", "flags").astype(np.uint64)
    bit = kernel.types.enumerator_or_none("PG_head")
    is_head = (
        (flags >> np.uint64(bit) & np.uint64(1)) != 0 if bit is not None else np.zeros(len(rows), dtype=bool)
    )
    return np.where((head != address) | is_head, head, np.uint64(0))


def _number(kernel: Kernel, rows: npt.NDArray[np.uint8], type_name: str, path: str) -> I64:
    access = resolve(kernel.find_type(type_name), path)
    width = min(access.type.size, 8)
    raw = np.ascontiguousarray(rows[:, access.hops[0] : access.hops[0] + width])
    return raw.view(f"<i{width}")[:, 0].astype(np.int64)

"""Where this kernel's `struct page` keeps what, asked of its types once: the facts that classifying a page rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.told import enumerator
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.page.vmemmap import LARGEST_COMPOUND, PageChunk, page_type, slab_flag

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

#: Page types that kinds are made of; which of them there are differs between kernels.
TYPE_NAMES = (
    "buddy",
    "offline",
    "table",
    "slab",
    "large_kmalloc",
    "hugetlb",
    "zsmalloc",
    "unaccepted",
    "netpp",
)


class PageLayout:
    """Offsets, page types and flag bits of one kernel's `struct page`; methods read them for a whole chunk."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        page = kernel.find_type("struct page")
        self.size: int = page.size
        self._offsets = {
            path: resolve(page, path).hops[-1]
            for path in ("flags", "_mapcount.counter", "_refcount.counter", "mapping", "private")
        }
        self.types = {name: mark for name in TYPE_NAMES if (mark := page_type(kernel, name)) is not None}
        self.slab_bit = slab_flag(kernel)
        overlay = "struct slab" if kernel.types.get("struct slab") else "struct page"
        self._slab_cache = resolve(kernel.find_type(overlay), "slab_cache").hops[-1]
        self._second = self._second_page()
        self._folio_mapcount = kernel.types.has_member("struct folio", "_entire_mapcount")

    def bit(self, name: str) -> np.uint64:
        """The mask of a page flag, 0 where this kernel has none of that name."""
        number = self.kernel.types.enumerator_or_none(name)
        return np.uint64(0) if number is None or number > 63 else np.uint64(1 << number)

    def flags(self, chunk: PageChunk) -> U64:
        """`page.flags`, uint64[n]; since 6.18 (memdesc_flags_t) a struct of one word."""
        return np.ascontiguousarray(chunk.number(self._offsets["flags"], 8))

    def mapcount(self, chunk: PageChunk) -> I32:
        """`page._mapcount` as it is stored: -1 for none, below -128 where it is a page type."""
        return np.ascontiguousarray(chunk.number(self._offsets["_mapcount.counter"], 4, signed=True))

    def refcount(self, chunk: PageChunk) -> I32:
        """`page._refcount`."""
        return np.ascontiguousarray(chunk.number(self._offsets["_refcount.counter"], 4, signed=True))

    def mapping(self, chunk: PageChunk) -> U64:
        """`page.mapping` with its mark bits."""
        return np.ascontiguousarray(chunk.number(self._offsets["mapping"], 8))

    def private(self, chunk: PageChunk, rows: I64) -> U64:
        """`page.private` of some rows: the order of a free block."""
        values: U64 = chunk.number(self._offsets["private"], 8)[rows]
        return values

    def slab_cache(self, chunk: PageChunk, rows: I64) -> U64:
        """`slab.slab_cache` of some rows."""
        values: U64 = chunk.number(self._slab_cache, 8)[rows]
        return values

    def slab_caches(self, chunk: PageChunk) -> U64:
        """The word of all pages in which slabs have their `slab.slab_cache`."""
        values: U64 = chunk.number(self._slab_cache, 8)
        return values

    # What a compound page says of itself in its second struct page

    def _second_page(self) -> dict[str, tuple[int, int, int]]:
        """Fact -> (structs behind the head, offset there, size in bytes)."""
        types = self.kernel.types
        page, folio = "struct page", "struct folio"
        found: dict[str, tuple[int, int, int]] = {}
        for fact, ways in {
            # Linux commit ebc1baf5c9b4 ("mm: free up a word in the first tail page") (in v6.7) moved it to _flags_1.
            "order": ((page, "compound_order"), (folio, "_folio_order"), (folio, "_flags_1")),
            "entire": ((folio, "_entire_mapcount.counter"), (page, "compound_mapcount.counter")),
            "dtor": ((page, "compound_dtor"), (folio, "_folio_dtor")),
        }.items():
            for name, path in ways:
                kind = types.get(name)
                if kind is not None and types.has_member(name, path.split(".", 1)[0]):
                    access = resolve(kind, path)
                    offset = access.hops[-1]
                    # Members of struct page lie in the second one; those of struct folio count from the first.
                    place = offset + self.size if name == page else offset
                    size = 1 if path == "_flags_1" else access.type.size
                    found[fact] = (place // self.size, place % self.size, size)
                    break
        return found

    def _of_second(self, chunk: PageChunk, fact: str, heads: I64, signed: bool = False) -> npt.NDArray[Any]:
        """A fact of compound pages whose heads are these rows; 0 where this kernel does not have it."""
        place = self._second.get(fact)
        if place is None:
            return np.zeros(len(heads), dtype=np.int64)
        behind, offset, size = place
        rows = heads + behind
        inside = rows < len(chunk)
        values = chunk.number(offset, size, signed)
        return np.where(inside, values[np.where(inside, rows, 0)], values.dtype.type(0))

    def compound_order(self, chunk: PageChunk, heads: I64) -> npt.NDArray[np.int8]:
        """The order of compound pages by their heads; what is none is 0."""
        order = self._of_second(chunk, "order", heads)
        return np.where(order <= LARGEST_COMPOUND, order, 0).astype(np.int8)

    def entire_mapcount(self, chunk: PageChunk, heads: I64) -> I32:
        """How often compound pages are mapped as a whole (compound_mapcount, _entire_mapcount), where that is not
        counted in each of their pages as well."""
        if "entire" not in self._second:
            return np.zeros(len(heads), dtype=np.int32)
        count = self._of_second(chunk, "entire", heads, signed=True).astype(np.int32) + np.int32(1)
        # A page that is mapped in both ways has one mapping too many in each part (until v6.2, PG_double_map).
        double = self.bit("PG_double_map")
        if double:
            behind = np.minimum(heads + 1, len(chunk) - 1)
            count -= ((self.flags(chunk)[behind] & double) != 0).astype(np.int32)
        if not self._folio_mapcount:
            # Linux commit 4b51634cd16a ("mm,thp,rmap: subpages_mapcount COMPOUND_MAPPED if PMD-mapped") (in v6.2);
            # until then each page of a file has the mappings of the whole in its own count (__page_mapcount).
            anon = (self.mapping(chunk)[heads] & np.uint64(1)) != 0
            count = np.where(anon | self.is_hugetlb(chunk, heads), count, np.int32(0))
        mappings: I32 = np.maximum(count, 0)
        return mappings

    def is_hugetlb(self, chunk: PageChunk, heads: I64) -> npt.NDArray[np.bool_]:
        """Which compound pages are of hugetlbfs, in kernels before it became a page type (v6.9)."""
        # Linux commit 9c5ccf2db04b ("mm: remove HUGETLB_PAGE_DTOR") (in v6.6) made it a flag of the second page.
        number = enumerator(self.kernel, "HUGETLB_PAGE_DTOR")
        if "dtor" in self._second and number is not None:
            found: npt.NDArray[np.bool_] = self._of_second(chunk, "dtor", heads) == number
            return found
        bit = enumerator(self.kernel, "PG_hugetlb")
        if bit is None or bit > 63:
            return np.zeros(len(heads), dtype=bool)
        behind = np.minimum(heads + 1, len(chunk) - 1)
        return (self.flags(chunk)[behind] >> np.uint64(bit) & np.uint64(1)).astype(bool)

"""The array of all `struct page`s: a chunk of frames in, raw structs and what kind of kernel memory they are out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.paths import resolve
from kernlab.debuginfo.types import IntType
from kernlab.errors import KernlabError, MemberNotFoundError
from kernlab.kernel import Kernel

#: Frames a chunk: 1 GiB of memory, so that no compound page begins in one chunk and ends in the next.
CHUNK = 1 << 18

#: The array of page structs is no longer than this many bytes (Documentation/arch/x86/x86_64/mm.rst).
_WIDEST = np.uint64(1 << 46)


@dataclass(frozen=True, slots=True)
class PageChunk:
    """The page structs of CHUNK frames from `first_pfn` on: raw bytes uint8[CHUNK, size] and which could be read."""

    kernel: Kernel
    first_pfn: int
    rows: npt.NDArray[np.uint8]
    valid: npt.NDArray[np.bool_]

    @property
    def pfns(self) -> npt.NDArray[np.uint64]:
        """Their page frame numbers."""
        return np.uint64(self.first_pfn) + np.arange(len(self.rows), dtype=np.uint64)

    @property
    def addresses(self) -> npt.NDArray[np.uint64]:
        """Virtual addresses of the structs themselves."""
        return np.uint64(self.kernel.vmemmap) + self.pfns * np.uint64(self.rows.shape[1])

    def field(self, path: str, type_name: str = "struct page") -> npt.NDArray[Any]:
        """A scalar member of all of them, without a copy; 0 where the struct could not be read.

        `type_name` may be a struct that overlays `struct page` (`struct slab`). Raises MemberNotFoundError.
        """
        access = resolve(self.kernel.find_type(type_name), path)
        if len(access.hops) != 1 or access.bit_size or access.type.size not in (1, 2, 4, 8):
            raise KernlabError(f"{path!r} of {type_name} is no plain number inside the struct")
        sign = "i" if isinstance(access.type, IntType) and access.type.signed else "u"
        size = access.type.size
        strided = self.rows[:, access.hops[0] : access.hops[0] + size]
        return np.ascontiguousarray(strided).view(f"<{sign}{size}")[:, 0]

    def heads(self) -> npt.NDArray[np.int64]:
        """For each page the row of its compound page's head: its own row for pages that are no tail."""
        own = np.arange(len(self.rows))
        try:
            link = self.field("compound_info")
        except MemberNotFoundError:
            link = self.field("compound_head")
        tails = np.flatnonzero(link & np.uint64(1))
        value = link[tails] - np.uint64(1)
        size = np.uint64(self.rows.shape[1])
        base = np.uint64(self.kernel.vmemmap)
        # Not base + 2^46: the array may begin so high that the sum would wrap.
        pointer = value - base < _WIDEST
        # Since compound_info (7.x) a tail holds a mask that its own address is rounded down with, not a pointer.
        head = np.where(pointer, value, self.addresses[tails] & value)
        row = ((head - base) // size).astype(np.int64) - self.first_pfn
        inside = (head >= base) & (row >= 0) & (row < len(own))
        own[tails[inside]] = row[inside]
        return own


def page_chunks(kernel: Kernel) -> Iterator[PageChunk]:
    """All page structs that the kernel maps, CHUNK frames at a time; holes of whole chunks are passed over."""
    size = kernel.find_type("struct page").size
    page_size = kernel.page_size
    end = min(kernel.file.max_pfn, int(_WIDEST) // size)
    per_page = page_size // size
    if per_page * size != page_size:
        raise KernlabError(
            f"struct page is {size} bytes in this kernel; kernlab reads those that divide a page"
        )
    for first in range(0, end, CHUNK):
        count = min(CHUNK, -(-(end - first) // per_page) * per_page)
        start = kernel.vmemmap + first * size
        addresses = np.uint64(start) + np.arange(count // per_page, dtype=np.uint64) * np.uint64(page_size)
        rows, status = kernel.gather(addresses, page_size)
        if (status == 0).any():
            yield PageChunk(kernel, first, rows.reshape(count, size), np.repeat(status == 0, per_page))


def page_type_is(chunk: PageChunk, name: str) -> npt.NDArray[np.bool_]:
    """Which pages are heads (or single pages) of a page type: "slab" or "table" (include/linux/page-flags.h)."""
    marked: npt.NDArray[np.bool_] = chunk.valid & _marked(chunk, name)
    return marked


def _marked(chunk: PageChunk, name: str) -> Any:
    kernel = chunk.kernel
    types = kernel.types
    if name == "slab" and (bit := kernel.vmcoreinfo.number("PG_slab")) is not None:
        # Before 6.10 (commit 46df8e73a4a3, "mm: free up PG_slab") slab pages are marked by a flag.
        flags = chunk.field("flags")
        return ((flags >> np.uint64(bit)) & np.uint64(1)).astype(bool)
    stored = chunk.field("page_type").astype(np.uint32)
    # Linux commit 4ffca5a96678 ("mm: support only one page_type per page") (in v6.12) made it a number.
    number = types.enumerator_or_none(f"PGTY_{name}")
    if number is not None:
        return stored >> np.uint32(24) == number
    flag = types.enumerator_or_none(f"PG_{name}")
    if flag is None:
        # Linux commit 18b2db3b0385 ("mm: Convert page kmemcg type to a page memcg flag") (in v5.11), which brought
        # memcg_data, moved the table bit; neither is in the type information.
        flag = 0x200 if kernel.types.has_member("struct page", "memcg_data") else 0x400
    return stored == np.uint32(~flag & 0xFFFFFFFF)

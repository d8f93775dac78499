"""The array of all `struct page`s: a chunk of frames in, raw structs and what kind of kernel memory they are out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.told import enumerator
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import EnumType, IntType
from kernlab.errors import KernlabError
from kernlab.linux.page.mem_sections import sections
from kernlab.util.addresses import wrapped

#: Pages of structs that are read at a time: 1 MiB.
_BATCH = 256

#: No compound page has a larger order, which is 1 GiB of 4 KiB pages, or 16 GiB of 64 KiB pages.
LARGEST_COMPOUND = 18

#: Frames a chunk: so many that no compound page begins in one chunk and ends in the next.
CHUNK = 1 << LARGEST_COMPOUND


@dataclass(frozen=True, slots=True)
class PageChunk:
    """The page structs of up to CHUNK frames from `first_pfn` on, word by word, and which could be read.

    words uint64[struct words, n]: the same word of all structs lies side by side, which is how it is used; valid
    bool[n]. What could not be read is zero.
    """

    kernel: Kernel
    first_pfn: int
    words: npt.NDArray[np.uint64]
    valid: npt.NDArray[np.bool_]

    @classmethod
    def of_rows(
        cls, kernel: Kernel, first_pfn: int, rows: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_]
    ) -> PageChunk:
        """A chunk of whole structs uint8[n, size]; they need not lie side by side where nobody asks for pfns."""
        return cls(kernel, first_pfn, np.ascontiguousarray(rows.view(np.uint64).T), valid)

    def __len__(self) -> int:
        return int(self.words.shape[1])

    @property
    def struct_size(self) -> int:
        """Bytes of a page struct."""
        return int(self.words.shape[0]) * 8

    @property
    def pfns(self) -> npt.NDArray[np.uint64]:
        """Their page frame numbers."""
        return np.uint64(self.first_pfn) + np.arange(len(self), dtype=np.uint64)

    @property
    def addresses(self) -> npt.NDArray[np.uint64]:
        """Virtual addresses of the structs themselves."""
        return np.uint64(self.kernel.vmemmap) + self.pfns * np.uint64(self.struct_size)

    def field(self, path: str, type_name: str = "struct page") -> npt.NDArray[Any]:
        """A scalar member of all of them, without a copy; 0 where the struct could not be read.

        `type_name` may be a struct that overlays `struct page` (`struct slab`). Raises MemberNotFoundError.
        """
        access = resolve(self.kernel.find_type(type_name), path)
        if len(access.hops) != 1 or access.bit_size or access.type.size not in (1, 2, 4, 8):
            raise KernlabError(f"{path!r} of {type_name} is not a plain number inside the struct")
        signed = isinstance(access.type, IntType) and access.type.signed
        return self.number(access.hops[0], access.type.size, signed)

    def number(self, offset: int, size: int, signed: bool = False) -> npt.NDArray[Any]:
        """The number of `size` bytes that lies `offset` bytes into each struct, as a view of all of them.

        Raises KernlabError for one that is not aligned to its size.
        """
        if offset % size:
            raise KernlabError(f"a number of {size} bytes at offset {offset} of struct page is not aligned")
        sign = "i" if signed else "u"
        word: npt.NDArray[Any] = self.words[offset // 8].view(f"<{sign}{size}")
        return word[offset % 8 // size :: 8 // size]

    def heads(self) -> npt.NDArray[np.int64]:
        """For each page the row of its compound page's head: its own row for pages that are not a tail."""
        own = np.arange(len(self))
        tails, heads = self.tails()
        own[tails] = heads
        return own

    def tails(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The rows of the tails of compound pages, ascending, and for each the row of its head."""
        link = self.links()
        tails = np.flatnonzero(link & np.uint64(1))
        size = np.uint64(self.struct_size)
        base = np.uint64(self.kernel.vmemmap)
        own = base + (np.uint64(self.first_pfn) + tails.astype(np.uint64)) * size
        head = head_of_tails(self.kernel, own, link[tails])
        row = ((head - base) // size).astype(np.int64) - self.first_pfn
        inside = (head >= base) & (row >= 0) & (row < len(link))
        return self._with_fake_heads(tails[inside], row[inside])

    def links(self) -> npt.NDArray[np.uint64]:
        """Each page's word that leads from the tails of a compound page, which have its bit 0, to the head."""
        link: npt.NDArray[np.uint64] = self.field(_link_member(self.kernel))
        return link

    def _with_fake_heads(
        self, tails: npt.NDArray[np.int64], heads: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Add the tails that look like heads.

        Where the memory map of a huge page was freed (CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP), all its pages show the
        first one again: a struct at the start of such a page is a head only if the next one says so
        (include/linux/page-flags.h, page_fixed_fake_head).
        """
        bit = self.kernel.types.enumerator_or_none("PG_head")
        if bit is None:
            return tails, heads
        per_page = self.kernel.page_size // self.struct_size
        first = np.flatnonzero(self.number(0, 8)[::per_page] >> np.uint64(bit) & np.uint64(1)) * per_page
        if not len(first):
            return tails, heads
        place = np.searchsorted(tails, first + 1)
        known = place < len(tails)
        known[known] = tails[place[known]] == first[known] + 1
        real = heads[place[known]]
        fake = real != first[known]
        tails = np.concatenate([tails, first[known][fake]])
        heads = np.concatenate([heads, real[fake]])
        order = np.argsort(tails, kind="stable")
        return tails[order], heads[order]


def compound_heads(
    kernel: Kernel, addresses: npt.NDArray[np.uint64], links: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """The page struct of each page's compound head, by the page's own and its link word (`PageChunk.links`).

    uint64[n]; its own address for a page that is not a tail. What a damaged link leads to need not be a page struct.
    """
    tail = (links & np.uint64(1)) != 0
    return np.where(tail, head_of_tails(kernel, addresses, links), addresses)


def head_of_tails(
    kernel: Kernel, addresses: npt.NDArray[np.uint64], links: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """The head's page struct for each tail of a compound page, by its own (uint64[n]) and its link word.

    Mirrors _compound_head of include/linux/page-flags.h.
    """
    value = links & ~np.uint64(1)
    if not kernel.types.has_member("struct page", "compound_info"):
        return value
    # Since 7.1 ("mm: rework compound_head() for power-of-2 sizeof(struct page)") the word of kernels that can free
    # page structs of huge pages is a mask to round the tail's own address down with; all others keep the pointer.
    size = kernel.find_type("struct page").size
    # A mask is all ones but for the bits of one compound page, which as an address lies behind all page structs.
    lowest_mask = wrapped(-(size << LARGEST_COMPOUND))
    return np.where(value >= lowest_mask, addresses & value, value)


def _link_member(kernel: Kernel) -> str:
    """Renamed in 7.1 ("mm: rename the 'compound_head' field in the 'struct page' to 'compound_info'")."""
    return "compound_info" if kernel.types.has_member("struct page", "compound_info") else "compound_head"


def page_chunks(kernel: Kernel) -> Iterator[PageChunk]:
    """All page structs that the kernel maps, at most CHUNK frames at a time; holes of whole chunks are passed over."""
    size = kernel.find_type("struct page").size
    if kernel.page_size % size:
        raise KernlabError(
            f"struct page is {size} bytes in this kernel; kernlab reads those that divide a page"
        )
    first, last = sections(kernel).ranges(held=True)
    for begin, end in zip(first.tolist(), last.tolist(), strict=True):
        for pfn in range(begin - begin % CHUNK, min(end, kernel.arch.most_frames), CHUNK):
            chunk = read_pages(kernel, max(pfn, begin), min(pfn + CHUNK, end))
            if chunk.valid.any():
                yield chunk


def read_pages(
    kernel: Kernel,
    first: int,
    last: int,
    *,
    once: bool = False,
    room: npt.NDArray[np.uint64] | None = None,
) -> PageChunk:
    """The page structs of the frames from `first` to before `last`, of which the first begins a page of structs.

    `once`: they are part of more than the arena should hold (`Memory.is_large`), and are read past it. `room`
    uint64[at least the words of all pages] is what the chunk's words are put in, instead of memory of its own.
    """
    size = kernel.find_type("struct page").size
    # As the file has them.
    page_size = kernel.memory.page_size
    per_page = page_size // size
    pages = -(-(last - first) // per_page)
    start = kernel.vmemmap + first * size
    addresses = np.uint64(start) + np.arange(pages, dtype=np.uint64) * np.uint64(page_size)
    shape = size // 8, pages * per_page
    words = np.empty(shape, dtype=np.uint64) if room is None else room[: shape[0] * shape[1]].reshape(shape)
    status = np.empty(pages, dtype=np.uint8)
    # Pages that were just unpacked still lie in the processor's cache when their words are put in order.
    buffer = np.empty((min(_BATCH, pages), page_size), dtype=np.uint8)
    located = kernel.locate(addresses)
    for begin in range(0, pages, _BATCH):
        part = located[begin : begin + _BATCH]
        rows = buffer[: len(part)]
        status[begin : begin + len(part)] = kernel.memory.read_pages(part, rows, keep=not once)
        words[:, begin * per_page : (begin + len(part)) * per_page] = (
            rows.view(np.uint64).reshape(-1, size // 8).T
        )
    count = last - first
    words = words[:, :count]
    # Fields are views of them.
    words.flags.writeable = False
    return PageChunk(kernel, first, words, np.repeat(status == 0, per_page)[:count])


def page_type_is(chunk: PageChunk, name: str) -> npt.NDArray[np.bool_]:
    """Which pages are heads (or single pages) of a page type: "slab" or "table" (include/linux/page-flags.h)."""
    if name == "slab" and (bit := slab_flag(chunk.kernel)) is not None:
        marked: npt.NDArray[np.bool_] = (chunk.field("flags") >> np.uint64(bit) & np.uint64(1)).astype(bool)
        return marked & chunk.valid
    mark = page_type(chunk.kernel, name)
    if mark is None:
        return np.zeros(len(chunk), dtype=bool)
    stored = chunk.field("page_type").view(np.uint32)
    found: npt.NDArray[np.bool_] = chunk.valid & ((stored & np.uint32(mark[0])) == np.uint32(mark[1]))
    return found


def slab_flag(kernel: Kernel) -> int | None:
    """The bit of `page.flags` that marks slab pages, tails too; None where slabs have a page type.

    Linux commit 46df8e73a4a3 ("mm: free up PG_slab") (in v6.10) took it away.
    """
    if kernel.types.enumerator_or_none("PGTY_slab") is not None:
        return None
    bit = enumerator(kernel, "PG_slab")
    return bit if bit is not None and bit < 64 else None


def tables_per_node(kernel: Kernel) -> bool:
    """Does the kernel count page tables per node, as since v5.11 (NR_PAGETABLE), whatever its configuration?"""
    nodes = kernel.types.get("enum node_stat_item")
    return isinstance(nodes, EnumType) and "NR_PAGETABLE" in nodes.enumerators


#: Page types before v6.10 were macros, each a bit that is cleared. PG_table moved in v5.11.
_OLD_TYPES = {"buddy": 0x80, "offline": 0x100}


def page_type(kernel: Kernel, name: str) -> tuple[int, int] | None:
    """How a page type is known: (mask, value), so that `page.page_type & mask == value`; None where there is none."""
    types = kernel.types
    # Linux commit 4ffca5a96678 ("mm: support only one page_type per page") (in v6.12) made it a number.
    number = types.enumerator_or_none(f"PGTY_{name}")
    if number is not None:
        return 0xFF000000, number << 24
    if types.enumerator_or_none("PGTY_buddy") is not None:
        return None
    # Before, each type is a bit that its pages lack; several can lack in one (PG_kmemcg beside PG_table, until v5.11).
    flag = types.enumerator_or_none(f"PG_{name}")
    if flag is None or flag < 64:
        told = kernel.vmcoreinfo.number(f"PAGE_{name.upper()}_MAPCOUNT_VALUE")
        flag = ~told & 0xFFFFFFFF if told is not None else _OLD_TYPES.get(name)
    if flag is None and name == "table":
        # Linux commit 18b2db3b0385 ("mm: Convert page kmemcg type to a page memcg flag") (in v5.11) moved the table
        # bit; neither is in the type information.
        flag = 0x200 if tables_per_node(kernel) else 0x400
    return None if flag is None else (0x80000000 | flag, 0x80000000)

"""arm64: page tables for pages of 4, 16 and 64 KiB, and where its kernels lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from kernlab.memory.arch.base import U64, Architecture, Facts, Layout, Level, Mask, Region

# arch/arm64/include/asm/pgtable-hwdef.h and pgtable-prot.h
_VALID, _TYPE, _TABLE = np.uint64(1), np.uint64(3), np.uint64(3)
_SPECIAL = np.uint64(1 << 56)
#: Where entries without PTE_VALID say that they map a page all the same. PTE_PROT_NONE, and PMD_PRESENT_INVALID of
#: large pages; both became PTE_PRESENT_INVALID, which is PTE_NG's bit: Linux commits c910f2b65518 and 55564814a838
#: ("arm64/mm: Move PTE_PRESENT_INVALID to overlay PTE_NG") (in v6.10).
_PROT_NONE, _LARGE_INVALID, _PRESENT_INVALID = np.uint64(1 << 58), np.uint64(1 << 59), np.uint64(1 << 11)

#: MODULES_END, KIMAGE_VADDR and VMALLOC_START are one address, and the image begins within so much of a multiple of
#: this behind it (MIN_KIMG_ALIGN; TEXT_OFFSET before v5.8).
_IMAGE_STEP = 2 << 20
#: How far _stext lies behind _text, at most (SEGMENT_ALIGN).
_HEAD = 64 << 10
#: STRUCT_PAGE_MAX_SHIFT, and what sizeof(struct page) mostly is.
_PAGE_STRUCT_SHIFT, _PAGE_STRUCT = 6, 64

#: Bits of addresses that kernels are built for, by the bits of a page (arch/arm64/Kconfig, ARM64_VA_BITS).
_POSSIBLE_BITS = {12: (48, 39, 52), 14: (47, 48, 36, 52), 16: (48, 52, 42)}
#: Entries of these levels may map memory: puds of 4 KiB pages only (pud_sect_supported).
_LARGE = {12: (30, 21), 14: (25,), 16: (29,)}


@dataclass(frozen=True, slots=True)
class SwapEntries:
    """How entries that are not present are laid out: where type and offset begin, and how many bits the type has."""

    type_shift: int
    type_bits: int
    offset_shift: int


#: arch/arm64/include/asm/pgtable.h, __SWP_TYPE_SHIFT: the newest first. Linux commit 5b32510af77b ("arm64/mm: Add uffd
#: write-protect support") and 55564814a838 (in v6.10); 570ef363509b ("arm64/pgtable: support
#: __HAVE_ARCH_PTE_SWP_EXCLUSIVE") (in v5.19), which took the lowest bit of what had been the type.
SWAP_ENTRIES = (SwapEntries(6, 5, 12), SwapEntries(3, 5, 8), SwapEntries(2, 6, 8))


class Arm64(Architecture):
    """arm64: each half of the address space has a top-level table of its own (TTBR0, TTBR1).

    `page_shift`: bits of an address within a page; `bits` of an address as the kernel was built (VA_BITS), `actual`
    those that the machine gave it: less where it lacks the 52 that the kernel could use. The rest is of VMCOREINFO.
    """

    machine = "aarch64"
    needs = "NUMBER(kimage_voffset) or SYMBOL(swapper_pg_dir)"
    image_bytes = 1 << 30
    most_cpus = 4096  # CONFIG_NR_CPUS
    most_physical_bits = 52
    cache_line = 64
    instructions = ("CS_ARCH_ARM64", "CS_MODE_LITTLE_ENDIAN")
    separate_halves = True
    swap_ways = SWAP_ENTRIES

    def __init__(
        self,
        page_shift: int = 12,
        bits: int = 48,
        actual: int | None = None,
        facts: Facts | None = None,
    ):
        actual = bits if actual is None else actual
        self.page_shift, self.bits, self.actual_bits = page_shift, bits, actual
        # With 64 KiB pages 52 bits are one more table of the same depth, of which 48 use the end (TTBR1's offset,
        # arch/arm64/include/asm/assembler.h, offset_ttbr1); with smaller ones the uppermost level is left out
        # (pgtable_l5_enabled, pgtable_l4_enabled; Linux v6.9).
        self.half_bits = bits if page_shift == 16 else actual
        self.levels = _levels(page_shift, self.half_bits)
        #: Addresses of 52 bits with smaller pages have other entries, too (LPA2).
        self._lpa2 = page_shift < 16 and actual == 52
        self.image_start = self.kernel_start
        self.physical_bits = (facts and facts.number("MAX_PHYSMEM_BITS")) or 48
        # arch/arm64/include/asm/sparsemem.h, as VMCOREINFO would say otherwise: Linux commit f0b13ee23241 (in v5.12).
        self.section_bits = 29 if page_shift == 16 else 27
        self.swap_entries: SwapEntries = SWAP_ENTRIES[0]
        self._lay_out(facts)

    def _lay_out(self, facts: Facts | None) -> None:
        """Where the regions begin, as VMCOREINFO says or as it follows from it (arch/arm64/include/asm/memory.h)."""
        bits, told = self.bits, (facts.number if facts else lambda _: None)
        stext = facts.symbol("_stext") if facts else None
        #: Is the map of all memory in the upper part of the kernel's half, and the image below? So it was until Linux
        #: commit 14c127c957c1 ("arm64: mm: Flip kernel VA space") (in v5.4).
        self.is_upper = stext is not None and bits < 52 and not stext >> bits - 1 & 1
        self._page_offset = -(1 << bits - 1 if self.is_upper else 1 << bits) % (1 << 64)
        # VA_BITS_MIN: what every machine can do.
        least = bits if bits < 52 else 47 if self.page_shift == 14 else 48
        self._linear_end = 1 << 64 if self.is_upper else (1 << 64) - (1 << least - 1)
        start, end = told("VMALLOC_START"), told("VMALLOC_END")
        if start is None and stext is not None:
            start = (stext - ((facts and facts.kerneloffset) or 0)) & -_IMAGE_STEP
        if start is None:
            start = self._linear_end % (1 << 64) or self.kernel_start
        vmemmap = told("VMEMMAP_START")
        if self.is_upper:
            room = 1 << bits - self.page_shift - 1 + _PAGE_STRUCT_SHIFT
            vmemmap = vmemmap or self._page_offset - room
            end = end or vmemmap - (1 << self._pud_shift) - (64 << 10)
        # Linux commit 8c96400d6a39 ("arm64: mm: make vmemmap region a projection of the linear region") (in v5.11).
        vmemmap = vmemmap or (1 << 64) - (1 << bits - self.page_shift + _PAGE_STRUCT_SHIFT)
        end = end or vmemmap - (256 << 20)
        self._vmemmap_start = vmemmap
        self._page_struct = (facts.size("page") if facts else None) or _PAGE_STRUCT
        memstart = told("PHYS_OFFSET") or 0
        self.direct_map = Region("memstart_addr", self._direct(memstart))
        self.vmemmap = Region("memstart_addr", self._page_structs(memstart))
        self.vmalloc = Region(None, start)
        self.vmalloc_bytes = max(end - start, 0)

    @property
    def _pud_shift(self) -> int:
        return self.levels[-3 if len(self.levels) > 3 else 0].shift

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """By PAGESIZE, VA_BITS and TCR_EL1_T1SZ (arch/arm64/kernel/vmcore_info.c)."""
        page = (facts.page_size or 4096).bit_length() - 1
        page = page if page in _POSSIBLE_BITS else 12
        used = facts.number("TCR_EL1_T1SZ")
        actual = None if used is None else 64 - used
        # Where the image lies an address can reach, and no machine gives more bits than the kernel was built for.
        least = max(actual or 0, _reach(facts.symbol("_stext")))
        told = bits = facts.number("VA_BITS") or 0
        if bits < least or bits not in _POSSIBLE_BITS[page]:
            bits = min((each for each in _POSSIBLE_BITS[page] if each >= max(least, 48)), default=48)
        arch = cls(page, bits, actual, facts)
        if told not in (0, bits):
            arch.doubts = (
                f"VMCOREINFO says NUMBER(VA_BITS)={told}, which does not reach to where the image should lie, or "
                f"is less than the machine gives: {bits} was believed",
            )
        return arch

    @classmethod
    def possible(cls, facts: Facts) -> list[Self]:
        """As VMCOREINFO says, and with addresses of as many bits as kernels are built for."""
        told = cls.of(facts)
        ways = [(bits, bits) for bits in _POSSIBLE_BITS[told.page_shift]]
        ways.append((52, 47 if told.page_shift == 14 else 48))
        others = [cls(told.page_shift, bits, actual, facts) for bits, actual in ways]
        return [told, *(other for other in others if str(other) != str(told))]

    def __str__(self) -> str:
        of = f" of {self.bits}" if self.bits != self.actual_bits else ""
        return f"pages of {self.page_size >> 10} KiB and addresses of {self.actual_bits}{of} bits"

    def layout(self, facts: Facts) -> Layout | None:
        """The image by kimage_voffset, which says how far its addresses lie above its memory."""
        offset, table = facts.number("kimage_voffset"), facts.symbol("swapper_pg_dir")
        if offset is None or table is None:
            return None
        start = facts.symbol("_stext") or self.vmalloc.fixed + (facts.kerneloffset or 0) + _HEAD
        start = max((start - _HEAD) & -_IMAGE_STEP, self.kernel_start)
        end = min(start + self.image_bytes, (1 << 64) - 1)
        return Layout(self, (table - offset) % (1 << 64), start, end, -offset)

    def region_start(self, region: Region, value: int) -> int:
        """By memstart_addr, the physical address that the map of all memory begins with; it may lie below 0."""
        return self._direct(value) if region is self.direct_map else self._page_structs(value)

    def _direct(self, memstart: int) -> int:
        return (self._page_offset - _signed(memstart)) % (1 << 64)

    def _page_structs(self, memstart: int) -> int:
        """Where the page struct of frame 0 would lie (`vmemmap`)."""
        return (self._vmemmap_start - (_signed(memstart) >> self.page_shift) * self._page_struct) % (1 << 64)

    def direct_map_start(self, virtual: int, physical: int) -> int | None:
        """The kernel's half begins with the map of all memory, since it was flipped."""
        if self.is_upper or virtual >= self._linear_end:
            return None
        return (virtual - physical) % (1 << 64)

    @property
    def vmemmap_step(self) -> int:
        """Page structs of 128 MiB: ARM64_MEMSTART_ALIGN is no less."""
        return (128 << 20 >> self.page_shift) * _PAGE_STRUCT

    def is_walked(self, entries: U64) -> Mask:
        """PTE_VALID."""
        walked: Mask = (entries & _VALID) != 0
        return walked

    def is_table(self, level: Level, entries: U64) -> Mask:
        """PMD_TYPE_TABLE."""
        table: Mask = (entries & _TYPE) == _TABLE
        return table

    def address(self, entries: U64) -> U64:
        """PTE_ADDR_LOW and PTE_ADDR_HIGH."""
        if self._lpa2:
            low = np.uint64((1 << 50) - (1 << self.page_shift))
            return (entries & low) | (entries >> np.uint64(8) & np.uint64(3)) << np.uint64(50)
        address: U64 = entries & np.uint64((1 << 48) - (1 << self.page_shift))
        if self.page_shift == 16:
            address |= (entries >> np.uint64(12) & np.uint64(0xF)) << np.uint64(48)
        return address

    def is_present(self, entries: U64, large: Mask) -> Mask:
        """pte_present; pmd_present counts what is about to be split, too."""
        # Of what is not present the lowest two bits are clear; those of a page without rights are PTE_TYPE_PAGE's.
        present: Mask = (entries & _TYPE) != 0
        marks = _PROT_NONE
        if self.swap_entries is SWAP_ENTRIES[0]:
            marks |= _PRESENT_INVALID
        present |= (entries & marks) != 0
        return present | (large & ((entries & _LARGE_INVALID) != 0)) if large.any() else present

    def is_special(self, entries: U64) -> Mask:
        """PTE_SPECIAL."""
        special: Mask = (entries & _SPECIAL) != 0
        return special

    def present_address(self, entries: U64) -> U64:
        """As `address`: what has no rights keeps its address as it was."""
        return self.address(entries)

    def swap_type(self, entries: U64) -> U64:
        """__swp_type."""
        kind, bits = self.swap_entries, np.uint64((1 << self.swap_entries.type_bits) - 1)
        return entries >> np.uint64(kind.type_shift) & bits

    def kept_frame(self, entries: U64) -> U64:
        """__swp_offset, as far as it is a frame's number (SWP_PFN_BITS)."""
        most = np.uint64((1 << self.physical_bits - self.page_shift) - 1)
        return entries >> np.uint64(self.swap_entries.offset_shift) & most

    def untagged(self, addresses: U64) -> U64:
        """Bits 56 to 63 may hold the tag of KASAN or MTE, or a program's own: bit 55 says what they would be."""
        plain: U64 = ((addresses << np.uint64(8)).view(np.int64) >> np.int64(8)).view(np.uint64)
        return plain

    def strip_code_pointer(self, addresses: U64) -> U64:
        """Without the signature of pointer authentication, which stands between the address's own bits and bit 55."""
        away = np.uint64(64 - self.actual_bits)
        kernel = (addresses >> np.uint64(55) & np.uint64(1)) != 0
        own: U64 = (addresses << away) >> away
        return np.where(kernel, own | ~np.uint64((1 << self.actual_bits) - 1), own)


def _levels(page_shift: int, bits: int) -> tuple[Level, ...]:
    """From the top down: each table is one page, the top one as large as what is left of the address."""
    each = page_shift - 3
    shifts = range(page_shift, bits, each)
    return tuple(
        Level(shift, min(each, bits - shift), maps=shift in _LARGE[page_shift]) for shift in reversed(shifts)
    )


def _reach(address: int | None) -> int:
    """How many bits an address of the kernel's half needs."""
    return 0 if address is None else ((1 << 64) - 1 - address).bit_length()


def _signed(value: int) -> int:
    """Of 64 bits (s64 memstart_addr)."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)

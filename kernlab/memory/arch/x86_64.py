"""x86-64: its page tables of four or five levels, and where its kernels lie."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Self

import numpy as np

from kernlab.formats.base import Note
from kernlab.memory.arch.base import U64, Architecture, Facts, Layout, Level, Mask, Region

# arch/x86/include/asm/pgtable_types.h
_PRESENT = np.uint64(0x1)
_HUGE = np.uint64(0x80)  # _PAGE_PSE: the entry maps a 2 MiB or 1 GiB page itself
_PROTNONE = np.uint64(0x100)  # _PAGE_GLOBAL in entries that are not present
_SPECIAL = np.uint64(0x200)  # a bit that the hardware leaves to software
_PFN_MASK = 0x000FFFFFFFFFF000  # PTE_PFN_MASK for 52 physical bits

# arch/x86/include/asm/pgtable_64.h: SWP_TYPE_BITS is 5, and __swp_offset is stored as its complement below them.
_SWAP_TYPE_SHIFT = np.uint64(59)
_SWAP_TYPE_BITS, _SWAP_OFFSET_SHIFT = np.uint64(5), np.uint64(14)

# Without CONFIG_RANDOMIZE_MEMORY the bases are constants (arch/x86/include/asm/page_64_types.h, pgtable_64_types.h).
_DIRECT_MAP = {4: 0xFFFF888000000000, 5: 0xFF11000000000000}
_VMALLOC = {4: 0xFFFFC90000000000, 5: 0xFFA0000000000000}
_VMEMMAP = {4: 0xFFFFEA0000000000, 5: 0xFFD4000000000000}
_VMALLOC_TIB = {4: 32, 5: 12800}

#: Where AMD's processors have that bit (CPUID 0x8000001f): bit 51, and 47 in those of 48 physical bits.
_ENCRYPTION_BITS = (1 << 51, 1 << 47)

#: The direct map begins at a whole GiB even where it was moved (arch/x86/mm/kaslr.c).
_DIRECT_STEP = 1 << 30

# QEMU's note for each CPU (target/i386/arch_dump.c, QEMUCPUState): version and size, 18 registers, 10 segments of 24
# bytes, then cr0 to cr4.
_CR3 = 8 + 18 * 8 + 10 * 24 + 3 * 8
#: With page-table isolation the user half of a pair of top-level tables lies one page behind the kernel's.
_USER_HALF = 0x1000


class X86_64(Architecture):  # noqa: N801 - the machine's own name
    """x86-64 with page tables of `depth` levels (4 or 5), and the bit that marks encrypted pages (sme_me_mask)."""

    machine = "x86_64"
    needs = "NUMBER(phys_base) or SYMBOL(swapper_pg_dir)"
    image_start = 0xFFFFFFFF80000000  # __START_KERNEL_map (arch/x86/include/asm/page_64_types.h)
    image_bytes = 1 << 30  # KERNEL_IMAGE_SIZE with CONFIG_RANDOMIZE_BASE
    most_cpus = 8192  # CONFIG_NR_CPUS
    most_physical_bits = 52
    section_bits = 27  # arch/x86/include/asm/sparsemem.h, SECTION_SIZE_BITS
    cache_line = 64
    stack_types = ("struct irq_stack",)  # IRQ_STACK_ORDER is THREAD_SIZE_ORDER
    instructions = ("CS_ARCH_X86", "CS_MODE_64")

    def __init__(self, depth: int = 4, encryption_mask: int = 0):
        self.page_shift = 12
        self.half_bits = 56 if depth == 5 else 47
        self.physical_bits = 52 if depth == 5 else 46
        lower = (Level(39, 9), Level(30, 9, maps=True), Level(21, 9, maps=True), Level(12, 9))
        self.levels = (Level(48, 9), *lower) if depth == 5 else lower
        self.direct_map = Region("page_offset_base", _DIRECT_MAP[depth])
        self.vmalloc = Region("vmalloc_base", _VMALLOC[depth])
        self.vmemmap = Region("vmemmap_base", _VMEMMAP[depth])
        self.vmalloc_bytes = _VMALLOC_TIB[depth] << 40
        self._encryption_mask = encryption_mask
        self._address_mask = np.uint64(_PFN_MASK & ~encryption_mask)

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """By pgtable_l5_enabled and sme_mask, which VMCOREINFO has where they matter."""
        return cls(5 if facts.number("pgtable_l5_enabled") else 4, facts.number("sme_mask") or 0)

    @classmethod
    def possible(cls, facts: Facts) -> list[Self]:
        """Four levels or five, and the bit that marks encrypted pages where processors have it."""
        told = cls.of(facts)
        others = [cls(depth, mask) for mask in (0, *_ENCRYPTION_BITS) for depth in (4, 5)]
        return [told, *(other for other in others if str(other) != str(told))]

    def __str__(self) -> str:
        return f"{len(self.levels)} levels and the encryption mask {self._encryption_mask:#x}"

    def layout(self, facts: Facts) -> Layout | None:
        """The image by phys_base, which says where KASLR put it (arch/x86/kernel/vmcore_info_64.c)."""
        phys_base = facts.number("phys_base")
        room = min(facts.number("KERNEL_IMAGE_SIZE") or self.image_bytes, self.image_bytes)
        tables = (facts.symbol(name) for name in ("swapper_pg_dir", "init_top_pgt"))
        table = next((at for at in tables if at and 0 <= at - self.image_start < room), None)
        if phys_base is None or table is None:
            return None
        offset = phys_base - self.image_start
        return Layout(self, table + offset, self.image_start, self.image_start + room, offset)

    def is_walked(self, entries: U64) -> Mask:
        """_PAGE_PRESENT."""
        walked: Mask = (entries & _PRESENT) != 0
        return walked

    def is_table(self, level: Level, entries: U64) -> Mask:
        """Present, and _PAGE_PSE clear where it counts."""
        if not level.maps:
            return self.is_walked(entries)
        table: Mask = (entries & (_PRESENT | _HUGE)) == _PRESENT
        return table

    def address(self, entries: U64) -> U64:
        """PTE_PFN_MASK without the encryption bit; bit 12 of a huge entry is its PAT bit."""
        address: U64 = entries & self._address_mask
        return address

    def is_present(self, entries: U64, large: Mask) -> Mask:
        """pte_present; pmd_present counts _PAGE_PSE as well."""
        small: Mask = (entries & (_PRESENT | _PROTNONE)) != 0
        return small | (large & ((entries & _HUGE) != 0)) if large.any() else small

    def is_special(self, entries: U64) -> Mask:
        """_PAGE_SPECIAL."""
        special: Mask = (entries & _SPECIAL) != 0
        return special

    def present_address(self, entries: U64) -> U64:
        """As `address`; entries that are not walked hold the complement (arch/x86/include/asm/pgtable-invert.h)."""
        return self.address(np.where(self.is_walked(entries), entries, ~entries))

    def swap_type(self, entries: U64) -> U64:
        """The uppermost five bits."""
        kind: U64 = entries >> _SWAP_TYPE_SHIFT
        return kind

    def kept_frame(self, entries: U64) -> U64:
        """The complement of what stands below the type; above the bits of a frame there may be marks."""
        offset: U64 = (~entries << _SWAP_TYPE_BITS) >> _SWAP_OFFSET_SHIFT
        # Linux commit 0d206b5d2e0d ("mm/swap: add swp_offset_pfn() to fetch PFN from swap entry") (in v6.1).
        return offset & np.uint64((1 << self.physical_bits - self.page_shift) - 1)

    @property
    def vmalloc_total(self) -> int:
        """VMALLOC_END is the last byte here, so that it is one less (arch/x86/include/asm/pgtable_64_types.h)."""
        return self.vmalloc_bytes - 1

    def direct_map_start(self, virtual: int, physical: int) -> int | None:
        """The kernel's half maps nothing below but the hypervisor's hole (Documentation/arch/x86/x86_64/mm.rst)."""
        start = virtual - physical
        return start if start % _DIRECT_STEP == 0 else None

    def running_tables(self, notes: Sequence[Note]) -> list[int]:
        """CR3 of each CPU, as QEMU's notes have it, and its kernel half with page-table isolation."""
        tables = set()
        for note in notes:
            if note.name == "QEMU" and len(note.desc) >= _CR3 + 8:
                (register,) = struct.unpack_from("<Q", note.desc, _CR3)
                table = register & int(self._address_mask)
                tables |= {table, table & ~_USER_HALF}
        return sorted(tables)

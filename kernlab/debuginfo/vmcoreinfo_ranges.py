"""What each value of VMCOREINFO can be, in one place: what lies outside of these ranges is damage and not believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MIB = 1 << 20
#: Every kernel's half of the address space lies above this.
_KERNEL_HALF = 1 << 63


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers from `low` to `high`, multiples of `step`, written to `base` (0: as it says by a 0x in front)."""

    low: int
    high: int
    step: int = 1
    base: int = 0

    def holds(self, value: int) -> bool:
        """Can it be this value?"""
        return self.low <= value <= self.high and value % self.step == 0

    def __str__(self) -> str:
        show = hex if self.base == 16 or self.high > 1 << 32 else "{:,}".format
        steps = f", by {self.step:#x}" if self.step > 1 else ""
        return f"{show(self.low)} to {show(self.high)}{steps}"


class PageType(Range):
    """PAGE_…_MAPCOUNT_VALUE: a page type, as `page.page_type` of such a page would be if it were mapped nowhere."""

    __slots__ = ()

    def holds(self, value: int) -> bool:
        """All bits but one (until v6.11), or a number in the uppermost byte (Linux 6.12 made numbers of them)."""
        cleared = ~value & 0xFFFFFFFF
        is_bit = 0x80 <= cleared <= 0x40000000 and cleared & (cleared - 1) == 0
        is_number = value & 0xFFFFFF == 0 and 0xF0 <= value >> 24 & 0xFF <= 0xFF
        return -(1 << 31) <= value < 1 << 32 and (is_bit or is_number)

    def __str__(self) -> str:
        return "a page type's bit or number"


class OneBit(Range):
    """No bit, or one of those from 2^`low` to 2^`high`."""

    __slots__ = ()

    def holds(self, value: int) -> bool:
        """0 or a power of two in the range."""
        return value == 0 or (1 << self.low <= value <= 1 << self.high and value & (value - 1) == 0)

    def __str__(self) -> str:
        return f"0, or one bit of {self.low} to {self.high}"


class PageSize(Range):
    """4, 16 or 64 KiB."""

    __slots__ = ()

    def holds(self, value: int) -> bool:
        """One of the sizes."""
        return value in (4096, 16384, 65536)

    def __str__(self) -> str:
        return "4096, 16384 or 65536"


_ADDRESS = Range(_KERNEL_HALF, (1 << 64) - 1, base=16)
_PAGE_ADDRESS = Range(_KERNEL_HALF, (1 << 64) - 1, 4096, base=16)
_WORD_ADDRESS = Range(_KERNEL_HALF, (1 << 64) - 1, 4, base=16)
_FLAG = Range(0, 63)

#: Of any key of a kind that is not named below: nothing in a kernel's image is larger.
KINDS: Mapping[str, Range] = {
    "SYMBOL": Range(0, (1 << 64) - 1, base=16),
    "NUMBER": Range(-(1 << 63), (1 << 64) - 1),
    "OFFSET": Range(0, 1 << 24, base=10),
    "SIZE": Range(1, 1 << 30, base=10),
    "LENGTH": Range(1, 1 << 30, base=10),
}

# The log's structs (printk_ringbuffer.h) and their members: a few words each.
_LOG_STRUCTS = {
    "printk_ringbuffer": ("desc_ring", "text_data_ring", "fail"),
    "prb_desc_ring": ("count_bits", "descs", "infos", "head_id", "tail_id"),
    "prb_data_ring": ("size_bits", "data", "head_lpos", "tail_lpos"),
    "prb_desc": ("state_var", "text_blk_lpos"),
    "prb_data_blk_lpos": ("begin", "next"),
    "printk_info": ("seq", "ts_nsec", "text_len", "caller_id"),
    "atomic_long_t": ("counter",),
    "printk_log": ("ts_nsec", "len", "text_len", "dict_len", "caller_id"),
}

#: Every value that kernlab uses. What is outside is told as a problem of the dump.
USED: Mapping[str, Range] = {
    # arch/x86/kernel/vmcore_info_64.c. What they can be: arch/x86/boot/startup/map_kernel.c (head64.c before) stops at
    # a load address that is not a multiple of 2 MiB, and arch/x86/include/asm/page_64_types.h has the image's size.
    "NUMBER(phys_base)": Range(-(1 << 31), (1 << 52) - 2 * MIB, 2 * MIB),
    "NUMBER(KERNEL_IMAGE_SIZE)": Range(512 * MIB, 2048 * MIB, 512 * MIB),
    "NUMBER(pgtable_l5_enabled)": Range(0, 1),
    "NUMBER(sme_mask)": OneBit(32, 62),
    "NUMBER(VMALLOC_START)": Range(_KERNEL_HALF, (1 << 64) - 1, 4096),
    # kernel/vmcore_info.c; no kernel that is read here has others.
    "PAGESIZE": PageSize(4096, 65536),
    # arch/arm64/kernel/vmcore_info.c: how many bits an address has as built and as used (64 less it), how far the image
    # lies above its memory, and which bits a signature takes. PHYS_OFFSET may be below 0 and printed as if unsigned.
    "NUMBER(VA_BITS)": Range(36, 52),
    "NUMBER(TCR_EL1_T1SZ)": Range(12, 28),
    "NUMBER(kimage_voffset)": Range(1 << 62, (1 << 64) - 1, 4096),
    "NUMBER(VMALLOC_END)": Range(_KERNEL_HALF, (1 << 64) - 1, 4096),
    "NUMBER(VMEMMAP_START)": Range(_KERNEL_HALF, (1 << 64) - 1, 4096),
    "NUMBER(PHYS_OFFSET)": Range(-(1 << 63), (1 << 64) - 1, 4096),
    "NUMBER(MAX_PHYSMEM_BITS)": Range(36, 52),
    "NUMBER(KERNELPACMASK)": Range(0, (1 << 64) - 1, 1 << 36),
    "KERNELOFFSET": Range(0, 1 << 47, 4096, base=16),
    # include/linux/mmzone.h: a section holds a block of the buddy allocator; what is there today is 2^24 to 2^34 bytes.
    "NUMBER(SECTION_SIZE_BITS)": Range(22, 40),
    "SIZE(mem_section)": Range(16, 128, 16, base=10),
    "LENGTH(node_data)": Range(1, 1 << 10, base=10),
    "LENGTH(zone.free_area)": Range(1, 32, base=10),
    "NUMBER(PG_slab)": _FLAG,
    "NUMBER(PG_hugetlb)": _FLAG,
    "NUMBER(HUGETLB_PAGE_DTOR)": Range(1, 63),
    **{f"NUMBER(PAGE_{name}_MAPCOUNT_VALUE)": PageType(0, 0) for name in ("BUDDY", "OFFLINE", "SLAB", "HUGETLB")},
    "SYMBOL(mem_section)": Range(_KERNEL_HALF, (1 << 64) - 1, 8, base=16),
    "SYMBOL(swapper_pg_dir)": _PAGE_ADDRESS,
    "SYMBOL(init_top_pgt)": _PAGE_ADDRESS,
    **{f"SYMBOL({name})": _ADDRESS for name in ("_stext", "init_uts_ns", "prb", "node_online_map", "clear_seq")},
    **{f"SYMBOL(kallsyms_{part})": _ADDRESS for part in ("names", "token_table")},
    **{f"SYMBOL(kallsyms_{part})": _WORD_ADDRESS for part in ("num_syms", "relative_base", "offsets", "addresses")},
    "SYMBOL(kallsyms_token_index)": Range(_KERNEL_HALF, (1 << 64) - 1, 2, base=16),
    **{f"SIZE({name})": Range(1, 4096, base=10) for name in _LOG_STRUCTS},
    **{
        f"OFFSET({name}.{member})": Range(0, 4095, base=10)
        for name, members in _LOG_STRUCTS.items()
        for member in members
    },
}  # fmt: skip


def range_of(key: str) -> Range | None:
    """What a key's value can be; None for a key that is of no kind of numbers (OSRELEASE)."""
    return USED.get(key) or KINDS.get(key.partition("(")[0])

"""What an architecture says of its memory management; everything else of kernlab asks it and knows no machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from kernlab.formats.base import Note

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class Facts(Protocol):
    """What VMCOREINFO says (`debuginfo.vmcoreinfo.Vmcoreinfo`)."""

    def number(self, name: str) -> int | None:
        """NUMBER(name), None where it is not there."""

    def symbol(self, name: str) -> int | None:
        """SYMBOL(name), an address; None where it is not there."""

    def size(self, name: str) -> int | None:
        """SIZE(name), of a type in bytes; None where it is not there."""

    @property
    def page_size(self) -> int | None:
        """PAGESIZE, in bytes; None where it is not there."""

    @property
    def kerneloffset(self) -> int | None:
        """KERNELOFFSET: how far the image was moved, in bytes; None where it is not there."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of page tables: the bit of an address where its index begins, and how many bits that index has.

    `maps`: its entries may map memory themselves; the last level's always do.
    """

    shift: int
    bits: int
    maps: bool = False

    @property
    def entries(self) -> int:
        """Entries in a table of this level."""
        return 1 << self.bits

    @property
    def span(self) -> int:
        """Bytes of the address space that one entry covers."""
        return 1 << self.shift


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the kernel's half: it begins where the global `variable` says (`Architecture.region_start`), and at
    `fixed` in kernels without it."""

    variable: str | None
    fixed: int


class Architecture(ABC):
    """One machine's memory management, as one kernel was built and booted for it.

    Entries of page tables are 8 bytes, little-endian; methods that read them take and give arrays of n. User addresses
    lie below 2^half_bits, the kernel's above 2^64 - 2^half_bits; nothing lies between.
    """

    #: As `DumpFile.machine` names it.
    machine: ClassVar[str]
    #: What VMCOREINFO must say for `layout`, for an error's text.
    needs: ClassVar[str]
    #: The most bytes that the kernel's image and its room take.
    image_bytes: ClassVar[int]
    #: No kernel can be built for more CPUs: a bound for damaged counts.
    most_cpus: ClassVar[int]
    #: Bits of a physical address that no machine goes beyond.
    most_physical_bits: ClassVar[int]
    #: Bytes of a cache line.
    cache_line: ClassVar[int]
    #: Types that are as large as a thread's stack (THREAD_SIZE), beside union thread_union.
    stack_types: ClassVar[tuple[str, ...]] = ()
    #: Capstone's names of the instruction set and its mode; none where kernlab does not disassemble it.
    instructions: ClassVar[tuple[str, ...]] = ()
    #: Has each half of the address space a top-level table of its own? Else one table has both.
    separate_halves: ClassVar[bool] = False
    #: Ways in which entries that are not present may be laid out, the newest first, where kernels differ in it; and the
    #: one by which `swap_type`, `kept_frame` and `is_present` read them (linux/swap_entries.py finds it out).
    swap_ways: ClassVar[tuple[Any, ...]] = ()
    swap_entries: Any = None

    #: Where the kernel's image may lie, at the earliest.
    image_start: int
    #: Bits of a section of the sparse memory map, where VMCOREINFO does not say (SECTION_SIZE_BITS).
    section_bits: int
    #: Bits of an address that a page covers, and of each half of the address space.
    page_shift: int
    half_bits: int
    #: What of VMCOREINFO contradicts itself, and was not believed: a sentence each.
    doubts: tuple[str, ...] = ()
    #: From the top level down.
    levels: tuple[Level, ...]
    #: Bits of a physical address that page structs can be numbered by (MAX_PHYSMEM_BITS).
    physical_bits: int
    #: Where the map of all memory (its physical address 0), the vmalloc space and the array of page structs begin.
    direct_map: Region
    vmalloc: Region
    vmemmap: Region
    #: How large the vmalloc space is.
    vmalloc_bytes: int

    @classmethod
    @abstractmethod
    def of(cls, facts: Facts) -> Self:
        """The architecture as the kernel of a VMCOREINFO uses it: its levels, its page size."""

    @classmethod
    def possible(cls, facts: Facts) -> list[Self]:
        """The architecture as `of` has it, then as it may be if VMCOREINFO is wrong."""
        return [cls.of(facts)]

    def __str__(self) -> str:
        return f"{len(self.levels)} levels"

    @abstractmethod
    def layout(self, facts: Facts) -> Layout | None:
        """What VMCOREINFO alone says of the address space: enough to read the image. None where it lacks `needs`."""

    @abstractmethod
    def is_walked(self, entries: U64) -> Mask:
        """Does the hardware follow the entry: does it map memory or lead to another table?"""

    @abstractmethod
    def is_table(self, level: Level, entries: U64) -> Mask:
        """Does the entry (of a level that is not the last) lead to a table of the next one?"""

    @abstractmethod
    def address(self, entries: U64) -> U64:
        """The physical address in entries that the hardware follows, without flags and marks.

        Of a page larger than the smallest the low bits may be flags, too: whoever asks clears them.
        """

    @abstractmethod
    def is_present(self, entries: U64, large: Mask) -> Mask:
        """Does a process's entry map a page, were it without any right to access it? (pte_present, pmd_present)"""

    @abstractmethod
    def is_special(self, entries: U64) -> Mask:
        """Does it map what is not counted: the zero page, device memory? (pte_special)"""

    @abstractmethod
    def present_address(self, entries: U64) -> U64:
        """The physical address in entries that are present, also in those without access rights."""

    @abstractmethod
    def swap_type(self, entries: U64) -> U64:
        """Of an entry that is not present: the swap area that its page lies in, or what else it is (__swp_type)."""

    @abstractmethod
    def kept_frame(self, entries: U64) -> U64:
        """Of such an entry: the frame that it names but does not map for now, as one that moves (swp_offset_pfn)."""

    def region_start(self, region: Region, value: int) -> int:
        """Where a region begins if its variable holds `value`: there, unless the variable says it in another way."""
        return value

    @property
    def vmalloc_total(self) -> int:
        """VMALLOC_TOTAL, as the kernel shows it: VMALLOC_END less VMALLOC_START."""
        return self.vmalloc_bytes

    @property
    def vmemmap_step(self) -> int:
        """The array of all page structs begins at a multiple of this; a section's own need not."""
        return 1 << 30

    def untagged(self, addresses: U64) -> U64:
        """Addresses as page tables have them, without what pointers may hold in bits that the machine ignores."""
        return addresses

    def strip_code_pointer(self, addresses: U64) -> U64:
        """Addresses of code, without a signature that the machine put into them."""
        return addresses

    def direct_map_start(self, virtual: int, physical: int) -> int | None:
        """Where the direct map begins if the first thing that the kernel's half maps is `physical` at `virtual`.

        None where that says nothing of it.
        """
        return None

    def running_tables(self, notes: Sequence[Note]) -> list[int]:
        """Physical addresses of the top-level tables that the CPUs were using, where a hypervisor noted them."""
        return []

    @cached_property
    def page_size(self) -> int:
        """Bytes of a page."""
        return 1 << self.page_shift

    @cached_property
    def kernel_start(self) -> int:
        """The lowest address of the kernel's half."""
        return (1 << 64) - (1 << self.half_bits)

    @cached_property
    def huge_pages(self) -> int:
        """Pages that an entry of the last level but one maps (HPAGE_PMD_NR)."""
        return 1 << self.huge_order

    @cached_property
    def huge_order(self) -> int:
        """Their number as a power of two (HPAGE_PMD_ORDER)."""
        return self.levels[-2].shift - self.page_shift

    @cached_property
    def most_frames(self) -> int:
        """No machine has more page frames."""
        return 1 << self.most_physical_bits - self.page_shift

    @cached_property
    def page_sizes(self) -> tuple[int, ...]:
        """Bytes of the pages that one entry can map, the smallest first."""
        return tuple(level.span for level in reversed(self.levels) if level.maps or level is self.levels[-1])

    def is_kernel(self, addresses: U64) -> Mask:
        """Which addresses lie in the kernel's half?"""
        inside: Mask = addresses >= np.uint64(self.kernel_start)
        return inside

    def is_canonical(self, addresses: U64) -> Mask:
        """Which addresses lie in one of the halves?"""
        sign = addresses.view(np.int64) >> np.int64(self.half_bits)
        inside: Mask = (sign == 0) | (sign == -1)
        return inside

    def top_entries(self, kernel: bool) -> slice:
        """Which entries of a top-level table belong to the kernel's half, or to a process's."""
        top = self.levels[0]
        count = 1 << self.half_bits - top.shift
        first = (self.kernel_start >> top.shift) % top.entries if kernel else 0
        return slice(first, first + count)


@dataclass
class Layout:
    """Where one kernel's fixed maps lie; in bytes, ends exclusive.

    `page_table` is the physical address of the kernel's top-level table, `image_offset` what to add to an address in
    the image for its physical one, `direct_start` where the map of all memory has physical address 0. There is no such
    map yet while `direct_end` is 0.
    """

    arch: Architecture
    page_table: int
    image_start: int
    image_end: int
    image_offset: int
    direct_start: int = 0
    direct_end: int = 0

    def image_physical(self, address: int) -> int:
        """Physical address of an address in the kernel image (`__phys_addr` for kernel text)."""
        return (address + self.image_offset) % (1 << 64)

    def in_direct_map(self, addresses: U64) -> Mask:
        """Which addresses lie in the map of all memory?"""
        # One subtraction and one comparison: addresses below the start wrap to something huge.
        length = np.uint64(self.direct_end - self.direct_start)
        inside: Mask = (addresses - np.uint64(self.direct_start)) < length
        return inside

    def direct_frames(self, addresses: U64) -> npt.NDArray[np.int64]:
        """The page frame of each address in that map, -1 for others."""
        frames = (addresses - np.uint64(self.direct_start)) >> np.uint64(self.arch.page_shift)
        return np.where(self.in_direct_map(addresses), frames.astype(np.int64), np.int64(-1))

    def direct_addresses(self, frames: U64) -> U64:
        """Where the first byte of each frame lies in that map."""
        addresses: U64 = np.uint64(self.direct_start) + (frames << np.uint64(self.arch.page_shift))
        return addresses

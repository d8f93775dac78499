"""x86-64: kernel virtual addresses to physical ones, by the fixed maps where they hold and by page tables elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

#: Reads 8-byte entries at physical addresses: (values uint64[n], status uint8[n]).
ReadWords = Callable[[U64], tuple[U64, npt.NDArray[np.uint8]]]

#: Where the kernel image is mapped (arch/x86/include/asm/page_64_types.h, __START_KERNEL_map).
START_KERNEL_MAP = 0xFFFFFFFF80000000
#: CONFIG_RANDOMIZE_BASE's KERNEL_IMAGE_SIZE, when vmcoreinfo does not say.
KERNEL_IMAGE_SIZE = 1 << 30

PRESENT = 0x1
HUGE = 0x80  # _PAGE_PSE: the entry maps a 2 MiB or 1 GiB page itself
PHYSICAL_MASK = 0x000FFFFFFFFFF000  # PTE_PFN_MASK for 52 physical bits
_SHIFTS = {4: (39, 30, 21, 12), 5: (48, 39, 30, 21, 12)}


@dataclass
class Layout:
    """Where this kernel's fixed maps lie; everything in bytes. `direct_end` and `image_end` are exclusive."""

    phys_base: int
    levels: int
    page_table: int  # physical address of swapper_pg_dir
    encryption_mask: int = 0
    image_start: int = START_KERNEL_MAP
    image_end: int = START_KERNEL_MAP + KERNEL_IMAGE_SIZE
    direct_start: int = 0
    direct_end: int = 0

    def image_physical(self, address: int) -> int:
        """Physical address of an address in the kernel image (`__phys_addr` for kernel text)."""
        return address - START_KERNEL_MAP + self.phys_base


def translate(
    layout: Layout, addresses: U64, read_words: ReadWords, unmapped: int
) -> tuple[U64, npt.NDArray[np.uint8]]:
    """Kernel virtual addresses uint64[n] to physical ones.

    Returns (physical uint64[n], status uint8[n]): 0 where the address is mapped, `unmapped` where it is not, and the
    status of the page-table page where that could not be read.
    """
    physical = np.zeros(len(addresses), dtype=np.uint64)
    status = np.zeros(len(addresses), dtype=np.uint8)
    # One subtraction and one comparison each: addresses below the start wrap to something huge.
    direct = (addresses - np.uint64(layout.direct_start)) < np.uint64(layout.direct_end - layout.direct_start)
    if direct.all():
        return addresses - np.uint64(layout.direct_start), status
    physical[direct] = addresses[direct] - np.uint64(layout.direct_start)
    image = (addresses - np.uint64(layout.image_start)) < np.uint64(layout.image_end - layout.image_start)
    base = np.uint64((layout.phys_base - START_KERNEL_MAP) % (1 << 64))
    physical[image] = addresses[image] + base
    walked = np.flatnonzero(~(direct | image))
    if len(walked):
        pages, inverse = np.unique(addresses[walked] >> np.uint64(12), return_inverse=True)
        tables = np.full(len(pages), layout.page_table, dtype=np.uint64)
        frames, walk_status = walk(layout, pages << np.uint64(12), tables, read_words, unmapped)
        physical[walked] = frames[inverse] | (addresses[walked] & np.uint64(0xFFF))
        status[walked] = walk_status[inverse]
    return physical, status


def walk(
    layout: Layout, addresses: U64, tables: U64, read_words: ReadWords, unmapped: int
) -> tuple[U64, npt.NDArray[np.uint8]]:
    """Walk the page tables whose top levels lie at the physical addresses `tables[i]` for `addresses[i]`.

    Returns (physical address of the 4 KiB page uint64[n], status uint8[n]) as `translate` does. All addresses go
    down one level a round (arch/x86/mm/fault.c, dump_pagetable).
    """
    shifts = _SHIFTS[layout.levels]
    keep = np.uint64(PHYSICAL_MASK & ~layout.encryption_mask)
    physical = np.zeros(len(addresses), dtype=np.uint64)
    status = np.full(len(addresses), unmapped, dtype=np.uint8)
    top = shifts[0] + 8
    sign = addresses.view(np.int64) >> np.int64(top)
    rows = np.flatnonzero((sign == 0) | (sign == -1))  # the others are not canonical
    tables = tables[rows] & keep
    for shift in shifts:
        if not len(rows):
            break
        index = (addresses[rows] >> np.uint64(shift)) & np.uint64(511)
        entries, read = read_words(tables + index * np.uint64(8))
        status[rows[read != 0]] = read[read != 0]
        alive = (read == 0) & ((entries & np.uint64(PRESENT)) != 0)
        leaf = alive & (shift == 12 or ((entries & np.uint64(HUGE)) != 0) & (shift in (30, 21)))
        ends = rows[leaf]
        inside = np.uint64(((1 << shift) - 1) & ~0xFFF)
        # Bit 12 of a huge entry is its PAT bit, not part of the frame's address.
        physical[ends] = (entries[leaf] & keep & ~np.uint64((1 << shift) - 1)) | (addresses[ends] & inside)
        status[ends] = 0
        down = alive & ~leaf
        rows, tables = rows[down], entries[down] & keep
    return physical, status


def direct_map_start(layout: Layout, read_words: ReadWords) -> int | None:
    """Where the direct map begins, by the page tables: the first thing in the kernel's half that they map.

    Below it are only the hypervisor's hole and what single processes map (Documentation/arch/x86/x86_64/mm.rst). It
    maps address by address, and begins at a whole GiB even where it was moved (arch/x86/mm/kaslr.c). None where the
    tables cannot be read, or what they map first is something else.
    """
    keep = np.uint64(PHYSICAL_MASK & ~layout.encryption_mask)
    shifts = _SHIFTS[layout.levels]
    table, base = np.uint64(layout.page_table), 0
    for shift in shifts:
        top = shift == shifts[0]
        entries, read = read_words((table & keep) + np.arange(512, dtype=np.uint64) * np.uint64(8))
        present = (read == 0) & ((entries & np.uint64(PRESENT)) != 0)
        rows = np.flatnonzero(present[256:]) + 256 if top else np.flatnonzero(present)
        if not len(rows):
            return None
        base += int(rows[0]) << shift
        table = entries[rows[0]]
        if shift == 12 or (shift in (30, 21) and int(table) & HUGE):
            physical = int(table & keep) & ~((1 << shift) - 1)
            sign = (1 << 64) - (1 << (shifts[0] + 9))
            start = (base | sign) - physical
            return start if start % (1 << 30) == 0 else None
    return None

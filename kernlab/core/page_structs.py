"""Where the array of all `struct page`s lies, and the table of memory sections, which says it, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.core.regions import fixed_start, told_start
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import FaultError, KernlabError, PageExcluded
from kernlab.memory import AddressSpace
from kernlab.memory.address_space import Status

if TYPE_CHECKING:
    from kernlab.debuginfo.symbols import SymbolTable

#: include/linux/mmzone.h, SECTION_HAS_MEM_MAP: a flag in the low bits of mem_section.section_mem_map.
SECTION_HAS_MEM_MAP = np.uint64(2)

#: struct mem_section without CONFIG_PAGE_EXTENSION.
_SECTION_BYTES = 16

#: Bytes of a struct page, at most, and mostly.
_LARGEST_PAGE_STRUCT, _USUAL_PAGE_STRUCT = 256, 64


def vmemmap(
    memory: AddressSpace, symbols: SymbolTable, sections: int | None, section_size: int | None
) -> tuple[int, str | None]:
    """Address of the array of all `struct page`s (CONFIG_SPARSEMEM_VMEMMAP); and what was not believed of it.

    The kernel's variable says it, and each section of memory: `sections` is their table, `section_size` the bytes of
    one. Where these differ the page tables decide. Raises KernlabError for a kernel that has no such array, or where
    nothing says where it lies.
    """
    layout, region, step = memory.layout, memory.arch.vmemmap, memory.arch.vmemmap_step
    assert layout is not None
    maps = _section_maps(memory, sections, section_size)
    try:
        told = told_start(memory, symbols, region)
    except (FaultError, PageExcluded):
        if not len(maps):
            raise
        told = None
    if not len(maps):
        found = fixed_start(symbols, region) if told is None else told
        if found + memory.file.max_pfn * _LARGEST_PAGE_STRUCT >> 64 or _is_mapped(memory, found) is False:
            raise KernlabError(f"where the page structs lie is not known: {region.variable} says {found:#x}")
        return found, None
    if told is not None and (maps == np.uint64(told)).any():
        return told, None
    values, times = np.unique(maps, return_counts=True)
    mapped = int(values[times.argmax()])
    direct = (maps >= np.uint64(layout.direct_start)) & (maps < np.uint64(layout.direct_end))
    if told is not None and not direct.any():
        right = next((one for one in (told, mapped) if one % step == 0 and _is_mapped(memory, one)), None)
        if right is not None:
            return right, (
                f"{region.variable} says {told:#x}, the sections of memory {mapped:#x}: {right:#x} was believed, as "
                "the page tables map page structs there"
            )
    # Without the array each section has page structs of its own, in the direct map.
    if direct.any() or mapped % step or told is not None:
        raise KernlabError(
            "this kernel's page structs lie section by section (CONFIG_SPARSEMEM_VMEMMAP is off), which kernlab "
            "does not read: what pages hold is not known"
        )
    return mapped, None


def _is_mapped(memory: AddressSpace, base: int) -> bool | None:
    """Do the page tables map, in an array at `base`, the page struct of where the kernel's image lies? None where the
    page tables that say it are lost."""
    layout = memory.layout
    assert layout is not None
    image = (layout.image_start + layout.image_offset) % (1 << 64) >> memory.arch.page_shift
    where = np.array([(base + image * _USUAL_PAGE_STRUCT) % (1 << 64)], dtype=np.uint64)
    _, status = memory.lookup(np.array([layout.page_table], dtype=np.uint64), where)
    return True if not status[0] else False if status[0] == Status.UNMAPPED else None


def section_table(
    memory: AddressSpace, symbols: SymbolTable, info: Vmcoreinfo
) -> tuple[int | None, str | None]:
    """Where the table of memory sections lies, None where nothing says it; and what contradicts VMCOREINFO there.

    CONFIG_SPARSEMEM_EXTREME: `mem_section` points to an array of pointers to pages full of sections; VMCOREINFO has
    what it points to.
    """
    said, at = info.symbol("mem_section"), symbols.get("mem_section")
    if at == said:
        # A table of functions only, to which VMCOREINFO's symbols were added: that is what the variable points to.
        return said, None
    value, status = memory.gather([at or 0], 8)
    found = said if at is None or status[0] else int(value.view("<u8")[0, 0])
    if found is None or said in (None, found):
        return found, None
    right = found if len(_section_maps(memory, found, info.size("mem_section"))) else said
    return right, (
        f"VMCOREINFO says SYMBOL(mem_section)={said:#x}, the kernel's own variable {found:#x}: {right:#x} was believed"
    )


def _section_maps(memory: AddressSpace, table: int | None, size: int | None) -> npt.NDArray[np.uint64]:
    """What the first sections with page structs say of where these lie, as if each began with frame 0 (mm/sparse.c,
    sparse_encode_mem_map): uint64[n], none where that cannot be read."""
    none = np.zeros(0, dtype=np.uint64)
    if not table:
        return none
    page = memory.arch.page_size
    size = size if size and size <= page and size % 8 == 0 else _SECTION_BYTES
    root, status = memory.gather([table], 8)
    rows, read = memory.gather(root.view("<u8")[:, 0], page // size * size)
    if status[0] or read[0]:
        return none
    words = rows.view("<u8").reshape(-1, size // 8)[:, 0]
    there = words[(words & SECTION_HAS_MEM_MAP) != 0]
    # What is not an address of the kernel's is not a section.
    maps: npt.NDArray[np.uint64] = there[memory.arch.is_kernel(there)] & ~np.uint64(page - 1)
    return maps

"""The kernel's own virtual memory: every vmalloc area and who made it, as /proc/vmallocinfo lists them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, frame, lookup, nullable, table
from kernlab.linux import vmalloc as walk

#: What /proc/vmallocinfo prints for each flag, in its order (mm/vmalloc.c, vmalloc_info_show).
_WORDS = (
    (walk.VM_IOREMAP, "ioremap"),
    (walk.VM_SPARSE, "sparse"),
    (walk.VM_ALLOC, "vmalloc"),
    (walk.VM_MAP, "vmap"),
    (walk.VM_USERMAP, "user"),
    (walk.VM_DMA_COHERENT, "dma-coherent"),
)

#: In place of flags: the array of the area's pages is itself vmalloc memory.
_VPAGES = 1 << 62


@table(rows="struct vm_struct")
def vmalloc(kernel: Kernel) -> pd.DataFrame:
    """One row per area, by address.

    Columns: start, end (exclusive; a guard page is part of most areas), size_bytes; caller (the function that asked
    for it, as the kernel prints it; missing where none is known), pages (that vmalloc allocated for it), kind (the
    words of /proc/vmallocinfo: "vmalloc", "ioremap", "vmap user" …, "vm_map_ram", "unpurged vm_area"), physical (what
    ioremap maps), requested_bytes (where the kernel remembers it), caller_address, address (of the vm_struct).

    >>> dump.vmalloc[["start", "size_bytes", "caller", "kind"]].head(3)
                    start  size_bytes                               caller     kind
    0  0xff6e33d0c0000000       20480  irq_init_percpu_irqstack+0xf0/0x120     vmap
    1  0xff6e33d0c0005000        8192        acpi_os_map_iomem+0x1b6/0x1d0  ioremap
    2  0xff6e33d0c0008000       12288        acpi_os_map_iomem+0x1b6/0x1d0  ioremap
    """
    areas = walk.vm_areas(kernel)
    vm = areas.vm
    known = vm.valid
    flags, size, pages = vm["flags"], vm["size"], vm["nr_pages"]
    physical, caller = vm["phys_addr"], vm["caller"]
    lost = int((known & ~flags.valid).sum())
    if lost:
        kernel.lost(f"vmalloc: what {lost:,} areas are for is not known: their vm_struct is not in the dump")
    length = size.otherwise(Column.of(areas.end) - Column.of(areas.start))
    asked = vm["requested_size"].int64 if vm.has("requested_size") else Column.missing(len(vm), "int")
    return frame(
        kernel,
        "vmalloc",
        start=addresses(kernel, areas.start),
        end=addresses(kernel, areas.end),
        size_bytes=length,
        caller=_callers(kernel, caller),
        # An area without a vm_struct has no pages of its own; one whose vm_struct is lost has some that are unknown.
        pages=nullable(pages.int64.filled(0), ~known | pages.valid),
        kind=_kinds(kernel, areas, flags),
        physical=addresses(kernel, physical.values, physical.true),
        requested_bytes=nullable(asked),
        caller_address=caller.where(caller.true),
        address=addresses(kernel, vm.addresses, vm.addresses != 0, "struct vm_struct"),
    )


def _callers(kernel: Kernel, caller: Column) -> Any:
    """The callers' names as %pS prints them; thousands of areas share a few."""
    there = caller.true
    unique, codes = np.unique(caller.values[there], return_inverse=True)
    found = kernel.symbolize(unique)
    names = [name or f"{address:#018x}" for name, address in zip(found, unique.tolist(), strict=True)]
    all_codes = np.full(len(there), -1, dtype=np.int64)
    all_codes[there] = codes
    return lookup(all_codes, names)


def _kinds(kernel: Kernel, areas: walk.VmAreas, flags: Column) -> Any:
    """The words of /proc/vmallocinfo for each area; missing where its vm_struct cannot be read."""
    bits = (flags & sum(bit for bit, _ in _WORDS)).int64.filled(-1).copy()
    space = walk.vmalloc_space(kernel)
    if space is not None:
        array = areas.vm["pages"]
        inside = ((array >= space[0]) & (array < space[1])).true
        bits[inside & flags.valid] |= _VPAGES
    none = areas.vm.addresses == 0
    bits[none] = -2
    bits[areas.unpurged] = -3
    unique, codes = np.unique(bits, return_inverse=True)
    special = {-1: "", -2: "vm_map_ram", -3: "unpurged vm_area"}
    words = [special[value] if value < 0 else _words(value) for value in unique.tolist()]
    return lookup(np.where(bits == -1, -1, codes), words)


def _words(bits: int) -> str:
    words = [word for bit, word in _WORDS if bits & bit]
    return " ".join([*words, "vpages"] if bits & _VPAGES else words)

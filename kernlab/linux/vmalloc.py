"""The kernel's vmalloc areas in, which frames they map out: areas with their vm_struct, and one walk of page tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.structs import StructArray
from kernlab.errors import SymbolNotFoundError
from kernlab.memory.arch.x86_64 import HUGE, PHYSICAL_MASK, PRESENT
from kernlab.walk.lists import chain_nodes, list_entries
from kernlab.walk.rbtree import rbtree_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

# include/linux/vmalloc.h
VM_IOREMAP, VM_ALLOC, VM_MAP, VM_USERMAP = 0x1, 0x2, 0x4, 0x8
VM_DMA_COHERENT, VM_SPARSE = 0x10, 0x1000

#: More vmap nodes than this are none (mm/vmalloc.c makes one per four CPUs at most, 128 in all).
_MOST_NODES = 1 << 12


@dataclass(frozen=True, slots=True)
class VmAreas:
    """Areas by address, n of them.

    `start`, `end` (exclusive) uint64[n]; `area`, the `struct vmap_area` of each; `vm`, its `struct vm_struct` (NULL
    for vm_map_ram and for areas that are no longer used); `unpurged` bool[n]: freed, but not yet unmapped.
    """

    start: U64
    end: U64
    area: StructArray
    vm: StructArray
    unpurged: npt.NDArray[np.bool_]


def vm_areas(kernel: Kernel, problems: list[str]) -> VmAreas:
    """All areas of the vmalloc space and of modules, as /proc/vmallocinfo lists them (mm/vmalloc.c)."""
    kind = "struct vmap_area"
    places = _places(kernel, problems)
    used = _of_either(kernel, places.busy_roots, places.busy, "vmalloc areas", problems)
    freed = [np.zeros(0, dtype=np.uint64)]
    if len(places.lazy):
        freed.append(_of_either(kernel, places.lazy_roots, places.lazy, "lazy vmalloc areas", problems))
    elif (head := _purge_list(kernel, problems)) is not None:
        # Until v5.13 they hung on a lockless list of their own.
        first, read = kernel.words([head])
        _, nodes = chain_nodes(kernel, first[read], problems=problems, what="the lazy vmalloc areas")
        inner = kernel.find_type(kind).member("purge_list").offset  # type: ignore[attr-defined]
        freed.append(nodes - np.uint64(inner))
    unused = np.concatenate(freed)
    area = StructArray(kernel, kernel.find_type(kind), np.concatenate([used, unused]))
    start, end = area["va_start"], area["va_end"]
    good = start.valid & end.valid & (end.values > start.values)
    if not good.all():
        problems.append(f"{int((~good).sum()):,} vmalloc areas cannot be read or are damaged")
    unpurged = np.arange(len(area)) >= len(used)
    order = np.flatnonzero(good)
    order = order[np.argsort(start.values[order], kind="stable")]
    vm = area["vm"]
    known = np.where(vm.valid & ~unpurged, vm.values, np.uint64(0))
    vms = StructArray(kernel, kernel.find_type("struct vm_struct"), known[order])
    return VmAreas(start.values[order], end.values[order], area[order], vms, unpurged[order])


def _purge_list(kernel: Kernel, problems: list[str]) -> int | None:
    try:
        return kernel.find_symbol("vmap_purge_list")
    except SymbolNotFoundError as error:
        problems.append(f"which vmalloc areas are freed, but not yet unmapped, is not known: {error}")
        return None


@dataclass(frozen=True, slots=True)
class _Places:
    """Addresses of the heads of lists and of the roots of trees: of areas in use, and of what waits to be unmapped."""

    busy: U64
    busy_roots: U64
    lazy: U64
    lazy_roots: U64


def _places(kernel: Kernel, problems: list[str]) -> _Places:
    symbols = kernel.symbols
    # Linux commit d093602919ad ("mm: vmalloc: remove global vmap_area_root rb-tree") (in v6.9).
    nodes = symbols.get("vmap_nodes")
    if nodes is None:
        names = ("vmap_area_list", "vmap_area_root", "purge_vmap_area_list", "purge_vmap_area_root")
        known = [[address] if (address := symbols.get(name)) is not None else [] for name in names]
        if not any(known[:2]):
            # Every kernel has the one or the other.
            kernel.symbol("vmap_nodes")
        return _Places(*(np.array(address, dtype=np.uint64) for address in known))
    (first,), (read,) = kernel.words([nodes])
    (count,), (counted,) = kernel.words([kernel.symbol("nr_vmap_nodes")], 4)
    if not (read and counted) or count > _MOST_NODES:
        problems.append("the vmalloc areas cannot be read: the page that says where they are is not here")
        return _Places(*(np.zeros(0, dtype=np.uint64) for _ in range(4)))
    kind = kernel.find_type("struct vmap_node")
    node = StructArray(kernel, kind, first + np.arange(int(count), dtype=np.uint64) * np.uint64(kind.size))
    paths = ("busy.head", "busy.root", "lazy.head", "lazy.root")
    return _Places(*(node.follow(path).addresses for path in paths))


def _of_either(kernel: Kernel, roots: U64, heads: U64, what: str, problems: list[str]) -> U64:
    """The areas that hang in trees and on lists: the same ones in both, so that one leads around what the other lacks.

    A tree takes as many rounds as it is deep, a list as it is long: of thousands of stacks only the tree is quick.
    """
    kind = "struct vmap_area"
    lost: list[str] = []
    found = np.zeros(0, dtype=np.uint64)
    if len(roots):
        _, area = rbtree_entries(kernel, roots, kind, "rb_node", problems=lost, what=f"the tree of {what}")
        found = area.addresses
    if lost or not len(roots):
        _, area = list_entries(kernel, heads, kind, "list", problems=lost, what=f"the {what}")
        found = np.union1d(found, area.addresses)
    problems += lost
    return found


def vmalloc_space(kernel: Kernel) -> tuple[int, int] | None:
    """Where the vmalloc space begins and ends (VMALLOC_START, arch/x86/include/asm/pgtable_64_types.h)."""
    layout = kernel.memory.layout
    base = kernel.vmalloc_base or kernel.vmcoreinfo.number("VMALLOC_START")
    if layout is None or base is None:
        return None
    return base, base + vmalloc_bytes(layout.levels)


def vmalloc_bytes(levels: int) -> int:
    """How large the vmalloc space is, with page tables of so many levels."""
    return (12800 if levels == 5 else 32) << 40


@dataclass(frozen=True, slots=True)
class Mappings:
    """Pages that the kernel maps, by address: virtual uint64[m], pfn int64[m] of the first frame, frames int64[m]."""

    virtual: U64
    pfn: I64
    frames: I64


def mapped_frames(kernel: Kernel, start: U64, end: U64, problems: list[str]) -> Mappings:
    """What the kernel's own page tables map in the ranges [start, end), which are ascending and apart.

    All tables of one level are read together; a table is entered once, and there are no more of them than frames in
    the dump. A table that cannot be read costs what it maps, and a problem says so.
    """
    layout = kernel.memory.layout
    assert layout is not None
    keep = np.uint64(PHYSICAL_MASK & ~layout.encryption_mask)
    shifts = (48, 39, 30, 21, 12) if layout.levels == 5 else (39, 30, 21, 12)
    tables = np.array([layout.page_table], dtype=np.uint64)
    # Addresses are canonical: above the top level's span all bits are those of the highest one.
    base = np.zeros(1, dtype=np.uint64)
    sign = np.uint64((1 << 64) - (1 << (shifts[0] + 9)))
    found: list[tuple[U64, U64, I64]] = []
    lost = 0
    budget = kernel.file.frame_count + 1
    for shift in shifts:
        rows, status = kernel.memory.gather(tables, 4096, physical=True)
        lost += int((status != 0).sum())
        entries = rows.view("<u8")
        row, column = np.nonzero(entries & np.uint64(PRESENT))
        value = entries[row, column]
        address = base[row] + (column.astype(np.uint64) << np.uint64(shift))
        if shift == shifts[0]:
            address = np.where(column >= 256, address | sign, address)
        span = np.uint64(1 << shift)
        wanted = _touched(address, span, start, end)
        value, address = value[wanted], address[wanted]
        leaf = ((value & np.uint64(HUGE)) != 0) & (shift in (30, 21)) | (shift == 12)
        # Bit 12 of a huge entry is its PAT bit, not part of the frame's number.
        frame = (value[leaf] & keep & ~(span - np.uint64(1))) >> np.uint64(12)
        found.append((address[leaf], frame, np.full(len(frame), 1 << (shift - 12), dtype=np.int64)))
        below = value[~leaf] & keep
        tables, first = np.unique(below, return_index=True)
        base = address[~leaf][first]
        tables, base = tables[:budget], base[:budget]
        budget -= len(tables)
        if not len(tables):
            break
    if lost:
        problems.append(f"{lost:,} of the kernel's page tables are not in the dump; what they map is unknown")
    virtual, pfns, frames = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(virtual, kind="stable")
    return Mappings(virtual[order], pfns[order].astype(np.int64), frames[order])


def _touched(address: U64, span: np.uint64, start: U64, end: U64) -> npt.NDArray[np.bool_]:
    """Which entries, each `span` bytes wide, cover a part of one of the ranges."""
    if not len(start):
        return np.zeros(len(address), dtype=bool)
    place = np.searchsorted(end, address, side="right")
    inside = place < len(start)
    first = start[np.where(inside, place, 0)]
    # The last byte, not the one behind it: at the top of the address space that would wrap to 0.
    touched: npt.NDArray[np.bool_] = inside & (first <= address + (span - np.uint64(1)))
    return touched

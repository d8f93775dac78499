"""The kernel's vmalloc areas in, which frames they map out: areas with their vm_struct, and one walk of page tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import SymbolNotFoundError
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


@fact
def vm_areas(kernel: Kernel) -> VmAreas:
    """All areas of the vmalloc space and of modules, as /proc/vmallocinfo lists them (mm/vmalloc.c)."""
    kind = "struct vmap_area"
    places = _places(kernel)
    used = _of_either(kernel, places.busy_roots, places.busy, "vmalloc areas")
    freed = [np.zeros(0, dtype=np.uint64)]
    if len(places.lazy):
        freed.append(_of_either(kernel, places.lazy_roots, places.lazy, "lazy vmalloc areas"))
    elif (head := _purge_list(kernel)) is not None:
        # Until v5.13 they hung on a lockless list of their own.
        first, read = kernel.words([head], what="heads of lists of lazy vmalloc areas")
        _, nodes = chain_nodes(kernel, first[read], what="the lazy vmalloc areas")
        inner = kernel.find_type(kind).member("purge_list").offset  # type: ignore[attr-defined]
        freed.append(nodes - np.uint64(inner))
    unused = np.concatenate(freed)
    area = StructArray(kernel, kind, np.concatenate([used, unused]))
    start, end = area["va_start"], area["va_end"]
    good = (end > start).true
    kernel.lost("vmalloc areas cannot be read or are damaged", mask=~good)
    unpurged = np.arange(len(area)) >= len(used)
    order = np.flatnonzero(good)
    order = order[np.argsort(start.values[order], kind="stable")]
    vm = area["vm"]
    known = vm.where(~unpurged).filled(0)
    vms = StructArray(kernel, "struct vm_struct", known[order])
    return VmAreas(start.values[order], end.values[order], area[order], vms, unpurged[order])


def _purge_list(kernel: Kernel) -> int | None:
    try:
        return kernel.find_symbol("vmap_purge_list")
    except SymbolNotFoundError as error:
        kernel.lost(f"which vmalloc areas are freed, but not yet unmapped, is not known: {error}")
        return None


@dataclass(frozen=True, slots=True)
class _Places:
    """Addresses of the heads of lists and of the roots of trees: of areas in use, and of what waits to be unmapped."""

    busy: U64
    busy_roots: U64
    lazy: U64
    lazy_roots: U64


def _places(kernel: Kernel) -> _Places:
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
    (first,), (read,) = kernel.words([nodes], what="")
    (count,), (counted,) = kernel.words([kernel.symbol("nr_vmap_nodes")], 4, "")
    if not (read and counted) or count > _MOST_NODES:
        kernel.lost("the vmalloc areas cannot be read: the page that says where they are is not in the dump")
        return _Places(*(np.zeros(0, dtype=np.uint64) for _ in range(4)))
    kind = kernel.find_type("struct vmap_node")
    node = StructArray(kernel, kind, first + np.arange(int(count), dtype=np.uint64) * np.uint64(kind.size))
    paths = ("busy.head", "busy.root", "lazy.head", "lazy.root")
    return _Places(*(node.follow(path).addresses for path in paths))


def _of_either(kernel: Kernel, roots: U64, heads: U64, what: str) -> U64:
    """The areas that hang in trees and on lists: the same ones in both, so that one leads around what the other lacks.

    A tree takes as many rounds as it is deep, a list as it is long: of thousands of stacks only the tree is quick.
    """
    kind = "struct vmap_area"
    found = np.zeros(0, dtype=np.uint64)
    if len(roots):
        with kernel.watched() as losses:
            _, area = rbtree_entries(kernel, roots, kind, "rb_node", what=f"the tree of {what}")
        found = area.addresses
    if not len(roots) or losses:
        _, area = list_entries(kernel, heads, kind, "list", what=f"the {what}")
        found = np.union1d(found, area.addresses)
    return found


def vmalloc_space(kernel: Kernel) -> tuple[int, int] | None:
    """Where the vmalloc space begins and ends (VMALLOC_START)."""
    base = kernel.vmalloc_base or kernel.vmcoreinfo.number("VMALLOC_START")
    return None if base is None else (base, base + kernel.arch.vmalloc_bytes)


@dataclass(frozen=True, slots=True)
class Mappings:
    """Pages that the kernel maps, by address: virtual uint64[m], pfn int64[m] of the first frame, frames int64[m]."""

    virtual: U64
    pfn: I64
    frames: I64


def mapped_frames(kernel: Kernel, start: U64, end: U64) -> Mappings:
    """What the kernel's own page tables map in the ranges [start, end), which are ascending and apart.

    A table that cannot be read costs what it maps, and a problem says so.
    """
    arch = kernel.arch
    walk = kernel.memory.walk_tables(
        np.zeros(1, dtype=np.int64),
        np.array([kernel.layout.page_table], dtype=np.uint64),
        kernel=True,
        touches=lambda address, span: _touched(address, span, start, end),
    )
    found = [(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64))]
    for entries in walk:
        mapped = entries.where(entries.walked)
        found.append((mapped.address, mapped.pfns, mapped.size // arch.page_size))
    if walk.lost:
        kernel.lost(
            f"{len(walk.lost):,} of the kernel's page tables are not in the dump; what they map is unknown"
        )
    if walk.beyond:
        kernel.lost(
            f"the kernel's page tables: {walk.beyond:,} more than there is memory for were not followed"
        )
    virtual, pfns, frames = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(virtual, kind="stable")
    return Mappings(virtual[order], pfns[order].astype(np.int64), frames[order])


def _touched(address: U64, span: int, start: U64, end: U64) -> npt.NDArray[np.bool_]:
    """Which entries, each `span` bytes wide, cover a part of one of the ranges."""
    if not len(start):
        return np.zeros(len(address), dtype=bool)
    place = np.searchsorted(end, address, side="right")
    inside = place < len(start)
    first = start[np.where(inside, place, 0)]
    # The last byte, not the one behind it: at the top of the address space that would wrap to 0.
    touched: npt.NDArray[np.bool_] = inside & (first <= address + np.uint64(span - 1))
    return touched

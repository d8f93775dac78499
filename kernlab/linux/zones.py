"""NUMA nodes and their zones: where they lie, and what a frame's flags say of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core import told
from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.enum_names import enum_names, told_names
from kernlab.walk.bitmaps import bitmap_bits
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]

#: include/linux/nodemask.h: more NUMA nodes than this are no machine's (CONFIG_NODES_SHIFT ends at 10).
MOST_NODES = 1024
#: include/linux/mmzone.h, MAX_ORDER: what it is unless an architecture says otherwise, and what it cannot be.
_ORDERS, _MOST_ORDERS = 11, 32

#: How the kernel prints enum zone_type (mm/page_alloc.c, zone_names).
_ZONES = {
    "ZONE_DMA": "DMA",
    "ZONE_DMA32": "DMA32",
    "ZONE_NORMAL": "Normal",
    "ZONE_HIGHMEM": "HighMem",
    "ZONE_MOVABLE": "Movable",
    "ZONE_DEVICE": "Device",
}


class Nodes(StructArray):
    """The `struct pglist_data` of NUMA nodes; `numbers` int64[n] are theirs, by their places in node_data."""

    def __init__(self, kernel: Kernel, addresses: npt.ArrayLike, numbers: npt.ArrayLike):
        super().__init__(kernel, "struct pglist_data", addresses)
        self.numbers: I64 = np.asarray(numbers, dtype=np.int64)


@fact
def nodes(kernel: Kernel) -> Nodes:
    """Every NUMA node, by number (arch/x86/mm/numa.c, node_data).

    A node says its number itself, and each of its zones whose it is: what only one of them contradicts is a node.
    """
    table = kernel.symbols.get("node_data")
    if table is None:
        # Without CONFIG_NUMA there is one, and it is not a pointer.
        return Nodes(kernel, [kernel.symbol("contig_page_data")], [0])
    slots = min(most_nodes(kernel), kernel.symbols.room(table) // 8)
    with kernel.quiet():
        pointers, read = kernel.words(_node_data(kernel, slots))
        index = np.flatnonzero(read & (pointers != 0))
        found = StructArray(kernel, "struct pglist_data", pointers[index])
        number, owner = found["node_id"], found["node_zones[0].zone_pgdat"]
    real = (number == index).true | (owner == found.addresses).true
    try:
        count = node_ids(kernel)
    except KernlabError:
        count = slots
    if (~read[:count]).any() or not real[index < count].all():
        lost = int((~read[:count]).sum()) + int((~real & (index < count)).sum())
        kernel.lost(f"{lost:,} NUMA nodes cannot be read: what lies in them is not in this table")
    index, found, number = index[real], found[real], number[real]
    kernel.lost(
        "NUMA nodes have a number that is not theirs: they go by their places in node_data",
        mask=(number != index).true,
    )
    return Nodes(kernel, found.addresses, index)


def unread_nodes(kernel: Kernel, node: Nodes) -> I64:
    """The numbers of places of node_data that cannot be read, or lead to what is none of the nodes known."""
    table = kernel.symbols.get("node_data")
    if table is None:
        return np.zeros(0, dtype=np.int64)
    pointers, read = kernel.words(
        _node_data(kernel, min(most_nodes(kernel), kernel.symbols.room(table) // 8)), what=""
    )
    return np.setdiff1d(np.flatnonzero(~read | (pointers != 0)), node.numbers)


@fact
def node_ids(kernel: Kernel) -> int:
    """How many numbers of nodes there are (nr_node_ids): arrays of an element a node are cut to so many.

    The mask of possible nodes says it, too, and node_data has none behind (mm/page_alloc.c, setup_nr_node_ids): what
    is too small is not believed, and of two that contradict each other the smaller one is.
    1 without CONFIG_NUMA. Raises KernlabError where it is not known.
    """
    address = kernel.find_symbol("nr_node_ids")
    if address is None:
        return 1
    most, mask = most_nodes(kernel), kernel.symbols.get("node_states")
    (claimed,), (known,) = kernel.words([address], 4, what="")
    said = [int(claimed)] if known else []
    if mask is not None:
        # N_POSSIBLE is the first state.
        with kernel.quiet():
            _, possible, (readable,) = bitmap_bits(kernel, [mask], most)
        said += [int(possible[-1]) + 1] if readable and len(possible) else []
    pointers, read = kernel.words(_node_data(kernel, most), what="")
    used = np.flatnonzero(read & (pointers != 0))
    least = int(used[-1]) + 1 if len(used) else 1
    if not said:
        raise KernlabError("how many NUMA nodes there can be is not known: nr_node_ids cannot be read")
    believed = min((count for count in said if least <= count <= most), default=least)
    if set(said) != {believed}:
        kernel.lost(
            f"there should be {' or '.join(f'{count:,}' for count in dict.fromkeys(said))} numbers of NUMA nodes: "
            f"{believed:,} is believed"
        )
    return believed


def _node_data(kernel: Kernel, count: int) -> npt.NDArray[np.uint64]:
    """Where the pointers to the first `count` nodes lie."""
    return np.uint64(kernel.symbol("node_data")) + np.arange(count, dtype=np.uint64) * np.uint64(8)


def zones(kernel: Kernel, node: StructArray) -> tuple[I64, StructArray]:
    """All zones of the nodes, empty ones too: (index into node int64[m], StructArray of `struct zone`)."""
    return node.elements("node_zones")


def managed_pages(zone: StructArray) -> Column:
    """How many pages of each zone the page allocator was given."""
    # Linux commit 9705bea5f833 ("mm: convert zone->managed_pages to atomic variable") (in v5.0).
    return zone.first("managed_pages.counter", "managed_pages").int64


def watermark(zone: StructArray, level: int) -> Column | None:
    """The mark of each zone without its boost: 0 min, 1 low, 2 high, 3 promo; None where this kernel has no such."""
    # Linux commit a921444382b4 ("mm: move zone watermark accesses behind an accessor") (in v5.0).
    path = f"_watermark[{level}]" if zone.has("_watermark") else f"watermark[{level}]"
    return zone[path] if zone.has(path) else None


def zone_names(kernel: Kernel, zone: StructArray) -> list[str]:
    """The zones' names as the kernel prints them; those that are lost by their enumerators, or as "zone N"."""
    per_node = zones_per_node(kernel)
    known = enum_names(kernel, "enum zone_type", per_node, _ZONES, "zone")
    with kernel.quiet():
        given = c_strings(kernel, zone["name"], 32)
    return told_names(kernel, "zones", given.tolist(), [known[row % per_node] for row in range(len(zone))])


def zones_per_node(kernel: Kernel) -> int:
    """MAX_NR_ZONES of this kernel: the length of pglist_data.node_zones."""
    return told.array_length(kernel, "struct pglist_data", "node_zones") or 1


def orders(kernel: Kernel) -> int:
    """How many sizes of blocks the buddy allocator has: a block of order n has 2^n pages (NR_PAGE_ORDERS)."""
    return told.length(kernel, "zone", "free_area", _MOST_ORDERS) or _ORDERS


def flag_shifts(kernel: Kernel) -> tuple[int, int, int]:
    """Where a frame's flags hold its zone and node: (zone's first bit, zone's bits, node's bits; the node is on top).

    Mirrors include/linux/page-flags-layout.h with CONFIG_SPARSEMEM_VMEMMAP: no section, then the node, then the zone.
    """
    zone_bits = (zones_per_node(kernel) - 1).bit_length()
    node_bits = (most_nodes(kernel) - 1).bit_length()
    return 64 - node_bits - zone_bits, zone_bits, node_bits


def most_nodes(kernel: Kernel) -> int:
    """MAX_NUMNODES of this kernel: the length of its arrays of one element a node."""
    said = kernel.vmcoreinfo.length("node_data")
    if said is None and "node_data" not in kernel.symbols:
        return 1
    known = told.array_length(kernel, "struct hstate", "nr_huge_pages_node")
    most = told.settled(kernel, "LENGTH(node_data)", said, known if known and known <= MOST_NODES else None)
    return most or MOST_NODES

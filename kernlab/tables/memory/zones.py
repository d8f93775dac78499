"""Memory zones, NUMA nodes and free blocks, as /proc/zoneinfo and /proc/buddyinfo show them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, spread, table
from kernlab.linux import zones as walk
from kernlab.linux.page.pageblocks import pageblock_order
from kernlab.linux.page.pcp_lists import pcp_lists
from kernlab.linux.vm_counters import Counters, in_pages, node_counters, numa_counters, zone_counters
from kernlab.linux.zones import zone_names
from kernlab.util import losses

#: Watermarks by their index in zone._watermark; the last came with v5.18.
_WATERMARKS = ("min", "low", "high", "promo")

#: Counters of huge pages that /proc shows in huge pages (mm/vmstat.c, vmstat_item_print_in_thp).
THP_COUNTERS = frozenset(
    {
        "nr_shmem_hugepages",
        "nr_shmem_pmdmapped",
        "nr_file_hugepages",
        "nr_file_pmdmapped",
        "nr_anon_transparent_hugepages",
    }
)


@table(rows="struct zone")
def zones(kernel: Kernel) -> pd.DataFrame:
    """One row per zone, empty ones too. All counts are in pages.

    Columns: node, zone; free, boost, min, low, high (and promo where the kernel has it) as /proc/zoneinfo shows them,
    so that the marks hold the boost; spanned, present, managed, cma, start_pfn (missing for an empty zone); pcp (pages
    on the CPUs' own lists); every counter by its name in /proc/vmstat (nr_free_pages, nr_zone_active_anon …, numa_hit
    …), with what single CPUs still kept to themselves; address.

    >>> dump.zones[["node", "zone", "free", "min", "managed"]]
       node     zone   free  min  managed
    0     0      DMA   3808   23     3840
    1     0    DMA32  75024  619   107268
    2     0   Normal      0    0        0
    3     0  Movable      0    0        0
    4     0   Device      0    0        0
    """
    node = walk.nodes(kernel)
    owner, zone = walk.zones(kernel, node)
    counters = zone_counters(kernel, zone)
    numa = numa_counters(kernel, zone)
    _, _, _, pcp = pcp_lists(kernel, zone, pageblock_order(kernel))
    present = zone["present_pages"]
    free = _free(counters)
    return frame(
        kernel,
        "zones",
        node=node.numbers[owner],
        zone=zone_names(kernel, zone),
        free=nullable(free),
        **_watermarks(zone),
        spanned=nullable(zone["spanned_pages"].int64),
        present=nullable(present.int64),
        managed=nullable(walk.managed_pages(zone)),
        cma=nullable(_member(zone, "cma_pages")),
        start_pfn=nullable(zone["zone_start_pfn"].int64.where(present.true)),
        pcp=nullable(pcp),
        counters=spread([*_columns(counters), *_columns(numa)]),
        address=zone,
    )


def _free(counters: Counters) -> Column:
    """The free pages of zones, which every kernel counts: where none of the counters is called so, they are lost."""
    free = counters.get("nr_free_pages")
    if free is not None:
        return free
    losses.lost("which counter is that of free pages is not known: its name is lost")
    return Column.missing(len(counters.values), "int")


def _member(structs: StructArray, path: str) -> Column:
    """A count that not every kernel has: 0 where it does not (a zone without CMA has no pages of it)."""
    if structs.has(path):
        return structs[path].int64
    return Column.of(np.zeros(len(structs), dtype=np.int64))


def _watermarks(zone: StructArray) -> dict[str, Any]:
    boost = _member(zone, "watermark_boost")
    columns: dict[str, Any] = {"boost": nullable(boost)}
    for index, name in enumerate(_WATERMARKS):
        mark = walk.watermark(zone, index)
        if mark is not None:
            columns[name] = nullable(mark + boost)
    return columns


def _columns(counters: Counters, pages: int = 1) -> Iterator[tuple[str, Any]]:
    """A column per counter; those of huge pages are divided by `pages`."""
    for name, column in counters.columns():
        yield name, nullable(column // pages if name in THP_COUNTERS else column)


@table(rows="struct pglist_data")
def nodes(kernel: Kernel) -> pd.DataFrame:
    """One row per NUMA node. Counts are in pages, unless their name says otherwise.

    Columns: node, start_pfn, spanned, present, managed and free (sums of its zones), every per-node counter by its
    name in /proc/vmstat and as shown there (huge pages as huge pages, nr_kernel_stack in KiB); address.

    >>> dump.nodes[["node", "managed", "free", "nr_file_pages"]]
       node  managed   free  nr_file_pages
    0     0   111108  78832          16501
    """
    node = walk.nodes(kernel)
    owner, zone = walk.zones(kernel, node)
    counters = node_counters(kernel, node)
    free = _free(zone_counters(kernel, zone))
    managed = walk.managed_pages(zone)
    return frame(
        kernel,
        "nodes",
        node=node.numbers,
        start_pfn=nullable(node["node_start_pfn"].int64),
        spanned=nullable(node["node_spanned_pages"].int64),
        present=nullable(node["node_present_pages"].int64),
        managed=nullable(managed.added_by(owner, len(node))),
        free=nullable(free.added_by(owner, len(node))),
        counters=spread(_columns(counters, kernel.arch.huge_pages if in_pages(kernel) else 1)),
        address=node,
    )


@table
def buddyinfo(kernel: Kernel) -> pd.DataFrame:
    """One row per zone that has memory: node, zone, and how many free blocks of 2^0, 2^1 … pages there are, in columns
    named by the order (0, 1, … 10, integers), as in /proc/buddyinfo.

    >>> dump.buddyinfo[["node", "zone", 0, 1, 10]]
       node   zone    0   1  10
    0     0    DMA    0   0   3
    1     0  DMA32  102  33  70
    """
    node = walk.nodes(kernel)
    owner, zone = walk.zones(kernel, node)
    present = zone["present_pages"]
    # A zone whose size cannot be read is shown, with what is missing.
    rows = np.flatnonzero((present != 0).filled(True))
    zone_, owner = zone[rows], owner[rows]
    names = zone_names(kernel, zone)
    _, areas = zone_.elements("free_area")
    count = areas["nr_free"]
    per_zone = len(areas) // max(len(zone_), 1)
    return frame(
        kernel,
        "buddyinfo",
        node=node.numbers[owner],
        zone=[names[row] for row in rows.tolist()],
        orders=spread((order, nullable(count[order::per_zone].int64)) for order in range(per_zone)),
    )

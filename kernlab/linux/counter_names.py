"""How /proc/vmstat names counters, by their enumerators: for kernels and dumps that lack the names themselves."""

from __future__ import annotations

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import EnumType

#: What the sorts of `vm_counters.vmstat_names` are counted by, the newer enum first.
_ENUMS = {
    "zone": ("enum zone_stat_item",),
    "numa": ("enum numa_stat_item",),
    "node": ("enum node_stat_item",),
    "limits": ("enum vm_stat_item", "enum writeback_stat_item"),
    "events": ("enum vm_event_item",),
}

#: Where a name is not its enumerator's in small letters (mm/vmstat.c, vmstat_text).
_NAMES = {
    "direct_map_level2_collapse": "direct_map_level2_collapses",
    "direct_map_level2_split": "direct_map_level2_splits",
    "direct_map_level3_collapse": "direct_map_level3_collapses",
    "direct_map_level3_split": "direct_map_level3_splits",
    "htlb_buddy_pgalloc": "htlb_buddy_alloc_success",
    "htlb_buddy_pgalloc_fail": "htlb_buddy_alloc_fail",
    "nr_anon_mapped": "nr_anon_pages",
    "nr_anon_thps": "nr_anon_transparent_hugepages",
    "nr_dirty_bg_threshold": "nr_dirty_background_threshold",
    "nr_file_dirty": "nr_dirty",
    "nr_file_mapped": "nr_mapped",
    "nr_file_thps": "nr_file_hugepages",
    "nr_free_cma_pages": "nr_free_cma",
    "nr_kernel_stack_kb": "nr_kernel_stack",
    "nr_pagetable": "nr_page_table_pages",
    "nr_secondary_pagetable": "nr_sec_page_table_pages",
    "nr_shmem_thps": "nr_shmem_hugepages",
    "nr_slab_reclaimable_b": "nr_slab_reclaimable",
    "nr_slab_unreclaimable_b": "nr_slab_unreclaimable",
    "nr_swapcache": "nr_swapcached",
    "nr_vmscan_immediate": "nr_vmscan_immediate_reclaim",
    "numa_interleave_hit": "numa_interleave",
    "numa_page_migrate": "numa_pages_migrated",
    "pgscan_zone_reclaim_failed": "zone_reclaim_failed",
    "pgscan_zone_reclaim_success": "zone_reclaim_success",
    "thp_scan_exceed_shared_pte": "thp_scan_exceed_share_pte",
    "unevictable_pgcleared": "unevictable_pgs_cleared",
}
_PREFIXES = {
    "compact": "compact_",
    "kcompactd_": "compact_daemon_",
    "pgscan_skip_": "pgskip_",
    "unevictable_pg": "unevictable_pgs_",
}


def counter_names(kernel: Kernel, sort: str, count: int) -> list[str]:
    """The names of the first `count` counters of a sort; `zone_7` and the like for one that no enumerator has."""
    names = [f"{sort}_{number}" for number in range(count)]
    kind = next((found for name in _ENUMS[sort] if (found := kernel.types.get(name)) is not None), None)
    for name, number in kind.enumerators.items() if isinstance(kind, EnumType) else ():
        # NR_LRU_BASE and the like are the first of their group under another name.
        if 0 <= number < count and not name.endswith("_BASE"):
            names[number] = _shown(name.lower())
    return names


def _shown(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    for prefix, shown in _PREFIXES.items():
        if name.startswith(prefix):
            return shown + name.removeprefix(prefix)
    return name

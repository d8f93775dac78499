"""The kernel's counters of memory and its events since boot, as /proc/vmstat lists them."""

from __future__ import annotations

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import series, table
from kernlab.linux import vm_counters, zones
from kernlab.linux.counter_names import counter_names
from kernlab.tables.memory.zones import THP_COUNTERS

#: What the kernel counts in sectors and prints in KiB (mm/vmstat.c, vmstat_start).
_SECTORS, _SECTORS_PER_KIB = frozenset({"pgpgin", "pgpgout"}), 2


@table
def vmstat(kernel: Kernel) -> pd.Series:
    """A Series (Int64) by the names and in the order of /proc/vmstat; in pages, but for nr_kernel_stack, pgpgin and
    pgpgout (KiB), huge pages (as such) and events (counts).

    What single CPUs still kept to themselves is in the sums. A counter that cannot be read is missing.

    >>> dump.vmstat[["nr_free_pages", "pgfault", "oom_kill"]]
    nr_free_pages     78832
    pgfault          402229
    oom_kill              0
    Name: vmstat, dtype: Int64
    """
    node = zones.nodes(kernel)
    _, zone = zones.zones(kernel, node)
    divisor = kernel.arch.huge_pages if vm_counters.in_pages(kernel) else 1
    found: list[tuple[str, int | None]] = []
    for counters in (
        vm_counters.zone_counters(kernel, zone),
        vm_counters.numa_counters(kernel, zone),
        vm_counters.node_counters(kernel, node),
    ):
        for name, column in counters.columns():
            total = column.sum()
            found.append((name, total // divisor if total is not None and name in THP_COUNTERS else total))
    found += _limits(kernel)
    for name, column in vm_counters.event_counters(kernel).columns():
        total = column.sum()
        found.append((name, total // _SECTORS_PER_KIB if total is not None and name in _SECTORS else total))
    if all(name != "nr_unstable" for name, _ in found):
        # fs/nfs needs it no more (v5.8); /proc/vmstat goes on to print it as 0.
        found.append(("nr_unstable", 0))
    lost = sum(value is None for _, value in found)
    if lost:
        kernel.lost(
            f"vmstat: {lost:,} counters are not known: they lie on pages that the dump lacks, or do not fit"
        )
    return series(kernel, "vmstat", found)


def _limits(kernel: Kernel) -> list[tuple[str, int | None]]:
    """The dirty limits, which the kernel computes when asked, and how much memory the memory map takes."""
    names = vm_counters.vmstat_names(kernel)["limits"]
    limit, background = _dirty_limits(kernel)
    values = {"nr_dirty_threshold": limit, "nr_dirty_background_threshold": background}
    for name in ("nr_memmap_pages", "nr_memmap_boot_pages"):
        if name in names:
            values[name] = vm_counters.global_word(kernel, name)
    keys = counter_names(kernel, "limits", len(names))
    return [(name, values.get(key, values.get(name))) for name, key in zip(names, keys, strict=True)]


def dirtyable_pages(kernel: Kernel) -> int | None:
    """How many pages could be dirty (mm/page-writeback.c, global_dirtyable_memory)."""
    node = zones.nodes(kernel)
    _, zone = zones.zones(kernel, node)
    of_zones = vm_counters.zone_counters(kernel, zone)
    of_nodes = vm_counters.node_counters(kernel, node)
    parts = (
        of_zones.total("nr_free_pages"),
        of_nodes.total("nr_inactive_file"),
        of_nodes.total("nr_active_file"),
        vm_counters.global_word(kernel, "totalreserve_pages"),
    )
    if any(part is None for part in parts):
        return None
    free, inactive, active, reserve = (int(part) for part in parts if part is not None)
    return max(free - min(free, reserve) + inactive + active, 0) + 1


def _dirty_limits(kernel: Kernel) -> tuple[int | None, int | None]:
    """When writers are slowed down and when writing begins, in pages (mm/page-writeback.c, domain_dirty_limits)."""
    available = dirtyable_pages(kernel)
    # Without CONFIG_SYSCTL nobody can change them, and compilers leave nothing of them but the kernel's defaults.
    ratio, background_ratio = (
        vm_counters.global_word(kernel, name, 4, absent=default)
        for name, default in (("vm_dirty_ratio", 20), ("dirty_background_ratio", 10))
    )
    in_bytes, background_bytes = (
        vm_counters.global_word(kernel, name, absent=0)
        for name in ("vm_dirty_bytes", "dirty_background_bytes")
    )
    if available is None or ratio is None or background_ratio is None:
        return None, None
    if in_bytes is None or background_bytes is None:
        return None, None
    size = kernel.page_size
    # The ratios become fractions of a page size first, as the kernel does it, so that the rounding is the same.
    limit = -(-in_bytes // size) if in_bytes else (ratio * size // 100) * available // size
    background = (
        -(-background_bytes // size)
        if background_bytes
        else (background_ratio * size // 100) * available // size
    )
    if background >= limit:
        background = limit // 2
    return limit, background

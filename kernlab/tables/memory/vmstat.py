"""The kernel's counters of memory and its events since boot, as /proc/vmstat lists them."""

from __future__ import annotations

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import table
from kernlab.dataframes.builder import describe
from kernlab.linux import vm_counters, zones
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
    found: dict[str, int | None] = {}
    for counters in (
        vm_counters.zone_counters(kernel, zone),
        vm_counters.numa_counters(kernel, zone),
        vm_counters.node_counters(kernel, node),
    ):
        known = bool(counters.valid.all())
        for name, total in zip(counters.names, counters.values.sum(axis=0).tolist(), strict=True):
            value = total // divisor if name in THP_COUNTERS else total
            found[name] = value if known else None
    found.update(_limits(kernel))
    events = vm_counters.event_counters(kernel)
    for name, total in zip(events.names, events.values[0].tolist(), strict=True):
        # Events in BTF's order may share a name with a counter of nodes since 7.x; /proc prints both.
        value = total // _SECTORS_PER_KIB if name in _SECTORS else total
        found.setdefault(name, value if events.valid[0] else None)
    if "nr_unstable" not in found:
        # fs/nfs needs it no more (v5.8); /proc/vmstat goes on to print it as 0.
        found["nr_unstable"] = 0
    lost = sum(value is None for value in found.values())
    if lost:
        kernel.lost(f"vmstat: {lost:,} counters lie on pages that the dump lacks")
    series = pd.Series(
        pd.array([pd.NA if value is None else value for value in found.values()], dtype="Int64"),
        index=pd.Index(list(found), dtype="str"),
        name="vmstat",
    )
    series.attrs.update(describe(kernel, "vmstat"))
    return series


def _limits(kernel: Kernel) -> dict[str, int | None]:
    """The dirty limits, which the kernel computes when asked, and how much memory the memory map takes."""
    names = vm_counters.vmstat_names(kernel)["limits"]
    values: dict[str, int | None] = dict.fromkeys(names)
    limit, background = _dirty_limits(kernel)
    values |= {name: limit for name in names if name == "nr_dirty_threshold"}
    values |= {name: background for name in names if name == "nr_dirty_background_threshold"}
    for name in ("nr_memmap_pages", "nr_memmap_boot_pages"):
        if name in values:
            values[name] = vm_counters.global_word(kernel, name)
    return values


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

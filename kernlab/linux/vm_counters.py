"""The kernel's own counters of memory: per zone, per node, of NUMA and of events, exact as of the crash.

Each CPU keeps a part of a counter to itself until it grows; here the parts are added, so that the sums are what
/proc/vmstat would have shown had all CPUs folded theirs in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.counter_names import counter_names
from kernlab.linux.page.vmemmap import tables_per_node
from kernlab.walk.cpus import percpu, percpu_many, possible_cpus, smp
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: More counters of one sort than this are damaged type information.
_MOST_ITEMS = 4096


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of one sort: their names as /proc/vmstat has them, values int64[n, items] of n zones or nodes (or 1),
    and valid bool[n]: which could be read, all CPUs' parts included."""

    names: list[str]
    values: I64
    valid: Mask

    def get(self, name: str) -> tuple[I64, Mask] | None:
        """One counter of all: (int64[n], bool[n]); None where this kernel does not have it."""
        if name not in self.names:
            return None
        return self.values[:, self.names.index(name)], self.valid

    def total(self, name: str) -> int | None:
        """One counter summed over all; None where the kernel does not have it or a part cannot be read."""
        found = self.get(name)
        return int(found[0].sum()) if found is not None and found[1].all() else None


def item_count(kernel: Kernel, *names: str) -> int:
    """The length of an array of counters by the enumerator that ends its items; 0 where there is none."""
    for name in names:
        count = kernel.types.enumerator_or_none(name)
        if count is not None:
            return min(count, _MOST_ITEMS)
    return 0


def vmstat_names(kernel: Kernel) -> dict[str, list[str]]:
    """The names of all counters by sort: "zone", "numa", "node", "limits", "events".

    From the kernel's own array of names (mm/vmstat.c, vmstat_text); where that is not here, by the enumerators
    (`counter_names`).
    """
    # Without CONFIG_VM_EVENT_COUNTERS the array of names ends before the events.
    counted = "vm_event_states" in kernel.symbols
    counts = {
        "zone": item_count(kernel, "NR_VM_ZONE_STAT_ITEMS"),
        "numa": item_count(kernel, "NR_VM_NUMA_EVENT_ITEMS", "NR_VM_NUMA_STAT_ITEMS"),
        "node": item_count(kernel, "NR_VM_NODE_STAT_ITEMS"),
        # Linux commit 9d8573111024 ("mm: create a new vm_stat_item") (in v6.12) added to the two limits.
        "limits": item_count(kernel, "NR_VM_STAT_ITEMS", "NR_VM_WRITEBACK_STAT_ITEMS"),
        "events": item_count(kernel, "NR_VM_EVENT_ITEMS") if counted else 0,
    }
    total = sum(counts.values())
    found: list[str] | None = None
    symbol = kernel.symbols.get("vmstat_text")
    if symbol is not None:
        pointers, read = kernel.words(np.uint64(symbol) + np.arange(total, dtype=np.uint64) * np.uint64(8))
        text = c_strings(kernel, np.where(read, pointers, np.uint64(0)), 64)
        if text.valid.all():
            found = text.values.tolist()
    names: dict[str, list[str]] = {}
    done = 0
    for sort, count in counts.items():
        names[sort] = found[done : done + count] if found is not None else counter_names(kernel, sort, count)
        done += count
    return names


def zone_counters(kernel: Kernel, zone: StructArray) -> Counters:
    """The counters of zones (`zone.vm_stat`), the parts in their per-CPU structs added."""
    names = vmstat_names(kernel)["zone"]
    count = len(names)
    values, valid = _array(kernel, zone.follow("vm_stat[0]"), "counter", count)
    numbers = possible_cpus(kernel)
    # Linux commit 28f836b6777b ("mm/page_alloc: split per cpu page lists and zone stats") (in v5.14).
    split = zone.has("per_cpu_zonestats")
    kind = "struct per_cpu_zonestat" if split else "struct per_cpu_pageset"
    pointers = zone["per_cpu_zonestats" if split else "pageset"]
    parts, read = _percpu_parts(kernel, pointers.values, pointers.valid, kind, "vm_stat_diff", numbers, count)
    return Counters(names, values + parts, valid & read)


def node_counters(kernel: Kernel, node: StructArray) -> Counters:
    """The counters of nodes (`pglist_data.vm_stat`) in pages (nr_kernel_stack in KiB, events as counts)."""
    names = vmstat_names(kernel)["node"]
    values, valid = _array(kernel, node.follow("vm_stat[0]"), "counter", len(names))
    pointers = node["per_cpu_nodestats"]
    parts, read = _percpu_parts(
        kernel,
        pointers.values,
        pointers.valid,
        "struct per_cpu_nodestat",
        "vm_node_stat_diff",
        possible_cpus(kernel),
        len(names),
    )
    return Counters(names, values + parts, valid & read)


def numa_counters(kernel: Kernel, zone: StructArray) -> Counters:
    """NUMA hits and misses of zones, CPUs' parts added; no names where the kernel has no NUMA."""
    names = vmstat_names(kernel)["numa"]
    count = len(names)
    none = np.zeros((len(zone), 0), dtype=np.int64)
    if not count or not (zone.has("vm_numa_event") or zone.has("vm_numa_stat")):
        return Counters([], none, np.ones(len(zone), dtype=bool))
    numbers = possible_cpus(kernel)
    # Linux commit f19298b9516c ("mm/vmstat: convert NUMA statistics to basic NUMA counters") (in v5.14).
    new = zone.has("vm_numa_event")
    base = zone.follow("vm_numa_event[0]" if new else "vm_numa_stat[0]")
    values, valid = _array(kernel, base, "counter", count)
    kind, member = (
        ("struct per_cpu_zonestat", "vm_numa_event")
        if new
        else ("struct per_cpu_pageset", "vm_numa_stat_diff")
    )
    pointers = zone["per_cpu_zonestats" if new else "pageset"]
    parts, read = _percpu_parts(kernel, pointers.values, pointers.valid, kind, member, numbers, count)
    return Counters(names, values + parts, valid & read)


def event_counters(kernel: Kernel) -> Counters:
    """Events since boot (`vm_event_states`), summed over all CPUs: one row."""
    names = vmstat_names(kernel)["events"]
    symbol = kernel.find_symbol("vm_event_states")
    if symbol is None or not names:
        return Counters([], np.zeros((1, 0), dtype=np.int64), np.ones(1, dtype=bool))
    where = percpu(kernel, symbol, possible_cpus(kernel))
    rows, status = kernel.gather(where, 8 * len(names))
    total = rows.view("<i8").sum(axis=0)[None, :]
    return Counters(names, total, np.array([not status.any()]))


def _array(kernel: Kernel, first: StructArray, member: str, count: int) -> tuple[I64, Mask]:
    """`count` atomic_long_t from each first one on."""
    rows, status = kernel.gather(np.where(first.valid, first.addresses, np.uint64(0)), 8 * count)
    return rows.view("<i8").reshape(len(first), count).copy(), (status == 0) & first.valid


def _percpu_parts(
    kernel: Kernel,
    pointers: npt.NDArray[np.uint64],
    known: Mask,
    kind: str,
    member: str,
    numbers: I64,
    count: int,
) -> tuple[I64, Mask]:
    """What CPUs keep of `count` counters in an array in their per-CPU structs: (int64[n, count], bool[n]).

    A kernel for a single CPU (CONFIG_SMP is off) keeps nothing apart.
    """
    if not kernel.types.has_member(kind, member) and not smp(kernel):
        return np.zeros((len(pointers), count), dtype=np.int64), known
    access = resolve(kernel.find_type(kind), f"{member}[0]")
    offset, width = access.hops[-1], access.type.size
    # Bytes are signed (s8; some type information says no such thing of a char), wider ones count up only.
    signed = width == 1
    where = percpu_many(kernel, np.where(known, pointers, np.uint64(0)), numbers)
    rows, status = kernel.gather(where.reshape(-1) + np.uint64(offset), width * count)
    values = rows.view(f"<{'i' if signed else 'u'}{width}").astype(np.int64)
    parts = values.reshape(len(pointers), len(numbers), count).sum(axis=1)
    # A zone without pages shares a set that nobody counts in.
    return parts, known & (status == 0).reshape(len(pointers), len(numbers)).all(axis=1)


def in_pages(kernel: Kernel) -> bool:
    """Do the counters of huge pages count small pages?

    Linux commit 69473e5de873 ("mm: memcontrol: convert NR_ANON_THPS account to pages") (in v5.11), the release in
    which page tables became counted per node.
    """
    return tables_per_node(kernel)


def global_word(
    kernel: Kernel, name: str, size: int = 8, *, why: list[str] | None = None, absent: int | None = None
) -> int | None:
    """A global number; `absent` where this kernel does not have it; None, and why, where it is not known."""
    try:
        if absent is not None and kernel.find_symbol(name) is None:
            return absent
        return kernel.word(name, size)
    except KernlabError as error:
        if why is not None and str(error) not in why:
            why.append(str(error))
        return None

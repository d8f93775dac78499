"""The kernel's own counters of memory: per zone, per node, of NUMA and of events, exact as of the crash.

Each CPU keeps a part of a counter to itself until it grows; here the parts are added, so that the sums are what
/proc/vmstat would have shown had all CPUs folded theirs in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core import told
from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.counter_names import counter_names
from kernlab.linux.enum_names import names_in
from kernlab.linux.page.vmemmap import tables_per_node
from kernlab.util import integers, losses
from kernlab.walk.cpus import percpu, percpu_many, possible_cpus, smp

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: More counters of one sort than this are damaged type information.
_MOST_ITEMS = 4096


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of one sort: their names as /proc/vmstat has them and as the types have them (`keys`), values
    int64[n, items] of n zones or nodes (or 1), and valid bool[n, items]: which are known, all CPUs' parts included."""

    names: list[str]
    keys: list[str]
    values: I64
    valid: Mask

    @classmethod
    def none(cls, count: int) -> Counters:
        """No counters of `count` zones or nodes."""
        return cls([], [], np.zeros((count, 0), dtype=np.int64), np.zeros((count, 0), dtype=bool))

    def columns(self) -> Iterator[tuple[str, Column]]:
        """Every counter of all by its name, which need not be its own."""
        for index, name in enumerate(self.names):
            yield name, Column.of(self.values[:, index], self.valid[:, index])

    def get(self, name: str) -> Column | None:
        """One counter of all; None where this kernel does not have it."""
        # The array of names is data, whose pointers may be damaged: what the types say comes first.
        for names in (self.keys, self.names):
            if name in names:
                index = names.index(name)
                return Column.of(self.values[:, index], self.valid[:, index])
        return None

    def total(self, name: str) -> int | None:
        """One counter summed over all; None where the kernel does not have it or a part cannot be read."""
        found = self.get(name)
        return None if found is None else found.sum()


#: Where the counters of each sort lie, the newest layout first, and the enumerator that ends them.
_ITEMS = {
    "zone": (("struct zone", "vm_stat"), ("NR_VM_ZONE_STAT_ITEMS",)),
    "numa": (
        ("struct zone", "vm_numa_event", "vm_numa_stat"),
        ("NR_VM_NUMA_EVENT_ITEMS", "NR_VM_NUMA_STAT_ITEMS"),
    ),
    "node": (("struct pglist_data", "vm_stat"), ("NR_VM_NODE_STAT_ITEMS",)),
    # Linux commit 9d8573111024 ("mm: create a new vm_stat_item") (in v6.12) added to the two limits.
    "limits": ((), ("NR_VM_STAT_ITEMS", "NR_VM_WRITEBACK_STAT_ITEMS")),
    "events": (("struct vm_event_state", "event"), ("NR_VM_EVENT_ITEMS",)),
}


def item_count(kernel: Kernel, sort: str) -> int:
    """How many counters of a sort there are: the length of their array, else the enumerator that ends them."""
    array, ends = _ITEMS[sort]
    end = next((end for name in ends if (end := kernel.types.enumerator_or_none(name)) is not None), None)
    for member in array[1:]:
        if count := told.array_length(kernel, array[0], member):
            if end != count:
                kernel.lost(f"{ends[0]} is lost or damaged: {array[0]} has {count:,} counters in {member}")
            return min(count, _MOST_ITEMS)
    return min(end or 0, _MOST_ITEMS)


@fact
def vmstat_names(kernel: Kernel) -> dict[str, list[str]]:
    """The names of all counters by sort: "zone", "numa", "node", "limits", "events".

    From the kernel's own array of names (mm/vmstat.c, vmstat_text); those that are lost, and all where that is not
    here, by the enumerators (`counter_names`).
    """
    known = {sort: counter_names(kernel, sort, item_count(kernel, sort)) for sort in _ITEMS}
    if "vm_event_states" not in kernel.symbols:
        # Without CONFIG_VM_EVENT_COUNTERS the array of names ends before the events.
        known["events"] = []
    every = names_in(kernel, "vmstat_text", [name for names in known.values() for name in names])
    names: dict[str, list[str]] = {}
    done = 0
    for sort, own in known.items():
        names[sort] = every[done : done + len(own)]
        done += len(own)
    return names


def zone_counters(kernel: Kernel, zone: StructArray) -> Counters:
    """The counters of zones (`zone.vm_stat`), the parts in their per-CPU structs added."""
    # Linux commit 28f836b6777b ("mm/page_alloc: split per cpu page lists and zone stats") (in v5.14).
    split = zone.has("per_cpu_zonestats")
    return _counters(
        kernel,
        "zone",
        zone.follow("vm_stat[0]"),
        zone["per_cpu_zonestats" if split else "pageset"],
        "struct per_cpu_zonestat" if split else "struct per_cpu_pageset",
        "vm_stat_diff",
    )


def node_counters(kernel: Kernel, node: StructArray) -> Counters:
    """The counters of nodes (`pglist_data.vm_stat`) in pages (nr_kernel_stack in KiB, events as counts)."""
    return _counters(
        kernel,
        "node",
        node.follow("vm_stat[0]"),
        node["per_cpu_nodestats"],
        "struct per_cpu_nodestat",
        "vm_node_stat_diff",
    )


def numa_counters(kernel: Kernel, zone: StructArray) -> Counters:
    """NUMA hits and misses of zones, CPUs' parts added; no names where the kernel has no NUMA."""
    if not (zone.has("vm_numa_event") or zone.has("vm_numa_stat")):
        return Counters.none(len(zone))
    # Linux commit f19298b9516c ("mm/vmstat: convert NUMA statistics to basic NUMA counters") (in v5.14).
    new = zone.has("vm_numa_event")
    return _counters(
        kernel,
        "numa",
        zone.follow("vm_numa_event[0]" if new else "vm_numa_stat[0]"),
        zone["per_cpu_zonestats" if new else "pageset"],
        "struct per_cpu_zonestat" if new else "struct per_cpu_pageset",
        "vm_numa_event" if new else "vm_numa_stat_diff",
    )


def event_counters(kernel: Kernel) -> Counters:
    """Events since boot (`vm_event_states`), summed over all CPUs: one row."""
    names = vmstat_names(kernel)["events"]
    symbol = kernel.find_symbol("vm_event_states")
    if symbol is None or not names:
        return Counters.none(1)
    where = percpu(kernel, symbol, possible_cpus(kernel))
    rows, status = kernel.gather(where, 8 * len(names), "CPUs' counters of events")
    values, fits = integers.added(rows.view("<u8"), 0)
    whole = np.full(len(names), True) if fits is None else fits
    _too_large(names, ~whole)
    return Counters(
        names,
        counter_names(kernel, "events", len(names)),
        values[None, :],
        whole[None, :] & (not status.any()),
    )


def _counters(
    kernel: Kernel, sort: str, first: StructArray, pointer: Column, kind: str, member: str
) -> Counters:
    """The counters of one sort from each first one (an atomic_long_t) on, and what CPUs keep of them in their
    structs of a kind."""
    names = vmstat_names(kernel)[sort]
    if not names:
        return Counters.none(len(first))
    count = len(names)
    rows, status = kernel.gather(first.addresses * first.valid, 8 * count, "counters")
    parts, fits, read = _percpu_parts(kernel, pointer, kind, member, count)
    values, whole = integers.added(np.stack([rows.view("<i8"), parts]), 0)
    known = (status == 0) & first.valid & read
    fits = fits if whole is None else fits & whole
    _too_large(names, (known[:, None] & ~fits).any(axis=0))
    return Counters(names, counter_names(kernel, sort, count), values, known[:, None] & fits)


def _too_large(names: list[str], lost: Mask) -> None:
    """Say which counters' sums do not fit."""
    losses.lost(
        *(f"the counter {names[index]} {integers.TOO_LARGE}" for index in np.flatnonzero(lost).tolist())
    )


def _percpu_parts(
    kernel: Kernel, pointer: Column, kind: str, member: str, count: int
) -> tuple[I64, Mask, Mask]:
    """What CPUs keep of `count` counters in an array in their per-CPU structs: (int64[n, count], bool[n, count] of
    what fits, bool[n] of what could be read).

    A kernel for a single CPU (CONFIG_SMP is off) keeps nothing apart.
    """
    shape = len(pointer), count
    if not kernel.types.has_member(kind, member) and not smp(kernel):
        return np.zeros(shape, dtype=np.int64), np.ones(shape, dtype=bool), pointer.valid
    numbers = possible_cpus(kernel)
    access = resolve(kernel.find_type(kind), f"{member}[0]")
    offset, width = access.hops[-1], access.type.size
    # Bytes are signed (s8; some type information says no such thing of a char), wider ones count up only.
    signed = width == 1
    where = percpu_many(kernel, pointer.filled(0), numbers)
    rows, status = kernel.gather(
        where.reshape(-1) + np.uint64(offset), width * count, "CPUs' parts of counters"
    )
    kept = integers.widened(rows.view(f"<{'i' if signed else 'u'}{width}"))
    values, fits = integers.added(kept.reshape(len(pointer), len(numbers), count), 1)
    # A zone without pages shares a set that nobody counts in.
    read = (status == 0).reshape(len(pointer), len(numbers)).all(axis=1)
    return values, np.ones(shape, dtype=bool) if fits is None else fits, pointer.valid & read


def in_pages(kernel: Kernel) -> bool:
    """Do the counters of huge pages count small pages?

    Linux commit 69473e5de873 ("mm: memcontrol: convert NR_ANON_THPS account to pages") (in v5.11), the release in
    which page tables became counted per node.
    """
    return tables_per_node(kernel)


def total_ram(kernel: Kernel) -> str:
    """The variable that says how many pages of memory the page allocator was given."""
    # Linux commit ca79b0c211af ("mm: convert totalram_pages and totalhigh_pages variables to atomic") (in v5.0).
    new, old = "_totalram_pages", "totalram_pages"
    return old if kernel.symbols.get(new) is None and kernel.symbols.get(old) is not None else new


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

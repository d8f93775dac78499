"""What memory.stat says of each memory cgroup: what CPUs and cgroups below it had not handed up yet is added."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, whole
from kernlab.core.told import array_length
from kernlab.linux.containers.cgroups import Cgroups, find_cgroups
from kernlab.linux.containers.percpu_parts import percpu_added
from kernlab.linux.vm_counters import vmstat_names
from kernlab.linux.zones import node_ids
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Bytes each of these counts; any other counts pages (mm/memcontrol.c, memcg_page_state_unit).
_UNITS = {
    "MEMCG_PERCPU_B": 1, "MEMCG_ZSWAP_B": 1, "NR_SLAB_RECLAIMABLE_B": 1, "NR_SLAB_UNRECLAIMABLE_B": 1,
    "NR_KERNEL_STACK_KB": 1024,
}  # fmt: skip
#: Those of node_stat_item that count times, not pages: by how their names begin (memcg_page_state_output_unit).
_COUNTS = ("workingset_", "pgdemote_", "pgpromote_", "pgscan", "pgsteal", "pgrefill")
#: What memory.stat counts of events before Linux commit 8278f1c7b418 ("memcg: reduce size of memcg vmstats
#: structures") (in v6.1) put them into an array.
_EVENTS = (
    "pgscan_kswapd", "pgscan_direct", "pgsteal_kswapd", "pgsteal_direct", "pgfault", "pgmajfault", "pgrefill",
    "pgactivate", "pgdeactivate", "pglazyfree", "pglazyfreed", "thp_fault_alloc", "thp_collapse_alloc",
)  # fmt: skip
#: What memory.stat shows by enumerators before v5.10.
_OLD_ITEMS = (
    ("anon", "MEMCG_RSS"), ("file", "MEMCG_CACHE"), ("kernel_stack", "MEMCG_KERNEL_STACK_KB"), ("sock", "MEMCG_SOCK"),
    ("shmem", "NR_SHMEM"), ("file_mapped", "NR_FILE_MAPPED"), ("file_dirty", "NR_FILE_DIRTY"),
    ("file_writeback", "NR_WRITEBACK"), ("anon_thp", "MEMCG_RSS_HUGE"), ("slab_reclaimable", "NR_SLAB_RECLAIMABLE"),
    ("slab_unreclaimable", "NR_SLAB_UNRECLAIMABLE"), ("workingset_refault", "WORKINGSET_REFAULT"),
    ("workingset_activate", "WORKINGSET_ACTIVATE"), ("workingset_nodereclaim", "WORKINGSET_NODERECLAIM"),
)  # fmt: skip
#: enum lru_list.
_LISTS = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")
_LONGEST_NAME, _MOST_NAMES = 64, 512


@dataclass(frozen=True, slots=True)
class MemoryStat:
    """Numbers of n cgroups by the names of memory.stat: int64, not valid where memory is not counted in a cgroup.

    `in_bytes` names those that are bytes; the others are counts of events.
    """

    numbers: dict[str, Column]
    in_bytes: frozenset[str]


@fact
def memory_stat(kernel: Kernel) -> MemoryStat:
    """memory.stat of all cgroups (`find_cgroups`), each with those below it, in the kernel's order, and its sums.

    Mirrors mm/memcontrol.c (memory_stat_format, mem_cgroup_css_rstat_flush). The names are version 2's in version 1,
    too. Before Linux commit 2d146aa3aa84 ("mm: memcontrol: switch to rstat") (in v5.13) the file lacks what each CPU
    keeps to itself, up to 32 pages of each; it is added here.
    """
    cgroups = find_cgroups(kernel)
    group = cgroups.part("memory", "struct mem_cgroup")
    columns: dict[str, Column] = {}
    in_bytes = {"slab"}
    states, known = _whole(kernel, cgroups, group, "state")
    for name, index, unit, is_bytes in _stat_items(kernel):
        if 0 <= index < states.shape[1]:
            columns[name] = _column(states, known, index) * unit
            in_bytes |= {name} if is_bytes else set()
    columns |= _old_lists(kernel, cgroups, group)
    if "slab_reclaimable" in columns and "slab_unreclaimable" in columns:
        columns["slab"] = columns["slab_reclaimable"] + columns["slab_unreclaimable"]
    events, known = _whole(kernel, cgroups, group, "events")
    for name, index in _event_items(kernel):
        if index < events.shape[1] and name not in columns:
            columns[name] = _column(events, known, index)
    for name in ("pgscan", "pgsteal"):
        parts = [column for key, column in columns.items() if key.startswith(f"{name}_")]
        if parts and name not in columns:
            columns[name] = functools.reduce(operator.add, parts)
    return MemoryStat(columns, frozenset(in_bytes & columns.keys()))


def _column(values: I64, known: Mask, index: int) -> Column:
    # What is negative is on its way from one cgroup to another (memcg_page_state).
    return Column.of(np.maximum(values[:, index], 0), known)


def _whole(kernel: Kernel, cgroups: Cgroups, group: StructArray, member: str) -> tuple[I64, Mask]:
    """Counters ("state" or "events") of all cgroups as they are once all is handed up: (int64[n, items], bool[n])."""
    part = "struct memcg_vmstats_percpu"
    # NULL where a cgroup counts no memory: nothing is missing below it.
    none = ~group.valid
    if kernel.types.has_member("struct memcg_vmstats", member):
        # Linux commit 410f8e82689e ("memcg: extract memcg_vmstats from struct mem_cgroup") (in v6.0) made it a pointer.
        here = group.follow("vmstats")
        base, pending = here[member], here[f"{member}_pending"]
        total, known = base.values.astype(np.int64), base.valid & pending.valid
        parts, whole = percpu_added(
            kernel,
            group["vmstats_percpu"],
            part,
            lambda cpu: (cpu[member], cpu[f"{member}_prev"]),
            total.shape[1],
        )
        parts += np.where(pending.valid[:, None], pending.values.astype(np.int64), 0)
    else:
        old, pointer, part, own = _old_layout(kernel, group, member)
        total, known = _atomics(group, old)
        parts, whole = percpu_added(kernel, group[pointer], part, lambda cpu: (cpu[own],), total.shape[1])
        # Linux commit 42a300353577 ("mm: memcontrol: fix recursive statistics correctness & scalabilty") (in v5.2) and
        # its kin: before, a cgroup counted itself alone, and who read the file added what is below it.
        if not group.has("vmstats_local"):
            parts, total = parts + np.where(none[:, None], 0, total), np.zeros_like(total)
            whole = whole & known
    parts = np.where(none[:, None], 0, parts)
    below, sure = cgroups.summed(parts, whole | none)
    # Before Linux commit bef8620cd8e0 ("mm: memcg: deprecate the non-hierarchical mode") (in v5.11) a cgroup of version
    # 1 counted what is below it only where told to; what CPUs keep there is left out.
    if group.has("use_hierarchy"):
        told = cgroups.unified
        if not group.has("vmstats_local"):
            told = told | group["use_hierarchy"].true
        below = np.where(told[:, None], below, parts)
    return total + below, known & sure


def _old_lists(kernel: Kernel, cgroups: Cgroups, group: StructArray) -> dict[str, Column]:
    """Pages on each list of reclaim, in bytes, of kernels that count them apart from all else (before v5.2)."""
    node = "struct mem_cgroup_per_node"
    if group.has("vmstats_local") or kernel.types.get("struct memcg_vmstats") is not None:
        return {}
    if not group.has("nodeinfo[0]") or not kernel.types.has_member(node, "lru_zone_size"):
        return {}
    total, known = np.zeros((len(group), len(_LISTS)), dtype=np.int64), group.valid.copy()
    for number in range(node_ids(kernel)):
        here = group.follow(f"nodeinfo[{number}]", to=node)
        _, sizes = here.elements("lru_zone_size")
        counted = whole(sizes)
        assert isinstance(counted, Column)
        values = counted.values.astype(np.int64).reshape(len(group), -1, len(_LISTS))
        total += np.where(here.valid[:, None], values.sum(axis=1), 0)
        known &= counted.valid.reshape(len(group), -1).all(axis=1) | ~here.valid
    below, sure = cgroups.summed(total, known | ~group.valid)
    told = cgroups.unified | (group["use_hierarchy"].true if group.has("use_hierarchy") else False)
    shown = np.where(told[:, None], below, total) * kernel.page_size
    return {name: Column.of(shown[:, index], known & sure) for index, name in enumerate(_LISTS)}


def _old_layout(kernel: Kernel, group: StructArray, member: str) -> tuple[str, str, str, str]:
    """Before v5.13: the names of a cgroup's counters, the pointer to its CPUs' structs, their type, their counters."""
    # The later names came with v5.2, and with some 4.19 kernels of distributions.
    if group.has("vmstats"):
        old, own = ("vmstats", "stat") if member == "state" else ("vmevents", "events")
        return old, "vmstats_percpu", "struct memcg_vmstats_percpu", own
    old, own = ("stat", "count") if member == "state" else ("events", "events")
    return old, "stat_cpu", "struct mem_cgroup_stat_cpu", own


def _atomics(group: StructArray, member: str) -> tuple[I64, Mask]:
    """An array of atomic_long_t in each cgroup: (int64[n, items], bool[n])."""
    owner, element = group.elements(member)
    counter, width = element["counter"], max(1, len(owner) // max(1, len(group)))
    values = counter.values.astype(np.int64).reshape(len(group), width)
    return values, np.logical_and.reduce(counter.valid.reshape(len(group), width), axis=1)


def _stat_items(kernel: Kernel) -> list[tuple[str, int, int, bool]]:
    """The kernel's list of what memory.stat shows (memory_stats): (name, index of its counter, unit, is it bytes?)."""
    kind, where = kernel.types.get("struct memory_stat"), kernel.find_symbol("memory_stats")
    if kind is None and kernel.types.enumerator_or_none("MEMCG_RSS") is not None:
        return _old_items(kernel)
    if kind is None or where is None or not kind.size:
        kernel.lost("statistics of memory cgroups are not known: there is no list of them (memory_stats)")
        return []
    count = min(kernel.symbols.room(where) // kind.size, _MOST_NAMES)
    item = StructArray(kernel, kind, where + np.arange(count, dtype=np.uint64) * np.uint64(kind.size))
    name = c_strings(kernel, item["name"], _LONGEST_NAME).tolist()
    # Seen in 5.10, not in 6.1: the list itself says what a counter counts.
    ratio = item["ratio"].tolist() if item.has("ratio") else [None] * count
    unit_of = {kernel.types.enumerator_or_none(key): unit for key, unit in _UNITS.items()}
    place = _places(kernel, "mem_cgroup_stats_index", kernel.types.enumerator_or_none("MEMCG_NR_STAT") or 0)
    found = []
    for text, number, given in zip(name, item["idx"].tolist(), ratio, strict=True):
        # Behind the list is what is left of the space up to the next symbol.
        if text is None or number is None:
            break
        times = text.startswith(_COUNTS)
        unit = given or (1 if times else unit_of.get(number, kernel.page_size))
        found.append((text, place.get(number, -1) if place else number, unit, not times))
    return found


def _old_items(kernel: Kernel) -> list[tuple[str, int, int, bool]]:
    """As `_stat_items`, of kernels that have no list: what their memory_stat_show prints, in its order.

    Linux commit 5f9a4f4a7096 ("mm: memcontrol: add the missing numa_stat interface for cgroup v2") (in v5.10) brought
    the list.
    """
    found = []
    for name, enumerator in _OLD_ITEMS:
        number = kernel.types.enumerator_or_none(enumerator)
        if number is not None:
            times = name.startswith(_COUNTS)
            unit = 1 if times else 1024 if enumerator == "MEMCG_KERNEL_STACK_KB" else kernel.page_size
            found.append((name, number, unit, not times))
    return found


def _places(kernel: Kernel, symbol: str, count: int) -> dict[int, int]:
    """Which counter of a cgroup's is which item's: {item: index}; empty where all items have counters, in order.

    Seen in 6.12, not in 6.1: items of which no cgroup keeps count have no counter.
    """
    where = kernel.find_symbol(symbol)
    if where is None or not count:
        return {}
    index = np.frombuffer(kernel.read(where, min(count, _MOST_NAMES)), dtype=np.uint8)
    # Either 255 stands for none (seen in 6.12), or 0, and then it is one more than the index.
    none, more = (255, 0) if (index == 255).any() else (0, 1)
    used = np.flatnonzero(index != none)
    return dict(zip(used.tolist(), (index[used].astype(int) - more).tolist(), strict=True))


def _event_items(kernel: Kernel) -> list[tuple[str, int]]:
    """The events that a memory cgroup counts: (name as in /proc/vmstat, index of its counter)."""
    names = vmstat_names(kernel)["events"]
    where = kernel.find_symbol("memcg_vm_event_stat")
    if where is None:
        return [(name, names.index(name)) for name in _EVENTS if name in names]
    count = min(kernel.symbols.room(where) // 4, array_length(kernel, "struct memcg_vmstats", "events") or 0)
    items = np.frombuffer(kernel.read(where, 4 * count), dtype="<u4").tolist()
    return [(names[item], index) for index, item in enumerate(items) if item < len(names)]

"""Memory by cgroup: what is charged to each memory cgroup, those that were removed but live on among them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.dataframes import frame, nullable, table
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.containers.memory_counters import counted, events, limit
from kernlab.linux.kernfs import kernfs_paths
from kernlab.linux.page.classifier import Kind
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.tasks import find_tasks
from kernlab.walk.lists import list_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Cgroups nest no deeper, whatever a damaged tree says.
_MOST_LEVELS = 1 << 10

#: Low bits of page.memcg_data (include/linux/memcontrol.h, enum page_memcg_data_flags).
_OBJECTS, _MARKS = np.uint64(1), np.uint64(7)

#: What the pages that are charged to a cgroup are summed as.
_GROUPS = {
    "anon": (Kind.ANON, Kind.THP),
    "file": (Kind.FILE,),
    "shmem": (Kind.SHMEM,),
    "unmapped": (Kind.SWAP_CACHE,),
}
_COLUMNS = (*_GROUPS, "kernel")


@table(rows="struct mem_cgroup")
def memory_by_cgroup(kernel: Kernel) -> pd.DataFrame:
    """One row per memory cgroup, parents before their children.

    path: from the hierarchy's root, as /proc/PID/cgroup has it; usage_bytes: what memory.current shows, children
    included (missing for the root, which is not counted); anon_bytes, file_bytes, shmem_bytes, unmapped_bytes
    (anonymous memory that nobody maps: in the swap cache, or given back and still in a CPU's batch), kernel_bytes:
    pages charged to it alone, without children (slab objects are charged by the byte, and show in usage_bytes only);
    swap_bytes; limit_bytes (memory.max) and high_bytes, missing where there is none; peak_bytes; low, high, max, oom,
    oom_kill and, where the kernel counts them, oom_group_kill and sock_throttled: how often that happened to it or
    below it, as memory.events counts it (missing for the root); low_local …: to itself alone, as memory.events.local
    does; processes: how many are in it; dying: rmdir()ed, but pages still hold it. Mirrors mm/memcontrol.c,
    mm/page_counter.c.

    >>> dump.memory_by_cgroup[["path", "usage_bytes", "anon_bytes", "processes"]].head(3)
      path  usage_bytes  anon_bytes  processes
    0    /         <NA>    23609344         73
    """
    if kernel.find_symbol("root_mem_cgroup") is None or kernel.types.get("struct mem_cgroup") is None:
        raise KernlabError("this kernel has no memory cgroups (CONFIG_MEMCG)")
    group, parent, level = _all(kernel)
    css = group.follow("css")
    charged = _charged(kernel, group)
    is_root = parent < 0
    online = 1 << 1 if (bit := kernel.types.enumerator_or_none("CSS_ONLINE")) is None else bit
    node = css["cgroup->kn"]
    usage, swap = counted(kernel, group, "memory.usage.counter"), counted(kernel, group, "swap.usage.counter")
    processes, known = _processes(kernel, css, group)
    return frame(
        kernel,
        "memory_by_cgroup",
        path=kernfs_paths(kernel, node),
        usage_bytes=nullable(usage.where(~is_root)),
        **{f"{name}_bytes": nullable(column) for name, column in charged.items()},
        swap_bytes=nullable(swap.where(~is_root)),
        limit_bytes=nullable(limit(kernel, group, "memory.max")),
        high_bytes=nullable(limit(kernel, group, "memory.high")),
        peak_bytes=nullable(counted(kernel, group, "memory.watermark").where(~is_root)),
        **{name: nullable(column.where(~is_root)) for name, column in events(kernel, group).items()},
        processes=nullable(processes, known),
        dying=~css["flags"].has(online),
        level=level,
        address=group,
    )


def _all(kernel: Kernel) -> tuple[StructArray, I64, I64]:
    """All memory cgroups, level by level: (StructArray of n mem_cgroup, parent's index int64[n], level int64[n])."""
    root = kernel.words([kernel.symbol("root_mem_cgroup")], what="pointers to the root cgroup")[0]
    found, parents, levels = [root], [np.full(1, -1, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
    seen, most = root, kernel.budget.structs(kernel.find_type("struct mem_cgroup").size)
    first = 0
    for level in range(1, _MOST_LEVELS):
        above = StructArray(kernel, "struct mem_cgroup", found[-1]).follow("css")
        owner, css = list_entries(
            kernel,
            above.follow("children").addresses,
            "struct cgroup_subsys_state",
            "sibling",
            what="the tree of memory cgroups",
        )
        below = container(kernel, "struct mem_cgroup", "css", css.addresses)
        up = css["parent"]
        # What can be read and names another parent is not a cgroup of this tree; one that was met before neither.
        fresh = ~np.isin(below.addresses, seen) & (up == above.addresses[owner]).filled(True)
        if not fresh.all():
            kernel.lost(f"the tree of memory cgroups: {int((~fresh).sum()):,} links lead out of it")
        if len(seen) > most:
            kernel.lost(
                f"the tree of memory cgroups: more than the {most:,} that what the file holds has room for"
            )
        if not fresh.any() or len(seen) > most:
            break
        found.append(below.addresses[fresh])
        parents.append(owner[fresh] + first)
        levels.append(np.full(int(fresh.sum()), level, dtype=np.int64))
        first += len(found[-2])
        seen = np.concatenate([seen, found[-1]])
    group = StructArray(kernel, "struct mem_cgroup", np.concatenate(found))
    return group, np.concatenate(parents), np.concatenate(levels)


def _processes(kernel: Kernel, css: StructArray, group: StructArray) -> tuple[I64, npt.NDArray[np.bool_]]:
    """How many processes are in each cgroup: (int64[n], bool[n] of what is known)."""
    counts = np.zeros(len(group), dtype=np.int64)
    number = kernel.types.enumerator_or_none("memory_cgrp_id")
    if number is None:
        return counts, np.zeros(len(group), dtype=bool)
    task = find_tasks(kernel)
    pid, tgid = task["pid"], task["tgid"]
    leader = ((pid == tgid) & (pid > 0)).true
    of = task[leader].follow("cgroups")[f"subsys[{number}]"]
    order = np.argsort(css.addresses)
    place = np.minimum(np.searchsorted(css.addresses[order], of.values), len(css) - 1)
    hit = (of == css.addresses[order][place]).true
    np.add.at(counts, order[place[hit]], 1)
    return counts, np.ones(len(group), dtype=bool)


def _charged(kernel: Kernel, group: StructArray) -> dict[str, Column]:
    """Bytes of the pages that are charged to each cgroup itself, by what they hold."""
    page = kernel.find_type("struct page")
    # Linux commit bcfe06bf2622 ("mm: memcontrol: Use helpers to read page's memcg data") (in v5.11) renamed it.
    member = "memcg_data" if kernel.types.has_member("struct page", "memcg_data") else "mem_cgroup"
    offset = resolve(page, member).hops[-1]
    sums = {name: np.zeros(len(group), dtype=np.int64) for name in _COLUMNS}
    order = np.argsort(group.addresses)
    sorted_groups = group.addresses[order]
    code = np.full(256, _COLUMNS.index("kernel"), dtype=np.int64)
    for name, kinds in _GROUPS.items():
        code[list(kinds)] = _COLUMNS.index(name)
    anonymous, unmapped = _COLUMNS.index("anon"), _COLUMNS.index("unmapped")
    lost = 0
    for chunk in PageSurvey(kernel):
        data = chunk.chunk.number(offset, 8)
        rows = np.concatenate([np.arange(p.rows.start, p.rows.stop) for p in chunk.pieces])
        # A compound page is charged through its head. Slab pages hold a vector of their objects' charges there.
        value = data[chunk.head_row[rows].astype(np.int64)]
        use = (value != 0) & ((value & _OBJECTS) == 0) & chunk.valid[rows] & (chunk.kind[rows] != Kind.SLAB)
        value, rows = value[use] & ~_MARKS, rows[use]
        kind = code[chunk.kind[rows]]
        # As memory.stat's anon, which counts what is mapped (NR_ANON_MAPPED).
        kind[(kind == anonymous) & (chunk.mapcount[rows] <= 0)] = unmapped
        pairs, times = np.unique(
            np.stack([value, kind.astype(np.uint64)], axis=1), axis=0, return_counts=True
        )
        place, known = _owners(kernel, pairs[:, 0], sorted_groups)
        lost += int(times[~known].sum())
        for number, name in enumerate(_COLUMNS):
            mine = known & (pairs[:, 1] == number)
            np.add.at(sums[name], order[place[mine]], times[mine] * kernel.page_size)
    if lost:
        kernel.lost(f"cgroups: {lost:,} pages are charged to something that is not a cgroup of the tree")
    return {name: Column.of(values) for name, values in sums.items()}


def _owners(kernel: Kernel, charged: U64, groups: U64) -> tuple[I64, npt.NDArray[np.bool_]]:
    """Which of the sorted cgroups each pointer means: the cgroup itself, or an obj_cgroup of it."""
    place = np.minimum(np.searchsorted(groups, charged), len(groups) - 1)
    known = groups[place] == charged
    if not known.all() and kernel.types.get("struct obj_cgroup") is not None:
        rest = np.flatnonzero(~known)
        through = StructArray(kernel, "struct obj_cgroup", charged[rest])["memcg"]
        again = np.minimum(np.searchsorted(groups, through.values), len(groups) - 1)
        hit = (through == groups[again]).true
        place[rest[hit]], known[rest[hit]] = again[hit], True
    return place, known

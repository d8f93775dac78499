"""The rules of `suspects`: each looks at tables of memory, at stacks or CPUs, and gives the leads that it finds."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from kernlab.escape import show_short
from kernlab.linux.page.classifier import Kind
from kernlab.linux.swap import has_swap
from kernlab.linux.whatis.threads import say_thread
from kernlab.tables.suspects.evidence import Evidence, Lead, size_of, times
from kernlab.tables.suspects.oom import out_of_memory, own_events
from kernlab.tables.suspects.reports import error_reports
from kernlab.tables.suspects.threads import full_stacks, long_running
from kernlab.tables.suspects.waits import convoys, deadlocks, hung_tasks
from kernlab.util.text import human_bytes, percent

#: Blocks of 2^this pages are what the kernel itself calls costly to find (PAGE_ALLOC_COSTLY_ORDER).
_COSTLY_ORDER = 3


def large_processes(memory: Evidence) -> list[Lead]:
    """Processes far above their share."""
    found = []
    table = memory.processes
    # Sums of a dump's numbers are taken as floats, in which nothing wraps round.
    held = (table["pss_bytes"].astype("float64") + table["swap_bytes"].astype("float64")).fillna(0.0)
    usual = float(held.median()) if len(held) else 0.0
    for row in held.index[(held > 0.1 * memory.managed) & (held > 4 * usual)].tolist()[:10]:
        size, pid, comm = int(held[row]), table["pid"][row], show_short(str(table["comm"][row]))
        parts = [
            f"{human_bytes(size_of(table[f'{part}_bytes'][row]))} {name}"
            for part, name in (
                ("anon", "anonymous"),
                ("shmem", "shared memory"),
                ("file", "files"),
                ("swap", "swapped"),
            )
            if size_of(table[f"{part}_bytes"][row]) > 0.05 * size
        ]
        found.append(
            Lead(
                "large process",
                say_thread(comm, pid),
                f"It holds {human_bytes(size)}, {percent(memory.share(size))} of memory ({', '.join(parts)}); half of "
                f"the processes hold less than {human_bytes(int(usual))}.",
                f"dump.plot.maps({pid})",
                1 + memory.share(size),
                size,
            )
        )
    return found


def many_processes(memory: Evidence) -> list[Lead]:
    """Many processes of one name and one control group that together hold much."""
    table = memory.processes
    # Interpreters give their name to all sorts of services, which have nothing to do with one another.
    held = table["pss_bytes"].astype("float64")
    groups = held.groupby([table["comm"], table["cgroup"].fillna("")]).agg(["sum", "count"])
    many = groups[(groups["count"] >= 20) & (groups["sum"] > 0.2 * memory.managed)].reset_index()
    found = []
    for _, row in many.iterrows():
        comm, size, name = row["comm"], int(row["sum"]), show_short(str(row["comm"]))
        where = f" in {show_short(str(row['cgroup']))}" if row["cgroup"] else ""
        found.append(
            Lead(
                "many processes",
                name,
                f"{int(row['count']):,} processes of this name{where} hold {human_bytes(size)} together, "
                f"{percent(memory.share(size))} of memory.",
                f"dump.memory_by_process[dump.memory_by_process.comm == {str(comm)!r}]",
                1 + memory.share(size),
                size,
            )
        )
    return found


def large_caches(memory: Evidence) -> list[Lead]:
    """Slab caches far above their share, and those that hold much that is free."""
    found = []
    table = memory.slabs
    size = table["bytes"].astype("float64").fillna(0.0)
    whole = float(size.sum())
    shrinks = table["flags"].str.contains("SLAB_RECLAIM_ACCOUNT", na=False)
    for row in size.nlargest(5).index.tolist():
        held, name = int(size[row]), show_short(str(table["name"][row]))
        if held < 0.05 * memory.managed and not (held > 0.5 * whole and held > 0.02 * memory.managed):
            continue
        if held <= 0:
            continue
        active = table["active"][row]
        used = (
            f"{size_of(active):,} objects in use"
            if active is not pd.NA
            else "how many objects are in use is not known"
        )
        fate = "the kernel can shrink it" if shrinks[row] else "the kernel can not shrink it"
        found.append(
            Lead(
                "large slab cache" if shrinks[row] else "large unreclaimable slab cache",
                name,
                f"It holds {human_bytes(held)}, {percent(memory.share(held))} of memory and {percent(held / whole)} of "
                f"all slabs; {used} of {size_of(table['object_size'][row]):,} bytes each; {fate}.",
                f"dump.slab_objects({str(table['name'][row])!r})",
                memory.share(held) + (1 if not shrinks[row] else 0.3),
                held,
            )
        )
    waste = (table["bytes"].astype("float64") - table["used_bytes"].astype("float64")).fillna(0.0)
    for row in waste.index[(waste > 0.02 * memory.managed) & (waste > 0.5 * size)].tolist():
        lost, name = int(waste[row]), show_short(str(table["name"][row]))
        found.append(
            Lead(
                "half-empty slab cache",
                name,
                f"{human_bytes(lost)} of its {human_bytes(int(size[row]))} are free objects on slabs that other "
                "objects pin.",
                f"dump.slab_objects({str(table['name'][row])!r}).groupby('slab').allocated.mean()",
                memory.share(lost),
                lost,
            )
        )
    return found


def unreclaimable(memory: Evidence) -> list[Lead]:
    """Kernel memory that cannot be taken back: slabs, page tables, pages that nobody accounts for."""
    found = []
    table = memory.slabs
    shrinks = table["flags"].str.contains("SLAB_RECLAIM_ACCOUNT", na=False)
    pinned = int(table["bytes"].astype("float64")[~shrinks].sum())
    if memory.share(pinned) > 0.15:
        found.append(
            Lead(
                "unreclaimable slab",
                "all slab caches",
                f"Caches that the kernel can not shrink hold {human_bytes(pinned)}, {percent(memory.share(pinned))} of "
                "memory.",
                "dump.plot.slabs()",
                memory.share(pinned),
                pinned,
            )
        )
    tables = memory.kind(Kind.PAGE_TABLE)
    if memory.share(tables) > 0.05:
        found.append(
            Lead(
                "page tables",
                "page tables",
                f"Page tables take {human_bytes(tables)}, {percent(memory.share(tables))} of memory: many processes "
                "map the same large areas in small pages.",
                'dump.memory_by_process.nlargest(10, "page_tables_bytes")',
                memory.share(tables) + 0.5,
                tables,
            )
        )
    for kinds, subject, cell in (
        ((Kind.OTHER,), "pages without an owner", 'dump.pages[dump.pages.kind == "other kernel"]'),
        ((Kind.VMALLOC, Kind.VMAP), "vmalloc", 'dump.pages[dump.pages.kind.isin(["vmalloc", "vmap"])]'),
        ((Kind.LARGE_KMALLOC,), "large kmalloc", 'dump.pages[dump.pages.kind == "large kmalloc"]'),
        ((Kind.NETWORK,), "network buffers", 'dump.pages[dump.pages.kind == "network"]'),
        ((Kind.KERNEL_STACK,), "kernel stacks", "dump.tasks.comm.value_counts()"),
        ((Kind.PERCPU,), "per-CPU memory", 'dump.pages[dump.pages.kind == "percpu"]'),
    ):
        size = memory.kind(*kinds)
        if memory.share(size) > 0.15:
            found.append(
                Lead(
                    "kernel memory",
                    subject,
                    f"{human_bytes(size)} ({percent(memory.share(size))} of memory) are {subject}, which no slab, file "
                    "or process accounts for: a driver or a leak.",
                    cell,
                    memory.share(size) + 0.5,
                    size,
                )
            )
    return found


def cgroups(memory: Evidence) -> list[Lead]:
    """Cgroups that were removed but hold memory, and those at their limit."""
    found = []
    table = memory.cgroups
    dying = table["dying"].fillna(False)
    # Page cache of files is no reason to worry: it goes when memory is needed, and the cgroup with it.
    pinned = (
        table[["anon_bytes", "shmem_bytes", "unmapped_bytes", "kernel_bytes"]].astype("float64").sum(axis=1)
    )
    count, size = int(dying.sum()), int(pinned[dying].sum())
    if (count >= 100 and count > 0.5 * len(table)) or memory.share(size) > 0.01:
        found.append(
            Lead(
                "dying cgroups",
                f"{count:,} cgroups",
                f"{count:,} of {len(table):,} memory cgroups were removed, but pages still charged to them keep them "
                f"({human_bytes(size)} that is not page cache of files); each costs the kernel memory of its own.",
                "dump.memory_by_cgroup[dump.memory_by_cgroup.dying]",
                memory.share(size) + 0.2,
                size,
            )
        )
    hits = own_events(table, "max")
    full = table["usage_bytes"].astype("float64") >= 0.97 * table["limit_bytes"].astype("float64")
    for row in table.index[full].tolist()[:10]:
        used = size_of(table["usage_bytes"][row])
        found.append(
            Lead(
                "cgroup at its limit",
                show_short(str(table["path"][row])),
                f"It uses {human_bytes(used)} of the {human_bytes(size_of(table['limit_bytes'][row]))} that it may, "
                f"and hit the limit {times(size_of(hits[row]))}.",
                f"dump.memory_by_cgroup.loc[{row}]",
                memory.share(used) + 0.5,
                used,
            )
        )
    return found


def page_cache(memory: Evidence) -> list[Lead]:
    """Files that were deleted but fill memory, shared memory that fills it, and what is not on disk yet."""
    found = []
    table = memory.files
    # SysV and memfd segments and shared anonymous memory, on no mount that anybody sees, never had a name.
    named = (table["kind"] == "file") | ((table["kind"] == "shmem") & table["mount_namespace"].notna())
    gone = (table["links"] == 0).fillna(False) & named
    size = int(table["bytes"][gone].sum())
    if memory.share(size) > 0.02:
        largest = table[gone].iloc[0]
        found.append(
            Lead(
                "deleted files",
                f"{int(gone.sum()):,} files",
                f"{human_bytes(size)} belong to files that have no name any more but are held open or mapped; the "
                f"largest is {show_short(str(largest['path']))} with {human_bytes(size_of(largest['bytes']))}.",
                "dump.memory_by_file[dump.memory_by_file.links == 0]",
                memory.share(size) + 0.3,
                size,
            )
        )
    for row in table.index[(table["kind"] == "shmem") & (table["bytes"] > 0.1 * memory.managed)].tolist()[:5]:
        held = int(table["bytes"][row])
        found.append(
            Lead(
                "large file in memory",
                show_short(str(table["path"][row])),
                f"It holds {human_bytes(held)} ({percent(memory.share(held))} of memory) in {table['fs'][row]}, which "
                "only swap or its deletion frees.",
                f"dump.memory_by_file.loc[{row}]",
                memory.share(held) + 0.8,
                held,
            )
        )
    real = table[table["kind"] != "shmem"]
    dirty = int(real["dirty_bytes"].sum() + real["writeback_bytes"].sum())
    if memory.share(dirty) > 0.1:
        found.append(
            Lead(
                "dirty pages",
                "page cache",
                f"{human_bytes(dirty)} ({percent(memory.share(dirty))} of memory) wait to be written or are being "
                "written.",
                'dump.memory_by_file.nlargest(10, "dirty_bytes")',
                memory.share(dirty) + 0.3,
                dirty,
            )
        )
    return found


def watermarks(memory: Evidence) -> list[Lead]:
    """Zones whose free memory is below a watermark, or free but in pieces."""
    found = []
    page = memory.kernel.page_size
    for name, free, marks, managed in memory.zones():
        pages = int(free.sum())
        below = [
            level for level, mark in zip(("min", "low"), marks[:2].tolist(), strict=True) if pages < mark
        ]
        if below:
            level = below[0]
            mark = int(marks[0 if level == "min" else 1]) * page
            found.append(
                Lead(
                    f"below the {level} watermark",
                    f"zone {name}",
                    f"{human_bytes(pages * page)} are free, less than its {level} watermark of {human_bytes(mark)}: "
                    + ("allocations wait for memory or fail." if level == "min" else "kswapd reclaims."),
                    "dump.plot.zones()",
                    (1.5 if level == "min" else 0.9) * managed * page / max(memory.managed, 1),
                    pages * page,
                )
            )
        large = int(free[_COSTLY_ORDER:].sum())
        if not below and pages > 2 * marks[2] and pages * page > 16 << 20 and large < 0.1 * pages:
            found.append(
                Lead(
                    "fragmentation",
                    f"zone {name}",
                    f"Of {human_bytes(pages * page)} free only {human_bytes(large * page)} lie in blocks of "
                    f"{human_bytes(page << _COSTLY_ORDER)} or more: larger allocations may fail with memory free.",
                    "dump.plot.physical()",
                    0.5 * managed * page / max(memory.managed, 1),
                    pages * page,
                )
            )
    return found


def swap(memory: Evidence) -> list[Lead]:
    """Swap that is used up."""
    kernel = memory.kernel
    if not has_swap(kernel):
        return []
    total = kernel.word("total_swap_pages") * kernel.page_size
    left = kernel.word("nr_swap_pages") * kernel.page_size
    if not 0 < total < 1 << 60 or left > 0.1 * total:
        return []
    return [
        Lead(
            "swap is full",
            "swap",
            f"{human_bytes(left)} of {human_bytes(total)} of swap are left.",
            'dump.memory_by_process.nlargest(10, "swap_bytes")',
            0.8,
            total - left,
        )
    ]


RULES: tuple[Callable[[Evidence], list[Lead]], ...] = (
    deadlocks,
    hung_tasks,
    convoys,
    out_of_memory,
    large_processes,
    many_processes,
    large_caches,
    unreclaimable,
    cgroups,
    page_cache,
    watermarks,
    swap,
    full_stacks,
    long_running,
    error_reports,
)

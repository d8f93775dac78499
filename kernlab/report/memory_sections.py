"""The sections of a report that tell of memory: who has it, as a figure and as tables of at most ten rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.linux.page.classifier import KIND_NAMES
from kernlab.plots.page_counts import GROUPS
from kernlab.report.parts import Figure, Folded, Part, Section, Table, Words
from kernlab.util.text import human_bytes, percent

if TYPE_CHECKING:
    from kernlab.dump import Dump

_TOP = 10
#: What the groups of the figure are, for those who do not know the kernel's words.
_WHAT = {
    "processes": "memory of programs",
    "shared memory": "files in memory (tmpfs) and memory that programs share",
    "page cache": "copies of files, given back when needed",
    "slab": "objects of the kernel",
    "page tables": "where in memory each program's memory is",
    "other kernel": "other memory of the kernel: stacks, modules, buffers",
    "free": "in use by nobody",
}
#: File systems that have no disk below them.
_IN_MEMORY = ("rootfs", "ramfs", "tmpfs", "devtmpfs", "hugetlbfs")


def memory(dump: Dump) -> Section:
    """Where the memory is: its kinds, the largest processes, caches, files."""
    groups = uses(dump)
    whole = max(int(groups["bytes"].sum()), 1)
    parts: list[Part] = [
        Table(
            "What memory was used for",
            groups,
            {"use": "use", "what": "that is", "bytes": "size", "share": "share"},
        ),
        Figure(
            dump.plot.memory(),
            f"The same uses of memory; the bold bars add up to the {human_bytes(whole)} that the kernel manages, and "
            "the shares are of these. Thin bars are a bold one's parts, each beginning where the one before ends. “Not "
            "usable” is what the kernel never had to give, such as the memory kept for the crash kernel.",
        ),
        *_processes(dump, whole),
        *_slabs(dump, whole),
        *_files(dump, whole),
    ]
    return Section("Where the memory is", parts)


def uses(dump: Dump) -> pd.DataFrame:
    """What memory is used for, by the names of the figure: use, what (in words), bytes, share of what the kernel
    manages; the largest first, free last."""
    table = dump.memory
    size = table["bytes"].astype("float64").fillna(0.0).groupby(table["kind"].astype(str)).sum()
    rows = [
        (name, _WHAT[name], int(size.reindex([KIND_NAMES[kind] for kind in kinds]).fillna(0.0).sum()))
        for name, _, kinds in GROUPS
        if name in _WHAT
    ]
    found = pd.DataFrame(rows, columns=["use", "what", "bytes"])
    found = found[found["bytes"] > 0]
    found["share"] = found["bytes"] / max(int(found["bytes"].sum()), 1)
    is_free = found["use"] == "free"
    used = found[~is_free].sort_values("bytes", ascending=False, kind="stable")
    return pd.concat([used, found[is_free]]).reset_index(drop=True)


def in_words(dump: Dump) -> Section:
    """`memory` without its figure."""
    groups = uses(dump)
    whole = max(int(groups["bytes"].sum()), 1)
    kinds = Table(
        "What memory was used for",
        groups,
        {"use": "use", "what": "that is", "bytes": "size", "share": "share"},
    )
    parts: list[Part] = [kinds, *_processes(dump, whole), *_slabs(dump, whole), *_files(dump, whole)]
    return Section("Where the memory is", parts)


def _processes(dump: Dump, whole: int) -> list[Part]:
    table = dump.memory_by_process
    table = table.assign(share=table["pss_bytes"].astype("float64") / whole)
    top = table.sort_values("pss_bytes", ascending=False, kind="stable").head(_TOP)
    if not len(top):
        return []
    swapped = bool(top["swap_bytes"].fillna(0).gt(0).any())
    columns = {
        "comm": "process",
        "pid": "pid",
        "pss_bytes": "holds",
        "share": "share",
        "anon_bytes": "anonymous",
        **({"swap_bytes": "swapped out"} if swapped else {}),
        "oom_score_adj": "OOM adjustment",
    }
    return [
        Table(f"The largest processes, {len(top)} of {len(table):,}", top, columns),
        Words(
            "“Holds” is what a process has in memory: its own, and its part of what several share. The OOM adjustment "
            "says who is killed first when memory runs out: -1,000 is never, 1,000 before all others."
        ),
    ]


def _slabs(dump: Dump, whole: int) -> list[Part]:
    table = dump.slabs
    table = table.assign(share=table["bytes"].astype("float64") / whole)
    top = table.sort_values("bytes", ascending=False, kind="stable").head(_TOP)
    if not len(top):
        return []
    first, held = str(top["name"].iloc[0]), top["bytes"].iloc[0]
    said = f"The kernel's own objects: the largest cache is {first} with {human_bytes(held)}"
    shown = Table(
        f"The largest slab caches, {len(top)} of {len(table):,}",
        top,
        {
            "name": "cache",
            "bytes": "size",
            "share": "share",
            "active": "objects in use",
            "object_size": "bytes each",
        },
    )
    if float(top["share"].iloc[0]) > 0.02:
        return [Words(f"{said}."), shown]
    return [Folded(said, [shown])]


def _files(dump: Dump, whole: int) -> list[Part]:
    table = dump.memory_by_file
    size = float(table["bytes"].astype("float64").sum())
    if not len(table) or size < 0.01 * whole:
        return []
    # What lies in memory only has no disk to go to.
    unsaved = table["dirty_bytes"].where(~table["fs"].isin(_IN_MEMORY) & (table["kind"] != "shmem"))
    table = table.assign(share=table["bytes"].astype("float64") / whole, unsaved_bytes=unsaved)
    top = table.sort_values("bytes", ascending=False, kind="stable").head(_TOP)
    shown = Table(
        f"Files that fill memory, {len(top)} of {len(table):,}",
        top,
        {
            "path": "file",
            "fs": "file system",
            "bytes": "in memory",
            "share": "share",
            "unsaved_bytes": "not yet on disk",
        },
    )
    note = Words(
        "Files of rootfs and tmpfs lie in memory only and never go to a disk (–). “/dev/zero (deleted)” is memory that "
        "programs share under no name."
        if top["path"].fillna("").str.startswith("/dev/zero (deleted)").any()
        else "Files of rootfs and tmpfs lie in memory only and never go to a disk (–)."
    )
    return [Folded(f"Files hold {human_bytes(size)} ({percent(size / whole)}) of memory", [shown, note])]


def memory_in_depth(dump: Dump) -> Section:
    """More of memory: processes and caches as figures, zones and their watermarks, cgroups, swap, tmpfs."""
    parts: list[Part] = [
        Figure(
            dump.plot.processes(),
            "Processes by what they hold; what several share is counted once, in parts.",
        ),
        Figure(dump.plot.slabs(), "Caches of kernel objects; what is free in them other uses cannot have."),
        Figure(
            dump.plot.zones(),
            "Each zone of memory by use. Below its low mark the kernel reclaims, below the min mark allocations wait.",
        ),
        *_cgroups(dump),
        *_rest("Swap areas", dump.swap, {"path": "area", "size_bytes": "size", "used_bytes": "used"}),
        *_rest(
            "File systems in memory",
            dump.tmpfs.sort_values("resident_bytes", ascending=False, kind="stable"),
            {
                "mount": "mounted at",
                "resident_bytes": "holds",
                "swap_bytes": "swapped",
                "size_bytes": "may hold",
            },
        ),
    ]
    return Section("Memory in depth", parts)


def _cgroups(dump: Dump) -> list[Part]:
    try:
        table = dump.memory_by_cgroup
    except KernlabError:  # CONFIG_MEMCG=n
        return []
    # The root's own use is not counted by the kernel.
    table = table[table["usage_bytes"].notna()]
    top = table.sort_values("usage_bytes", ascending=False, kind="stable").head(_TOP)
    return _rest(
        f"Control groups by use, {len(top)} of {len(table):,}",
        top,
        {"path": "control group", "usage_bytes": "uses", "limit_bytes": "may use", "oom_kill_local": "kills"},
    )


def _rest(caption: str, table: pd.DataFrame, columns: dict[str, str]) -> list[Part]:
    """A table of which a few rows are enough; nothing where there is none."""
    if not len(table):
        return []
    return [Table(caption, table.head(_TOP), columns)]

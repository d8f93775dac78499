"""Memory that the kernel itself holds: slab caches, vmalloc areas, per-CPU memory, page tables, unused huge pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from kernlab.errors import FaultError, KernlabError
from kernlab.escape import show_controls, show_short
from kernlab.linux.page.classifier import Kind
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import normal
from kernlab.util.text import human_bytes, percent
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, rows_of
from kernlab.verdict.holders import Holder

#: Holders of a kind that are looked at, the largest first.
_MOST = 4
#: One slab cache, the vmalloc areas of one function, per-CPU memory …: this part of memory is nothing to wonder at.
USUAL = 0.05
#: What drivers take page by page, and what kernels before types of pages do not tell from it (large kmalloc).
USUAL_PAGES = 0.15
#: No module is larger, and all of a machine together are not (bytes).
_MODULE_BYTES, _MODULES_BYTES = 1 << 26, 1 << 28
#: Who makes stacks of threads: their pages are counted as such (kernel/fork.c).
_STACKS = frozenset(
    {"kernel_clone", "_do_fork", "copy_process", "dup_task_struct", "fork_idle", "create_io_thread"}
)


def slabs(case: Case) -> Iterator[Holder]:
    """Slab caches that nothing shrinks."""
    table = case.memory.slabs
    shrinks = table["flags"].str.contains("SLAB_RECLAIM_ACCOUNT", na=False)
    size = table["bytes"].astype("float64").fillna(0.0).where(~shrinks, 0.0)
    largest = size.nlargest(_MOST).index
    owners = owner_modules(case, (int(table["address"][row]) for row in largest))
    for row in largest:
        name, held = str(table["name"][row]), int(size[row])
        used = table["active"][row]
        said = (
            f"the slab cache {name} holds {human_bytes(held)}, {percent(case.memory.share(held))} of memory"
        )
        against: tuple[str, ...] = ()
        if used is not pd.NA:
            said += f"; {int(used):,} objects of it are in use"
            inside = table["used_bytes"][row]
            if inside is not pd.NA and int(inside) < 0.5 * held:
                against = (
                    f"Only {human_bytes(int(inside))} of it are objects in use: the rest is free in it.",
                )
        yield Holder(
            "slab leak",
            show_short(name),
            held,
            (Evidence("slabs", show_controls(said), (int(row),)),),
            f"dump.slabs[dump.slabs.name == {name!r}]",
            "slab",
            USUAL,
            module=owners.get(int(table["address"][row])),
            cache=int(table["address"][row]),
            against=against,
        )


def owner_modules(case: Case, caches: Iterable[int]) -> dict[int, str]:
    """The module whose own data points to a slab cache is who made it: cache -> module, without the kernel's own."""
    found: dict[int, str] = {}
    left, wanted = _MODULES_BYTES, [np.uint64(cache) for cache in set(caches) if cache]
    for name, base, size in case.modules.head(1000)[["name", "base", "size_bytes"]].itertuples(index=False):
        if not wanted or pd.isna(base) or pd.isna(size) or not 0 < int(size) <= min(left, _MODULE_BYTES):
            continue
        left -= int(size)
        try:
            # What cannot be read is zero, which is no cache.
            data, _ = case.kernel.memory.read_partial(int(base), int(size) & ~7)
        except FaultError:  # no module lies there
            continue
        words = data.view(np.uint64)
        found |= {
            int(cache): str(name) for cache in wanted if int(cache) not in found and (words == cache).any()
        }
    return found


def vmalloc_areas(case: Case) -> Iterator[Holder]:
    """vmalloc areas by the function that asked for them."""
    for (function, module), rows in _by_caller(case).items():
        if function.startswith("pcpu_") or function in _STACKS:
            continue
        size = int(case.vmalloc["pages"][rows].astype("float64").sum()) * case.kernel.page_size
        who = f"{function} of the module {module}" if module else function
        callers = case.vmalloc["caller"][rows].dropna().unique().tolist()
        said = (
            f"{len(rows):,} vmalloc areas that {who} asked for hold {human_bytes(size)}, "
            f"{percent(case.memory.share(size))} of memory"
        )
        yield Holder(
            "vmalloc leak",
            f"vmalloc of {who}",
            size,
            (Evidence("vmalloc", show_controls(said), rows_of(case.vmalloc, rows)),),
            f"dump.vmalloc[dump.vmalloc.caller.isin({[str(one) for one in callers[:5]]!r})].nlargest(20, 'size_bytes')",
            "vmalloc",
            USUAL,
            module=module or None,
            function=function,
        )


def _by_caller(case: Case) -> dict[tuple[str, str], list[int]]:
    """Rows of `vmalloc` by function and module, those with most pages first."""
    table = case.vmalloc
    own = table[(table["kind"].astype(str).str.startswith("vmalloc")) & table["caller"].notna()]
    found: dict[tuple[str, str], list[int]] = {}
    for caller, rows in own.groupby(own["caller"].astype(str)):
        frame = frame_of(str(caller))
        key = (show_controls(str(caller)), "") if frame is None else (normal(frame.name), frame.module)
        found.setdefault(key, []).extend(int(row) for row in rows.index)
    pages = table["pages"].astype("float64").fillna(0.0)
    found = {key: sorted(rows, key=lambda row: -pages[row]) for key, rows in found.items()}
    order = sorted(found, key=lambda key: -float(pages[found[key]].sum()))
    return {key: found[key] for key in order[: 2 * _MOST]}


_KINDS = (
    ("page tables", (Kind.PAGE_TABLE,), "page tables", "page tables", USUAL,
     'dump.memory_by_process.nlargest(10, "page_tables_bytes")'),
    ("kernel stacks", (Kind.KERNEL_STACK,), "kernel stacks", "stack", USUAL, "dump.tasks.comm.value_counts()"),
    ("network buffers", (Kind.NETWORK,), "network buffers", "network", USUAL,
     'dump.pages[dump.pages.kind == "network"]'),
    ("large kmalloc", (Kind.LARGE_KMALLOC,), "large kmalloc", "large kmalloc", USUAL,
     'dump.pages[dump.pages.kind == "large kmalloc"]'),
    ("kernel memory leak", (Kind.OTHER,), "pages of the kernel that nobody accounts for", "", USUAL_PAGES,
     'dump.pages[dump.pages.kind == "other kernel"]'),
)  # fmt: skip


def kinds(case: Case) -> Iterator[Holder]:
    """Pages by what they are, where no table says whose."""
    for finding, of, subject, asks, usual, cell in _KINDS:
        size = case.memory.kind(*of)
        said = f"{subject} take {human_bytes(size)}, {percent(case.memory.share(size))} of memory"
        yield Holder(finding, subject, size, (Evidence("memory", said),), cell, asks, usual)
    yield _percpu(case)


def _percpu(case: Case) -> Holder:
    """Per-CPU memory, with what the kernel keeps about it in vmalloc areas (mm/percpu-vm.c, pcpu_create_chunk)."""
    rows = [row for (name, _), found in _by_caller(case).items() if name.startswith("pcpu_") for row in found]
    about = int(case.vmalloc["pages"][rows].astype("float64").sum()) * case.kernel.page_size
    own = case.memory.kind(Kind.PERCPU)
    said = f"per-CPU memory takes {human_bytes(own)}, {percent(case.memory.share(own))} of memory"
    evidence = [Evidence("memory", said)]
    if about:
        said = f"what the kernel keeps about it takes {human_bytes(about)} more, in vmalloc areas"
        evidence.append(Evidence("vmalloc", said, rows_of(case.vmalloc, rows)))
    return Holder(
        "per-CPU memory",
        "percpu memory",
        own + about,
        tuple(evidence),
        'dump.memory[dump.memory.kind == "percpu"]',
        "percpu",
        USUAL,
    )


def huge_pages(case: Case) -> Iterator[Holder]:
    """Huge pages that were set aside and that nobody uses: for all else they are gone."""
    try:
        table = case.hugepages
    except KernlabError:  # CONFIG_HUGETLBFS=n
        return
    for row in table.index:
        size = table["size_bytes"][row]
        if pd.isna(size) or pd.isna(table["free"][row]) or pd.isna(table["total"][row]):
            continue
        free, total = int(table["free"][row]), int(table["total"][row])
        said = (
            f"{total:,} huge pages of {human_bytes(int(size))} were set aside; {free:,} of them "
            f"({human_bytes(free * int(size))}) are in use by nobody, and nothing else may have them"
        )
        # Of a mapping, until it is touched (mm/hugetlb.c, hugetlb_acct_memory).
        if not pd.isna(table["reserved"][row]) and int(table["reserved"][row]):
            said += f"; {int(table['reserved'][row]):,} of them are promised to programs that have not touched them yet"
        yield Holder(
            "huge pages",
            f"huge pages of {human_bytes(int(size))}",
            free * int(size),
            (Evidence("hugepages", said, (int(row),)),),
            f"dump.hugepages.loc[[{row}]]",
            "",
            0.0,
        )


def socket_memory(case: Case) -> Iterator[Holder]:
    """What lies in sockets and nobody has taken, or cannot be sent (struct sock: sk_rmem_alloc, sk_wmem_alloc)."""
    table = case.sockets
    held = table["rmem_bytes"].astype("float64").fillna(0.0) + table["wmem_bytes"].astype("float64").fillna(
        0.0
    )
    # A socket that several processes have open has several rows.
    held = held.where(~table["address"].duplicated(), 0.0)
    size = int(held.sum())
    if not size:
        return
    largest = held.nlargest(100)
    said = f"{int((held > 0).sum()):,} sockets hold {human_bytes(size)}, {percent(case.memory.share(size))} of memory"
    yield Holder(
        "socket memory",
        "sockets",
        size,
        (Evidence("sockets", said, rows_of(table, list(largest[largest > 0].index))),),
        "dump.sockets.nlargest(10, 'rmem_bytes')",
        "network",
        USUAL,
    )

"""Who held memory as the OOM killer's report counted it: for a log that was saved without its dump."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_bytes, percent
from kernlab.verdict.finding import Evidence
from kernlab.verdict.holders import ALONE, Holder, without_numbers
from kernlab.verdict.kernel_holders import USUAL, USUAL_PAGES
from kernlab.verdict.oom_report import OomReport

_MOST = 4
#: What Mem-Info counts of pages that are somebody's (mm/show_mem.c, show_free_areas). `shmem` is part of the anonymous
#: lists, `mapped` of all; what is not counted at all is vmalloc, per-CPU memory and what drivers take page by page.
_COUNTED = (
    *("active_anon", "inactive_anon", "isolated_anon", "active_file", "inactive_file", "isolated_file"),
    *("unevictable", "slab_reclaimable", "slab_unreclaimable", "pagetables", "sec_pagetables", "bounce"),
    *("free", "free_pcp"),
)
#: Those that every release prints.
_ALWAYS = (
    *("active_anon", "inactive_anon", "active_file", "inactive_file", "unevictable"),
    *("slab_reclaimable", "slab_unreclaimable", "pagetables", "free"),
)
#: Where anonymous pages and shared memory are; what may not be swapped out is unevictable.
_ANONYMOUS = ("active_anon", "inactive_anon", "isolated_anon", "unevictable")


def managed(report: OomReport) -> int:
    """Bytes that the page allocator had to give; 0 where the report does not say."""
    zones = sum(zone.managed for zone in report.zones)
    pages = report.machine.get("RAM", 0) - report.machine.get("reserved", 0)
    return zones or max(pages, 0) * report.page_size


def by_class(report: OomReport) -> dict[str, int]:
    """Bytes by what the report counts: anonymous, shmem, slab, page tables and uncounted; empty where it is torn."""
    counted, page = report.counted, report.page_size
    # What a torn report does not show would be taken for what it does not count.
    if not all(name in counted for name in _ALWAYS) or not counted["free"] or "RAM" not in report.machine:
        return {}
    shmem = counted.get("shmem", 0)
    anonymous = sum(counted.get(name, 0) for name in _ANONYMOUS) - shmem
    known = sum(counted.get(name, 0) for name in _COUNTED) * page + report.huge[1]
    return {
        "anonymous": max(anonymous, 0) * page + sum(task.swapped for task in report.tasks),
        "shmem": shmem * page,
        "slab": counted["slab_unreclaimable"] * page,
        "page tables": counted["pagetables"] * page,
        "uncounted": max(managed(report) - known, 0),
    }


def logged_holders(report: OomReport, label: int, cell: str) -> Iterator[Holder]:
    """Holders by a report; `label` is that of its first line in the log's index."""
    whole = managed(report)
    if not whole:
        return

    def holder(finding: str, subject: str, size: int, said: str, **more: object) -> Holder:
        evidence = (Evidence("log", show_controls(f"{said}, {percent(size / whole)} of memory"), (label,)),)
        return Holder(finding, subject, size, evidence, cell, **more)  # type: ignore[arg-type]

    sizes = {task.pid: max(task.resident, 0) + task.swapped for task in report.tasks}
    names = {task.pid: task.comm for task in report.tasks}
    rest = "" if all(task.anonymous for task in report.tasks) else ", files that it maps with it"
    alike: dict[str, list[int]] = defaultdict(list)
    for pid, comm in names.items():
        alike[without_numbers(comm)].append(pid)
    # What processes share, such as after a fork, each of them counts.
    anonymous = sum(report.counted.get(name, 0) for name in _ANONYMOUS) * report.page_size
    most = anonymous + sum(task.swapped for task in report.tasks) if anonymous else whole
    told: set[int] = set()
    for words, pids in sorted(alike.items(), key=lambda group: -sum(sizes[pid] for pid in group[1]))[:_MOST]:
        size = min(sum(sizes[pid] for pid in pids), most)
        if len(pids) < 2 or max(sizes[pid] for pid in pids) > ALONE * size:
            continue
        told |= set(pids)
        called = f"{len(pids):,} processes {show_short(words.replace('#', 'N'))}"
        said = f"{called} held {human_bytes(size)} together"
        yield holder("processes took the memory", called, size, said, asks="anonymous", pids=frozenset(pids))
    for pid in sorted(sizes, key=lambda one: -sizes[one])[:_MOST]:
        if pid in told:
            continue
        name = show_controls(say_thread(names[pid], pid))
        said = f"{name} held {human_bytes(sizes[pid])}{rest}"
        more = {"asks": "anonymous", "pid": pid, "pids": frozenset({pid})}
        yield holder("process took the memory", name, sizes[pid], said, **more)
    yield from _of_kernel(report, whole, holder)


def _of_kernel(report: OomReport, whole: int, holder: object) -> Iterator[Holder]:
    make, page, counted = holder, report.page_size, report.counted
    assert callable(make)
    slab = counted.get("slab_unreclaimable", 0) * page
    name, largest = max(report.slabs.items(), key=lambda each: each[1], default=("", 0))
    if largest > ALONE * slab:
        said = f"the slab cache {name} held {human_bytes(largest)}"
        yield make("slab leak", show_short(name), largest, said, asks="slab", usual=USUAL)
    elif slab:
        said = f"slab caches that nothing shrinks held {human_bytes(slab)}"
        yield make("slab leak", "slab caches", slab, said, asks="slab", usual=2 * USUAL)
    if shmem := counted.get("shmem", 0) * page:
        said = f"files in memory and shared memory held {human_bytes(shmem)}"
        yield make("file in memory", "files in memory", shmem, said, asks="shmem", usual=USUAL)
    if tables := counted.get("pagetables", 0) * page:
        said = f"page tables took {human_bytes(tables)}"
        yield make("page tables", "page tables", tables, said, asks="page tables", usual=USUAL)
    free, total = report.huge
    if total:
        said = f"of huge pages, {human_bytes(free)} were set aside and used by nobody"
        yield make("huge pages", "huge pages", free, said, usual=0.0)
    if missing := by_class(report).get("uncounted", 0):
        said = (
            f"{human_bytes(missing)} are not counted by the report: vmalloc, per-CPU memory, pages of drivers"
        )
        subject = "memory that the kernel's report does not count"
        yield make("kernel memory leak", subject, missing, said, asks="uncounted", usual=USUAL_PAGES)

"""The dump as the state to walk back from: bytes of each kind of memory and of each process, exact as of the crash."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.linux import vm_counters, zones
from kernlab.linux.page.classifier import Kind
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.tasks import find_tasks
from kernlab.replay import kinds
from kernlab.replay.kinds import ANON, KINDS, OF_PAGE, OTHER, SLAB, STACKS
from kernlab.replay.mm_ids import mm_ids
from kernlab.tables.memory.meminfo import meminfo
from kernlab.tables.memory.memory import count
from kernlab.tables.processes.tasks import PF_KTHREAD, counted

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: Counters of an mm by the replay's kinds: anon, file, shmem, swap (include/linux/mm_types_task.h).
MEMBERS = ("MM_ANONPAGES", "MM_FILEPAGES", "MM_SHMEMPAGES", "MM_SWAPENTS")
RSS_KINDS = ("anon", "file", "shmem", "swap")


@dataclass(frozen=True, slots=True)
class EndState:
    """Memory at the crash: `values` int64[kinds] bytes and which are `known`; `total` managed, `swap` swapped out."""

    values: I64
    known: Mask
    total: int | None
    swap: int | None


def memory_at_end(kernel: Kernel) -> EndState:
    """The kinds by the kernel's counters, all CPUs' parts added; where one is lost, and to check, by the pages."""
    node = zones.nodes(kernel)
    _, zone = zones.zones(kernel, node)
    of = [vm_counters.zone_counters(kernel, zone), vm_counters.node_counters(kernel, node)]

    def counter(name: str) -> tuple[I64, Mask]:
        for counters in of:
            if counters.get(name) is not None:
                total = counters.total(name)
                return np.array([total or 0]), np.array([total is not None])
        return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool)

    values, known = kinds.from_counters(counter, 1, kernel.page_size)
    total = vm_counters.global_word(kernel, vm_counters.total_ram(kernel))
    total = None if total is None else total * kernel.page_size
    by_page = _by_page(kernel)
    if by_page is not None:
        lacking = ~known[0, :OTHER]
        values[0, :OTHER][lacking], known[0, :OTHER][lacking] = by_page[:OTHER][lacking], True
        _compare(kernel, values[0], by_page, total)
    kinds.complete(values, known, total)
    return EndState(values[0], known[0], total, _swapped(kernel))


def _by_page(kernel: Kernel) -> I64 | None:
    """Bytes of each kind by the pages; None where page structs are not in the dump."""
    survey = PageSurvey(kernel)
    pages = count(survey).sum(axis=0)
    if pages[Kind.EXCLUDED]:
        return None
    found = np.zeros(len(KINDS), dtype=np.int64)
    np.add.at(found, OF_PAGE, pages)
    return found * kernel.page_size


def _compare(kernel: Kernel, counters: I64, pages: I64, total: int | None) -> None:
    """Say where pages and counters differ by more than what pages do not tell: whether anybody maps them, whether they
    are stacks that a CPU keeps for the next thread, and before 6.14 large kmallocs."""
    for kind, (one, other) in enumerate(zip(counters.tolist(), pages.tolist(), strict=True)):
        off = one - other if kind in (ANON, STACKS) else other - one if kind == SLAB else abs(one - other)
        if kind != OTHER and off > max((total or 0) // 100, 1 << 20):
            kernel.lost(
                f"replay: the kernel counts {one:,} bytes of {KINDS[kind]}, its pages are {other:,}: the counter is "
                "used"
            )


def _swapped(kernel: Kernel) -> int | None:
    found = meminfo(kernel)
    total, free = found.get("SwapTotal"), found.get("SwapFree")
    return None if pd.isna(total) or pd.isna(free) else int(total) - int(free)


def kinds_of_frames(kernel: Kernel, pfns: I64) -> npt.NDArray[np.int8]:
    """The replay's kind of each page frame at the crash; -1 for what is none, or not in the dump."""
    found = np.full(len(pfns), -1, dtype=np.int8)
    order = np.argsort(pfns, kind="stable")
    wanted = pfns[order]
    for chunk in PageSurvey(kernel):
        for piece in chunk.pieces:
            low, high = np.searchsorted(wanted, (piece.first_pfn, piece.last_pfn))
            if low < high:
                rows = piece.rows.start + wanted[low:high] - piece.first_pfn
                found[order[low:high]] = OF_PAGE[chunk.kind[rows]]
    return found


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that live in the dump: one entry each; `bytes` int64[n, RSS_KINDS], `known` likewise.

    `mm_id` is what rss_stat calls its mm, -1 where that cannot be known; `start` (ns since boot, suspend included) is
    -1 where not known.
    """

    pid: I64
    comm: list[str | None]
    start: I64
    bytes: I64
    known: Mask
    mm_id: I64
    #: Thread id to process id, of all threads: both int64, ascending by thread.
    threads: I64
    leaders: I64


def processes_at_end(kernel: Kernel) -> Processes:
    """Every process with memory of its own, by pid."""
    task = find_tasks(kernel)
    tgid, pid = task["tgid"], task["pid"]
    known = tgid.valid & pid.valid
    order = np.flatnonzero(known)
    order = order[np.argsort(pid.values[order], kind="stable")]
    threads, leaders = pid.values[order].astype(np.int64), tgid.values[order].astype(np.int64)
    mm = task["mm"]
    user = known & mm.true & ~task["flags"].has(PF_KTHREAD).true
    rows = np.flatnonzero(user)
    rows = rows[np.lexsort((pid.values[rows], tgid.values[rows]))]
    rows = rows[np.unique(tgid.values[rows], return_index=True)[1]]
    # Threads keep back a part of what their mm has counted: all of them are asked.
    columns = [counted(kernel, task, mm, (name,)) for name in MEMBERS]
    sizes = np.stack([column.filled(0).astype(np.int64)[rows] for column in columns], axis=1)
    there = np.stack([column.valid[rows] for column in columns], axis=1)
    some = task[rows]
    start = some.first("start_boottime", "real_start_time").int64
    ids = mm_ids(kernel, mm.values[rows])
    return Processes(
        tgid.values[rows].astype(np.int64),
        some["comm"].tolist(),
        start.filled(-1).astype(np.int64),
        sizes,
        there,
        np.full(len(rows), -1, dtype=np.int64) if ids is None else ids.astype(np.int64),
        threads,
        leaders,
    )

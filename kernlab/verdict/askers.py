"""Who asked for memory when there was none: the stack of the OOM killer's report in, what was asked for and by whom."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from kernlab.oops.frames import Frame, frame_of
from kernlab.oops.functions import is_boilerplate, normal
from kernlab.verdict.case import Case

#: What a stack asks for, by the functions that give it out. The outermost of them is who was asked.
_GIVERS = (
    ("percpu", r"pcpu_|_*alloc_percpu|percpu_alloc"),  # mm/percpu.c
    ("vmalloc", r"_*vmalloc|_*vzalloc"),  # mm/vmalloc.c
    ("large kmalloc", r"_*kmalloc_large|kmalloc_order"),  # mm/slub.c
    ("slab", r"allocate_slab|new_slab|_*slab_alloc|_*kmem_cache_alloc|_*kmalloc|_*kzalloc|_*krealloc|kmemdup|kstrdup"),
    ("network", r"_*alloc_skb|_*(?:netdev|napi)_alloc|skb_page_frag|page_pool_|sock_alloc_send"),  # net/core
    ("page tables", r"_*(?:pte|pmd|pud|p4d)_alloc"),  # mm/memory.c
    ("stack", r"alloc_thread_stack|dup_task_struct"),  # kernel/fork.c
    ("shmem", r"shmem_"),  # mm/shmem.c
    ("anonymous", r"do_anonymous_page|do_wp_page|wp_page_copy|do_cow_fault|do_huge_pmd|do_swap_page|_*handle_mm_fault"),
    ("page cache", r"_*filemap_|_*page_cache_|ondemand_readahead|pagecache_get_page"),  # mm/filemap.c
)  # fmt: skip
_PATTERNS = tuple((asks, re.compile(pattern)) for asks, pattern in _GIVERS)
#: Between those: they ask somebody else in turn.
_BETWEEN = re.compile(
    r"_*alloc_(?:frozen_)?pages|_*folio_alloc|vma_alloc|alloc_page|get_(?:zeroed|free)_page|_*get_free_pages|_*kvmalloc|"
    r"_*(?:mem_cgroup|memcg)_|try_charge|out_of_memory|alloc_swap_folio|__alloc|prealloc|policy_"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Asker:
    """What was asked for ('' where the stack does not tell), and the function and its module that did."""

    asks: str
    function: str | None = None
    module: str | None = None

    @property
    def name(self) -> str:
        """As people say it."""
        return f"{self.function} of the module {self.module}" if self.module else str(self.function)


def asker(frames: Iterable[str]) -> Asker:
    """The frames of a report of the OOM killer, the innermost first, in."""
    sure = [frame for text in frames if (frame := frame_of(text)) is not None and frame.reliable]
    names = [normal(frame.name) for frame in sure]
    start = max((place for place, name in enumerate(names) if name == "out_of_memory"), default=-1) + 1
    asks = ""
    for frame, name in zip(sure[start:], names[start:], strict=True):
        given = next((one for one, pattern in _PATTERNS if pattern.match(name)), "")
        if given == "anonymous":
            return Asker(given)
        asks = given or asks
        if given or _BETWEEN.match(name):
            continue
        if is_boilerplate(name) and not frame.module:
            continue
        return Asker(asks, name, frame.module or None)
    return Asker(asks)


def asked_for_cache(case: Case, pid: int, cache: int) -> bool:
    """Is this slab cache what a thread asks for: does its stack have the cache's address where it asks?

    `cache` is the address of the struct kmem_cache. Only the frames of the allocator count: what lies above them may be
    left from earlier calls.
    """
    rows = case.stack_of(pid)
    names = [_name(symbol) for symbol in rows["symbol"]]
    inside = [place for place, name in enumerate(names) if re.match(dict(_GIVERS)["slab"], name)]
    if not inside or max(inside) + 1 >= len(rows):
        return False
    # A frame's sp is where its own part begins; the one that called ends it.
    low, high = rows["sp"].iloc[min(inside)], rows["sp"].iloc[max(inside) + 1]
    if pd.isna(low) or pd.isna(high) or not 0 < int(high) - int(low) <= 1 << 14:
        return False
    places = np.arange(int(low) & ~7, int(high), 8, dtype=np.uint64)
    words, read = case.kernel.words(places, what="")
    return bool((words[read] == np.uint64(cache)).any())


def _name(symbol: object) -> str:
    frame: Frame | None = None if pd.isna(symbol) else frame_of(str(symbol))  # type: ignore[call-overload]
    return "" if frame is None else normal(frame.name)

"""What is recorded: groups of events, and the settings of a recorder."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .telling import RefusedError

#: Groups of events: SYSTEM/EVENT, or SYSTEM/EVENT if FILTER. A kernel that has not all of them records those it has.
GROUPS: dict[str, tuple[str, ...]] = {
    "sched": ("sched/sched_switch",),
    "tasks": (
        "task/task_newtask",
        "task/task_rename",
        "sched/sched_process_exec",
        "sched/sched_process_exit",
    ),
    "oom": (
        "oom/mark_victim",
        "oom/wake_reaper",
        "oom/start_task_reaping",
        "oom/finish_task_reaping",
        "oom/reclaim_retry_zone",
    ),
    "reclaim": (
        "vmscan/mm_vmscan_kswapd_wake",
        "vmscan/mm_vmscan_kswapd_sleep",
        "vmscan/mm_vmscan_direct_reclaim_begin",
        "vmscan/mm_vmscan_direct_reclaim_end",
        "vmscan/mm_vmscan_memcg_reclaim_begin",
        "vmscan/mm_vmscan_memcg_reclaim_end",
    ),
    "block": (
        "block/block_rq_issue",
        "block/block_rq_complete",
        "block/block_rq_requeue",
        "block/block_rq_error",
    ),
    "log": ("printk/console",),
    # Every page fault that maps a page (in 6.2 and newer; each 64th before) or every page: not in the default.
    "rss": ("kmem/rss_stat if !(size & 0x3f000)",),
    "batches": ("kmem/mm_page_alloc_zone_locked", "kmem/mm_page_pcpu_drain"),
    "large-pages": ("kmem/mm_page_alloc if order > 3", "kmem/mm_page_free if order > 3"),
}
DEFAULT_EVENTS = ("sched", "tasks", "oom", "reclaim", "block", "log")


@dataclass(frozen=True)
class Settings:
    """What is recorded, and how much it may take."""

    interval_ms: int = 200
    size_kb: int = 0  # of each CPU's buffer; 0: 8 MiB, and of all no more than a 64th of memory
    events: tuple[str, ...] = DEFAULT_EVENTS
    disks: tuple[str, ...] = ()
    tasks: int = 24  # how many processes a mark tells of
    share: float = 2.0  # percent of one CPU that the service may use: marks come later where it needs more
    take: bool = False  # use an instance of this name that somebody else made
    keep_previous: str = ""  # folder for what the previous boot left in a buffer that was mapped at boot


def wanted_events(events: tuple[str, ...]) -> list[tuple[str, str]]:
    """SYSTEM/EVENT and its filter ("" without) for groups and events; RefusedError for what is neither."""
    found: dict[str, str] = {}
    for spec in (each for name in events for each in GROUPS.get(name, (name,))):
        name, _, condition = spec.partition(" if ")
        if not re.fullmatch(r"\w+[/:]\w+", name):
            raise RefusedError(f"{spec!r} is neither SYSTEM/EVENT nor a group: {', '.join(GROUPS)}.")
        found[name.replace(":", "/")] = condition.strip()
    return list(found.items())

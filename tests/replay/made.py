"""A recording that no machine made: events by name, what is enabled, and holes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernlab.replay.recording import Break
from kernlab.traces.ftrace.numbers import Numbers


@dataclass
class Made:
    """What `Recording` gives of a trace, from lists: `events_of` has rows (time, cpu, pid, field, …) by event."""

    kernel: Any
    fields_of: dict[str, tuple[str, ...]]
    events_of: dict[str, list[tuple[Any, ...]]]
    thin: set[str] = field(default_factory=set)
    breaks: list[Break] = field(default_factory=list)
    source: str = "ftrace made"

    def complete(self, *names: str) -> bool:
        return all(name in self.fields_of and name not in self.thin for name in names)

    def events(self, name: str, *wanted: str) -> Numbers:
        rows = self.events_of.get(name, [])
        names = self.fields_of.get(name, wanted)
        columns = list(zip(*rows, strict=True)) if rows else [() for _ in range(3 + len(names))]
        row, cpu, pid = (np.array(columns[place], dtype=np.int64) for place in range(3))
        held: dict[str, Any] = {}
        for place, one in enumerate(names):
            values = columns[3 + place]
            text = bool(values) and isinstance(values[0], str)
            held[one] = np.array(values, dtype=object if text else np.int64)
        return Numbers(row, row, cpu, pid, {one: held[one] for one in wanted})


PAGES = {
    "mm_page_alloc": ("pfn", "order", "gfp_flags", "migratetype"),
    "mm_page_free": ("pfn", "order"),
}
RSS = {
    "rss_stat": ("mm_id", "curr", "member", "size"),
    "sched_process_exit": ("pid",),
    "task_newtask": ("pid", "clone_flags"),
}
SWITCH = {"sched_switch": ("prev_pid", "prev_comm", "next_pid", "next_comm")}

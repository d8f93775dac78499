"""What the kernel prints of memory when it runs out: the log's records in, readings of memory and of processes out.

Mirrors mm/show_mem.c (show_free_areas, __show_mem) and mm/oom_kill.c (dump_tasks). Sizes of processes are pages; the
blocks come with an OOM kill, a failed allocation, and sysrq-m.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_PAIR = re.compile(r"\b([a-z_]+):\s?([0-9]{1,15})\b")
_NODE = re.compile(r"Node [0-9]+ active_anon:.*?\bkernel_stack:([0-9]{1,15})kB")
_LINES = {
    re.compile(r"^([0-9]{1,15}) total pagecache pages"): "pagecache",
    re.compile(r"^([0-9]{1,15}) pages in swap cache"): "swapcache",
    re.compile(r"^Free swap  = ([0-9]{1,15})kB"): "swap_free_kb",
    re.compile(r"^Total swap = ([0-9]{1,15})kB"): "swap_total_kb",
}
_TASKS = re.compile(r"^\[\s*pid\s*\]\s+uid\s+tgid\s+(.*)\bname\s*$")
_TASK = re.compile(r"^\[\s*([0-9]{1,10})\]\s+([0-9]+)\s+([0-9]{1,10})((?:\s+-?[0-9]{1,15})+)\s(.*)$")
#: Counters of one block; more are damage.
_MOST = 256


@dataclass(slots=True)
class Block:
    """One block: `at` is the index of its first record; counters in pages by the names that are printed."""

    at: int
    counters: dict[str, int] = field(default_factory=dict)
    stack_kb: int | None = None


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One process of a table of tasks: what the table's header names, by its names; `at` is the record's index."""

    at: int
    pid: int
    comm: str
    values: dict[str, int]


def blocks(texts: Sequence[str | None]) -> tuple[list[Block], list[TaskLine]]:
    """The blocks and the lines of tables of tasks among the log's records.

    >>> found, tasks = blocks(["active_anon:5 inactive_anon:7", "12 total pagecache pages"])
    >>> found[0].counters
    {'active_anon': 5, 'inactive_anon': 7, 'pagecache': 12}
    """
    found: list[Block] = []
    tasks: list[TaskLine] = []
    header: list[str] | None = None
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            continue
        if text.startswith("active_anon:"):
            pairs = _PAIR.findall(text)[:_MOST]
            found.append(Block(at, {name: int(value) for name, value in pairs}))
            header = None
        elif found and (node := _NODE.match(text)):
            found[-1].stack_kb = (found[-1].stack_kb or 0) + int(node[1])
        elif match := _TASKS.match(text):
            header = match[1].split()
        elif header is not None and (task := _TASK.match(text)):
            numbers = [int(number) for number in task[4].split()]
            if len(numbers) == len(header):
                tasks.append(TaskLine(at, int(task[3]), task[5], dict(zip(header, numbers, strict=True))))
        elif found:
            for pattern, name in _LINES.items():
                if match := pattern.match(text):
                    found[-1].counters.setdefault(name, int(match[1]))
    return found, tasks

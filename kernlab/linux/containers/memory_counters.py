"""What memory cgroups count and where their limits are: struct mem_cgroup in, bytes and numbers of events out."""

from __future__ import annotations

import numpy as np

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray

#: Events that memory cgroups count (mm/memcontrol.c, memory_events_show): the names in memory.events.
EVENTS = {
    "low": "MEMCG_LOW",
    "high": "MEMCG_HIGH",
    "max": "MEMCG_MAX",
    "oom": "MEMCG_OOM",
    "oom_kill": "MEMCG_OOM_KILL",
    # Linux commit b6bf9abb0aa4 ("mm/memcg: add oom_group_kill memory event") (in v5.17).
    "oom_group_kill": "MEMCG_OOM_GROUP_KILL",
    # Seen in 7.2 and 7.3, not in 6.12: sockets that were held back for lack of memory.
    "sock_throttled": "MEMCG_SOCK_THROTTLED",
}


def counted(kernel: Kernel, group: StructArray, path: str) -> Column:
    """Bytes of a counter of pages; a counter that this kernel does not have (`kmem`, `memsw`) is missing."""
    return group[path].clip(0) * kernel.page_size if group.has(path) else Column.missing(len(group), "int")


def limit(kernel: Kernel, group: StructArray, path: str) -> Column:
    """A limit in bytes, missing where there is none ("max"), or no such limit in this kernel."""
    # PAGE_COUNTER_MAX (include/linux/page_counter.h).
    # Linux commit d1663a907b9e ("mm/memcg: move cgroup high memory limit setting into struct page_counter") (in v5.8).
    path = "high" if path == "memory.high" and not group.has(path) else path
    if not group.has(path):
        return Column.missing(len(group), "int")
    unlimited, pages = np.int64((1 << 63) - 1) // kernel.page_size, group[path]
    return (pages * kernel.page_size).where(((pages >= 0) & (pages < unlimited)).true)


def events(kernel: Kernel, group: StructArray) -> dict[str, Column]:
    """What happened to each cgroup and below it, and to itself alone (`_local`), since it was made."""
    found: dict[str, Column] = {}
    for suffix, member in (("", "memory_events"), ("_local", "memory_events_local")):
        for name, enumerator in EVENTS.items():
            number = kernel.types.enumerator_or_none(enumerator)
            if number is not None and group.has(f"{member}[{number}]"):
                found[name + suffix] = group[f"{member}[{number}].counter"]
    return found

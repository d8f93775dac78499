"""Tables as people look for them: by the part of the machine that they are about."""

from __future__ import annotations

from kernlab.tables import INDEX

#: What to look at first.
FIRST = "suspects"

#: Group -> its tables, in the order in which they are read. What no group names is listed under system.
GROUPS: dict[str, tuple[str, ...]] = {
    "processes": ("tasks", "maps", "map_usage", "stacks"),
    "memory": (
        "memory",
        "memory_by_process",
        "memory_by_file",
        "memory_by_cgroup",
        "meminfo",
        "vmstat",
        "slabs",
        "slab_objects",
        "vmalloc",
        "pages",
        "zones",
        "nodes",
        "buddyinfo",
        "hugepages",
        "swap",
        "shm",
        "iomem",
        "owner",
        "search",
    ),
    "files": ("files", "mounts", "filesystems", "tmpfs"),
    "net": ("sockets", "netdevs"),
    "devices": ("disks", "inflight", "devices", "irqs"),
    "scheduling": ("waits", "locks", "runqueues", "timers", "works", "pressure", "delays"),
    "system": ("info", "log", "modules", "symbols"),
}


def grouped() -> dict[str, list[str]]:
    """Group -> the tables that there are, each once; `FIRST` is in none of them. Groups without tables are left out."""
    named = {name: group for group, names in GROUPS.items() for name in names}
    found: dict[str, list[str]] = {
        group: [name for name in names if name in INDEX] for group, names in GROUPS.items()
    }
    found["system"] += [name for name in INDEX if name not in named and name != FIRST]
    return {group: names for group, names in found.items() if names}

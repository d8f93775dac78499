"""One module per kernel subsystem, one public function per table; here only which module holds which table."""

from kernlab.dataframes.registry import Registry

#: Name -> (module, description, takes parameters). Nothing is imported until a table is first asked for.
INDEX = Registry(
    {
        "buddyinfo": (
            "kernlab.tables.memory.zones",
            "Free blocks of each size in each zone (/proc/buddyinfo).",
        ),
        "hugepages": (
            "kernlab.tables.memory.hugepages",
            "Pools of huge pages, one row per size (HugePages_* in /proc/meminfo).",
        ),
        "info": ("kernlab.tables.system.info", "What the dump is and how the machine died."),
        "iomem": ("kernlab.tables.memory.iomem", "Physical address ranges and who has them (/proc/iomem)."),
        "log": ("kernlab.tables.system.log", "The kernel's log (dmesg), one row per printk record."),
        "maps": ("kernlab.tables.processes.maps", "Memory maps of all processes, one row per VMA."),
        "meminfo": (
            "kernlab.tables.memory.meminfo",
            "The memory summary (/proc/meminfo): sizes in bytes, HugePages_* as counts.",
        ),
        "memory": (
            "kernlab.tables.memory.memory",
            "Where the memory is: bytes of each kind on each NUMA node, all of it.",
        ),
        "memory_by_cgroup": (
            "kernlab.tables.memory.memory_by_cgroup",
            "Memory cgroups, one row each, with what is charged to them.",
        ),
        "memory_by_file": (
            "kernlab.tables.memory.memory_by_file",
            "The page cache by file: one row per inode, with its path.",
        ),
        "memory_by_process": (
            "kernlab.tables.memory.memory_by_process",
            "Processes by the memory that they hold, from their page tables.",
        ),
        "modules": ("kernlab.tables.system.modules", "Loaded kernel modules, one row each."),
        "nodes": (
            "kernlab.tables.memory.zones",
            "NUMA nodes, one row each, with their counters (/proc/zoneinfo).",
        ),
        "owner": (
            "kernlab.tables.memory.owner",
            "What lies at an address, or at many: symbol, slab object, stack, vmalloc area, page.",
            True,
        ),
        "pages": (
            "kernlab.tables.memory.pages",
            "Page frames, one row each: what every page of memory is used for.",
        ),
        "search": (
            "kernlab.tables.memory.search",
            "Where a value, some bytes or pointers to something stand in memory, and whose they are.",
            True,
        ),
        "shm": (
            "kernlab.tables.memory.shm",
            "System V shared memory segments of all IPC namespaces (/proc/sysvipc/shm).",
        ),
        "slab_objects": (
            "kernlab.tables.memory.slab_objects",
            "Slab objects of one cache, or of all: every one, in use or free.",
            True,
        ),
        "slabs": ("kernlab.tables.memory.slabs", "Slab caches, one row each, with their true use."),
        "suspects": (
            "kernlab.tables.suspects.suspects",
            "Leads: what looks wrong with the memory, with evidence and the cell that shows more.",
        ),
        "swap": ("kernlab.tables.memory.swap", "Swap areas and their use (/proc/swaps)."),
        "symbols": ("kernlab.tables.system.symbols", "Symbols of the kernel and its modules (kallsyms)."),
        "tasks": ("kernlab.tables.processes.tasks", "Threads, one row each, and the idle task of each CPU."),
        "tmpfs": ("kernlab.tables.files.tmpfs", "File systems in memory (tmpfs), with what lies in each."),
        "vmalloc": (
            "kernlab.tables.memory.vmalloc",
            "Areas of vmalloc, vmap and ioremap, with who made them.",
        ),
        "vmstat": (
            "kernlab.tables.memory.vmstat",
            "Counters of memory and events since boot, by name (/proc/vmstat).",
        ),
        "zones": (
            "kernlab.tables.memory.zones",
            "Memory zones of each NUMA node, one row each (/proc/zoneinfo).",
        ),
    }
)

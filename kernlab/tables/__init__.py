"""One module per kernel subsystem, one public function per table; here only which module holds which table."""

from kernlab.frames.registry import Registry

#: Name -> (module, description, takes parameters). Nothing is imported until a table is first asked for.
INDEX = Registry(
    {
        "info": ("kernlab.tables.info", "What the dump is and how the machine died."),
        "log": ("kernlab.tables.log", "The kernel's log (dmesg), one row per printk record."),
        "maps": ("kernlab.tables.maps", "Memory maps of all processes, one row per VMA."),
        "memory_by_cgroup": (
            "kernlab.tables.memory_by_cgroup",
            "Memory cgroups, one row each, with what is charged to them.",
        ),
        "memory_by_file": (
            "kernlab.tables.memory_by_file",
            "The page cache by file: one row per inode, with its path.",
        ),
        "memory_by_process": (
            "kernlab.tables.memory_by_process",
            "Processes by the memory that they hold, from their page tables.",
        ),
        "modules": ("kernlab.tables.modules", "Loaded kernel modules, one row each."),
        "owner": (
            "kernlab.tables.owner",
            "What lies at an address, or at many: symbol, slab object, stack, vmalloc area, page.",
            True,
        ),
        "pages": (
            "kernlab.tables.pages",
            "Page frames, one row each: what every page of memory is used for.",
        ),
        "search": (
            "kernlab.tables.search",
            "Where a value, some bytes or pointers to something stand in memory, and whose they are.",
            True,
        ),
        "slab_objects": (
            "kernlab.tables.slab_objects",
            "Slab objects of one cache, or of all: every one, in use or free.",
            True,
        ),
        "slabs": ("kernlab.tables.slabs", "Slab caches, one row each, with their true use."),
        "suspects": (
            "kernlab.tables.suspects",
            "Leads: what looks wrong with the memory, with evidence and the cell that shows more.",
        ),
        "symbols": ("kernlab.tables.symbols", "Symbols of the kernel and its modules (kallsyms)."),
        "tasks": ("kernlab.tables.tasks", "Threads, one row each, and the idle task of each CPU."),
    }
)

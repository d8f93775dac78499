"""One module per kernel subsystem, one public function per table; here only which module holds which table."""

from kernlab.frames.registry import Registry

#: Name -> (module, description, takes parameters). Nothing is imported until a table is first asked for.
INDEX = Registry(
    {
        "info": ("kernlab.tables.info", "What the dump is and how the machine died."),
        "log": ("kernlab.tables.log", "The kernel's log (dmesg), one row per printk record."),
        "symbols": ("kernlab.tables.symbols", "Symbols of the kernel (kallsyms)."),
        "tasks": ("kernlab.tables.tasks", "Threads, one row each, and the idle task of each CPU."),
    }
)

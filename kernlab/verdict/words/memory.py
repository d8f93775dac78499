"""Memory that ran out, and who had it."""

from __future__ import annotations

from kernlab.verdict.words.word import Word

_LIMIT = "Until then give it a limit (memory.max of its control group, or MemoryMax of its service)."
_ENOUGH = "Decide whether the machine has enough memory for what it does, and which limits its services need."
_GREW = "A dump shows who has memory at the end, not who grew: it may have had as much for long."
_COUNTED = "who holds the memory [was counted {counted}|stands in the kernel's own report]"
_LEAK = "[Ask {maintainer} whether that memory is ever given back.]"


def _kernel(title: str, because: str, step: str = _LEAK) -> Word:
    return Word(f"Out of memory: {title}", f"memory ran out, and {because}", (step, _ENOUGH), _COUNTED, _GREW)


WORDS = {
    "OOM": Word(
        "Out of memory",
        "memory ran out[: {who} asked for more when there was none]",
        (
            "Look at who has the memory[: {dump}.memory_by_process and {dump}.slabs|: the kernel's report lists it].",
            "Decide whether the machine should panic when memory runs out (vm.panic_on_oom): with 0 it kills a process "
            "and goes on.",
            _ENOUGH,
        ),
        "the kernel itself says that memory ran out",
        "Who asks last need not be to blame: it may be anybody.",
        noticed="The kernel stopped when [{who} asked for memory and got none: who asks last need not be to blame|a "
        "request for memory could not be met].",
    ),
    "process took the memory": Word(
        "Out of memory: {subject} holds most of it",
        "memory ran out, and {subject} had taken most of it",
        (
            "Find out what {subject} needs so much memory for, and whether that is a leak or its work"
            "[ ({dump}.plot.maps({pid}) shows its mappings)].",
            _LIMIT,
            _ENOUGH,
        ),
        _COUNTED,
        _GREW,
    ),
    "processes took the memory": Word(
        "Out of memory: many processes hold it together[, {subject}]",
        "memory ran out, and many processes had taken it together[: {subject}]",
        ("Find out who starts so many of them, and give them a limit together.", _ENOUGH),
        _COUNTED,
        _GREW,
    ),
    "slab leak": Word(
        "Out of memory: objects of the kernel ({subject}) hold most of it",
        "memory ran out, and most of it was in objects of the kernel of one kind, {subject}"
        "[; {where} asked for more of it]",
        (
            "Ask {maintainer} whether objects of {subject} are ever freed.",
            _ENOUGH,
        ),
        _COUNTED,
        _GREW,
    ),
    "vmalloc leak": _kernel(
        "vmalloc areas[ of the module {module}] hold most of it",
        "most of it was in large pieces that the kernel's code asked for (vmalloc)[, in {where}]",
    ),
    "per-CPU memory": _kernel(
        "per-CPU memory holds much of it",
        "much of it was in memory that the kernel has once for each CPU[; {where} asked for more of it]",
    ),
    "large kmalloc": _kernel(
        "large pieces of the kernel hold most of it",
        "most of it was in large pieces of the kernel's own (kmalloc)",
    ),
    "page tables": _kernel(
        "page tables hold most of it",
        "most of it was in the tables that say where each program's memory is[ ({who})]",
        "Look for programs that map much memory many times over[: {dump}.memory_by_process has page_tables_bytes].",
    ),
    "kernel stacks": _kernel(
        "kernel stacks hold most of it",
        "most of it was in the stacks of very many threads",
        "Find out who starts so many threads[: {dump}.tasks.comm.value_counts()].",
    ),
    "network buffers": _kernel(
        "network buffers hold most of it",
        "most of it was in data of the network that nobody had taken",
        "Look for programs that do not read from their sockets[: {dump}.sockets].",
    ),
    "socket memory": _kernel(
        "sockets hold most of it",
        "most of it was in data of sockets that nobody had taken",
        "Look for programs that do not read from their sockets[: {dump}.sockets].",
    ),
    "huge pages": _kernel(
        "huge pages hold most of it",
        "most of it was set aside as huge pages, which nothing else can use",
        "Set fewer huge pages aside (vm.nr_hugepages).",
    ),
    "kernel memory leak": _kernel(
        "the kernel holds most of it",
        "most of it was taken by the kernel itself, by code that keeps no account of it",
    ),
    "memory leak": Word(
        "The kernel holds most of memory[: {subject}]",
        "the kernel holds most of memory, as where it is never given back[: {subject}]",
        (_LEAK, _ENOUGH),
        _COUNTED,
        _GREW,
    ),
    "file in memory": _kernel(
        "a file in memory holds most of it, {subject}",
        "most of it was in a file that lies in memory only, {subject}",
        "Find out who writes {subject}, delete what is not needed, and give its file system a size.",
    ),
    "memory cgroup out of memory": Word(
        "A control group was out of memory[: {subject}]",
        "[the control group {subject}|a control group] reached the limit of memory that it was given",
        (
            "Find out which of its processes needs that much memory[, first of all the one with pid {pid}].",
            "Raise its limit (memory.max), or let it do less at once.",
            "Decide whether the machine should stop for a group that is short of memory (vm.panic_on_oom): with 0 or 1 "
            "a process of the group is killed, and the rest goes on.",
        ),
        "the kernel itself says which limit was reached",
        "Only that group was short of it: the machine itself may have had enough.",
    ),
    "fragmentation": Word(
        "Memory was there, but in pieces too small[ for {where}| for {subject}]",
        "no block of memory was as large as[ {subject}| the kernel's code] needed, though there was memory free"
        "[; it was asked for in {where}]",
        (
            "Ask {maintainer} whether that much has to lie in one block: smaller ones are there for longer.",
            "Keep more memory free (vm.min_free_kbytes), or let the kernel move it together (vm.compact_memory).",
        ),
        "what was free, and in blocks of which size, was counted",
    ),
    "memory pressure": Word(
        "Memory was short for long", "programs waited for memory much of the time before the end", (_ENOUGH,)
    ),
    "I/O pressure": Word(
        "Disks were too slow for what was asked", "programs waited for disks much of the time"
    ),
    "CPU pressure": Word(
        "CPUs were too few for what was asked", "programs waited for a CPU much of the time"
    ),
    "swap full": Word(
        "Swap was full", "the room on disks to which memory can be moved (swap) was used up", (_ENOUGH,)
    ),
    "zone out of memory": Word(
        "One part of memory ran out[: {subject}]",
        "the part of memory {subject} ran out, while others had some free",
        ("Look at who needs memory of that part[: {dump}.zones].",),
    ),
}

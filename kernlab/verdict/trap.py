"""The trap that a machine ended with: the registers of its CPU, as its report prints them, and what they point to."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from kernlab.oops.frames import frame_of
from kernlab.oops.functions import is_boilerplate, normal
from kernlab.tables.memory.owner import owner
from kernlab.verdict.case import Blamed, Case

#: General registers as reports name them (arch/x86/kernel/process_64.c, __show_regs; arch/arm64/kernel/process.c).
_PRINTED = re.compile(
    r"\b(?:R(?P<x86>[A-D]X|[SD]I|BP|\d\d)|(?P<arm64>x\d{1,2}) ?): (?P<value>[0-9a-f]{16})\b"
)
#: What stands behind the registers of the kernel; those of user space may follow.
_OVER = re.compile(r"\s*+(?:Call [Tt]race|RIP: 0033|<TASK>|<IRQ>|Modules linked in)")
_KEPT = (
    *("ax", "bx", "cx", "dx", "si", "di", "bp", *(f"r{number}" for number in range(8, 16))),
    *(f"x{number}" for number in range(31)),
)


def registers_of(case: Case, report: pd.Series[Any]) -> dict[str, int]:
    """The general registers of a trap by name (ax, r8, x0): as its report prints them, else as the dump kept them."""
    found: dict[str, int] = {}
    for _, line in case.lines(int(report["offset"]), int(report["end"])):
        if _OVER.match(line):
            break
        for each in _PRINTED.finditer(line):
            name = each["arm64"] or each["x86"].lower()
            name = f"r{int(name)}" if name.isdigit() else name
            found.setdefault(name, int(each["value"], 16))
    if found or not case.has_dump or pd.isna(report["cpu"]):
        return found
    rows = case.registers[case.registers["cpu"] == int(report["cpu"])]
    for name in _KEPT:
        if name in rows and len(rows) and not pd.isna(rows[name].iloc[0]):
            found[name] = int(rows[name].iloc[0])
    return found


def pointed_at(case: Case, registers: dict[str, int]) -> pd.DataFrame:
    """What each register points to: rows as of `owner`, by the register's name; no rows where there is no dump."""
    if not case.has_dump or not registers:
        return pd.DataFrame({"kind": [], "name": [], "start": [], "offset": [], "allocated": []})
    with case.kernel.quiet():
        table = owner(case.kernel, np.array(list(registers.values()), dtype=np.uint64))
    assert isinstance(table, pd.DataFrame)  # of several addresses
    return table.set_axis(list(registers), axis="index")


def words_of(case: Case, start: int, size: int) -> dict[int, int]:
    """The words of a piece of memory by their offsets: those that could be read, of its first page's worth."""
    offsets = np.arange(0, min(size, 4096) // 8 * 8, 8, dtype=np.uint64)
    with case.kernel.quiet():
        values, read = case.kernel.words(np.uint64(start) + offsets, what="")
    return {int(offset): int(value) for offset, value, ok in zip(offsets, values, read, strict=True) if ok}


#: The kernel's marks of the stack that an interrupt runs on, innermost first (arch/x86/kernel/dumpstack_64.c,
#: stack_type_name), and functions that handle interrupts, where there are no marks.
_ON_TOP = re.compile(r"\s*+<(?:IRQ|SOFTIRQ|NMI)>")
_HANDLES = re.compile(
    r"_*(?:do_softirq|handle_softirqs|handle_irq\w*|common_interrupt|sysvec_\w+|el[01]h?_\d*_?irq\w*|gic_handle_irq|"
    r"do_IRQ|smp_apic_timer_interrupt|run_ksoftirqd)$"
)
_KERNEL_THREADS = re.compile(r"_*(?:run_ksoftirqd|irq_thread\w*)$")


def who_did_it(case: Case, report: pd.Series[Any]) -> int | None:
    """The thread whose doing a report is; None of an idle one, and where an interrupt ran on top of a thread."""
    if pd.isna(report["pid"]) or int(report["pid"]) == 0:
        return None
    for _, line in case.lines(int(report["offset"]), int(report["end"])):
        if any(_ON_TOP.match(part) for part in line.splitlines()):
            return None
    frames = [one for text in report["frames"] if (one := frame_of(text)) is not None and one.reliable]
    return None if in_interrupt([normal(one.name) for one in frames]) else int(report["pid"])


def in_interrupt(names: list[str]) -> bool:
    """Are the functions of a stack an interrupt's, and not those of the threads that work for interrupts?"""
    if any(_KERNEL_THREADS.match(name) for name in names):
        return False
    return any(_HANDLES.match(name) for name in names)


#: What the kernel writes into memory that is free or new, and into entries that are taken off lists
#: (include/linux/poison.h). PAGE_POISON is 0xaa.
POISON_FREE, POISON_INUSE, PAGE_POISON = 0x6B6B6B6B6B6B6B6B, 0x5A5A5A5A5A5A5A5A, 0xAAAAAAAAAAAAAAAA
LIST_POISON = 0xDEAD000000000100
#: A member of a struct lies no further behind what points to it, and a struct begins no further before its list_head.
NEAR = 1 << 12


#: Below is the first page, and what is a few members of nothing: no pointer at all.
LEAST_POINTER = 1 << 16


def base_of(address: int, registers: dict[str, int]) -> int | None:
    """The pointer that an access to an address went through: the one value of a register that it is a member of."""
    bases = {value for value in registers.values() if 0 <= address - value < NEAR and value >= LEAST_POINTER}
    return bases.pop() if len(bases) == 1 else None


def is_poison(address: int) -> bool:
    """Is it the kernel's own poison, or a member behind or before it?"""
    return any(abs(address - each) < NEAR for each in (POISON_FREE, POISON_INUSE, PAGE_POISON, LIST_POISON))


#: Functions of mm/slub.c: those that free, and those that check or hand out on behalf of whoever asked.
FREES = re.compile(r"_*(?:kmem_cache_free(?:_bulk)?|slab_free\w*|do_slab_free|set_freepointer|cache_free)$")
KFREES = re.compile(r"_*(?:kfree\w*|kvfree\w*)$")
_SLUB = re.compile(
    r"free_to_partial_list|free_debug_processing|alloc_debug_processing|check_\w+|object_err|slab_err|slab_bug|"
    r"on_freelist|add_taint|panic\w*|vpanic|dump_stack\w*|_*slab_alloc\w*|_*kmem_cache_alloc\w*|_*kmalloc\w*|"
    r"get_partial\w*|print_trailer|deactivate_slab|_*put_partials|_*unfreeze_partials|get_freepointer\w*"
)


def is_allocator(function: str) -> bool:
    """Is it of the slab allocator, which checks objects on behalf of whoever asked?"""
    name = normal(function)
    return bool(FREES.match(name) or KFREES.match(name) or _SLUB.match(name))


def who_asked(report: pd.Series[Any]) -> Blamed:
    """Who freed or asked for an object: the innermost function of a report's stack that is no allocator's."""
    frames = [one for text in report["frames"] if (one := frame_of(text)) is not None and one.reliable]
    own = [one for one in frames if not is_boilerplate(normal(one.name)) and not is_allocator(one.name)]
    return Blamed(normal(own[0].name), own[0].module or None) if own else Blamed(None, None)

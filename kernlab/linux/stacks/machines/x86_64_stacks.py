"""x86-64: the stacks that each CPU has besides those of threads; numbers of CPUs in, `Part`s out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import ArrayType, StructType
from kernlab.linux.stacks.stack_kinds import Part, StackKind, part, percpu_pointer, size_of
from kernlab.walk.cpus import percpu

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Members of struct cea_exception_stacks (arch/x86/include/asm/cpu_entry_area.h) that are stacks end so.
_STACK = "_stack"
#: arch/x86/include/asm/page_64_types.h, NMI_STACK: its place in the interrupt stack table before v5.2, from 0.
_OLD_NMI = 1


def interrupt_stacks(kernel: Kernel, numbers: I64) -> list[Part]:
    """The stack of each CPU's interrupts, which ends at most a word behind where hardirq_stack_ptr points."""
    top = percpu_pointer(kernel, numbers, "hardirq_stack_ptr")
    backing = kernel.symbols.get("irq_stack_backing_store")
    size = size_of(kernel, "struct irq_stack")
    if top is None and backing is None:
        return _first_of_own(kernel, numbers)
    if not size:
        return []
    found = []
    if top is not None:
        rows = np.flatnonzero(top != 0)
        # Since v5.12 it points to the last word (irq_init_percpu_irqstack); with VMAP_STACK it is mapped elsewhere.
        end = (top[rows] + np.uint64(kernel.page_size - 1)) & ~np.uint64(kernel.page_size - 1)
        found.append(part(end - np.uint64(size), size, StackKind.IRQ, numbers[rows]))
    if backing is not None:
        found.append(part(percpu(kernel, backing, numbers), size, StackKind.IRQ, numbers))
    return found


def _first_of_own(kernel: Kernel, numbers: I64) -> list[Part]:
    """The same where the stack is the first of each CPU's own variables, and irq_stack_ptr its end."""
    # Linux commit e6401c130931 ("x86/irq/64: Split the IRQ stack into its own pages") (in v5.2).
    kind, top = kernel.type_or_none("union irq_stack_union"), percpu_pointer(kernel, numbers, "irq_stack_ptr")
    if not isinstance(kind, StructType) or top is None:
        return []
    size = kind.member("irq_stack").type.size
    rows = np.flatnonzero(top != 0)
    return [part(top[rows] - np.uint64(size), size, StackKind.IRQ, numbers[rows])] if size else []


def exception_stacks(kernel: Kernel, numbers: I64) -> list[Part]:
    """The stacks of the interrupt stack table, in each CPU's entry area, and the one of the entry from user mode."""
    areas = percpu_pointer(kernel, numbers, "cea_exception_stacks")
    kind = kernel.type_or_none("struct cea_exception_stacks")
    if areas is None or not isinstance(kind, StructType):
        return _without_names(kernel, numbers)
    rows = np.flatnonzero(areas != 0)
    first, owner = areas[rows], numbers[rows]
    found = []
    for member in kind.members:
        inner = member.type.strip()
        if isinstance(inner, ArrayType) and member.name.endswith(_STACK) and inner.size:
            which = StackKind.NMI if member.name.startswith("NMI") else StackKind.EXCEPTION
            found.append(part(first + np.uint64(member.offset), inner.size, which, owner))
    return [*found, *_entries(kernel, first, "estacks", owner)]


def _without_names(kernel: Kernel, numbers: I64) -> list[Part]:
    """The same where the entry area has them in one array, and `orig_ist` says where each ends."""
    # Linux commit 019b17b3ffe4 ("x86/exceptions: Add structs for exception stacks") (in v5.2).
    area, kind = kernel.type_or_none("struct cpu_entry_area"), kernel.type_or_none("struct orig_ist")
    symbol = kernel.symbols.get("orig_ist")
    if symbol is None or not isinstance(area, StructType) or not isinstance(kind, StructType):
        return []
    if not kernel.types.has_member(area.c_name, "exception_stacks"):
        return []
    size = area.member("exception_stacks").type.size
    table = StructArray(kernel, kind, percpu(kernel, symbol, numbers))["ist"]
    # One behind the other; places of the table that no exception uses are 0.
    rows = np.flatnonzero(table.valid & (table.values != 0).any(axis=1))
    used = table.values[rows].astype(np.uint64)
    first = used.max(axis=1, initial=0) - np.uint64(size)
    found, begin = _entries(kernel, first, "exception_stacks", numbers[rows]), first
    for place, end in enumerate(used.T):
        there = (end > begin) & (end <= first + np.uint64(size))
        which = StackKind.NMI if place == _OLD_NMI else StackKind.EXCEPTION
        for each in np.unique((end - begin)[there]).tolist():
            mine = there & (end - begin == each)
            found.append(part(begin[mine], each, which, numbers[rows[mine]]))
        begin = np.where(there, end, begin)
    return found


def _entries(kernel: Kernel, stacks: U64, member: str, owner: I64) -> list[Part]:
    """The stacks of the entry from user mode; `stacks` are the members of that name of the same entry areas."""
    whole, entry = kernel.type_or_none("struct cpu_entry_area"), size_of(kernel, "struct entry_stack")
    if not isinstance(whole, StructType) or not entry:
        return []
    base = stacks - np.uint64(whole.member(member).offset)
    page = base + np.uint64(whole.member("entry_stack_page").offset)
    return [part(page, size_of(kernel, "struct entry_stack_page") or entry, StackKind.ENTRY, owner)]

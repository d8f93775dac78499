"""The stacks that there are: each thread's own, and each CPU's for interrupts, exceptions and entry from user mode."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import ArrayType, StructType
from kernlab.linux.tasks import find_tasks
from kernlab.linux.thread_stacks import thread_size
from kernlab.walk.cpus import percpu, possible_cpus

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

#: Members of struct cea_exception_stacks (arch/x86/include/asm/cpu_entry_area.h) that are stacks end so.
_STACK = "_stack"


class StackKind(IntEnum):
    """Whose a stack is."""

    TASK = 0
    IRQ = 1
    EXCEPTION = 2
    NMI = 3
    ENTRY = 4


@dataclass(frozen=True, slots=True)
class Stacks:
    """M stacks [start, end), ascending: uint64[m] each; `kind` uint8[m] (`StackKind`), `owner` int64[m].

    The owner of a thread's own stack is the thread's row in `find_tasks`, that of all others the number of their CPU.
    """

    start: U64
    end: U64
    kind: U8
    owner: I64

    def find(self, addresses: U64) -> I64:
        """The stack that each address uint64[n] lies on, -1 of those on none: int64[n]."""
        if not len(self.start):
            return np.full(len(addresses), -1, dtype=np.int64)
        at = np.searchsorted(self.start, addresses, side="right").astype(np.int64) - 1
        return np.where((at >= 0) & (addresses < self.end[at]), at, -1)


@fact
def find_stacks(kernel: Kernel) -> Stacks:
    """Every kernel stack, each once. What cannot be read is told; raises KernlabError where no task is found."""
    parts = [_of_threads(kernel), *_of_cpus(kernel)]
    start, end, kind, owner = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(start, kind="stable")
    return Stacks(start[order], end[order], kind[order], owner[order])


Part = tuple[U64, U64, U8, I64]


def _part(start: U64, size: int, kind: StackKind, owner: I64) -> Part:
    return start, start + np.uint64(size), np.full(len(start), kind, dtype=np.uint8), owner


def _of_threads(kernel: Kernel) -> Part:
    """Each thread's own, but for what cannot be one: none begins within a page, and no two threads have the same."""
    stack, size = find_tasks(kernel)["stack"], thread_size(kernel)
    rows = np.flatnonzero(stack.true)
    start = stack.values[rows].astype(np.uint64)
    within = start % np.uint64(max(min(size, kernel.page_size), 1)) != 0
    rows, start = rows[~within], start[~within]
    order = np.argsort(start, kind="stable")
    rows, start = rows[order], start[order]
    near = np.diff(start) < np.uint64(size)
    shared = np.append(near, False) | np.insert(near, 0, False) if len(start) else near
    if within.any():
        kernel.lost("stacks of threads begin where none can", mask=within)
    if shared.any():
        kernel.lost("stacks are said to be of more than one thread", mask=shared)
    return _part(start[~shared], size, StackKind.TASK, rows[~shared].astype(np.int64))


def _of_cpus(kernel: Kernel) -> list[Part]:
    numbers = possible_cpus(kernel)
    return [*_of_interrupts(kernel, numbers), *_of_exceptions(kernel, numbers)]


def _of_interrupts(kernel: Kernel, numbers: I64) -> list[Part]:
    """The stack of each CPU's interrupts, which ends at most a word behind where hardirq_stack_ptr points."""
    top = _percpu_pointer(kernel, numbers, "hardirq_stack_ptr")
    backing = kernel.symbols.get("irq_stack_backing_store")
    size = _size_of(kernel, "struct irq_stack")
    if size:
        found = []
        if top is not None:
            rows = np.flatnonzero(top != 0)
            # Since v5.12 it points to the last word (irq_init_percpu_irqstack); with VMAP_STACK it is mapped elsewhere.
            end = (top[rows] + np.uint64(kernel.page_size - 1)) & ~np.uint64(kernel.page_size - 1)
            found.append(_part(end - np.uint64(size), size, StackKind.IRQ, numbers[rows]))
        if backing is not None:
            found.append(_part(percpu(kernel, backing, numbers), size, StackKind.IRQ, numbers))
        return found
    return []


def _of_exceptions(kernel: Kernel, numbers: I64) -> list[Part]:
    """The stacks of the interrupt stack table, in each CPU's entry area, and the one of the entry from user mode."""
    areas = _percpu_pointer(kernel, numbers, "cea_exception_stacks")
    kind = kernel.type_or_none("struct cea_exception_stacks")
    if areas is None or not isinstance(kind, StructType):
        return []
    rows = np.flatnonzero(areas != 0)
    first, owner = areas[rows], numbers[rows]
    found = []
    for member in kind.members:
        inner = member.type.strip()
        if isinstance(inner, ArrayType) and member.name.endswith(_STACK) and inner.size:
            which = StackKind.NMI if member.name.startswith("NMI") else StackKind.EXCEPTION
            found.append(_part(first + np.uint64(member.offset), inner.size, which, owner))
    whole, entry = kernel.type_or_none("struct cpu_entry_area"), _size_of(kernel, "struct entry_stack")
    if isinstance(whole, StructType) and entry:
        base = first - np.uint64(whole.member("estacks").offset)
        page = base + np.uint64(whole.member("entry_stack_page").offset)
        found.append(
            _part(page, _size_of(kernel, "struct entry_stack_page") or entry, StackKind.ENTRY, owner)
        )
    return found


def _percpu_pointer(kernel: Kernel, numbers: I64, name: str) -> U64 | None:
    """A pointer of each CPU: a variable of its own, or a member of struct pcpu_hot (v6.2 to v6.13)."""
    symbol = kernel.symbols.get(name)
    if symbol is not None:
        return kernel.words(percpu(kernel, symbol, numbers), what=f"pointers {name}")[0]
    hot, kind = kernel.symbols.get("pcpu_hot"), kernel.type_or_none("struct pcpu_hot")
    if hot is None or kind is None:
        return None
    together = StructArray(kernel, kind, percpu(kernel, hot, numbers))
    return together[name].filled(0).astype(np.uint64) if together.has(name) else None


def _size_of(kernel: Kernel, name: str) -> int:
    kind = kernel.type_or_none(name)
    return kind.size if kind is not None else 0

"""arm64's lines of /proc/interrupts that begin with IPI and Err: what CPUs ask of each other.

Mirrors arch/arm64/kernel/smp.c, arch_show_interrupts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.util.addresses import wrapped
from kernlab.walk.cpus import percpu
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: No kernel has more kinds (MAX_IPI is 8 to 10).
_MOST_KINDS = 32
_POINTER = np.uint64(8)


@dataclass(frozen=True, slots=True)
class Asked:
    """One kind of interrupt that CPUs send to each other: its number, what it is for, and how often each got it."""

    number: int
    text: str
    counts: Column


def asked(kernel: Kernel, numbers: I64) -> list[Asked]:
    """Every kind, counted on the CPUs `numbers`; none on a machine that has no such list of them (`ipi_types`)."""
    table = kernel.symbols.get("ipi_types")
    if table is None:
        return []
    room = min(kernel.symbols.room(table) // 8, _MOST_KINDS)
    pointers, read = kernel.words(_array(table, room), what="")
    texts = c_strings(kernel, np.where(read, pointers, np.uint64(0)), 64).tolist()
    found = []
    for number, text in enumerate(texts):
        if text is None:
            break
        found.append(Asked(number, text, _counts(kernel, number, numbers)))
    return found


def own_descriptors(kernel: Kernel, numbers: I64) -> U64:
    """Addresses of the descriptors that these are counted in, which have no lines of their own (IRQ_HIDDEN)."""
    kinds = range(min(kernel.symbols.room(kernel.symbols.get("ipi_types") or 0) // 8, _MOST_KINDS))
    return np.unique(
        np.concatenate([_descriptors(kernel, kind, numbers) for kind in kinds] or [_array(0, 0)])
    )


def _counts(kernel: Kernel, kind: int, numbers: I64) -> Column:
    desc = StructArray(kernel, "struct irq_desc", _descriptors(kernel, kind, numbers))
    counters = desc["kstat_irqs"]
    where = counters.filled(0).astype(np.uint64) + kernel.percpu_offsets[numbers]
    values, read = kernel.words(np.where(counters.true, where, np.uint64(0)), 4, "counts of interrupts")
    # A kind that this kernel or machine does not have has no descriptor.
    return Column.of(
        np.where(desc.addresses != 0, values.astype(np.int64), 0),
        (read & counters.true) | (desc.addresses == 0),
    )


def _descriptors(kernel: Kernel, kind: int, numbers: I64) -> U64:
    """The struct irq_desc in which each CPU counts a kind; 0 where there is none."""
    # A descriptor for each CPU where the interrupt controller has no interrupts per CPU (GICv5; seen in v7.3).
    each, all_of = kernel.symbols.get("pcpu_ipi_desc"), kernel.symbols.get("ipi_desc")
    if each is not None:
        where = percpu(kernel, each, numbers) + np.uint64(kind) * _POINTER
    elif all_of is not None:
        where = np.full(len(numbers), wrapped(all_of) + np.uint64(kind) * _POINTER, dtype=np.uint64)
    else:
        return np.zeros(len(numbers), dtype=np.uint64)
    pointers, read = kernel.words(where, what="descriptors of interrupts between CPUs")
    return np.where(read, pointers, np.uint64(0))


def _array(start: int, count: int) -> U64:
    return wrapped(start) + np.arange(count, dtype=np.uint64) * _POINTER

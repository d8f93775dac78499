"""Interrupts: every `struct irq_desc`, its actions, and how often it came on each CPU.

Mirrors kernel/irq/irqdesc.c and kernel/irq/proc.c (show_interrupts).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.walk.cpus import percpu_many
from kernlab.walk.lists import chain_nodes
from kernlab.walk.maple_tree import maple_entries
from kernlab.walk.xarray import xarray_entries

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@fact
def descriptors(kernel: Kernel) -> tuple[I64, StructArray]:
    """(number int64[n], every `struct irq_desc`), ascending.

    Raises SymbolNotFoundError where the kernel has no tree of them.
    """
    # Linux commit 721255b9826b ("genirq: Use a maple tree for interrupt descriptor management") (in v6.5).
    tree = kernel.find_symbol("sparse_irqs")
    if tree is not None:
        _, number, _, found = maple_entries(kernel, [tree], what="the tree of interrupts")
    else:
        _, number, found = xarray_entries(
            kernel, [kernel.symbol("irq_desc_tree")], what="the tree of interrupts"
        )
    return number.astype(np.int64), StructArray(kernel, "struct irq_desc", found)


def counts(kernel: Kernel, desc: StructArray, numbers: I64) -> list[Column]:
    """How often each interrupt came on each of the CPUs `numbers`: a column ("uint") for each CPU."""
    # Since v6.10 a struct irqstat each, whose first member is the count.
    pointer = desc["kstat_irqs"]
    places = percpu_many(kernel, pointer.filled(0).astype(np.uint64), numbers)
    known = pointer.true
    found = []
    for at in range(len(numbers)):
        values, read = kernel.words(np.where(known, places[:, at], np.uint64(0)), 4, "counts of interrupts")
        found.append(Column.of(values.astype(np.int64), read & known))
    return found


def summed(columns: list[Column], rows: int) -> Column:
    """The sums of columns, row by row ("int"); missing where one of them is."""
    total, known = np.zeros(rows, dtype=np.int64), np.ones(rows, dtype=bool)
    for column in columns:
        total += column.filled(0).astype(np.int64)
        known &= column.valid
    return Column.of(total, known)


@dataclass(frozen=True, slots=True)
class Actions:
    """What is called for the interrupts: `owner` int64[m], the row of its descriptor; `action` m `struct irqaction`;
    `whole` bool[n]: of which descriptors they are known."""

    owner: I64
    action: StructArray
    whole: npt.NDArray[np.bool_]

    def functions(self) -> Column:
        """What each action calls: its handler; where that only wakes the thread, what the thread calls."""
        handler, thread = self.action["handler"], self.action["thread_fn"]
        # kernel/irq/manage.c; with threadirqs and PREEMPT_RT nearly all actions are such.
        wakes = self.action.kernel.find_symbol("irq_default_primary_handler")
        swapped = handler.valid & (handler.values == np.uint64(wakes or 0)) & thread.true
        return Column(
            np.where(swapped, thread.values, handler.values),
            handler.valid & (thread.valid | ~swapped),
            handler.kind,
        )


def actions(kernel: Kernel, desc: StructArray) -> Actions:
    """All actions of each interrupt, in the order in which they are called."""
    first = desc["action"]
    link = int(resolve(kernel.find_type("struct irqaction"), "next").hops[0])
    owner, nodes = chain_nodes(
        kernel, first.filled(0).astype(np.uint64), what="actions of interrupts", link=link
    )
    return Actions(owner, StructArray(kernel, "struct irqaction", nodes), first.valid)

"""Softirqs: which are raised on each CPU and have not run yet (include/linux/interrupt.h, local_softirq_pending)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.cpus import percpu


def pending(kernel: Kernel, numbers: npt.NDArray[np.int64]) -> Column:
    """The softirqs that are raised on each of the CPUs `numbers`, a bit each; missing where that is not known."""
    # On x86 a variable of its own (since v6.15), a member of pcpu_hot (since v6.2), of irq_stat before.
    alone = kernel.find_symbol("__softirq_pending")
    if alone is not None:
        values, read = kernel.words(percpu(kernel, alone, numbers), 2, "pending softirqs")
        return Column.of(values.astype(np.int64), read)
    hot = kernel.find_symbol("pcpu_hot")
    if hot is not None:
        place = StructArray(kernel, "struct pcpu_hot", percpu(kernel, hot, numbers))
        if place.has("softirq_pending"):
            return place["softirq_pending"].int64
    stat = kernel.find_symbol("irq_stat")
    if stat is not None and kernel.type_or_none("irq_cpustat_t") is not None:
        place = StructArray(kernel, "irq_cpustat_t", percpu(kernel, stat, numbers))
        if place.has("__softirq_pending"):
            return place["__softirq_pending"].int64
    return Column.missing(len(numbers), "int")

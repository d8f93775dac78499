"""`struct percpu_counter` (lib/percpu_counter.c), many at once: counters in, their exact sums out."""

from __future__ import annotations

import numpy as np

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.cpus import percpu_many, possible_cpus, smp

#: Parts of counters that are read at a time.
_AT_ONCE = 1 << 18


def percpu_sums(kernel: Kernel, counter: StructArray) -> Column:
    """What counters count, each CPU's part added (percpu_counter_sum).

    A kernel for a single CPU keeps no parts, nor does a counter that was not set up yet (its pointer is NULL).
    """
    count = counter["count"].int64
    if not counter.has("counters") and not smp(kernel):
        return count
    pointer = counter["counters"]
    numbers = possible_cpus(kernel)
    rows = np.flatnonzero(pointer.true)
    kept, known = np.zeros(len(counter), dtype=np.int64), pointer.valid.copy()
    # Every process has such counters: on a machine of thousands of CPUs there are hundreds of millions of parts.
    step = max(1, _AT_ONCE // max(len(numbers), 1))
    for first in range(0, len(rows), step):
        piece = rows[first : first + step]
        where = percpu_many(kernel, pointer.values[piece], numbers)
        parts, read = kernel.words(where.reshape(-1), 4, "CPUs' parts of counters")
        values = parts.astype(np.uint32).view(np.int32).reshape(where.shape)
        kept[piece] = values.sum(axis=1, dtype=np.int64)
        known[piece] &= read.reshape(where.shape).all(axis=1)
    return count + Column.of(kept, known)

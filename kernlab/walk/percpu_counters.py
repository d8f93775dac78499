"""`struct percpu_counter` (lib/percpu_counter.c), many at once: counters in, their exact sums out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.cpus import percpu_many, possible_cpus, smp


def percpu_sums(kernel: Kernel, counter: StructArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """What counters count, each CPU's part added (percpu_counter_sum): (int64[n], bool[n] of what could be read).

    A kernel for a single CPU keeps no parts, nor does a counter that was not set up yet (its pointer is NULL).
    """
    count = counter["count"]
    total = count.values.astype(np.int64)
    if not counter.has("counters") and not smp(kernel):
        return total, count.valid
    pointer = counter["counters"]
    numbers = possible_cpus(kernel)
    rows = np.flatnonzero(pointer.valid & (pointer.values != 0))
    where = percpu_many(kernel, pointer.values[rows], numbers)
    parts, read = kernel.words(where.reshape(-1), 4)
    total[rows] += parts.astype(np.uint32).view(np.int32).astype(np.int64).reshape(where.shape).sum(axis=1)
    known = count.valid & pointer.valid
    known[rows] &= read.reshape(where.shape).all(axis=1)
    return total, known

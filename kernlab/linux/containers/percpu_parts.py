"""What each CPU keeps to itself of many structs' counters: added up, a CPU at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import Type
from kernlab.walk.cpus import possible_cpus

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
#: What is asked of all structs' parts on one CPU: members of them, each a number or an array of numbers.
Read = Callable[[StructArray], tuple[Column, ...]]


def percpu_added(
    kernel: Kernel, pointer: Column, kind: Type | str, read: Read, width: int
) -> tuple[I64, Mask]:
    """The sums over all CPUs of `read(structs of `kind` on one CPU)`, whose first column the others are taken from.

    Parameters: pointer, n `__percpu` pointers; width, how many numbers `read`'s columns have per row. Returns
    (int64[n, width], bool[n]: which are whole); NULL has no parts, which is 0.
    """
    total, known = np.zeros((len(pointer), width), dtype=np.int64), pointer.valid.copy()
    rows = np.flatnonzero(pointer.true)
    for offset in kernel.percpu_offsets[possible_cpus(kernel)] if len(rows) else ():
        first, *others = read(StructArray(kernel, kind, pointer.values[rows] + offset))
        values = first.values.astype(np.int64).reshape(len(rows), -1)
        valid = first.valid
        for column in others:
            values, valid = (
                values - column.values.astype(np.int64).reshape(len(rows), -1),
                valid & column.valid,
            )
        total[rows] += values[:, :width]
        known[rows] &= valid
    return total, known

"""What each CPU keeps to itself of many structs' counters: added up, so many CPUs at a time as memory allows."""

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
#: So many structs are read at once: of few cgroups' those of many CPUs.
_MOST = 4096
#: What is asked of all structs' parts on some CPUs: members of them, each a number or an array of numbers.
Read = Callable[[StructArray], tuple[Column, ...]]


def percpu_added(
    kernel: Kernel, pointer: Column, kind: Type | str, read: Read, width: int
) -> tuple[I64, Mask]:
    """The sums over all CPUs of `read(structs of `kind` on some CPUs)`, whose first column the others are taken from.

    Parameters: pointer, n `__percpu` pointers; width, how many numbers `read`'s columns have per row. Returns
    (int64[n, width], bool[n]: which are whole); NULL has no parts, which is 0.
    """
    total, known = np.zeros((len(pointer), width), dtype=np.int64), pointer.valid.copy()
    rows = np.flatnonzero(pointer.true)
    offsets = kernel.percpu_offsets[possible_cpus(kernel)] if len(rows) else np.zeros(0, dtype=np.uint64)
    each = max(_MOST // max(len(rows), 1), 1)
    for start in range(0, len(offsets), each):
        some = offsets[start : start + each]
        first, *others = read(StructArray(kernel, kind, (pointer.values[rows] + some[:, None]).reshape(-1)))
        values, valid = first.values.astype(np.int64).reshape(len(first), -1), first.valid
        for column in others:
            values = values - column.values.astype(np.int64).reshape(len(first), -1)
            valid = valid & column.valid
        total[rows] += values.reshape(len(some), len(rows), -1).sum(axis=0)[:, :width]
        known[rows] &= valid.reshape(len(some), len(rows)).all(axis=0)
    return total, known

"""Masks of CPUs as text: cpumask_var_t members in, lists such as "0-3,8" out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import ArrayType
from kernlab.errors import KernlabError
from kernlab.walk.bitmaps import bitmap_bits
from kernlab.walk.cpus import cpus, possible_cpus


def cpu_lists(structs: StructArray, path: str) -> Column:
    """The CPUs in the mask at `path`, a `cpumask_var_t` or a pointer to a mask, as the kernel lists them
    (lib/bitmap.c, "%*pbl"): '' for none, missing for NULL and for a kernel without the member (CONFIG_SMP is off)."""
    kernel = structs.kernel
    if not structs.has(path):
        return Column.missing(len(structs))
    # Without CONFIG_CPUMASK_OFFSTACK the mask lies in the struct: an array of one.
    if isinstance(resolve(structs.type, path).type.strip(), ArrayType):
        _, mask = structs.elements(path, 1)
        where, there = mask.addresses, mask.valid
    else:
        pointer = structs[path]
        where, there = pointer.filled(0).astype(np.uint64), pointer.true
    owner, bit, read = bitmap_bits(kernel, where[there], len(kernel.percpu_offsets))
    rows = np.flatnonzero(there)
    texts = listed(owner, bit, len(rows))
    values = np.full(len(structs), "", dtype=object)
    values[rows] = texts
    valid = np.zeros(len(structs), dtype=bool)
    valid[rows] = read
    return Column.of(values, valid, "text")


def listed(
    owner: npt.NDArray[np.int64], number: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.object_]:
    """Sets of numbers as text, object[count]: `number` int64[m] ascending within each `owner` (index below count)."""
    texts = np.full(count, "", dtype=object)
    if not len(owner):
        return texts
    new = np.concatenate([[True], (owner[1:] != owner[:-1]) | (number[1:] != number[:-1] + 1)])
    first = np.flatnonzero(new)
    last = np.concatenate([first[1:], [len(owner)]]) - 1
    for row, low, high in zip(
        owner[first].tolist(), number[first].tolist(), number[last].tolist(), strict=True
    ):
        texts[row] += f"{',' if texts[row] else ''}{low}" + (f"-{high}" if high > low else "")
    return texts


def online_cpus(kernel: Kernel) -> npt.NDArray[np.int64]:
    """The CPUs that /proc/interrupts has columns for; where that mask cannot be read, all possible ones."""
    try:
        found = cpus(kernel, "online")
    except KernlabError as error:
        kernel.lost(f"the mask of online CPUs cannot be read ({error}); all possible ones have a column")
        found = np.zeros(0, dtype=np.int64)
    return found if len(found) else possible_cpus(kernel)

"""Functions by the pointers to them: names as people write them."""

from __future__ import annotations

import numpy as np

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.linux.whatis.areas import bare


def function_names(kernel: Kernel, pointers: Column) -> Column:
    """`name` or `name [module]` of each pointer to a function, its number where no symbol lies there; missing for NULL
    and for what could not be read."""
    where = pointers.filled(0).astype(np.uint64)
    distinct, row = np.unique(where, return_inverse=True)
    names = [
        bare(name) or f"{address:#x}"
        for name, address in zip(kernel.symbolize(distinct), distinct.tolist(), strict=True)
    ]
    return Column.of(np.array(names, dtype=object)[row], pointers.true, "text")

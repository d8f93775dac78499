"""Physical address space: what lies where, as /proc/iomem shows it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, frame, table
from kernlab.linux.iomem import resources
from kernlab.walk.strings import c_strings

#: /proc/iomem indents no deeper (kernel/resource.c, MAX_IORES_LEVEL).
_DEEPEST_SHOWN = 5


@table(rows="struct resource")
def iomem(kernel: Kernel) -> pd.DataFrame:
    """One row per range, in the order of /proc/iomem.

    Columns: start, end (inclusive), size_bytes, name, depth (0 for the outermost; a range lies in the nearest one
    above it of a smaller depth), busy (in use by a driver), address (of the `struct resource`).

    >>> dump.iomem.query("depth == 0 and name == 'System RAM'")[["start", "end", "size_bytes"]]
                    start                 end  size_bytes
    1  0x0000000000001000  0x000000000009fbff      650240
    9  0x0000000000100000  0x0000000027fd9fff   669884416
    """
    found, depth = resources(kernel, "iomem_resource")
    start, end, flags = found["start"], found["end"], found["flags"]
    pointer = found["name"]
    name = c_strings(kernel, np.where(pointer.valid, pointer.values, np.uint64(0)))
    # The kernel itself prints this for a range without a name.
    name.values[pointer.valid & (pointer.values == 0)] = "<BAD>"
    name = Column(name.values, name.valid | (pointer.valid & (pointer.values == 0)), "text")
    both = start.valid & end.valid
    # One range may span all of 64 bits: its size is then one more than fits, which no real one is.
    size = (end.values - start.values).astype(np.int64) + 1
    return frame(
        kernel,
        "iomem",
        start=addresses(kernel, start.values, start.valid),
        end=addresses(kernel, end.values, end.valid),
        size_bytes=Column(size, both, "int"),
        name=name,
        depth=np.minimum(depth, _DEEPEST_SHOWN),
        busy=Column((flags.values & np.uint64(0x80000000)) != 0, flags.valid, "bool"),
        address=found,
    )

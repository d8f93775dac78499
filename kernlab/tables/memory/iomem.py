"""Physical address space: what lies where, as /proc/iomem shows it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, frame, table
from kernlab.linux.iomem import resources
from kernlab.walk.strings import c_strings

#: /proc/iomem indents no deeper (kernel/resource.c, MAX_IORES_LEVEL).
_DEEPEST_SHOWN = 5
_BUSY = 0x80000000  # IORESOURCE_BUSY, include/linux/ioport.h


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
    found = ranges(kernel, "iomem_resource")
    return frame(
        kernel,
        "iomem",
        start=found.start,
        end=found.end,
        size_bytes=found.size_bytes,
        name=found.name,
        depth=found.depth,
        busy=found.busy,
        address=found.resource,
    )


class Ranges(NamedTuple):
    """Ranges in the kernel's order, n of each column, as `iomem` names them."""

    resource: StructArray
    start: pd.api.extensions.ExtensionArray
    end: pd.api.extensions.ExtensionArray
    size_bytes: Column
    name: Column
    depth: npt.NDArray[np.int64]
    busy: Column


def ranges(kernel: Kernel, root: str) -> Ranges:
    """The ranges below the variable `root`, a `struct resource`. Raises KernlabError where it is not known."""
    found, depth = resources(kernel, root)
    start, end, flags = found["start"], found["end"], found["flags"]
    pointer = found["name"]
    called, nameless = c_strings(kernel, pointer), (pointer == 0).true
    return Ranges(
        resource=found,
        start=addresses(kernel, start.values, start.valid),
        end=addresses(kernel, end.values, end.valid),
        # One range may span all of 64 bits: its size is more than fits.
        size_bytes=end - start + 1,
        # The kernel itself prints this for a range without a name.
        name=Column.of(np.where(nameless, "<BAD>", called.values), called.valid | nameless),
        depth=np.minimum(depth, _DEEPEST_SHOWN),
        busy=flags.has(_BUSY),
    )

"""I/O ports: what lies where, as /proc/ioports shows it."""

from __future__ import annotations

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, table
from kernlab.tables.memory.iomem import ranges


@table(rows="struct resource")
def ioports(kernel: Kernel) -> pd.DataFrame:
    """One row per range of I/O ports, in the order of /proc/ioports.

    Columns: start, end (inclusive), size_bytes, name, depth (0 for the outermost; a range lies in the nearest one
    above it of a smaller depth), busy (in use by a driver), address (of the `struct resource`).

    >>> dump.ioports.query("name == 'rtc0'")[["start", "end", "depth", "busy"]]
                    start                 end  depth  busy
    7  0x0000000000000070  0x0000000000000077      1  True
    """
    found = ranges(kernel, "ioport_resource")
    return frame(
        kernel,
        "ioports",
        start=found.start,
        end=found.end,
        size_bytes=found.size_bytes,
        name=found.name,
        depth=found.depth,
        busy=found.busy,
        address=found.resource,
    )

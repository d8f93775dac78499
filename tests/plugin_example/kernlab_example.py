"""A table and a decoder for kernlab, in a distribution of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, table
from kernlab.traces.relay.decoders import Streams
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

#: What the driver writes for each of its events.
RECORD = np.dtype([("time", "<u8"), ("value", "<u4"), ("flags", "<u4")])


@table(rows="struct clocksource")
def clocksources(kernel: Kernel) -> pd.DataFrame:
    """Clock sources, one row each, the best first.

    name, rating, address. Mirrors kernel/time/clocksource.c (clocksource_list).
    """
    head = kernel.symbol("clocksource_list")
    _, source = list_entries(kernel, [head], "struct clocksource", "list", what="clock sources")
    return frame(
        kernel,
        "clocksources",
        name=c_strings(kernel, source["name"]),
        rating=source["rating"],
        address=source,
    )


def decode(streams: Streams) -> pd.DataFrame:
    """Events of the driver: cpu, time (ns), value, flags."""
    parts = []
    for cpu, data in streams.items():
        count, left = divmod(len(data), RECORD.itemsize)
        if left:
            streams.lost(f"CPU {cpu}: the last {left} bytes are less than a record")
        records = np.frombuffer(data, RECORD, count)
        parts.append(pd.DataFrame({"cpu": cpu, **{name: records[name] for name in RECORD.names or ()}}))
    return pd.concat(parts, ignore_index=True)

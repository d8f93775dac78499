"""A log that was saved without its dump in, the table of its lines out, as `dump.log` would have them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.dataframes import frame
from kernlab.oops.lines import Log

#: How a verdict says that some of its rules need a dump, and that a log tells of no end.
NEEDS_A_DUMP = "could not be asked of a log alone"
NO_PANIC = "No panic is in the log: the machine may have gone on."

_MISSING = np.iinfo("i8").min


def lines_of(text: str) -> pd.DataFrame:
    """One row per line of a log: timestamp (since boot, missing where the line has none), caller, text without prefix.

    `text` has any prefix that `kernlab.oops.parse` knows; the places of its reports are rows of this table.

    >>> kernlab.verdict.lines("<4>[   12.000005][  T123] Oops: Oops: 0002 [#1] SMP")
                   timestamp caller                       text
    0 0 days 00:00:12.000005   T123  Oops: Oops: 0002 [#1] SMP
    """
    log = Log(text)
    lines = [log.line(place) for place in range(len(log))]
    times = np.array([_MISSING if line.time is None else line.time for line in lines], dtype="i8")
    return frame(
        None,
        "log",
        timestamp=times.view("m8[ns]"),
        caller=pd.array([line.caller for line in lines], dtype="str"),
        text=pd.array([line.text for line in lines], dtype="str"),
    )

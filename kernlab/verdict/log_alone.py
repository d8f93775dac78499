"""A log that was saved without its dump in, the table of its lines out, as `dump.log` would have them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from kernlab.dataframes import frame
from kernlab.oops.lines import Log

#: How a verdict says that some of its rules need a dump, and that a log tells of no end.
NEEDS_A_DUMP = "could not be asked of a log alone"
NO_LOG = "no line of this text looks like one of a kernel log"
NO_PANIC = "No panic is in the log: the machine may have gone on."

#: What the lines of a log have, where their stamps were cut off: a syslog's prefix, or the kernel's first words.
_OF_A_KERNEL = re.compile(r"\bkernel(?:\[\d{1,10}\])?: |^(?:<\d{1,3}>)?Linux version \d", re.MULTILINE)

_MISSING = np.iinfo("i8").min


def is_of_a_kernel(text: str, log: pd.DataFrame, reports: pd.DataFrame) -> bool:
    """Whether a text is a kernel log: some line has a stamp or a prefix of one, or a report stands in it."""
    return bool(log["timestamp"].notna().any() or len(reports) or _OF_A_KERNEL.search(text))


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

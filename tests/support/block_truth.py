"""What guests said of their disks: /proc/diskstats, /proc/partitions and /sys/block, in the files' own words.

Nothing here imports kernlab, as in truth.py.
"""

from __future__ import annotations

import pandas as pd
from support.truth import Truth

#: Documentation/admin-guide/iostats.rst.
DISKSTATS = (
    *(
        "reads",
        "reads_merged",
        "sectors_read",
        "read_ms",
        "writes",
        "writes_merged",
        "sectors_written",
        "write_ms",
    ),
    *("in_flight", "io_ms", "weighted_ms", "discards", "discards_merged", "sectors_discarded", "discard_ms"),
    *("flushes", "flush_ms"),
)


def diskstats(truth: Truth) -> pd.DataFrame:
    """/proc/diskstats: dev ("major:minor"), name and the numbers of DISKSTATS, in the file's order."""
    rows = [line.split() for line in truth.lines("diskstats")]
    frame = pd.DataFrame([row[3:] for row in rows], columns=list(DISKSTATS)).astype("int64")
    frame.insert(0, "name", [row[2] for row in rows])
    frame.insert(0, "dev", [f"{row[0]}:{row[1]}" for row in rows])
    return frame


def partitions(truth: Truth) -> dict[str, tuple[str, int]]:
    """/proc/partitions: {name: (dev, bytes)}."""
    rows = [line.split() for line in truth.lines("partitions")[2:]]
    return {row[3]: (f"{row[0]}:{row[1]}", int(row[2]) * 1024) for row in rows}


def inflight(truth: Truth) -> dict[str, tuple[int, int]]:
    """/sys/block/NAME/inflight: {name: (reads, writes)}."""
    found = {}
    for line in truth.lines("inflight"):
        name, _, numbers = line.partition(":")
        reads, writes = numbers.split()
        found[name] = (int(reads), int(writes))
    return found


def attribute(truth: Truth, name: str) -> dict[str, str]:
    """What one file of /sys/block/*/ says of each disk, {} where the guest did not tell."""
    lines = truth.lines(name) if name in truth.files else []
    return dict(line.split(": ", 1) for line in lines)

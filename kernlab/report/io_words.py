"""A dump with a block trace in, how its disks did in plain words out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.report.parts import seconds
from kernlab.util.text import few, human_bytes

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: A disk whose requests take so long, half of them, has more to do than it can.
_SLOW = pd.Timedelta(milliseconds=20)
_MOST_DISKS = 3


def requests(dump: Dump) -> pd.DataFrame | None:
    """The requests to disks that the dump's traces recorded; None where they recorded none."""
    try:
        found: pd.DataFrame = dump.replay().requests
    except KernlabError:
        return None
    return found if len(found) else None


def slow_disks(dump: Dump) -> list[str]:
    """The disks that had more to do than they could, by the traces."""
    table = requests(dump)
    if table is None:
        return []
    middle = table.dropna(subset=["latency"]).groupby("disk")["latency"].median()
    return [show_controls(str(disk)) for disk, took in middle.items() if took > _SLOW]


def answer(dump: Dump) -> list[str]:
    """What the traces tell of each disk, the busiest first, one sentence or two a disk; [] without traces."""
    table = requests(dump)
    if table is None:
        return []
    said = []
    for disk, rows in sorted(table.groupby("disk"), key=lambda one: -len(one[1]))[:_MOST_DISKS]:
        took = rows["latency"].dropna()
        middle, slowest = pd.Timedelta(took.median()), pd.Timedelta(took.max())
        open_ = rows[rows["end"].isna()]
        count = len(rows)
        size = float(rows["bytes"].astype("float64").sum())
        words = f"Disk {show_controls(str(disk))}: {count:,} requests ({human_bytes(size)}) were recorded"
        if len(took):
            words += f"; half of them took more than {seconds(middle)}, the slowest {seconds(slowest)}"
        words += (
            f"; {len(open_):,} had not come back at the end." if len(open_) else "; none was open at the end."
        )
        who = rows["process"].dropna().value_counts()
        if len(who):
            words += f" Most came from {few([show_controls(str(name)) for name in who.index[:3]])}."
        if len(took) and middle > _SLOW:
            words += " That is slow: the disk had more to do than it can."
        said.append(words)
    return said

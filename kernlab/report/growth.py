"""A dump with a recording in, since when somebody's memory grew out, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.util.text import human_bytes, human_time

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: A recording that is shorter says nothing of growth.
_SHORTEST = pd.Timedelta(seconds=5)
#: Growth by less than this factor is none.
_FACTOR = 1.5


def recorded(dump: Dump) -> pd.Timedelta | None:
    """How long before the crash what the dump recorded of memory can be trusted; None where that is too short to
    tell of growth."""
    try:
        replay = dump.replay()
        crash, trusted = replay.crash, replay.trusted_from
    except KernlabError:
        return None
    if pd.isna(crash) or pd.isna(trusted) or crash - trusted < _SHORTEST:
        return None
    return pd.Timedelta(crash - trusted)


def process_growth(dump: Dump, pid: int) -> str:
    """How the memory of a process grew, as the dump's traces recorded it; '' where they did not."""
    span = recorded(dump)
    if span is None:
        return ""
    replay = dump.replay()
    table = replay.memory_by_process
    mine = table[(table["pid"] == pid) & table["anon_bytes"].notna() & (table["time"] >= replay.trusted_from)]
    if len(mine) < 2:
        return ""
    size = mine["anon_bytes"].astype("float64")
    last, low = float(size.iloc[-1]), float(size.min())
    if last < low * _FACTOR or last - low < 1 << 20:
        return f"It had as much throughout the {human_time(span.total_seconds())} that were recorded before the crash."
    # The last instant at which it was still small: growth began there.
    small = mine["time"][size <= low + 0.02 * (last - low)]
    took = replay.crash - small.iloc[-1]
    return (
        f"The recording shows it grow: from {human_bytes(int(low))} to {human_bytes(int(last))} in the last "
        f"{human_time(took.total_seconds())}."
    )

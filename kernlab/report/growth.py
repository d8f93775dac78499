"""A dump with a recording in, since when somebody's memory grew out, in one sentence, and what the log said then."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.report.phrases import size, span
from kernlab.util.text import shorten

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: A recording that is shorter says nothing of growth.
_SHORTEST = pd.Timedelta(seconds=5)
#: Who has so many times as much at the end as at the beginning grew.
_FACTOR = 1.5
#: What is said so shortly before belongs to it.
_BEFORE = pd.Timedelta(seconds=2)
#: Lines of the log in which the kernel reports a lack of memory name everybody.
_OOM = re.compile(r"oom|Out of memory|Killed process|^\[ *\d+\]", re.IGNORECASE)
_MOST_LINES = 3


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


def process_growth(dump: Dump, pid: int) -> tuple[str, pd.Timedelta | None]:
    """How the memory of a process grew, as the dump's traces recorded it, and from when on (since boot); '' and None
    where they did not."""
    recording = recorded(dump)
    if recording is None:
        return "", None
    replay = dump.replay()
    table = replay.memory_by_process
    mine = table[(table["pid"] == pid) & table["anon_bytes"].notna() & (table["time"] >= replay.trusted_from)]
    if len(mine) < 2:
        return "", None
    held = mine["anon_bytes"].astype("float64")
    last, low = float(held.iloc[-1]), float(held.min())
    if last < low * _FACTOR or last - low < 1 << 20:
        return f"It had as much throughout the {span(recording)} that were recorded before the crash.", None
    # The last instant at which it was still small: growth began there.
    begin = mine["time"][held <= low + 0.02 * (last - low)].iloc[-1]
    grew = f"from {size(low)} to {size(last)} in the last {span(replay.crash - begin)}"
    said = f"The recording shows it grow: {grew}."
    return said, pd.Timedelta(begin)


def said_of(dump: Dump, comm: str, since: pd.Timedelta) -> str:
    """What the log said of a process from shortly before `since` on, in one sentence; '' where it said nothing."""
    log = dump.log
    text = log["text"].fillna("")
    wanted = (log["timestamp"] >= since - _BEFORE) & text.str.contains(rf"\b{re.escape(comm)}\b", regex=True)
    rows = log[wanted & ~text.str.contains(_OOM)].head(_MOST_LINES)
    if not len(rows):
        return ""
    told = [
        f"“{shorten(show_controls(str(line)), 200)}” ({_when(time, since)})"
        for time, line in zip(rows["timestamp"], rows["text"], strict=True)
    ]
    return f"In that time the log says of it: {'; '.join(told)}."


def _when(time: pd.Timedelta, since: pd.Timedelta) -> str:
    if abs(time - since) < pd.Timedelta(seconds=1):
        return "when its growth began"
    return f"{span(abs(time - since))} {'after' if time > since else 'before'} its growth began"

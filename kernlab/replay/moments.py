"""Instants of a replay that are worth a look, and what the whole of it says of itself, as text and as HTML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kernlab.escape import NO_MATH, escape_html, show_controls
from kernlab.util.text import human_bytes, shorten

if TYPE_CHECKING:
    from kernlab.replay.replay import Replay

#: Marks of one kind; of more the last ones are listed.
MOST = 200
#: Levels of the log that are errors or worse (include/linux/kern_levels.h, KERN_ERR).
_ERROR = 3
_KILL = re.compile(r"Kill(?:ed)? process [0-9]+ \(")
_LONGEST = 200
#: So many of the processes that were largest have a mark of their own.
_LARGEST = 3

Mark = tuple[int, str, str]


def marks(replay: Replay) -> list[Mark]:
    """(ns on the axis, kind, text) of each."""
    found: list[Mark] = [(int(replay.crash.value), "crash", "the machine died")]
    found += _peaks(replay)
    log = replay.log
    level, text = log["level"].to_numpy(), log["text"].fillna("")
    kill = text.str.contains(_KILL)
    found += _rows(log[kill.to_numpy()], "oom kill", "text")
    found += _rows(log[((level <= _ERROR) & ~kill.to_numpy())], "log error", "text")
    found += _rows(replay.breaks, "break", "reason")
    requests = replay.requests
    open_ = requests[requests["end"].isna().to_numpy()].tail(MOST)
    for _, row in open_.iterrows():
        said = f"{row['disk']}: {row['op']} of {row['bytes']:,} bytes by {row['process']} never came back"
        found.append((_ns(row["start"]), "unanswered request", said))
    inside = (replay._first, replay._last)
    return [one for one in found if inside[0] <= one[0] <= inside[1]]


def _peaks(replay: Replay) -> list[Mark]:
    found: list[Mark] = []
    memory = replay.memory
    used = (memory["total_bytes"] - memory["free_bytes"]).dropna()
    if len(used) > 1:
        row = memory.iloc[int(used.index[int(used.to_numpy(np.int64).argmax())])]
        size, total = human_bytes(int(used.max())), human_bytes(int(row["total_bytes"]))
        found.append((_ns(row["time"]), "peak memory", f"{size} of {total} in use"))
    table = replay.memory_by_process
    table = table[table["rss_bytes"].notna() & table["pid"].notna()]
    if len(table) and table["time"].iloc[0] != table["time"].iloc[-1]:
        rows = table.loc[table.groupby("pid")["rss_bytes"].idxmax()].nlargest(_LARGEST, "rss_bytes")
        for _, row in rows.iterrows():
            said = f"{_text(row['comm'])} (pid {row['pid']}) had {human_bytes(int(row['rss_bytes']))}"
            found.append((_ns(row["time"]), "peak process", said))
    return found


def _rows(table: pd.DataFrame, kind: str, column: str) -> list[Mark]:
    table = table.tail(MOST)
    return [
        (_ns(time), kind, shorten(_text(text).split("\n")[0], _LONGEST))
        for time, text in zip(table["time"], table[column], strict=True)
    ]


def _ns(time: Any) -> int:
    return int(pd.Timedelta(time).value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "?"


def seconds(ns: int) -> str:
    """A time since boot, as the log shows it."""
    return f"{ns / 1e9:,.6f} s"


def facts(replay: Replay) -> list[tuple[str, str]]:
    """What a replay is from and how far it is trusted, by name."""
    sources = replay._sources
    recording, crash = sources.recording, sources.clocks.crash_ns
    span = recording.span
    found = [("crash", f"{seconds(crash)} after boot")]
    if replay.since is not None or replay.until is not None:
        begin = "boot" if replay.since is None else seconds(replay._first)
        end = "the crash" if replay.until is None else seconds(replay._last)
        found.append(("window", f"{begin} to {end}"))
    if span is None:
        found.append(("trace", "none: no trace instance has events"))
    else:
        length = (crash - span[0]) / 1e9
        found.append(("trace", f"{recording.source}, clock {recording.clock}, the last {length:,.3f} s"))
    readings, curve = sources.readings, sources.curve
    count = len(sources.marks.row)
    parts = [f"{count:,} marks of the recorder"] if count else []
    others = len(readings.time) - 1 - count
    parts += [f"{others:,} blocks of the log"] if others > 0 else []
    if curve is not None:
        parts += sources.told
    found.append(("memory", f"the dump's own counts{''.join(f', {part}' for part in parts)}"))
    thin = recording.filtered
    if thin:
        said = ", ".join(f"{name} if {text}" for name, text in list(thin.items())[:5])
        found.append(("filtered", said))
    time, reason = sources.trusted
    found.append(
        ("trusted from", f"{seconds(time)} ({(crash - time) / 1e9:,.3f} s before the crash): {reason}")
    )
    found.append(("breaks", f"{len(sources.all_breaks):,}"))
    return found


def said(replay: Replay) -> str:
    """A replay in a terminal."""
    with replay._scope():
        lines = [f"{name:>12}: {show_controls(text)}" for name, text in facts(replay)]
    return "\n".join(["<kernlab replay>", *lines])


def shown(replay: Replay) -> str:
    """A replay in a notebook."""
    with replay._scope():
        rows = "".join(
            f'<tr><th style="text-align:left">{escape_html(name)}</th>'
            f'<td style="text-align:left">{escape_html(text)}</td></tr>'
            for name, text in facts(replay)
        )
    return f'<div class="kernlab-replay {NO_MATH}"><b>Replay</b><table>{rows}</table></div>'

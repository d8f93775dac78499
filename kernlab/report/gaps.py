"""A dump in, what it lacks out, in sentences: what could not be read, and what its traces do not hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.report.phrases import several, size, span

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: A trace that ends so shortly before the crash went on until then.
_UNTIL = pd.Timedelta(milliseconds=100)
_MOST_BREAKS = 5

#: What is said of a loss in a kernel developer's words, and what that means.
_MEANINGS = (
    (
        re.compile(r"the registers of CPU (\d+) in crash_notes point to no stack of its own"),
        "The dump's own note of CPU {}'s registers does not fit its stack: what that CPU did at the last instant is "
        "told by its thread's stack alone.",
    ),
)


def gaps(dump: Dump) -> list[str]:
    """What the dump lacks, as the file and every table so far say it, and what its traces lost; [] of nothing."""
    found = [*map(show_controls, dump.problems), *_of_traces(dump)]
    return list(dict.fromkeys(map(_meant, found)))


def _meant(problem: str) -> str:
    for pattern, words in _MEANINGS:
        if found := pattern.fullmatch(problem):
            return f"{words.format(*found.groups())} ({problem})"
    return problem


def _of_traces(dump: Dump) -> list[str]:
    """What the traces do not hold: what was read from them before, was overwritten, or came when they were off."""
    said = []
    try:
        table = dump.relay.channels
        names = dump.relay.block_traces
        for name in names:
            rows = table[table["name"] == name]
            taken = float((rows["consumed"] * rows["subbuf_size"]).astype("float64").sum())
            lost = int(rows["lost_subbufs"].astype("float64").fillna(0).sum())
            if taken > 0:
                said.append(
                    f"The block trace {show_controls(name)} is not whole: its first {size(taken)} had been read "
                    "by a program before the crash, and lie in that program's files."
                )
            if lost:
                said.append(
                    f"The block trace {show_controls(name)} was overwritten in {several(lost, 'place')} before "
                    "anybody read it."
                )
            said += [show_controls(one) for one in dump.relay.blktrace(name).all_problems]
    except KernlabError as error:
        said.append(f"The traces of disks could not be read: {show_controls(str(error))}")
    return said + _breaks(dump)


def _breaks(dump: Dump) -> list[str]:
    try:
        replay = dump.replay()
        table, crash = replay.breaks, replay.crash
    except KernlabError:
        return []
    said = []
    for _, row in table.tail(_MOST_BREAKS).iterrows():
        since, until = crash - row["time"], crash - row["until"]
        # The kernel stops its traces when it dies.
        if since < _UNTIL:
            continue
        whose = "" if pd.isna(row["cpu"]) else f" of CPU {row['cpu']}"
        when = (
            f"the last {span(since)} before the crash"
            if until < _UNTIL
            else f"{span(since)} to {span(until)} before it"
        )
        reason = show_controls(str(row["reason"]))
        off = "tracing had been switched off" if reason == "it was not recording any more" else reason
        said.append(f"The trace {show_controls(str(row['source']))}{whose} does not hold {when}: {off}.")
    if len(table) > _MOST_BREAKS:
        said.append(f"Traces have {len(table) - _MOST_BREAKS:,} more gaps before these.")
    return said

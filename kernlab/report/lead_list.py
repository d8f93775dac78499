"""A dump's suspects in, the leads of a report out: each told once, causes before victims."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.report.parts import Lead

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Kinds of leads that tell of who suffered, or only who asked: behind those that tell of who did it.
_VICTIMS = ("OOM victim", "OOM", "OOM score")
#: What kinds of leads are called in a report, where their own name is a term of kernel developers.
_NAMES = {
    "CPU held": "CPU not given up",
    "OOM": "the last that asked for memory",
    "OOM score": "next to be killed for memory",
    "OOM victim": "killed for memory",
    "lock convoy": "many wait for one lock",
    "swap is full": "no swap left",
}


def leads_of(dump: Dump) -> list[Lead]:
    """The leads that `dump.suspects` has, without those that say again what another says."""
    rows = dump.suspects
    rows = rows[~_told_twice(dump, rows)]
    victim = rows["lead"].isin(_VICTIMS)
    return [
        Lead(
            f"{_NAMES.get(str(row['lead']), str(row['lead']))}: {row['subject']}",
            str(row["evidence"]),
            str(row["cell"]),
        )
        for _, row in pd.concat([rows[~victim], rows[victim]]).iterrows()
    ]


def _in_deadlocks(dump: Dump) -> set[int]:
    """The pids of those who wait in a circle, or in the end for somebody in one."""
    graph = dump.waits.graph()
    holders = {
        int(pid): int(to) for pid, to in zip(graph.edges["pid"], graph.edges["holder_pid"], strict=True)
    }
    inside = {pid for cycle in graph.cycles for pid in cycle}
    found = set(inside)
    for pid in holders:
        seen, at = [pid], holders[pid]
        while at in holders and at not in seen and at not in inside:
            seen.append(at)
            at = holders[at]
        if at in inside:
            found.update(seen)
    return found


def _told_twice(dump: Dump, rows: pd.DataFrame) -> pd.Series[Any]:
    """Which leads say nothing that another does not: of threads in or behind a deadlock, of a queue for one lock that
    is also one of hung tasks, of a CPU whose thread only spins for what another holds."""
    twice: dict[Any, bool] = dict.fromkeys(rows.index, False)
    evidence = rows["evidence"].astype(str)
    hung = rows[rows["lead"].isin(["hung tasks", "hung task"])]
    if (rows["lead"] == "deadlock").any():
        stuck = _in_deadlocks(dump)
        for at, cell in hung["cell"].items():
            pids = {int(pid) for pid in re.findall(r"\d+", str(cell))}
            twice[at] = bool(pids) and pids <= stuck
    for at, row in rows[rows["lead"] == "lock convoy"].iterrows():
        if hung["evidence"].str.contains(f"for {row['subject']}.", regex=False).any():
            twice[at] = True
    held = rows["lead"] == "CPU held"
    keepers = rows[held & evidence.str.contains("which it holds", regex=False)]
    for name in keepers["subject"]:
        spins = held & evidence.str.contains(f", which {name} holds.", regex=False)
        twice.update(dict.fromkeys(rows.index[spins], True))
    return pd.Series(twice, dtype=bool)

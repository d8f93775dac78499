"""Threads that wait for each other in a circle: none of them will ever go on."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.chains import LOCKUPS, any_unknown, guesses, say_lock, seconds
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule

#: Circles that are told at most, those with the most behind them first.
_MOST = 5
#: The end that threads lead to which sleep for ever.
_HUNG = frozenset({"hung task"})


@rule
def deadlocks(case: Case) -> Iterator[Finding]:
    """Threads that wait for each other in a circle are a deadlock: none of them will ever go on."""
    chains = case.chains
    circles = sorted(
        zip(chains.graph.cycles, chains.graph.deadlocks, strict=True),
        key=lambda each: -len(chains.behind(each[0])),
    )
    for cycle, line in circles[:_MOST]:
        rows = chains.of(cycle)
        if (rows["type"] == "ptrace").any():
            continue  # a debugger and what it has stopped: it goes on when whoever debugs it wants
        labels = rows_of(rows, list(rows.index))
        others = chains.of(chains.behind(cycle) - set(cycle))
        stood = seconds(rows["since"].min())
        evidence = [Evidence("waits", _circle(rows), labels)]
        if stood is not None:
            said = f"{'all of them' if len(rows) > 1 else 'it has done so'} for {human_time(stood)} or more"
            evidence.append(Evidence("waits", said, labels))
        if len(others):
            wait, them = "waits" if len(others) == 1 else "wait", "them" if len(rows) > 1 else "it"
            said = f"{len(others):,} more {wait} behind {them}"
            evidence.append(Evidence("waits", said, rows_of(others, list(others.index))))
        guessed = guesses(rows)
        against = [f"Who holds a lock of it is not certain: {show_controls(note)}." for note in guessed[:3]]
        where = case.blamed(case.stack_of(cycle[0]), "wait")
        yield Finding(
            "deadlock",
            show_short(line.removeprefix("deadlock: "), 500),
            0.97 if not guessed else 0.45 if any_unknown(guessed) else 0.75,
            tuple(evidence),
            f"dump.waits[dump.waits.pid.isin({cycle[:20]})]",
            pid=cycle[0],
            module=where.module,
            function=where.function,
            against=tuple(against),
            explains=LOCKUPS if (rows["state"] == "R").all() else _HUNG,
            since=stood,
        )


def _circle(rows: pd.DataFrame) -> str:
    parts = [
        f"{say_thread(str(row['comm']), int(row['pid']))} wants {say_lock(row)}, which "
        + (
            "it has itself"
            if row["holder_pid"] == row["pid"]
            else f"{say_thread(str(row['holder_comm']), int(row['holder_pid']))} has"
        )
        for _, row in rows.head(6).iterrows()
    ]
    return show_controls("; ".join(parts))

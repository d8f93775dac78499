"""Who waits for whom: circles in which nobody will ever go on, and locks whose holder does not let go."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule

#: Circles and holders that are told at most, those with the most behind them first.
_MOST = 5
#: The ends that threads lead to which sleep for ever, and those that spin.
_SLEEPING, _SPINNING = frozenset({"hung task"}), frozenset({"soft lockup", "hard lockup", "RCU stall"})


@rule
def deadlocks(case: Case) -> Iterator[Finding]:
    """Threads that wait for each other in a circle are a deadlock: none of them will ever go on."""
    graph = case.waits.graph()
    behind = _waiters(graph.edges)
    circles = sorted(
        zip(graph.cycles, graph.deadlocks, strict=True), key=lambda each: -len(_behind(behind, each[0]))
    )
    for cycle, line in circles[:_MOST]:
        rows = case.waits[case.waits["pid"].isin(cycle)]
        others = sorted(_behind(behind, cycle) - set(cycle))
        stood = rows["since"].min()
        evidence = [Evidence("waits", _circle(rows), rows_of(case.waits, case.waits["pid"].isin(cycle)))]
        if not pd.isna(stood):
            said = f"all of them for {human_time(stood.total_seconds())} or more"
            evidence.append(Evidence("waits", said, rows_of(case.waits, case.waits["pid"].isin(cycle))))
        if others:
            said = f"{len(others):,} more wait behind them"
            evidence.append(Evidence("waits", said, rows_of(case.waits, case.waits["pid"].isin(others))))
        guessed = rows[rows["note"] != ""]
        against = [
            f"Who holds {_what(row)} is not certain: {show_controls(row['note'])}."
            for _, row in guessed.iterrows()
        ]
        where = case.blamed(case.stack_of(cycle[0]), "wait")
        yield Finding(
            "deadlock",
            show_short(line.removeprefix("deadlock: "), 500),
            0.97 if not against else 0.85,
            tuple(evidence),
            f"dump.waits[dump.waits.pid.isin({cycle[:20]})]",
            pid=cycle[0],
            module=where.module,
            function=where.function,
            against=tuple(against),
            explains=_SPINNING if (rows["state"] == "R").all() else _SLEEPING,
            since=None if pd.isna(stood) else float(stood.total_seconds()),
        )


@rule
def kept_locks(case: Case) -> Iterator[Finding]:
    """A thread that has a lock for which others have long waited, and itself waits for nobody, keeps them all."""
    graph = case.waits.graph()
    behind = _waiters(graph.edges)
    circled = {pid for cycle in graph.cycles for pid in cycle}
    waiting = set(graph.edges["pid"].astype(int))
    roots = [pid for pid in behind if pid not in waiting and pid not in circled]
    for root in sorted(roots, key=lambda pid: -len(_behind(behind, [pid])))[:_MOST]:
        kept = _behind(behind, [root]) - {root}
        rows = case.waits[case.waits["pid"].isin(kept)]
        direct = rows[(rows["holder_pid"] == root) & rows["type"].isin(_LOCKS)]
        spins = bool((direct["state"] == "R").any())
        longest = rows["since"].max()
        if direct.empty or not (
            spins or (not pd.isna(longest) and longest.total_seconds() > case.hung_after)
        ):
            continue
        comm = str(direct["holder_comm"].iloc[0])
        names = say_several(
            [say_thread(str(one), int(pid)) for one, pid in zip(rows["comm"], rows["pid"], strict=True)]
        )
        frames = case.stack_of(root)
        where = case.blamed(frames, "fault" if spins else "wait")
        waited = "" if pd.isna(longest) else f", the longest for {human_time(longest.total_seconds())}"
        evidence = [
            Evidence(
                "waits",
                show_controls(
                    f"{names} {'wait' if len(rows) > 1 else 'waits'} for {_what(direct.iloc[0])}{waited}"
                ),
                rows_of(case.waits, case.waits["pid"].isin(kept)),
            )
        ]
        if where.function:
            said = f"{say_thread(comm, root)} has it, and is in {where.function}"
            evidence.append(
                Evidence("stacks", show_controls(said), rows_of(case.stacks, case.stacks["pid"] == root))
            )
        own = case.waits[case.waits["pid"] == root]
        if len(own) and not spins:
            said = f"it itself waits for {_what(own.iloc[0])}"
            evidence.append(
                Evidence("waits", show_controls(said), rows_of(case.waits, case.waits["pid"] == root))
            )
        confidence, against = 0.9, []
        for note in direct.loc[direct["note"] != "", "note"].unique()[:3]:
            if not spins:
                against.append(f"Who holds it is not certain: {show_controls(note)}.")
                confidence = 0.75
        yield Finding(
            "lock not released",
            show_controls(say_thread(comm, root)),
            confidence,
            tuple(evidence),
            f"dump.stack({root})",
            pid=root,
            module=where.module,
            function=where.function,
            against=tuple(against),
            explains=_SPINNING if spins else _SLEEPING,
            since=None if pd.isna(longest) else float(longest.total_seconds()),
        )


_LOCKS = (
    *("mutex", "rwsem_read", "rwsem_write", "rtmutex", "semaphore", "percpu_rwsem"),
    *("spinlock", "rwlock_read", "rwlock_write"),
)


def _waiters(edges: pd.DataFrame) -> dict[int, list[int]]:
    """Who waits for each holder."""
    found: dict[int, list[int]] = {}
    for pid, holder in zip(edges["pid"].astype(int), edges["holder_pid"].astype(int), strict=True):
        found.setdefault(holder, []).append(pid)
    return found


def _behind(waiters: dict[int, list[int]], pids: list[int]) -> set[int]:
    """Some threads, and all who wait for them, through others or not."""
    seen, new = set(pids), list(pids)
    while new:
        new = [pid for holder in new for pid in waiters.get(holder, []) if pid not in seen]
        seen.update(new)
    return seen


def _circle(rows: pd.DataFrame) -> str:
    parts = [
        f"{say_thread(str(row['comm']), int(row['pid']))} wants {_what(row)}, which "
        f"{say_thread(str(row['holder_comm']), int(row['holder_pid']))} has"
        for _, row in rows.head(6).iterrows()
    ]
    return show_controls("; ".join(parts))


def _what(row: pd.Series) -> str:
    name, kind = row["name"], str(row["type"]).removesuffix("_read").removesuffix("_write")
    return show_short(f"the {kind} {name}" if isinstance(name, str) else f"a {kind}")

"""What `suspects` says of threads that wait for each other: deadlocks, hung tasks, many who wait for one lock."""

from __future__ import annotations

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.tables.suspects.evidence import Evidence, Lead
from kernlab.util.text import human_time

#: So many who wait for one lock are worth a look.
_CONVOY = 4
#: Leads of one kind at most.
_MOST = 5
_LOCKS = (
    *("mutex", "rwsem_read", "rwsem_write", "rtmutex", "semaphore", "percpu_rwsem", "futex"),
    *("spinlock", "rwlock_read", "rwlock_write"),
)
#: Above all that can be said of memory: these explain by themselves why nothing went on.
_DEADLOCK, _HUNG, _WAITED_FOR = 10.0, 6.0, 4.0


def deadlocks(evidence: Evidence) -> list[Lead]:
    """Threads that wait for each other in a circle."""
    graph = evidence.waits.graph()
    found = []
    for cycle, line in list(zip(graph.cycles, graph.deadlocks, strict=True))[:_MOST]:
        behind = _behind(graph.edges, cycle)
        more = f" {_several(behind, 'more thread')} for them." if behind else ""
        # As long as the last of them sleeps.
        closed = evidence.waits.loc[evidence.waits["pid"].isin(cycle), "since"].min()
        stood = "" if pd.isna(closed) else f", for {human_time(closed.total_seconds())} by now"
        found.append(
            Lead(
                "deadlock",
                show_short(line.removeprefix("deadlock: "), 500),
                f"{len(cycle):,} threads wait for each other{stood}, and none will ever go on.{more}",
                f"dump.waits[dump.waits.pid.isin({cycle[:20]})]",
                _DEADLOCK + behind * 1e-3,
            )
        )
    return found


def hung_tasks(evidence: Evidence) -> list[Lead]:
    """Uninterruptible sleeps that the kernel itself would call hung, by what is waited for."""
    waits, after = evidence.waits, evidence.hung_after
    long = waits[(waits["since"] > pd.Timedelta(seconds=after)) & waits["pid"].isin(evidence.uninterruptible)]
    found = []
    for rows in _by_object(long)[:_MOST]:
        first = rows.iloc[0]
        longest = human_time(rows["since"].max().total_seconds())
        pids = _pids(rows)
        found.append(
            Lead(
                "hung tasks" if len(rows) > 1 else "hung task",
                _names(rows),
                f"In uninterruptible sleep for more than {human_time(after)} (the longest {longest}), for "
                f"{_what(first)}.{_holder(waits, first)}",
                f"dump.stack({pids[0]})" if len(pids) == 1 else f"dump.waits[dump.waits.pid.isin({pids})]",
                _HUNG + min(len(rows), 1000) * 1e-3,
            )
        )
    return found


def convoys(evidence: Evidence) -> list[Lead]:
    """Many threads that wait for one lock."""
    waits = evidence.waits
    found = []
    for rows in _by_object(waits[waits["type"].isin(_LOCKS) & waits["object"].notna()])[:_MOST]:
        first = rows.iloc[0]
        if len(rows) < _CONVOY or (first["type"] == "futex" and pd.isna(first["holder_pid"])):
            continue
        found.append(
            Lead(
                "lock convoy",
                _what(first),
                f"{len(rows):,} threads wait for it: {_names(rows)}.{_holder(waits, first)}",
                "dump.locks",
                _WAITED_FOR + min(len(rows), 1000) * 1e-3,
            )
        )
    return found


def _by_object(waits: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each lock or queue together, the most first; those without one each alone."""
    if waits.empty:
        return []
    key = waits["object"].astype("UInt64").astype("object")
    alone = waits["object"].isna()
    key[alone] = [f"pid {pid}" for pid in waits.loc[alone, "pid"]]
    groups = [rows for _, rows in waits.groupby(key.astype(str), sort=False)]
    return sorted(groups, key=len, reverse=True)


def _behind(edges: pd.DataFrame, cycle: list[int]) -> int:
    """How many threads wait, through others or not, for those of a circle."""
    waiters: dict[int, list[int]] = {}
    for pid, holder in zip(edges["pid"].astype(int), edges["holder_pid"].astype(int), strict=True):
        waiters.setdefault(holder, []).append(pid)
    seen, new = set(cycle), list(cycle)
    while new:
        new = [pid for holder in new for pid in waiters.get(holder, []) if pid not in seen]
        seen.update(new)
    return len(seen) - len(cycle)


def _what(row: pd.Series) -> str:
    name, kind = row["name"], str(row["type"]).removesuffix("_read").removesuffix("_write")
    return show_short(f"{kind} {name}" if isinstance(name, str) else kind)


def _holder(waits: pd.DataFrame, row: pd.Series) -> str:
    """Who has what is waited for, and what that one does."""
    pid = row["holder_pid"]
    if pd.isna(pid):
        note = row["note"]
        return f" Who holds it is not known ({show_controls(note)})." if note else ""
    who = show_controls(say_thread(str(row["holder_comm"]), int(pid)))
    own = waits[waits["pid"] == pid]
    if own.empty:
        return f" {who} holds it, and does not sleep."
    return f" {who} holds it, and itself waits for {_what(own.iloc[0])}."


def _names(rows: pd.DataFrame) -> str:
    return show_controls(
        say_several(
            [say_thread(str(comm), str(pid)) for comm, pid in zip(rows["comm"], rows["pid"], strict=True)]
        )
    )


def _pids(rows: pd.DataFrame) -> list[int]:
    return [int(pid) for pid in rows["pid"].dropna().head(20)]


def _several(count: int, what: str) -> str:
    return f"{count:,} {what} waits" if count == 1 else f"{count:,} {what}s wait"

"""Locks of a thread that the kernel killed: a trap ends it where it stands, with all that it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.ending import TRAPS
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import label_of, text_or_none

#: Threads that were killed which are asked, the last ones.
_MOST = 20
#: What `waits` says of a lock whose holder is over.
_EXITED, _GONE = "its holder has exited", "its holder is gone"
#: Locks that only the thread which took one gives back.
_LOCKS = (
    "mutex",
    "rwsem_read",
    "rwsem_write",
    "rtmutex",
    "percpu_rwsem",
    "spinlock",
    "rwlock_read",
    "rwlock_write",
)


@rule
def killed_with_a_lock(case: Case) -> Iterator[Finding]:
    """A lock whose holder is over, after a trap that killed a thread in the kernel, was that thread's."""
    if not case.has_dump:
        return
    killed = _killed(case)
    if not killed:
        return
    waits = case.waits
    stuck = waits[waits["type"].isin(_LOCKS) & waits["state"].isin(("D", "R"))]
    exited = stuck[stuck["note"].str.contains(_EXITED, regex=False, na=False)]
    gone = stuck[stuck["note"].str.contains(_GONE, regex=False, na=False)]
    for report in killed:
        own = exited[exited["holder_pid"] == int(report["pid"])]
        sure = bool(len(own))
        # Where the list of tasks is damaged, a holder that is gone may be one that the list does not reach.
        if own.empty and len(killed) == 1 and not case.tasks.attrs["problems"]:
            own = gone
        if len(own):
            yield _told(case, report, own, sure)


def _killed(case: Case) -> list[pd.Series[Any]]:
    """The reports of traps that killed their thread, where the machine went on: it was neither in an interrupt nor
    idle, and is no thread any more, or a dead one."""
    end = case.end.report
    reports = case.reports[case.reports["kind"].isin(TRAPS) & case.reports["pid"].notna()]
    if end is not None:
        reports = reports[reports["offset"] < int(end["offset"])]
    tasks = case.tasks
    alive = set(tasks.loc[~tasks["state"].isin(("Z", "X")), "pid"].dropna().astype(int))
    gone = ~reports["pid"].isin(alive | {0})
    # Threads that the kernel kills one after the other are few: the last ones are enough.
    return [row for _, row in reports[gone.to_numpy(dtype=bool)].tail(_MOST).iterrows()]


def _told(case: Case, report: pd.Series[Any], own: pd.DataFrame, sure: bool) -> Finding:
    pid, comm = int(report["pid"]), "" if pd.isna(report["comm"]) else str(report["comm"])
    label = label_of(case, report)
    names = say_several(
        [say_thread(str(one), int(each)) for one, each in zip(own["comm"], own["pid"], strict=True)]
    )
    name = own["name"].dropna()
    lock = f"the {own['type'].iloc[0].partition('_')[0]} {name.iloc[0]}" if len(name) else "a lock"
    longest = own["since"].max()
    waited = "" if pd.isna(longest) else f", the longest for {human_time(longest.total_seconds())}"
    said = f"{names} {'wait' if len(own) > 1 else 'waits'} for {lock}{waited}, whose holder is no thread any more"
    kind = str(report["kind"])
    return Finding(
        kind,
        show_controls(say_thread(comm, pid)),
        0.93 if sure else 0.8,
        (
            Evidence("log", show_controls(str(report["title"])), (label,)),
            Evidence("log", show_controls(f"{say_thread(comm, pid)} was killed for it"), (label,)),
            Evidence("waits", show_controls(said), rows_of(case.waits, list(own.index))),
        ),
        f"dump.waits[dump.waits.pid.isin({own['pid'].astype(int).tolist()[:20]})]",
        pid=pid,
        module=text_or_none(report["module"]),
        function=text_or_none(report["function"]),
        against=()
        if sure
        else (
            "That the lock was of this thread is not known: it is the only one that was killed in the kernel.",
        ),
        explains=frozenset({"hung task", "soft lockup"}),
        since=case.before_end(report["timestamp"]),
    )

"""Works of the kernel's workqueues that do not come to their end, and pools of workers that take up none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.chains import FOR_DISKS, LOCKUPS, say_rows, seconds
from kernlab.verdict.disks import unanswered
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule
from kernlab.verdict.rules.holders import waits_itself
from kernlab.verdict.rules.spinning import interrupted

#: A pool that has taken up no work for so many seconds is stuck (kernel/workqueue.c, wq_watchdog_thresh).
_STALLED = 30.0
#: What is told at most.
_MOST = 5
#: Works that wait for a worker, or for another work of theirs to end.
_WAITING = ("scheduled", "pending", "inactive")


class Work(NamedTuple):
    """What a worker does: the function, its module, and whose work it is; None each where that is not known."""

    function: str | None
    module: str | None
    queue: str | None


@rule
def endless_works(case: Case) -> Iterator[Finding]:
    """A work that a worker has long been at, and for whose end others have long slept, does not come to its end."""
    chains = case.chains
    for root in chains.roots[:_MOST]:
        rows = chains.of(chains.behind([root]) - {root})
        direct = rows[(rows["holder_pid"] == root) & (rows["type"] == "work") & (rows["state"] == "D")]
        longest, own = seconds(direct["since"].max()), chains.of([root])
        if longest is None or longest < case.hung_after:
            continue
        if own["type"].isin(FOR_DISKS).any() and unanswered(case):
            continue  # the disk is why: its finding has all who wait for it
        running = case.works[(case.works["pid"] == root) & (case.works["state"] == "running")]
        work = _work(running)
        worker = show_controls(say_thread(str(direct["holder_comm"].iloc[0]), root))
        verb = "wait" if len(rows) > 1 else "waits"
        said = f"{say_rows(rows)} {verb} for the end of a work, the longest for {human_time(longest)}"
        evidence = [Evidence("waits", show_controls(said), rows_of(rows, list(rows.index)))]
        if work.function:
            evidence.append(Evidence("works", _does(worker, work), rows_of(running, list(running.index))))
        if len(own):
            evidence.append(waits_itself(own))
        asleep = seconds(own["since"].max()) if len(own) else None
        kept = asleep is not None and asleep >= case.hung_after
        where = case.blamed(case.stack_of(root), "wait")
        yield Finding(
            "hung task",
            f"{worker}, which works for {show_short(work.queue)}" if work.queue else worker,
            0.92 if kept else 0.7,
            tuple(evidence),
            f"dump.stack({root})",
            pid=root,
            module=work.module if work.function else where.module,
            function=work.function or where.function,
            against=()
            if kept
            else ("It has slept for less long than those who wait, or runs: it may go on.",),
            explains=frozenset({"hung task"}),
            since=longest,
        )


@rule
def stalled_pools(case: Case) -> Iterator[Finding]:
    """Works that have long waited for a worker, or for the work before them, show a workqueue that stands still."""
    works = case.works
    waiting = works[works["state"].isin(_WAITING) & works["pool"].notna()]
    grants = min(_STALLED, float(case.hung_after))
    told = 0
    for pool, rows in waiting.groupby("pool", sort=True):
        running = works[(works["pool"] == pool) & (works["state"] == "running")]
        stalled = seconds(rows["stalled"].max())
        # The kernel counts only works that wait for a worker; others wait for the work before them.
        behind = _behind(
            case, rows, running, grants if case.end.kind == "workqueue stall" else case.hung_after
        )
        if (stalled is None or stalled < grants) and behind is None:
            continue
        since = max(each for each in (stalled, behind[1] if behind else None) if each is not None)
        culprit = _culprit(case, rows, running if behind is None else behind[0])
        if culprit is None or told == _MOST:
            continue
        told += 1
        names = [show_short(str(name)) for name in rows["workqueue"].dropna().unique()]
        number = f"{len(rows):,} works" if len(rows) > 1 else "a work"
        verb = "have waited" if len(rows) > 1 else "has waited"
        said = f"{number} of {', '.join(names[:5]) or 'a workqueue'} {verb} for up to {human_time(since)}"
        pid, work, evidence = culprit
        ended = case.end.kind == "workqueue stall"
        yield Finding(
            "workqueue stall",
            ", ".join(names[:3]) or "a workqueue",
            0.9 if ended else 0.8,
            (Evidence("works", said, rows_of(rows, list(rows.index))), *evidence),
            f"dump.works[dump.works.pool == {int(str(pool))}]",
            pid=pid,
            module=work.module,
            function=work.function,
            explains=frozenset({"workqueue stall"}),
            since=since,
        )


def _behind(
    case: Case, rows: pd.DataFrame, running: pd.DataFrame, grants: float
) -> tuple[pd.DataFrame, float] | None:
    """The running works, of workqueues of which works wait, whose worker has slept for too long; and for how long."""
    mine = running[running["workqueue"].isin(rows.loc[rows["state"] != "pending", "workqueue"].dropna())]
    asleep = case.waits[case.waits["pid"].isin(mine["pid"].dropna()) & (case.waits["state"] == "D")]
    # Drivers may grant a device half a minute; who is woken by a timer goes on.
    long = asleep[(asleep["since"].dt.total_seconds() >= grants) & asleep["left"].isna()]
    if long.empty:
        return None
    return mine[mine["pid"].isin(long["pid"])], float(long["since"].max().total_seconds())


def _culprit(
    case: Case, rows: pd.DataFrame, running: pd.DataFrame
) -> tuple[int | None, Work, list[Evidence]] | None:
    """Who keeps a pool from its works: the worker that is at one, else what runs on the pool's CPU; None: nobody."""
    if len(running):
        work, pid = _work(running), running["pid"].iloc[0]
        number = None if pd.isna(pid) else int(pid)
        task = case.tasks[case.tasks["pid"] == number] if number is not None else case.tasks.iloc[:0]
        comm = "a worker" if task.empty else show_controls(say_thread(str(task["comm"].iloc[0]), str(number)))
        told = Evidence("works", _does(comm, work), rows_of(running, list(running.index)))
        return number, work, [told]
    cpu = rows["cpu"].dropna()
    if cpu.empty:
        return None
    if case.end.kind in LOCKUPS and case.end_cpu == int(cpu.iloc[0]):
        return None  # a CPU that does not go on does no works either: the lockup says so
    ran = case.tasks[
        (case.tasks["cpu"] == int(cpu.iloc[0])) & case.tasks["on_cpu"] & (case.tasks["pid"] != 0)
    ]
    if ran.empty:
        return None
    pid = int(ran["pid"].iloc[0])
    comm = show_controls(say_thread(str(ran["comm"].iloc[0]), pid))
    where = case.blamed(interrupted(case, int(cpu.iloc[0])), "fault")
    said = f"{comm} runs on CPU {int(cpu.iloc[0])}, for which they are"
    return (
        pid,
        Work(where.function, where.module, None),
        [Evidence("tasks", said, rows_of(ran, list(ran.index)))],
    )


def _work(running: pd.DataFrame) -> Work:
    """What the first of some rows of `works` does."""
    if running.empty or pd.isna(running["function"].iloc[0]):
        return Work(None, None, None)
    name, _, module = str(running["function"].iloc[0]).partition(" [")
    queue = running["workqueue"].iloc[0]
    return Work(name, module.rstrip("]") or None, None if pd.isna(queue) else str(queue))


def _does(worker: str, work: Work) -> str:
    module = f" [{work.module}]" if work.module else ""
    return show_controls(f"{worker} is at {work.function}{module}{f' of {work.queue}' if work.queue else ''}")

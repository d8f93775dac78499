"""Locks whose holder does not let go: where chains of waits end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.chains import (
    FOR_DISKS,
    LOCKUPS,
    SLEEPING,
    SPINNING,
    any_unknown,
    beneath,
    functions,
    guesses,
    lock_name,
    reported_hung,
    say_lock,
    say_rows,
    seconds,
)
from kernlab.verdict.disks import in_frozen, unanswered
from kernlab.verdict.file_servers import waits_for_server
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule

#: Holders that are told at most, those with the most behind them first.
_MOST = 5
#: The end that threads lead to which sleep for ever.
_HUNG = frozenset({"hung task"})
#: So many that wait, and where they do the same as who has the lock, they take it in turn.
_CROWD = 3


class Doubt(NamedTuple):
    """How sure it is that a holder keeps a lock, what it is then, and what speaks against it."""

    finding: str
    confidence: float
    against: tuple[str, ...]


@rule
def kept_locks(case: Case) -> Iterator[Finding]:
    """A thread that has a lock for which others have long waited, and itself waits for no thread, keeps them all."""
    chains = case.chains
    for root in chains.roots[:_MOST]:
        rows = chains.of(chains.behind([root]) - {root})
        direct = rows[(rows["holder_pid"] == root) & rows["type"].isin((*SLEEPING, *SPINNING))]
        spins = bool((direct["state"] == "R").any() and direct["type"].isin(SPINNING).any())
        # Who may be woken by a signal may wait for hours, such as the second who reads from a terminal.
        direct = direct[direct["state"] == "D"] if not spins else direct
        longest = seconds(direct["since"].max())
        if direct.empty or not (spins or (longest is not None and longest >= case.hung_after)):
            continue
        if direct["note"].str.contains("its holder has exited", regex=False, na=False).all():
            continue  # it never will: the lock is nobody's
        own = chains.of([root])
        if not spins and own["type"].isin(FOR_DISKS).any() and unanswered(case):
            continue  # the disk is why: its finding has all who wait for it
        if not spins and waits_for_server(case, root):
            continue  # so is the file server
        doubt = Doubt("lock not released", 0.95, ()) if spins else _doubt(case, root, own, direct)
        against = list(doubt.against)
        confidence = doubt.confidence
        if not spins and (guessed := guesses(direct)):
            against += [f"Who holds it is not certain: {show_controls(note)}." for note in guessed[:3]]
            confidence = min(confidence, 0.45 if any_unknown(guessed) else 0.7)
        lock = direct.iloc[0]
        holder = show_controls(say_thread(str(lock["holder_comm"]), root))
        waited = "" if longest is None else f", the longest for {human_time(longest)}"
        verb = "wait" if len(rows) > 1 else "waits"
        said = f"{show_controls(say_rows(rows))} {verb} for {say_lock(lock)}{waited}"
        stack = case.stack_of(root)
        where = case.blamed(beneath(stack) if spins else stack, "fault" if spins else "wait")
        yield Finding(
            doubt.finding,
            f"{holder}, which has {lock_name(lock)}",
            confidence,
            (
                Evidence("waits", said, rows_of(rows, list(rows.index))),
                *_stands(case, root, own, holder, where.function),
            ),
            f"dump.stack({root})",
            pid=root,
            module=where.module,
            function=where.function,
            against=tuple(against),
            explains=LOCKUPS if spins else _HUNG,
            since=_spun(case) if spins else longest,
        )


def _spun(case: Case) -> float | None:
    """For how long a CPU had spun when the watchdog said so, in seconds."""
    told = None if case.end.report is None else case.end.report["details"].get("seconds")
    return float(told) if isinstance(told, int) else None


def _doubt(case: Case, root: int, own: pd.DataFrame, direct: pd.DataFrame) -> Doubt:
    """Whether a holder of a lock that sleeps has it all the time, or will go on, by how long it itself has slept."""
    task = case.tasks[case.tasks["pid"] == root]
    if own.empty and (task.empty or str(task["state"].iloc[0]) == "D"):
        # Every such sleep has its row: this one's could not be read, and who has what it wants is why.
        return Doubt("lock not released", 0.45, ("It sleeps itself, and what for is not known.",))
    if own["type"].isin((*SLEEPING, *SPINNING)).any():
        return Doubt(
            "lock not released", 0.45, ("It itself waits for a lock, and nothing tells who has that.",)
        )
    asleep = seconds(own["since"].max()) if len(own) else None
    longest = seconds(direct["since"].max()) or 0.0
    timed = bool(own["left"].notna().any()) if len(own) else False
    # Of what the log says of it earlier it may have woken since.
    reported = asleep is None and root in reported_hung(case)
    if reported or (asleep is not None and asleep >= longest and not timed):
        return Doubt("lock not released", 0.95, ())
    if asleep is not None and asleep >= case.hung_after and not timed:
        return Doubt("lock not released", 0.9, ())
    runs = len(task) > 0 and str(task["state"].iloc[0]) == "R"
    if len(task) and bool(task["on_cpu"].iloc[0]) and (_ran_for(case, root) or 0.0) >= case.hung_after:
        return Doubt("lock not released", 0.9, ())
    if asleep is None and not runs:
        return Doubt("lock not released", 0.8, ("How long it has slept is not known.",))
    goes = (
        "It runs, or is about to"
        if runs
        else "A timer will wake it"
        if timed
        else "It has slept for less long"
    )
    if len(direct) >= _CROWD and _peers(case, root, direct):
        said = f"{goes}: whether it has had the lock all the time is not known."
        return Doubt("lock convoy", 0.75, (said,))
    # Who is first in line is handed a lock that is let go (MUTEX_FLAG_HANDOFF, RWSEM_FLAG_HANDOFF): alone it is that.
    than = "" if runs or timed else " than those who wait"
    return Doubt("lock not released", 0.8 if len(direct) == 1 else 0.65, (f"{goes}{than}: it may go on.",))


def _ran_for(case: Case, pid: int) -> float | None:
    """For how many seconds a thread that runs has had its CPU without a break; None where that is not known."""
    rows = case.delays[case.delays["pid"] == pid]
    return seconds(rows["last_run"].iloc[0]) if len(rows) else None


def _peers(case: Case, root: int, direct: pd.DataFrame) -> bool:
    """Whether who has a lock came by it where the others wait for it: they do the same, one after the other."""
    names = set(functions(case.stack_of(root)))
    return bool(direct["function"].dropna().isin(names).any())


def _stands(
    case: Case, root: int, own: pd.DataFrame, holder: str, function: str | None
) -> Iterator[Evidence]:
    """Where a holder is, and what it waits for itself."""
    if function:
        rows = case.stack_of(root)
        said = f"{holder} has it, and is in {show_controls(function)}"
        yield Evidence("stacks", said, rows_of(rows, list(rows.index)))
    if len(own):
        yield waits_itself(own)


def waits_itself(own: pd.DataFrame) -> Evidence:
    """What a holder waits for itself, by its row of `waits`."""
    asleep = seconds(own["since"].iloc[0])
    waited = "" if asleep is None else f", for {human_time(asleep)}"
    return Evidence(
        "waits", f"it itself waits for {say_lock(own.iloc[0])}{waited}", rows_of(own, list(own.index))
    )


@rule
def locks_of_nobody(case: Case) -> Iterator[Finding]:
    """A lock for which a thread has long slept, and whose holder is gone or not known, is not let go of."""
    waits = case.waits
    gone = waits["note"].str.contains(
        "its holder has exited|its holder is gone|is another task's by now", na=False
    )
    asleep = waits[
        waits["type"].isin(SLEEPING) & (waits["state"] == "D") & (waits["holder_pid"].isna() | gone)
    ]
    free = asleep["note"].str.contains("nobody holds it|says that it is free", na=False)
    told = in_frozen(case, asleep) >= 0  # by that file system's own finding
    for _, rows in asleep[~free & ~told].groupby("object", sort=False):
        longest = seconds(rows["since"].max())
        if longest is None or longest < case.hung_after:
            continue
        first = rows.iloc[0]
        left = rows.index.isin(asleep.index[gone.loc[asleep.index]]).any()
        notes = [show_controls(str(note)) for note in rows["note"].unique() if note]
        evidence = [
            Evidence(
                "waits",
                show_controls(
                    f"{say_rows(rows)} {'wait' if len(rows) > 1 else 'waits'} for {say_lock(first)}, the longest for "
                    f"{human_time(longest)}"
                ),
                rows_of(rows, list(rows.index)),
            )
        ]
        if left:
            evidence.append(Evidence("waits", notes[0], rows_of(rows, list(rows.index))))
        yield Finding(
            "lock not released",
            lock_name(first),
            0.9 if left else 0.6,
            tuple(evidence),
            f"dump.waits.loc[{[int(str(label)) for label in rows.index[:20]]}]",
            against=()
            if left
            else (f"Nothing tells who has it{': ' + '; '.join(notes[:2]) if notes else ''}.",),
            explains=_HUNG,
            since=longest,
        )

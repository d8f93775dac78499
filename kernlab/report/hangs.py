"""The story of a machine that no longer went on: who waits for whom, and CPUs that nobody gave up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.report.death import WATCHED
from kernlab.report.details import Details
from kernlab.report.explain import split_symbol
from kernlab.report.owners import setting
from kernlab.report.phrases import listed, several, span

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.report.death import Death

#: The kernel's thread that looks for tasks that hang (kernel/hung_task.c).
_HUNG_WATCHDOG = "khungtaskd"


def _messenger(end: Death) -> tuple[str, ...]:
    """What the thread that panicked has to do with it."""
    if end.comm == _HUNG_WATCHDOG:
        return (
            f"{end.who} panicked: it is the kernel's watchdog for tasks that hang, the messenger and not the cause.",
        )
    return (f"{end.who} panicked because it noticed: it is not by itself the cause.",) if end.who else ()


def details(dump: Dump, end: Death, first: pd.Series[Any]) -> Details:
    """More of a machine that hung: each wait of a circle, who keeps what and for whom, and what was set.

    `first` is the verdict's first row: it says who is to blame.
    """
    graph = dump.waits.graph()
    died = (
        f"The kernel was set to panic when a thread waits{_limit(dump)} for something and cannot be interrupted "
        "(hung_task_panic)."
        if end.kind == "hung task"
        else "The kernel was set to panic when a CPU stands still."
        if end.kind in WATCHED
        else ""
    )
    if first["finding"] == "deadlock" and graph.cycles:
        return _deadlock(graph, died, end)
    if not pd.isna(first["pid"]):
        pid = int(first["pid"])
        waits = dump.waits
        if ((waits["holder_pid"] == pid) & (waits["state"] == "R")).any():
            return _spun(dump, pid, died, end)
        edges = graph.edges
        if (edges["holder_pid"] == pid).any():
            return _kept(dump, edges, pid, died, end)
        return Details((died,), tuple(_stands(dump, pid)), doubts=_messenger(end))
    return Details((died,), doubts=_messenger(end))


def _limit(dump: Dump) -> str:
    seconds = setting(dump, "sysctl_hung_task_timeout_secs")
    return f" for more than {several(seconds, 'second')}" if seconds else " for too long"


def _deadlock(graph: Any, died: str, end: Death) -> Details:
    rows = {int(row["pid"]): row for _, row in graph.edges.iterrows()}
    circles = [[rows[pid] for pid in cycle if pid in rows] for cycle in graph.cycles]
    why = []
    for line, circle in zip(graph.deadlocks, circles, strict=True):
        why.append(f"{show_controls(line.removeprefix('deadlock: '))}.")
        why += [
            f"{_who(row['comm'], row['pid'])} waits{_in(row)} for {_lock(row)}, which "
            f"{_who(row['holder_comm'], row['holder_pid'])} has."
            for row in circle
        ]
    behind = set(graph.edges["pid"].astype(int)) - {pid for cycle in graph.cycles for pid in cycle}
    if behind:
        others = [_who(rows[pid]["comm"], pid) for pid in sorted(behind) if pid in rows]
        why.append(
            f"{say_several(others)} wait{'s' if len(others) == 1 else ''} behind them, and are victims."
        )
    steps = [
        f"Take {listed(sorted({_lock(row) for row in circle}))} in the same order everywhere: who takes them the other "
        "way round is the bug."
        for circle in circles
    ]
    owners = sorted({module for circle in circles for row in circle if (module := _module(row))})
    whom = f"the module{'' if len(owners) == 1 else 's'} {listed(owners)}" if owners else "that code"
    steps.append(
        f"Give the stacks below to whoever maintains {whom}; a restart only helps until the next time."
    )
    return Details((died,), tuple(why), doubts=_messenger(end), next=tuple(steps), whole=True)


def _kept(dump: Dump, edges: pd.DataFrame, pid: int, died: str, end: Death) -> Details:
    """Who waits for a thread that keeps a lock, and for what it waits itself."""
    waits = dump.waits
    stuck = waits[waits["state"] == "D"]
    root = edges[edges["holder_pid"] == pid].iloc[0]
    behind = edges[edges["holder_pid"] == root["holder_pid"]]
    holder = _who(root["holder_comm"], root["holder_pid"])
    own = waits[waits["pid"] == root["holder_pid"]]
    lock = _lock(root)
    names = say_several([_who(comm, pid) for comm, pid in zip(behind["comm"], behind["pid"], strict=True)])
    count = len(behind)
    why = [f"{names} wait{'s' if count == 1 else ''} for {lock}. {holder} has it."]
    doubts, steps = [*_messenger(end)], []
    if len(own):
        row = own.iloc[0]
        since = f", for {span(row['since'])} by now" if not pd.isna(row["since"]) else ""
        why.append(
            f"{holder} does not give it back because it sleeps itself{since}: it waits for {_lock(row)}{_in(row)}."
        )
        if pd.isna(row["holder_pid"]):
            doubts.append(
                f"Who should have ended that wait, the dump cannot tell: a {_kind(row)} does not name whom it expects."
            )
        steps.append(
            f"Find out who should have ended the wait for {_lock(row)}, and why that never happened; the stack of "
            f"{holder} is below."
        )
        steps.append(f"Do not wait for that while holding {lock}, or wait with a time limit.")
    else:
        why.append(f"{holder} did not sleep: it ran, or wanted to.")
        steps.append(f"Look at what {holder} was doing; its stack is below.")
    if (owner := _module(root)) or (len(own) and (owner := _module(own.iloc[0]))):
        steps.append(f"Give that stack to whoever maintains the module {owner}.")
    if (stuck["pid"].isin(behind["pid"])).any():
        steps.append("Killing those who wait changes nothing: no signal wakes them, not even a kill.")
    return Details((died,), tuple(why), doubts=tuple(doubts), next=tuple(steps), whole=True)


def _spun(dump: Dump, pid: int, died: str, end: Death) -> Details:
    """Who spins for the lock of a thread that does not give it back."""
    waits = dump.waits
    behind = waits[(waits["state"] == "R") & (waits["holder_pid"] == pid)]
    holder = _who(behind["holder_comm"].iloc[0], pid)
    names = [_who(comm, one) for comm, one in zip(behind["comm"], behind["pid"], strict=True)]
    verb = "it is a victim" if len(names) == 1 else "they are victims"
    why = [f"{holder} has {_lock(behind.iloc[0])}.", *_known(behind), *_stands(dump, pid)]
    why.append(f"{say_several(names)} only wait for it, and hold their CPUs while they do: {verb}.")
    doubts = []
    if end.who in names:
        doubts.append(f"{end.who} panicked, since the watchdog caught it first: it is not the cause.")
    return Details((died,), tuple(why), doubts=tuple(doubts))


def _known(rows: pd.DataFrame) -> list[str]:
    """By what it is known that a thread holds what others spin for: the note of their waits."""
    told = {str(note) for note in rows["note"] if isinstance(note, str) and note}
    # Each who spins has one, and they say the same.
    return [show_controls(f"How it is known that it holds the lock: {min(told)}.")] if told else []


def _stands(dump: Dump, pid: int) -> list[str]:
    """Where a thread stands, as a sentence; [] where its stack is not known."""
    try:
        frames = dump.stack(pid).frames
    except KernlabError:
        return []
    names = [split_symbol(str(one)) for one in frames.loc[frames["reliable"], "symbol"].dropna()[:2]]
    said = [
        show_controls(f"{function} of the module {module}" if module else function)
        for function, module in names
    ]
    return [f"It stands in {', called by '.join(said)}."] if said else []


def root_holder(dump: Dump) -> int | None:
    """The pid of the thread at the root of most waits; None where nobody is known to wait for a thread."""
    edges = dump.waits.graph().edges
    return int(_root(edges)["holder_pid"]) if len(edges) else None


def _root(edges: pd.DataFrame) -> pd.Series[Any]:
    """The wait for the thread that most wait for in the end: whom all others wait for, and who waits for none."""
    by_pid = {int(row["pid"]): row for _, row in edges.iterrows()}
    ends: dict[int, int] = {}
    for pid in by_pid:
        seen, at = {pid}, int(by_pid[pid]["holder_pid"])
        while at in by_pid and at not in seen:
            seen.add(at)
            at = int(by_pid[at]["holder_pid"])
        ends[at] = ends.get(at, 0) + 1
    most = max(ends, key=lambda pid: ends[pid])
    found: pd.Series[Any] = edges[edges["holder_pid"] == most].iloc[0]
    return found


def _who(comm: Any, pid: Any) -> str:
    return show_controls(say_thread(_bare(comm), int(pid)))


def _bare(comm: Any) -> str:
    return show_controls(str(comm)) if isinstance(comm, str) else "?"


def _kind(row: pd.Series[Any]) -> str:
    return str(row["type"]).removesuffix("_read").removesuffix("_write")


def _lock(row: pd.Series[Any]) -> str:
    name = row["name"]
    return show_controls(f"the {_kind(row)} {name}" if isinstance(name, str) else f"a {_kind(row)}")


def _in(row: pd.Series[Any]) -> str:
    function = row.get("function")
    return f" (in {show_controls(function)})" if isinstance(function, str) and function else ""


def _module(row: pd.Series[Any]) -> str:
    """The module of the lock that a wait is for, by its name; '' for the kernel itself."""
    name = row["name"]
    found = re.search(r"\[([\w-]+)\]$", name) if isinstance(name, str) else None
    return show_controls(found[1]) if found else ""

"""The story of a machine that no longer went on: who waits for whom, and CPUs that nobody gave up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.report.explain import split_symbol
from kernlab.report.owners import setting
from kernlab.report.phrases import listed, several, span

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.report.death import Death

Told = tuple[str, tuple[str, ...], tuple[str, ...], str, tuple[str, ...], tuple[str, ...]]

#: The kernel's thread that looks for tasks that hang (kernel/hung_task.c).
_HUNG_WATCHDOG = "khungtaskd"


def _messenger(end: Death) -> tuple[str, ...]:
    """What the thread that panicked has to do with it."""
    if end.comm == _HUNG_WATCHDOG:
        return (
            f"{end.who} panicked: it is the kernel's watchdog for tasks that hang, the messenger and not the cause.",
        )
    return (f"{end.who} panicked because it noticed: it is not by itself the cause.",) if end.who else ()


def tell(dump: Dump, end: Death) -> Told:
    """Title, what died, why, how sure, doubts and next steps of a machine that hung."""
    graph = dump.waits.graph()
    held = dump.suspects[dump.suspects["lead"] == "CPU held"]
    if end.kind != "hung" and len(held):
        return _cpu(dump, end, held)
    died = [
        f"Threads of the machine stood still. The kernel was set to panic when one waits{_limit(dump)} for something "
        "and cannot be interrupted (hung_task_panic)."
        if end.kind == "hung"
        else "A CPU stood still. The kernel's watchdog noticed it, and the kernel was set to panic then."
    ]
    if graph.cycles:
        return _deadlock(graph, died, end)
    return _waiting(dump, graph, died, end)


def _limit(dump: Dump) -> str:
    seconds = setting(dump, "sysctl_hung_task_timeout_secs")
    return f" for more than {several(seconds, 'second')}" if seconds else " for too long"


def _deadlock(graph: Any, died: list[str], end: Death) -> Told:
    rows = {int(row["pid"]): row for _, row in graph.edges.iterrows()}
    circles = [[rows[pid] for pid in cycle if pid in rows] for cycle in graph.cycles]
    names = [listed([_bare(row["comm"]) for row in circle]) for circle in circles]
    count = len(circles)
    title = (
        f"Deadlock: {names[0]} wait for each other"
        if count == 1
        else f"{count:,} deadlocks: {', '.join(names[:3])} wait for each other"
    )
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
    steps.append(f"Give the stacks below to who maintains {whom}; a restart only helps until the next time.")
    sure = "High: each of these locks names its owner, and so none of them can ever go on."
    return title, tuple(died), tuple(why), sure, _messenger(end), tuple(steps)


def _waiting(dump: Dump, graph: Any, died: list[str], end: Death) -> Told:
    waits = dump.waits
    leads = dump.suspects
    hung = leads[leads["lead"].isin(["hung tasks", "hung task"])]
    edges = graph.edges
    stuck = waits[waits["state"] == "D"]
    if not len(edges):
        why = [f"{row['subject']}: {row['evidence']}" for _, row in hung.head(3).iterrows()]
        return (
            f"{several(len(stuck), 'thread')} hung" if len(stuck) != 1 else f"{_who(*_first(stuck))} hung",
            tuple(died),
            tuple(why) or ("Whom or what they wait for is not known.",),
            "Low: who should have ended these waits is not known.",
            (
                *_messenger(end),
                "What is waited for names no owner: a disk, a network or a device may not have answered.",
            ),
            (
                "Look at the stacks of those who wait, below, and at the log for errors of disks and networks.",
            ),
        )
    root = _root(edges)
    behind = edges[edges["holder_pid"] == root["holder_pid"]]
    holder = _who(root["holder_comm"], root["holder_pid"])
    own = waits[waits["pid"] == root["holder_pid"]]
    lock = _lock(root)
    names = say_several([_who(comm, pid) for comm, pid in zip(behind["comm"], behind["pid"], strict=True)])
    count = len(behind)
    title = f"{several(count, 'task')} hung behind {lock}, which {holder} keeps"
    why = [f"{names} wait{'s' if count == 1 else ''} for {lock}. {holder} has it."]
    doubts, steps = [*_messenger(end)], []
    sure = "High: the lock names its owner."
    if len(own):
        row = own.iloc[0]
        since = f", for {span(row['since'])} by now" if not pd.isna(row["since"]) else ""
        why.append(
            f"{holder} does not give it back because it sleeps itself{since}: it waits for {_lock(row)}{_in(row)}."
        )
        if pd.isna(row["holder_pid"]):
            sure = f"High for who keeps whom waiting: the lock names its owner. Low for why {holder} waits itself."
            doubts.append(
                f"Who should have ended that wait, the dump cannot tell: a {_kind(row)} does not name whom it expects."
            )
        steps.append(
            f"Find out who should have ended the wait for {_lock(row)}, and why that never happened; the stack of "
            f"{holder} is below."
        )
        steps.append(f"Do not wait for that while holding {lock}, or wait with a time limit.")
    else:
        sure = f"High for who keeps whom waiting: the lock names its owner. Low for why {holder} keeps it."
        why.append(f"{holder} did not sleep: it ran, or wanted to.")
        steps.append(f"Look at what {holder} was doing; its stack is below.")
    if (owner := _module(root)) or (len(own) and (owner := _module(own.iloc[0]))):
        steps.append(f"Give that stack to who maintains the module {owner}.")
    if (stuck["pid"].isin(behind["pid"])).any():
        steps.append("Killing those who wait changes nothing: no signal wakes them, not even a kill.")
    return title, tuple(died), tuple(why), sure, tuple(doubts), tuple(steps)


def _cpu(dump: Dump, end: Death, held: pd.DataFrame) -> Told:
    first = held.iloc[0]
    title = f"A CPU locked up: {first['subject']} did not give it up"
    keeps = held[held["evidence"].str.contains("which it holds", regex=False)]
    if len(keeps):
        first = keeps.iloc[0]
        title = f"CPUs locked up: {first['subject']} keeps a lock for which others spin"
    died = (
        "A CPU ran one thread for so long, without letting others run, that the kernel's watchdog noticed. The kernel "
        f"was set to panic then ({show_controls(end.message.removeprefix('Kernel panic - not syncing: '))}).",
    )
    why = [f"{first['subject']}: {first['evidence']}"]
    owns = show_controls(_spinning(dump, first["subject"]))
    if owns:
        why.append(owns)
    place, module = _stands(dump, str(first["cell"]))
    why += place
    behind = held[held["evidence"].str.contains(f"which {first['subject']} holds", regex=False)]
    others = held.drop(index=[first.name, *behind.index])
    if len(behind):
        several_ = listed(list(behind["subject"]))
        verb = "it is a victim" if len(behind) == 1 else "they are victims"
        why.append(f"{several_} only wait for that lock, and hold their CPUs while they do: {verb}.")
    why += [f"Also {row['subject']}: {row['evidence']}" for _, row in others.iterrows()]
    panicked = end.who
    doubts = []
    if panicked and panicked in list(behind["subject"]):
        doubts.append(f"{panicked} panicked, since the watchdog caught it first: it is not the cause.")
    doubts.append(
        f"A dump shows where {first['subject']} stood at one instant, not how it came to stay there: that only its "
        "code tells."
    )
    sure = (
        f"High that {first['subject']} keeps the others waiting: each of them wants the lock that it holds. Medium for "
        "why."
        if len(keeps)
        else f"Medium: {first['subject']} held its CPU; why is not known."
    )
    whose = f"the module {module}" if module else "that code"
    steps = [
        f"Look at where {first['subject']} stands, in the stack below ({first['cell']}): what does it do there?",
        f"Give that stack to who maintains {whose}.",
    ]
    return title, died, tuple(why), sure, tuple(doubts), tuple(steps)


def _spinning(dump: Dump, holder: str) -> str:
    """By what it is known that a thread holds what others spin for: the note of their waits; '' where there is none."""
    waits = dump.waits
    rows = waits[(waits["state"] == "R") & waits["holder_pid"].notna()]
    told = {
        str(note)
        for comm, pid, note in zip(rows["holder_comm"], rows["holder_pid"], rows["note"], strict=True)
        if isinstance(note, str) and note and _who(comm, pid) == holder
    }
    # Each who spins has one, and they say the same.
    return f"How it is known that it holds the lock: {min(told)}." if told else ""


def _stands(dump: Dump, cell: str) -> tuple[list[str], str]:
    """Where the thread of a CPU stands, by a lead's cell, and in which module; [] where its stack is not known."""
    found = re.fullmatch(r"dump\.stack\(cpu=(\d+)\)", cell)
    if found is None:
        return [], ""
    try:
        frames = dump.stack(cpu=int(found[1])).frames
    except KernlabError:
        return [], ""
    names = [split_symbol(str(one)) for one in frames.loc[frames["reliable"], "symbol"].dropna()[:2]]
    said = [
        show_controls(f"{function} of the module {module}" if module else function)
        for function, module in names
    ]
    owner = show_controls(names[0][1]) if names else ""
    return ([f"It stands in {', called by '.join(said)}."] if said else []), owner


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


def _first(rows: pd.DataFrame) -> tuple[Any, Any]:
    return rows["comm"].iloc[0], rows["pid"].iloc[0]


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

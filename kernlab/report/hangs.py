"""The story of a machine that no longer went on: who waits for whom, and CPUs that nobody gave up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.report.explain import split_symbol

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.report.death import Death

Told = tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]

_WATCHDOG = (
    "The thread that panicked is the kernel's watchdog or one that it caught: the messenger, and not by itself "
    "the cause."
)


def tell(dump: Dump, end: Death) -> Told:
    """Title, what died, why, doubts and next steps of a machine that hung."""
    graph = dump.waits.graph()
    held = dump.suspects[dump.suspects["lead"] == "CPU held"]
    if end.kind != "hung" and len(held):
        return _cpu(dump, end, held)
    died = [
        "Tasks of the machine did not go on any more. The kernel was set to panic when a task sleeps for too long "
        "where nothing can wake it (hung_task_panic)."
        if end.kind == "hung"
        else "A CPU did not go on any more, and the kernel's watchdog, which noticed, was set to panic."
    ]
    if graph.cycles:
        return _deadlock(dump, graph, died)
    return _waiting(dump, graph, died)


def _deadlock(dump: Dump, graph: Any, died: list[str]) -> Told:
    rows = {int(row["pid"]): row for _, row in graph.edges.iterrows()}
    circles = [[rows[pid] for pid in cycle if pid in rows] for cycle in graph.cycles]
    names = [_and([_bare(row["comm"]) for row in circle]) for circle in circles]
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
    why.append("None of them can ever go on: that is certain, since each one's lock names its owner.")
    behind = set(graph.edges["pid"].astype(int)) - {pid for cycle in graph.cycles for pid in cycle}
    if behind:
        others = [_who(rows[pid]["comm"], pid) for pid in sorted(behind) if pid in rows]
        why.append(
            f"{say_several(others)} wait{'s' if len(others) == 1 else ''} behind them, and are victims."
        )
    steps = [
        f"Take {_and(sorted({_lock(row) for row in circle}))} in the same order everywhere: who takes them the other "
        "way round is the bug."
        for circle in circles
    ]
    steps.append(
        "Give the stacks below to whoever maintains that code; a restart only helps until the next time."
    )
    return title, tuple(died), tuple(why), (_WATCHDOG,), tuple(steps)


def _waiting(dump: Dump, graph: Any, died: list[str]) -> Told:
    waits = dump.waits
    leads = dump.suspects
    hung = leads[leads["lead"].isin(["hung tasks", "hung task"])]
    edges = graph.edges
    stuck = waits[waits["state"] == "D"]
    if not len(edges):
        why = [f"{row['subject']}: {row['evidence']}" for _, row in hung.head(3).iterrows()]
        return (
            f"{len(stuck):,} tasks hung" if len(stuck) != 1 else f"{_who(*_first(stuck))} hung",
            tuple(died),
            tuple(why) or ("Whom or what they wait for is not known.",),
            (
                _WATCHDOG,
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
    title = f"{count:,} task{'' if count == 1 else 's'} hung behind {lock}, which {holder} keeps"
    why = [f"{names} wait{'s' if count == 1 else ''} for {lock}. {holder} has it."]
    doubts, steps = [_WATCHDOG], []
    if len(own):
        row = own.iloc[0]
        since = f", for {row['since'].total_seconds():.0f} s by now" if not pd.isna(row["since"]) else ""
        why.append(
            f"{holder} does not give it back because it sleeps itself{since}: it waits for {_lock(row)}{_in(row)}."
        )
        if pd.isna(row["holder_pid"]):
            doubts.append(
                f"Who should have ended that wait, the dump cannot tell: a {_kind(row)} does not name whom it expects."
            )
        steps.append(
            f"Find out why {_lock(row)} never came, and who was to bring it; the stack of {holder} is below."
        )
        steps.append(f"Do not sleep for that with {lock} in hand, or wait with a time limit.")
    else:
        why.append(f"{holder} did not sleep: it ran, or wanted to.")
        steps.append(f"Look at what {holder} was doing; its stack is below.")
    steps.append("Killing those who wait changes nothing: they cannot be woken, not even by a kill.")
    return title, tuple(died), tuple(why), tuple(doubts), tuple(steps)


def _cpu(dump: Dump, end: Death, held: pd.DataFrame) -> Told:
    first = held.iloc[0]
    title = f"A CPU locked up: {first['subject']} did not give it up"
    keeps = held[held["evidence"].str.contains("which it holds", regex=False)]
    if len(keeps):
        first = keeps.iloc[0]
        title = f"CPUs locked up: {first['subject']} keeps a lock for which others spin"
    died = (
        "A CPU ran one thread for so long without giving way that the kernel's watchdog noticed, and was set to panic"
        f" ({show_controls(end.message.removeprefix('Kernel panic - not syncing: '))}).",
    )
    others = held.drop(index=first.name)
    why = [f"Probably because of {first['subject']}: {first['evidence']}"]
    why += _stands(dump, str(first["cell"]))
    why += [f"Also {row['subject']}: {row['evidence']}" for _, row in others.iterrows()]
    panicked = end.who or "The thread that panicked"
    doubts = []
    if panicked != first["subject"]:
        doubts.append(
            f"{panicked} is the one that the watchdog caught: it spins for a lock, and is a victim."
        )
    doubts.append("Why the holder does not go on only its code tells: the dump shows where it stands.")
    steps = [
        f"Look at where {first['subject']} stands, in the stack below ({first['cell']}): what does it do there?",
        "Give that stack to whoever maintains the code.",
    ]
    return title, died, tuple(why), tuple(doubts), tuple(steps)


def _stands(dump: Dump, cell: str) -> list[str]:
    """Where the thread of a CPU stands, by a lead's cell; [] where its stack is not known."""
    found = re.fullmatch(r"dump\.stack\(cpu=(\d+)\)", cell)
    if found is None:
        return []
    try:
        frames = dump.stack(cpu=int(found[1])).frames
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


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

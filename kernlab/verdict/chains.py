"""Chains of waits: who stands behind whom, at whom they end, and how people say what is waited for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.escape import show_short
from kernlab.linux.whatis.threads import say_several, say_thread

if TYPE_CHECKING:
    from kernlab.tables.processes.wait_graph import WaitGraph
    from kernlab.verdict.case import Case

#: Locks that sleep, as `waits` calls them, and those for which CPUs spin.
SLEEPING = ("mutex", "rwsem_read", "rwsem_write", "rtmutex", "semaphore", "percpu_rwsem")
SPINNING = ("spinlock", "rwlock_read", "rwlock_write")
#: What only a disk ends.
FOR_DISKS = ("request", "folio", "jbd2")
#: Ends in which a CPU did nothing else any more.
LOCKUPS = frozenset({"soft lockup", "hard lockup", "RCU stall"})
#: What is waited for under a name that says what it is: "the work grind of workqueue mill", "page 0 of /a".
_SPEAKING = ("work", "folio", "request", "rcu", "bit", "jbd2")
#: Notes of `waits` by which the holder is a guess (kernlab.linux.locks).
_GUESSED = ("last reader", "last took it", "guess", "not certain", "runs: whether")


@dataclasses.dataclass(frozen=True)
class Chains:
    """Rows of `waits`, and the graph of them."""

    waits: pd.DataFrame
    graph: WaitGraph

    @cached_property
    def _waiters(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        edges = self.graph.edges
        for pid, holder in zip(edges["pid"].astype(int), edges["holder_pid"].astype(int), strict=True):
            found.setdefault(holder, []).append(pid)
        return found

    def behind(self, pids: Iterable[int]) -> set[int]:
        """Some threads, and all who wait for them, through others or not."""
        seen = set(pids)
        new = list(seen)
        while new:
            new = [pid for holder in new for pid in self._waiters.get(holder, []) if pid not in seen]
            seen.update(new)
        return seen

    @cached_property
    def roots(self) -> list[int]:
        """Threads for which others wait, and that wait for no thread; those with the most behind them first."""
        circled = {pid for cycle in self.graph.cycles for pid in cycle}
        waiting = set(self.graph.edges["pid"].astype(int))
        roots = [pid for pid in self._waiters if pid not in waiting and pid not in circled]
        return sorted(roots, key=lambda pid: (-len(self.behind([pid])), pid))

    def of(self, pids: Iterable[int]) -> pd.DataFrame:
        """The rows of some threads."""
        return self.waits[self.waits["pid"].isin(set(pids))]


def reported_hung(case: Case) -> set[int]:
    """The threads that the kernel's own detector called hung (kernel/hung_task.c), by the log."""
    reports = case.reports
    return set(reports.loc[reports["kind"] == "hung task", "pid"].dropna().astype(int))


def say_lock(row: pd.Series[Any]) -> str:
    """What a thread waits for: `the mutex inventory_lock [shop]`, `page 0 of /shop/day.log`."""
    name, kind = row["name"], str(row["type"]).removesuffix("_read").removesuffix("_write")
    if not isinstance(name, str):
        return show_short(f"a {kind.replace('_', ' ')}")
    # Names of what is no lock say what it is.
    return show_short(name if kind in _SPEAKING else f"the {kind.replace('_', ' ')} {name}")


def lock_name(row: pd.Series[Any]) -> str:
    """A lock's name, else its kind: `inventory_lock [shop]`."""
    name = row["name"]
    return show_short(name) if isinstance(name, str) else say_lock(row)


def say_rows(rows: pd.DataFrame) -> str:
    """The threads of some rows: `order-1 (179) and 5 others`; as the dump has it."""
    return say_several(
        [say_thread(str(comm), int(pid)) for comm, pid in zip(rows["comm"], rows["pid"], strict=True)]
    )


def seconds(span: object) -> float | None:
    """A span of time in seconds, None where it is missing."""
    return None if pd.isna(span) else float(pd.Timedelta(span).total_seconds())  # type: ignore[arg-type, call-overload]


def guesses(rows: pd.DataFrame) -> list[str]:
    """The notes of some rows by which it is not certain who holds their locks, each once."""
    notes = [str(note) for note in rows["note"].dropna().unique() if note]
    return [note for note in notes if any(word in note for word in _GUESSED)]


def any_unknown(notes: Iterable[str]) -> bool:
    """Is one of these notes that nothing tells whether the last reader of a lock still has it?

    The kernel notes who began to read last, and leaves that when it is done (kernel/locking/rwsem.c).
    """
    return any("whether it is still in" in note for note in notes)


def functions(rows: pd.DataFrame) -> list[str]:
    """The functions of rows of `stacks`, the innermost first; frames that no symbol covers are left out."""
    names = [str(symbol).partition("+")[0] for symbol in rows["symbol"].dropna()]
    return [name for name in names if name and not name.startswith("0x")]


def beneath(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the frames of a CPU, those beneath the interrupt or NMI in which the machine died; all where there is none.

    Only the uppermost one is taken off: a CPU may spin in an interrupt's own handler, which an NMI then sees.
    """
    kinds = rows["kind"].astype(str).tolist()
    if not kinds or kinds[0] not in ("irq", "nmi"):
        return rows
    return rows.iloc[next((at for at, kind in enumerate(kinds) if kind != kinds[0]), len(kinds)) :]

"""Who waits for whom: threads, the locks between them, and the circles in which nobody will ever go on."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread


@dataclass(frozen=True)
class WaitGraph:
    """`edges`: one row per thread that waits for another: pid, comm, type, name, object, holder_pid, holder_comm, note.
    `cycles`: the pids of each circle, in the order of who waits for whom, from the lowest on.
    """

    edges: pd.DataFrame
    cycles: list[list[int]]

    @classmethod
    def of(cls, waits: pd.DataFrame) -> WaitGraph:
        """The graph of rows of `dump.waits`."""
        edges = waits[waits["holder_pid"].notna() & waits["pid"].notna()].reset_index(drop=True)
        return cls(edges, _cycles(edges))

    @property
    def deadlocks(self) -> list[str]:
        """Each circle in one line: `deadlock: A (12) → lock_a → B (13) → lock_b → A (12)`."""
        rows = {int(row["pid"]): row for _, row in self.edges.iterrows()}
        return ["deadlock: " + _say(rows, cycle) for cycle in self.cycles]

    def __repr__(self) -> str:
        threads = len(set(self.edges["pid"]) | set(self.edges["holder_pid"]))
        lines = [f"<WaitGraph: {threads:,} threads, {len(self.edges):,} of them wait for another>"]
        return "\n".join([*lines, *(show_controls(line) for line in self.deadlocks)])


def _cycles(edges: pd.DataFrame) -> list[list[int]]:
    """Each waits for one at most, so that a walk from anyone meets at most one circle."""
    waits_for = dict(zip(edges["pid"].astype(int), edges["holder_pid"].astype(int), strict=True))
    done: set[int] = set()
    found: list[list[int]] = []
    for start in sorted(waits_for):
        path: dict[int, int] = {}
        at: int | None = start
        while at is not None and at not in done and at not in path:
            path[at] = len(path)
            at = waits_for.get(at)
        if at is not None and at in path:
            circle = list(path)[path[at] :]
            lowest = circle.index(min(circle))
            found.append(circle[lowest:] + circle[:lowest])
        done.update(path)
    return found


def _say(rows: dict[int, pd.Series], circle: list[int]) -> str:
    words = []
    for pid in circle:
        row = rows[pid]
        words += [
            say_thread(row["comm"], pid),
            str(row["name"]) if pd.notna(row["name"]) else str(row["type"]),
        ]
    first = rows[circle[0]]
    return " → ".join([*words, say_thread(first["comm"], circle[0])])

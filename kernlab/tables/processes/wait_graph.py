"""Who waits for whom: threads, the locks between them, and the circles in which nobody will ever go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from kernlab.escape import NO_MATH, show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.tables.processes.wait_drawing import Box, draw


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

    def to_svg(self) -> str:
        """The drawing, complete in itself: threads (round) wait for locks (square), and these for who holds them.

        What is part of a deadlock is red. Names are those of the dump, escaped.
        """
        circle = {pid for cycle in self.cycles for pid in cycle}
        boxes: dict[str, Box] = {}
        arrows: dict[tuple[str, str], None] = {}
        # What is part of a circle comes first, should there be more than can be drawn.
        rows: list[Any] = sorted(self.edges.itertuples(), key=lambda row: row.pid not in circle)
        for row in rows:
            pid, holder = int(row.pid), int(row.holder_pid)
            bad = pid in circle and holder in circle
            me, other = f"thread {pid}", f"thread {holder}"
            where = "" if pd.isna(row.object) else f"{int(row.object):#x}"
            lock = f"{_LOCK_KINDS.get(row.type, row.type)} {where or f'of {pid}'} {holder}"
            boxes.setdefault(me, Box(me, say_thread(_text(row.comm), pid), False))
            boxes.setdefault(lock, Box(lock, _text(row.name) or str(row.type), True))
            boxes.setdefault(other, Box(other, say_thread(_text(row.holder_comm), holder), False))
            for key in (me, lock, other):
                boxes[key].bad |= bad
            arrows[me, lock] = arrows[lock, other] = None
        notes = self.deadlocks if len(self.edges) else ["no thread is known to wait for another"]
        return draw(boxes, list(arrows), notes)

    def _repr_html_(self) -> str:
        return f'<div class="{NO_MATH}" style="overflow-x: auto">{self.to_svg()}</div>'

    def __repr__(self) -> str:
        threads = len(set(self.edges["pid"]) | set(self.edges["holder_pid"]))
        lines = [f"<WaitGraph: {threads:,} threads, {len(self.edges):,} of them wait for another>"]
        return "\n".join([*lines, *(show_controls(line) for line in self.deadlocks)])


#: Those who wait to read and to write wait for one lock.
_LOCK_KINDS = {
    "rwsem_read": "rwsem",
    "rwsem_write": "rwsem",
    "rwlock_read": "rwlock",
    "rwlock_write": "rwlock",
}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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
            say_thread(_text(row["comm"]), pid),
            str(row["name"]) if pd.notna(row["name"]) else str(row["type"]),
        ]
    first = rows[circle[0]]
    return " → ".join([*words, say_thread(_text(first["comm"]), circle[0])])

"""Rows of `stacks` in, equal stacks joined out: one row for all threads that were at the same place."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.dataframes import frame, objects
from kernlab.dataframes.with_methods import TableWithMethods


def groups(rows: TableWithMethods) -> pd.DataFrame:
    """`Stacks.groups`. Raises KernlabError where the rows lack the columns that tell threads and frames apart."""
    rows.need("pid", "frame", "symbol", "reliable", "comm", "state", "task")
    ordered = rows.sort_values(["task", "frame"], kind="stable")
    line = (
        ordered["symbol"].astype(object).where(ordered["reliable"], "? " + ordered["symbol"].astype(object))
    )
    code, lines = pd.factorize(line)
    _, task = np.unique(np.asarray(ordered["task"], dtype=np.uint64), return_inverse=True)
    first = np.flatnonzero(np.diff(task, prepend=-1))
    end = np.append(first, len(task))[1:]
    members: dict[bytes, list[int]] = {}
    for start, behind in zip(first.tolist(), end.tolist(), strict=True):
        members.setdefault(code[start:behind].tobytes(), []).append(start)
    pid = ordered["pid"].astype("Int64").tolist()
    comm, state = ordered["comm"].tolist(), ordered["state"].tolist()
    for starts in members.values():
        starts.sort(key=lambda start: _number(pid[start]))
    # Of as many threads the one with the smallest pid comes first.
    found = sorted(members.items(), key=lambda item: (-len(item[1]), _number(pid[item[1][0]])))
    made = frame(
        None,
        "stack groups",
        count=np.array([len(starts) for _, starts in found], dtype=np.int64),
        pids=objects([[pid[start] for start in starts] for _, starts in found]),
        comms=[_joined([comm[start] for start in starts]) for _, starts in found],
        state=[_joined([state[start] for start in starts]) for _, starts in found],
        frames=["\n".join(lines[np.frombuffer(key, dtype=code.dtype)]) for key, _ in found],
    )
    made.attrs = {
        **made.attrs,
        "lines": ["frames"],
        **{name: rows.attrs[name] for name in ("source", "problems") if name in rows.attrs},
    }
    return made


def _number(pid: object) -> int:
    return int(pid) if isinstance(pid, int) else -1


def _joined(names: list[object]) -> str:
    """Distinct names, the most frequent first."""
    counts: dict[str, int] = {}
    for name in names:
        known = name if isinstance(name, str) else "?"
        counts[known] = counts.get(known, 0) + 1
    return ", ".join(sorted(counts, key=lambda name: -counts[name]))

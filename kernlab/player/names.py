"""Who ran, asked and held memory: (pid, comm, task_struct) in, a short number and a colour for each out."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.escape import show_controls
from kernlab.util.text import shorten

#: So many have a colour of their own; the others share one.
COLOURS = 8
_LONGEST = 60
#: What follows it in a kernel thread's name says which of many alike it is.
_KIND = re.compile(r"[/:].*|[-_]?\d+$", re.DOTALL)
_UNKNOWN = "?"

Key = tuple[int | None, str, int]


class Names:
    """The tasks of a recording, each once. Those of one name have one colour, in whatever lane they are."""

    def __init__(self) -> None:
        self._numbers: dict[Key, int] = {}
        self._living: dict[tuple[int | None, str], int] = {}
        self._ran: dict[str, float] = defaultdict(float)
        self._held: dict[str, float] = defaultdict(float)

    def of(self, frame: pd.DataFrame, lasted: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """The numbers of a frame's tasks, by pid, comm and task, where it has one; `lasted`: for how long each ran."""
        pids, pid_values = pd.factorize(frame["pid"])
        comms, comm_values = pd.factorize(frame["comm"])
        has_task = "task" in frame
        tasks: Any = np.full(len(frame), -1, dtype=np.int64)
        task_values: Any = []
        if has_task:
            tasks, task_values = pd.factorize(frame["task"])
        widths = len(comm_values) + 1, len(task_values) + 1
        codes = ((pids + 1) * widths[0] + comms + 1) * widths[1] + tasks + 1
        each, inverse = np.unique(codes, return_inverse=True)
        weights = np.bincount(inverse, weights=lasted, minlength=len(each))
        numbers = np.empty(len(each), dtype=np.uint32)
        for place, (code, weight) in enumerate(zip(each.tolist(), weights.tolist(), strict=True)):
            rest, task = divmod(code, widths[1])
            pid, comm = divmod(rest, widths[0])
            key = (
                int(pid_values[pid - 1]) if pid else None,
                str(comm_values[comm - 1]) if comm else _UNKNOWN,
                int(task_values[task - 1]) if task else 0,
            )
            living = None if has_task else self._living.get(key[:2])
            numbers[place] = self._numbers.setdefault(key, len(self._numbers)) if living is None else living
            if key[2]:
                self._living[key[:2]] = int(numbers[place])
            if key[0] != 0:
                self._ran[_kind(key[1])] += weight
        return numbers[inverse]

    def one(self, pid: Any, comm: Any, *, weight: float) -> int:
        """The number of a process that holds `weight` bytes of memory."""
        key_pid, key_comm = int(pid), _UNKNOWN if pd.isna(comm) else str(comm)
        self._held[_kind(key_comm)] += weight
        living = self._living.get((key_pid, key_comm))
        if living is not None:
            return living
        return self._numbers.setdefault((key_pid, key_comm, 0), len(self._numbers))

    @property
    def has_idle(self) -> bool:
        """Are idle threads among those that ran?"""
        return any(pid == 0 for pid, _, _ in self._numbers)

    @property
    def addresses(self) -> list[int]:
        """The task_struct of each, 0 where there is none."""
        return [task for _, _, task in self._numbers]

    def entries(self) -> list[dict[str, Any]]:
        """Each as the front end has it; the colour is `COLOURS` of those that share one."""
        shares: dict[str, float] = defaultdict(float)
        for weights in (self._ran, self._held):
            most = sum(weights.values()) or 1.0
            for kind, weight in weights.items():
                shares[kind] += weight / most
        shares.pop(_UNKNOWN, None)
        ranked = sorted(shares, key=lambda kind: -shares[kind])[:COLOURS]
        colours = {kind: colour for colour, kind in enumerate(ranked)}
        return [
            {
                "name": show_controls(shorten(comm, _LONGEST)),
                "pid": pid,
                "colour": COLOURS if pid == 0 else colours.get(_kind(comm), COLOURS),
                "idle": pid == 0,
                "opens": task != 0,
            }
            for pid, comm, task in self._numbers
        ]


def _kind(comm: str) -> str:
    return _KIND.sub("", comm) or comm

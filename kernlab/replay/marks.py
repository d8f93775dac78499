"""The recorder's marks: texts of a trace's `print` events in, the machine's counters and its largest processes out.

Two kinds of line, each by one instant `<n>`, which counts from mark to mark so that a gap is seen:

    kernlab/1 vmstat <n> nr_free_pages=123 … mem_total=… psi.memory.some=… procs_running=…
    kernlab/1 tasks <n> <pid>,<starttime>,<anon>,<file>,<shmem>,<swap>,<comm>;…

Sizes are pages, as /proc/vmstat has them; in a comm %XX stands for a byte that would be taken for something else. A
line that was longer than the marker takes goes on in another of the same `<n>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.util.text import decode

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_LINE = re.compile(r"kernlab/1 (vmstat|tasks) ([0-9]{1,18}) ?([^\n]*)")
_COUNTER = re.compile(r"([a-z][a-z0-9_.]{0,63})=(-?[0-9]{1,18})")
_TASK = re.compile(
    r"([0-9]{1,10}),([0-9]{1,18}),([0-9]{1,15}),([0-9]{1,15}),([0-9]{1,15}),([0-9]{1,15}),([!-~]*)"
)
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")

#: Names of counters beyond which a trace has none of the recorder.
_MOST_NAMES = 1024


@dataclass
class Marks:
    """What marks say; `row` is everywhere the index of the text that says it.

    Counters: `row` and `number` (`<n>`) int64[m], `values` int64[m, names], `known` bool[m, names]. Processes:
    `task_row`, `task_number`, `pid`, `start_ticks` int64[p], `pages` int64[p, 4] (anon, file, shmem, swap), `comm`.
    `damaged` lines began as marks do and could not be read to their end.
    """

    names: list[str]
    row: I64
    number: I64
    values: I64
    known: Mask
    task_row: I64
    task_number: I64
    pid: I64
    start_ticks: I64
    pages: I64
    comm: list[str]
    damaged: int = 0
    _place: dict[str, int] = field(default_factory=dict)

    def counter(self, name: str) -> tuple[I64, Mask]:
        """One counter by mark: (values int64[m], bool[m] which marks have it)."""
        place = self._place.get(name)
        if place is None:
            return np.zeros(len(self.row), dtype=np.int64), np.zeros(len(self.row), dtype=bool)
        return self.values[:, place], self.known[:, place]


def parse(texts: Iterable[str | None]) -> Marks:
    """The marks among texts of a trace, in their order; all other texts are passed over.

    >>> marks = parse(["kernlab/1 vmstat 7 nr_free_pages=123", "else", "kernlab/1 tasks 7 42,100,5,6,0,1,a%20b"])
    >>> marks.number.tolist(), marks.counter("nr_free_pages")[0].tolist()
    ([7], [123])
    >>> marks.pid.tolist(), marks.pages.tolist(), marks.comm
    ([42], [[5, 6, 0, 1]], ['a b'])
    """
    place: dict[str, int] = {}
    rows: list[tuple[int, int, dict[int, int]]] = []
    tasks: list[tuple[int, ...]] = []
    comms: list[str] = []
    damaged = 0
    for at, text in enumerate(texts):
        match = _LINE.search(text) if isinstance(text, str) and "kernlab/1 " in text else None
        if match is None:
            continue
        number = int(match[2])
        if match[1] == "vmstat":
            counters, whole = _counters(match[3], place)
            if rows and rows[-1][1] == number:
                rows[-1][2].update(counters)
            else:
                rows.append((at, number, counters))
        else:
            whole = True
            for one in match[3].split(";"):
                task = _TASK.fullmatch(one)
                if task is not None:
                    tasks.append((at, number, *(int(part) for part in task.groups()[:6])))
                    comms.append(_comm(task[7]))
                elif one:
                    whole = False
        damaged += not whole
    values = np.zeros((len(rows), len(place)), dtype=np.int64)
    known = np.zeros(values.shape, dtype=bool)
    for index, (_, _, counters) in enumerate(rows):
        columns = list(counters)
        values[index, columns], known[index, columns] = list(counters.values()), True
    table = np.array(tasks, dtype=np.int64).reshape(-1, 8)
    return Marks(
        list(place),
        np.array([at for at, _, _ in rows], dtype=np.int64),
        np.array([number for _, number, _ in rows], dtype=np.int64),
        values,
        known,
        table[:, 0].copy(),
        table[:, 1].copy(),
        table[:, 2].copy(),
        table[:, 3].copy(),
        table[:, 4:].copy(),
        comms,
        damaged,
        place,
    )


def _counters(text: str, place: dict[str, int]) -> tuple[dict[int, int], bool]:
    """The counters of a line by their column, and whether all of the line was read."""
    found: dict[int, int] = {}
    whole = True
    for word in text.split():
        match = _COUNTER.fullmatch(word)
        if match is None or (match[1] not in place and len(place) >= _MOST_NAMES):
            whole = False
            continue
        found[place.setdefault(match[1], len(place))] = int(match[2])
    return found, whole


def _comm(text: str) -> str:
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), text.encode("ascii"))
    return decode(raw)


def gaps(number: I64) -> I64:
    """The places of marks before which others are missing: their number is not the one before's or the next.

    >>> gaps(np.array([4, 5, 5, 8])).tolist()
    [3]
    """
    step = np.diff(number)
    missing: I64 = np.flatnonzero((step != 0) & (step != 1)) + 1
    return missing

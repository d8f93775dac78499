"""What a source adds to the timeline: its rows in columns of its own, put together and ordered with those of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.traces.clock.relation import FAR
from kernlab.traces.ftrace.many import spread_parts

I64 = npt.NDArray[np.int64]
Texts = Callable[[I64], Sequence[str | None]]
#: Codes into a list of names; -1 where there is none.
Coded = tuple[I64, list[str]]

#: A time that nobody knows.
NAT = np.iinfo(np.int64).min


@dataclass
class Part:
    """The rows of one source. `time` is in ns on the axis, NAT where it is not known; a number that is not is -1."""

    source: str
    time: I64
    event: Coded
    texts: Texts
    cpu: I64 | None = None
    pid: I64 | None = None
    comm: Coded | None = None
    #: Typed columns of the chosen events, by name.
    fields: list[tuple[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.time)


class Joined:
    """Parts, put together in the order of time; of equal times as they come."""

    def __init__(self, parts: Sequence[Part]):
        self.parts = parts
        lengths = [len(part) for part in parts]
        self._starts = np.cumsum([0, *lengths])
        time = _joined([part.time for part in parts])
        self.order = np.argsort(np.where(time == NAT, FAR, time), kind="stable")
        self.time = time[self.order]

    def __len__(self) -> int:
        return len(self.order)

    def numbers(self, name: str) -> tuple[I64, npt.NDArray[np.bool_]]:
        """A column of numbers, and where they are known."""
        columns = [getattr(part, name) for part in self.parts]
        values = _joined(
            [
                np.full(len(part), -1, dtype=np.int64) if column is None else column
                for part, column in zip(self.parts, columns, strict=True)
            ]
        )[self.order]
        return values, values >= 0

    def coded(self, name: str) -> Coded:
        """A column of names that rows share."""
        place: dict[str, int] = {}
        codes = []
        for part in self.parts:
            found: Coded | None = getattr(part, name)
            if found is None:
                codes.append(np.full(len(part), -1, dtype=np.int64))
                continue
            own = [place.setdefault(one, len(place)) for one in found[1]]
            codes.append(np.array([*own, -1], dtype=np.int64)[found[0]])
        return _joined(codes)[self.order], list(place)

    def sources(self) -> Coded:
        """Whose each row is."""
        codes = np.repeat(np.arange(len(self.parts)), [len(part) for part in self.parts])
        return codes[self.order], [part.source for part in self.parts]

    def texts(self, rows: I64) -> list[str | None]:
        """What some rows say."""
        where = self.order[rows]
        owner = np.searchsorted(self._starts, where, side="right") - 1
        found: list[str | None] = [None] * len(rows)
        for number in np.unique(owner).tolist():
            mine = np.flatnonzero(owner == number)
            said = self.parts[number].texts(where[mine] - self._starts[number])
            for row, text in zip(mine.tolist(), said, strict=True):
                found[row] = text
        return found

    def fields(self) -> list[tuple[str, Any]]:
        """Every typed column that some part has, missing in the rows of the others."""
        names = dict.fromkeys(name for part in self.parts for name, _ in part.fields)
        found = []
        for name in names:
            pieces = [
                (np.arange(start, start + len(part)), pd.Series(values))
                for part, start in zip(self.parts, self._starts.tolist(), strict=False)
                for own, values in part.fields
                if own == name
            ]
            found.append((name, spread_parts(len(self), pieces).take(self.order)))
        return found


def categorical(coded: Coded) -> pd.Categorical:
    """Names that many rows share, as pandas keeps them."""
    codes, names = coded
    return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype="str"))


def _joined(columns: Sequence[I64]) -> I64:
    return np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)

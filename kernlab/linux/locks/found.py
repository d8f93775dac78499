"""What tasks were found to wait for, of one kind or of all: the rows that every kind's module gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]

#: `holder` of what somebody holds who is not known, and of what nobody holds.
UNKNOWN, NOBODY = np.uint64(0), np.uint64(1)


@dataclass
class Found:
    """N waits. row int64[n]: the task's in `find_tasks`; at uint64[n]: where on its stack the waiter lies, 0 where it
    was told otherwise; type object[n]; object uint64[n]: the lock or queue, 0 where not known; holder uint64[n]: the
    task_struct of who has it, `UNKNOWN` or `NOBODY`; name object[n]: None where the object's place tells it; note
    object[n]: what is to be said of it, ''.
    """

    row: I64
    at: U64
    type: Texts
    object: U64
    holder: U64 = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    name: Texts = field(default_factory=lambda: np.zeros(0, dtype=object))
    note: Texts = field(default_factory=lambda: np.zeros(0, dtype=object))

    def __post_init__(self) -> None:
        count = len(self.row)
        if len(self.holder) != count:
            self.holder = np.full(count, UNKNOWN, dtype=np.uint64)
        if len(self.name) != count:
            self.name = np.full(count, None, dtype=object)
        if len(self.note) != count:
            self.note = np.full(count, "", dtype=object)

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def nothing(cls) -> Self:
        """No rows."""
        return cls.alike(
            np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64), "", np.zeros(0, np.uint64)
        )

    @classmethod
    def alike(cls, row: I64, at: U64, kind: str, lock: U64) -> Self:
        """Waits of one type."""
        return cls(row, at, np.full(len(row), kind, dtype=object), lock)

    @classmethod
    def of(cls, parts: Sequence[Found]) -> Self:
        """All of several."""
        if not parts:
            return cls.nothing()
        names = ("row", "at", "type", "object", "holder", "name", "note")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def pick(self, rows: I64 | Mask) -> Self:
        """Some of them."""
        return replace(
            self,
            row=self.row[rows],
            at=self.at[rows],
            type=self.type[rows],
            object=self.object[rows],
            holder=self.holder[rows],
            name=self.name[rows],
            note=self.note[rows],
        )

    def say(self, rows: Mask | I64, note: str) -> None:
        """Add to the notes of some."""
        where = np.flatnonzero(rows) if rows.dtype == bool else rows
        for row in where.tolist():
            self.note[row] = f"{self.note[row]}; {note}" if self.note[row] else note

"""What a step gave, as plain arrays, and in what two such pictures differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes.address import AddressArray
from kernlab.util.losses import Losing

Mask = npt.NDArray[np.bool_]

ROWS_LOST, ROWS_MADE_UP, FEWER = "rows lost", "rows made up", "fewer rows or columns"
MISSING, CHANGED, KNOWN = "turned missing", "changed", "no longer missing"
COLUMN_LOST, COLUMN_NEW, OTHER, REFUSED = "column lost", "column new", "another kind of answer", "refused"

#: A cell that holds the planted value, or an address near it, only shows the damage.
NEAR = 4096


@dataclass
class Picture:
    """An answer: `columns` of a table (values, where missing), or `text` of what is none; `problems` it tells."""

    kind: str
    columns: dict[str, tuple[npt.NDArray[Any], Mask]] = field(default_factory=dict)
    text: str = ""
    parts: dict[str, Picture] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()))[0]) if self.columns else 0

    @property
    def all_text(self) -> str:
        """Its text, and that of its parts."""
        return "\n".join([self.text, *(part.all_text for part in self.parts.values())]).strip()


@dataclass(frozen=True)
class Difference:
    column: str
    kind: str
    count: int
    example: str = ""

    def plain(self) -> dict[str, Any]:
        return {"column": self.column, "kind": self.kind, "count": self.count, "example": self.example}


def picture(value: Any) -> Picture:
    """Look at all of an answer, so that what is made when it is looked at is made."""
    from fuzz.steps import Parts

    if isinstance(value, Parts):
        parts = {name: picture(part) for name, part in value.items()}
        told = [problem for part in parts.values() for problem in part.problems]
        return Picture("parts", parts=parts, problems=[*value.problems, *told])
    if isinstance(value, pd.DataFrame):
        columns = {str(name): _cells(value[name].array) for name in value.columns}
        return Picture("table", columns=columns, problems=list(value.attrs.get("problems", [])))
    if isinstance(value, pd.Series):
        index = np.array([str(label) for label in value.index], dtype=object)
        missing = np.zeros(len(index), dtype=bool)
        columns = {"index": (index, missing), "value": _cells(value.astype(object).array)}
        return Picture("series", columns=columns, problems=list(value.attrs.get("problems", [])))
    told = list(value.problems) if isinstance(value, Losing) else []
    return Picture("text", text=value if isinstance(value, str) else repr(value), problems=told)


def _cells(array: Any) -> tuple[npt.NDArray[Any], Mask]:
    if isinstance(array, AddressArray):
        return array._data, array._mask
    missing = np.asarray(pd.isna(array), dtype=bool)
    if isinstance(array, pd.Categorical):
        names = np.array([*map(str, array.categories), ""], dtype=object)
        return names[array.codes], missing
    if isinstance(array, pd.arrays.IntegerArray | pd.arrays.BooleanArray):
        return array._data, array._mask
    values = np.asarray(array)
    if values.dtype == object or values.dtype.kind in "UT":
        values = np.array(
            [one if isinstance(one, str) else repr(one) for one in values.tolist()], dtype=object
        )
    return values, missing


def differences(before: Picture, after: Picture, planted: frozenset[int] = frozenset()) -> list[Difference]:
    """In what `after` differs from `before`; what shows one of the `planted` values is none."""
    if before.kind != after.kind:
        return [Difference("", OTHER, 1, f"{before.kind} became {after.kind}")]
    if before.kind == "text":
        return (
            []
            if _shows(after.text, planted) or before.text == after.text
            else [Difference("", CHANGED, 1, _first(before.text, after.text))]
        )
    if before.kind == "parts":
        lost = [name for name in before.parts if name not in after.parts]
        found = [Difference("", ROWS_LOST, len(lost), lost[0])] if lost else []
        found += _fewer(len(before.parts), len(after.parts))
        for name, part in before.parts.items():
            if name in after.parts:
                found += differences(part, after.parts[name], planted)
        return found
    found = [Difference(name, COLUMN_LOST, 1) for name in before.columns if name not in after.columns]
    if len(after.columns) < len(before.columns):
        found.append(Difference("", FEWER, len(before.columns) - len(after.columns), "columns"))
    found += [Difference(name, COLUMN_NEW, 1) for name in after.columns if name not in before.columns]
    mine, theirs = _aligned(before, after)
    if before.rows > len(mine):
        lost_rows = np.setdiff1d(np.arange(before.rows), mine)
        found.append(Difference("", ROWS_LOST, len(lost_rows), f"of {before.rows:,}"))
    if after.rows > len(theirs):
        found.append(Difference("", ROWS_MADE_UP, after.rows - len(theirs), f"to {before.rows:,}"))
    found += _fewer(before.rows, after.rows)
    for name, (old, old_missing) in before.columns.items():
        if name not in after.columns:
            continue
        new, new_missing = after.columns[name]
        one, two = old_missing[mine], new_missing[theirs]
        for kind, rows in (
            (MISSING, np.flatnonzero(~one & two)),
            (KNOWN, np.flatnonzero(one & ~two)),
            (CHANGED, _changed(old[mine], new[theirs], one | two, planted)),
        ):
            if len(rows):
                at = int(rows[0])
                example = f"row {int(mine[at]):,}: {old[mine[at]]!r} became {new[theirs[at]]!r}"
                found.append(Difference(name, kind, len(rows), example[:200]))
    return found


def _shows(text: str, planted: frozenset[int]) -> bool:
    return any(f"{value:x}" in text for value in planted)


def _fewer(before: int, after: int) -> list[Difference]:
    return [Difference("", FEWER, before - after, f"{before:,} became {after:,}")] if after < before else []


def _first(old: str, new: str) -> str:
    for one, two in zip(old.split("\n"), new.split("\n"), strict=False):
        if one != two:
            return f"{one[:90]!r} became {two[:90]!r}"
    return f"{len(old):,} characters became {len(new):,}"


def _changed(old: Any, new: Any, skip: Mask, planted: frozenset[int]) -> npt.NDArray[np.int64]:
    if old.dtype == object or new.dtype == object:
        other = old.astype(object) != new.astype(object)
    else:
        other = old != new
        if old.dtype.kind == "f" and new.dtype.kind == "f":
            other &= ~(np.isnan(old) & np.isnan(new))
    rows = np.flatnonzero(np.asarray(other, dtype=bool) & ~skip)
    if planted and len(rows) and new.dtype.kind in "iu":
        shows = [
            any(-NEAR < int(value) % (1 << 64) - one < NEAR for one in planted) for value in new[rows][:1000]
        ]
        rows = rows[: len(shows)][~np.array(shows, dtype=bool)] if len(rows) <= 1000 else rows
    elif planted and len(rows) and new.dtype == object:
        rows = np.array([row for row in rows.tolist() if not _shows(str(new[row]), planted)], dtype=np.int64)
    return rows


def _aligned(before: Picture, after: Picture) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of both that are the same thing's: (rows of before, rows of after)."""
    names = _key(before)
    if before.rows == after.rows and all(
        name in after.columns and _same(before.columns[name], after.columns[name]) for name in names
    ):
        every = np.arange(before.rows)
        return every, every
    names = [name for name in names if name in after.columns]
    if not names:
        every = np.arange(min(before.rows, after.rows))
        return every, every
    index = _index(after, names)
    place = {key: row for row, key in enumerate(index)}
    pairs = [(row, place[key]) for row, key in enumerate(_index(before, names)) if key in place]
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _same(one: tuple[Any, Mask], two: tuple[Any, Mask]) -> bool:
    return bool((one[1] == two[1]).all()) and bool(((one[0] == two[0]) | one[1]).all())


def _key(table: Picture) -> list[str]:
    """The columns that tell rows apart: the address if it does, else as many of the first as are needed."""
    names = list(table.columns)
    if "address" in names and _distinct(table, ["address"]):
        return ["address"]
    for count in range(1, min(4, len(names)) + 1):
        if _distinct(table, names[:count]):
            return names[:count]
    return names[:1]


def _distinct(table: Picture, names: list[str]) -> bool:
    if len(names) == 1:
        values, missing = table.columns[names[0]]
        return not missing.any() and len(pd.unique(values)) == len(values)
    keys = list(zip(*(table.columns[name][0].tolist() for name in names), strict=True))
    return len(set(keys)) == len(keys)


def _index(table: Picture, names: list[str]) -> list[tuple[Any, ...]]:
    """A key for each row; rows that would share one are numbered."""
    seen: dict[tuple[Any, ...], int] = {}
    keys = []
    columns = [
        np.where(table.columns[n][1], None, table.columns[n][0].astype(object)).tolist() for n in names
    ]
    for key in zip(*columns, strict=True):
        seen[key] = count = seen.get(key, -1) + 1
        keys.append((*key, count))
    return keys

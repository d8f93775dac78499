"""One member of many structs, and what is computed from such: numbers of which each may be missing."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from kernlab.core.operators import Operators
from kernlab.debuginfo.types import EnumType, Type
from kernlab.errors import KernlabError, MemberNotFoundError
from kernlab.util import integers, losses

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: A formula that is longer is not spoken of by name.
_LONGEST_NAME = 80
_NUMBERS = ("int", "uint", "bool", "enum", "address")
#: What is asked of structs only (StructArray).
_OF_STRUCTS = ("addresses", "follow", "first", "elements", "container", "cast", "prefetch")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Column(Operators["Column"]):
    """One value per row, each of which may be missing; the rows are structs, the value is one member of each.

    `values` is one NumPy value (or row, for arrays) per struct, `valid` says which could be read; a value that could
    not is 0 (or ''), and means nothing. `kind` is "int", "uint", "bool", "float", "enum", "address", "text" or
    "bytes", `type` the member's type, `name` what it is called where it is spoken of ('' for nothing).

    Columns compute with each other, with NumPy arrays of their length and with integers: `task["mm->total_vm"] * 4096`.
    A value is missing where either side is, and where the result does not fit: nothing wraps round, so an unsigned
    number never turns into a negative one. What does not fit is told to the scope that is open (`kernlab.util.losses`).

    - `+ - * // %` and `-x` give "int", the exact integer in int64, whatever the width and signs of both sides. `//` and
      `%` floor as Python's do, and by 0 are missing.
    - An address `+` or `-` a number is an "address" (uint64), an address `-` an address an "int"; two cannot be added.
    - `& | ^ ~` take all 64 bits, as in C: "uint" where either side is unsigned 64 bits wide (an address is), else
      "int"; of two bools "bool".
    - `<< >>` give what the left side is when it is 64 bits wide. Missing is what loses bits of worth, or is shifted by
      less than 0 or more than 63.
    - `== != < <= > >=` give "bool", by what numbers are worth (-1 < 1u). Texts can be equal or not.

    Raises KernlabError for text, floats, bytes and columns of arrays, with which nothing is computed.
    """

    values: npt.NDArray[Any]
    valid: Mask
    kind: str
    type: Type | None = None
    name: str = ""

    @classmethod
    def of(cls, values: npt.ArrayLike, valid: Mask | None = None, kind: str = "") -> Column:
        """A column of values made here: all there without `valid`; the dtype tells the kind, but for an empty list."""
        array = np.asarray(values, dtype=object if kind == "text" else None)
        if array.dtype.kind in "US":
            array = array.astype(object)
        kinds = {"i": "int", "u": "uint", "b": "bool", "f": "float", "O": "text"}
        there = np.ones(len(array), dtype=bool) if valid is None else valid
        return cls(array, there, kind or kinds[array.dtype.kind])

    @classmethod
    def texts(cls, items: Sequence[str | None]) -> Column:
        """A "text" column, in which None is missing."""
        there = np.array([item is not None for item in items], dtype=bool)
        return cls(np.array(["" if item is None else item for item in items], dtype=object), there, "text")

    @classmethod
    def ints(cls, items: Sequence[int | None], name: str = "") -> Column:
        """An "int" column of Python's integers, in which None is missing; what does not fit is, too, and told."""
        low, high = integers.I64_RANGE
        there = np.array([item is not None for item in items], dtype=bool)
        fits = np.array([item is None or low <= item <= high for item in items], dtype=bool)
        values = [
            item if item is not None and good else 0 for item, good in zip(items, fits.tolist(), strict=True)
        ]
        column = cls(np.array(values, dtype=np.int64), there, "int", name=name)
        return dataclasses.replace(column, valid=column._told(there, fits))

    @classmethod
    def missing(cls, count: int, kind: str = "text") -> Column:
        """A column of which nothing is known: "text", "bool" or "int"."""
        kinds = {"text": (object, ""), "bool": (bool, False), "int": (np.int64, 0)}
        dtype, nothing = kinds[kind]
        return cls(np.full(count, nothing, dtype=dtype), np.zeros(count, dtype=bool), kind)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            if name in _OF_STRUCTS:
                raise MemberNotFoundError(
                    f"{self.name or 'a member'} is {self._what} here, where a struct is needed"
                )
            raise AttributeError(f"'Column' object has no attribute {name!r}")

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        raise KernlabError("a column is neither true nor false: its `.true` says which of its values are")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Any: ...
    @overload
    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> Column: ...
    def __getitem__(self, rows: Any) -> Any:
        """One value as Python's own (None for a missing one), or the column of some rows: a slice, mask, indexes."""
        if isinstance(rows, int | np.integer):
            value = self.values[rows]
            plain = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
            return plain if self.valid[rows] else None
        return Column(self.values[rows], self.valid[rows], self.kind, self.type, self.name)

    def tolist(self) -> list[Any]:
        """Python's own values, None where one is missing.

        >>> tasks = dump.structs("task_struct", dump.tasks.address.tail(2))
        >>> tasks["mm->total_vm"].tolist()
        [247, None]
        """
        plain: list[Any] = self.values.tolist()
        if self.valid.all():
            return plain
        return [value if valid else None for value, valid in zip(plain, self.valid.tolist(), strict=True)]

    def names(self) -> list[str | None]:
        """The enumerators' names, one per struct; a value that none has stays a number, what is not valid None."""
        if not isinstance(self.type, EnumType):
            raise KernlabError(
                f"only a column of an enum has names, not one of {self.type and self.type.c_name}"
            )
        name_of: dict[int, str] = {}
        for name, value in self.type.enumerators.items():
            name_of.setdefault(value, name)
        return [None if value is None else name_of.get(value, str(value)) for value in self.tolist()]

    def otherwise(self, other: Column) -> Column:
        """These numbers, and where one is missing the other's, both in int64."""
        mine, theirs = self.int64, other.int64
        values = np.where(mine.valid, mine.values, theirs.values)
        return Column(values, mine.valid | theirs.valid, "int", name=self.name)

    def where(self, mask: Mask) -> Column:
        """The same column, not valid where `mask` is False."""
        return Column(self.values, self.valid & mask, self.kind, self.type, self.name)

    def called(self, name: str) -> Column:
        """The same column under a name, for sentences that speak of it."""
        return Column(self.values, self.valid, self.kind, self.type, name)

    def filled(self, value: Any) -> npt.NDArray[Any]:
        """The values as a plain array of their dtype with `value` for what is missing; not to be written into.

        >>> tasks = dump.structs("task_struct", dump.tasks.address.tail(2))
        >>> tasks["mm->total_vm"].filled(0)
        array([247,   0], dtype=uint64)
        """
        if self.valid.all():
            return self.values
        valid = self.valid if self.values.ndim == 1 else self.valid[:, None]
        return np.where(
            valid, self.values, value if self.values.dtype == object else self.values.dtype.type(value)
        )

    @property
    def true(self) -> Mask:
        """bool[n]: which are known, and neither 0, False, NULL nor ''. Raises KernlabError for columns of arrays."""
        if self.values.ndim != 1:
            raise KernlabError(
                f"only numbers and texts are true or not, and this is a column of {self._what}"
            )
        true: Mask = self.valid & (self.values != ("" if self.values.dtype == object else 0))
        return true

    @property
    def text(self) -> Column:
        """The same texts. Raises KernlabError where they are something else by this kernel's types."""
        if self.kind != "text":
            raise KernlabError(
                f"{self.name or 'a member'} should be text, and is {self._what} by this kernel's types"
            )
        return self

    def has(self, bits: int | np.integer[Any]) -> Column:
        """Is any of these bits set? A "bool" column.

        >>> tasks = dump.structs("task_struct", dump.tasks.address)
        >>> int(tasks["flags"].has(0x200000).true.sum())  # PF_KTHREAD
        58
        """
        return (self & bits) != 0

    @property
    def int64(self) -> Column:
        """The same numbers as int64 ("int"); what does not fit, 2^63 and more, is missing."""
        if self.kind not in _NUMBERS:
            raise KernlabError(f"cannot compute with a column of {self._what}")
        values, fits = integers.signed(self.values)
        if fits is None:
            return Column(values, self.valid, "int", name=self.name)
        rows: Mask = np.asarray(fits.reshape(len(self), -1).all(axis=1))
        return Column(values, self._told(self.valid, rows), "int", name=self.name)

    def sum(self) -> int | None:
        """The exact sum of all; None where one is missing."""
        return integers.total(self._number()) if self.valid.all() else None

    def added_by(self, owner: npt.NDArray[np.integer[Any]], count: int) -> Column:
        """The sums by whose the values are (`owner`, an index below `count`): "int", a row for each of `count`.

        A sum is missing where a part of it is, and where it does not fit.
        """
        values, fits = integers.added_by(owner, integers.widened(self.filled(0)), count)
        known = np.ones(count, dtype=bool)
        known[owner[~self.valid]] = False
        return Column(values, known if fits is None else self._told(known, fits), "int")

    def clip(self, lowest: int | None = None, highest: int | None = None) -> Column:
        """The numbers as int64, no less than `lowest` and no more than `highest`."""
        column = self.int64
        return Column(np.clip(column.values, lowest, highest), column.valid, "int", name=self.name)

    @property
    def timedelta(self) -> npt.NDArray[np.timedelta64]:
        """Nanoseconds as timedelta64[ns], NaT for what is missing."""
        return self._nanoseconds("timedelta64[ns]")

    @property
    def datetime(self) -> npt.NDArray[np.datetime64]:
        """Seconds since 1970 as datetime64[ns], UTC; NaT for what is missing, and beyond the years 1677 and 2262."""
        seconds, most = self.int64, integers.I64_RANGE[1] // 1_000_000_000
        fits = (seconds.values >= -most) & (seconds.values <= most)
        known = self._told(seconds.valid, fits)
        ns = np.where(known, seconds.values, 0) * 1_000_000_000
        return Column(ns, known, "int")._nanoseconds("datetime64[ns]")

    def _nanoseconds(self, dtype: str) -> npt.NDArray[Any]:
        ns = self.int64
        times: npt.NDArray[Any] = ns.values.astype(dtype)
        # The least number is how NumPy writes NaT.
        fits: Mask = ns.values != integers.I64_RANGE[0]
        times[~self._told(ns.valid, fits)] = np.array("NaT", dtype=dtype)
        return times

    def _told(self, valid: Mask, fits: Mask, name: str = "") -> Mask:
        """`valid & fits`; what is not, the scope that is open is told."""
        lost = valid & ~fits
        if lost.any():
            losses.lost(
                f"values of {name or self.name or self._what} do not fit into 64 bits, and are missing",
                mask=lost,
            )
        return valid & fits

    @property
    def _what(self) -> str:
        return self.type.c_name if self.type else self.kind

    def _number(self) -> integers.Integers:
        if self.kind not in _NUMBERS or self.values.ndim != 1:
            raise KernlabError(f"cannot compute with a column of {self._what}")
        return integers.widened(self.values)

    def _side(self, other: Any) -> tuple[integers.Integers, Mask] | None:
        """The other side of an operator: (numbers, which are valid); None for what is not a number."""
        if isinstance(other, Column):
            numbers = other._number()
        elif isinstance(other, int | np.integer | np.bool_):
            return integers.constant(int(other)), self.valid
        elif isinstance(other, np.ndarray) and other.dtype.kind in "iub":
            numbers = integers.widened(other)
        else:
            return None
        if numbers.shape != self.valid.shape:
            raise KernlabError(f"{len(self):,} values and {len(numbers):,} do not belong to the same rows")
        return numbers, self.valid & other.valid if isinstance(other, Column) else self.valid

    def _compute(self, sign: str, other: Any, *, swapped: bool = False) -> Column:
        mine = self._number()
        side = self._side(other)
        if side is None:
            raise KernlabError(f"cannot compute with a column and a {type(other).__name__}")
        theirs, valid = side
        if sign in ("&", "|", "^") and self.kind == "bool" and _is_bool(other):
            values, _ = integers.calculate(sign, mine, theirs)
            return Column(values != 0, valid, "bool")
        addresses = [self.kind == "address", isinstance(other, Column) and other.kind == "address"]
        left, right = (theirs, mine) if swapped else (mine, theirs)
        if swapped:
            addresses.reverse()
        if sign == "+" and all(addresses):
            raise KernlabError("two addresses cannot be added")
        # An address stays one when a number is added to it or taken from it, but not when it is taken from something.
        stays = sign in ("+", "-") and any(addresses) and not (sign == "-" and addresses[1])
        values, fits = integers.calculate(sign, left, right, unsigned=stays)
        name = self._spoken(sign, other, swapped)
        if fits is not None:
            # What is divided by 0 has no value, which is no loss.
            undefined = np.asarray(right == 0) if sign in ("//", "%") else np.zeros(1, dtype=bool)
            valid = self._told(valid & ~undefined, fits | undefined, name)
        if stays:
            return Column(values, valid, "address", self.type if self.kind == "address" else other.type, name)
        return Column(values, valid, "uint" if values.dtype == np.uint64 else "int", name=name)

    def _spoken(self, sign: str, other: Any, swapped: bool) -> str:
        """What a result is called; a long formula has no name."""
        if isinstance(other, Column):
            side = other.name
        else:
            side = str(int(other)) if isinstance(other, int | np.integer | np.bool_) else ""
        left, right = (side, self.name) if swapped else (self.name, side)
        name = f"{left} {sign} {right}" if left and right else left or right
        return name if len(name) <= _LONGEST_NAME else ""

    def __invert__(self) -> Column:
        if self.kind == "bool":
            return Column(~self.values, self.valid, "bool")
        values = ~self._number()
        return Column(values, self.valid, "uint" if values.dtype == np.uint64 else "int")

    def _compare(self, sign: str, other: Any) -> Column:
        if self.kind == "text":
            return self._compare_text(sign, other)
        mine = self._number()
        side = self._side(other)
        if side is None:
            raise KernlabError(f"a column of {self._what} cannot be compared with a {type(other).__name__}")
        # NumPy compares int64 with uint64 exactly.
        return Column(_COMPARE[sign](mine, side[0]), side[1], "bool")

    def _compare_text(self, sign: str, other: Any) -> Column:
        if sign not in ("==", "!=") or not (
            other.kind == "text" if isinstance(other, Column) else isinstance(other, str)
        ):
            raise KernlabError("text is compared with text only, and only by == and !=")
        same = np.asarray(_COMPARE[sign](self.values, other.values if isinstance(other, Column) else other))
        return Column(
            same.astype(bool), self.valid & other.valid if isinstance(other, Column) else self.valid, "bool"
        )

    def __repr__(self) -> str:
        lost = len(self) - int(self.valid.sum())
        return f"<Column of {len(self):,} × {self._what}, {lost:,} missing>"


def _is_bool(side: Any) -> bool:
    if isinstance(side, Column):
        return side.kind == "bool"
    return isinstance(side, bool | np.bool_) or (isinstance(side, np.ndarray) and side.dtype == bool)

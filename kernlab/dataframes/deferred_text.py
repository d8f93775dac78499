"""Text columns whose strings are made when somebody looks at them, and only those of the rows that are looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes.later import Later, finish_before, made

I64 = npt.NDArray[np.int64]
Make = Callable[[I64], Sequence[str | None]]


#: Rows of a column that are made when the dump is closed; of more, what can be made without it is made when looked at.
_MOST_AT_CLOSE = 1 << 16


class _Source:
    """Makes strings by row number."""

    def __init__(self, make: Make, length: int):
        self._make, self._length = make, length
        self._made: Sequence[str | None] | None = None

    def strings(self, rows: I64) -> Sequence[str | None]:
        """Those of some rows."""
        known = self._made
        return self._make(rows) if known is None else [known[row] for row in rows.tolist()]

    def finish(self) -> None:
        """Make now what could not be made later."""
        if self._made is None and self._length <= _MOST_AT_CLOSE:
            self._made = self._make(np.arange(self._length))


def _plain(strings: Sequence[str | None]) -> Any:
    held = np.empty(len(strings), dtype=object)
    held[:] = strings
    return pd.array(held, dtype="str")


def _arrow_text() -> Any:
    """The class of lazy text over pandas' Arrow strings, made once."""
    base: Any = pd.arrays.ArrowStringArray

    class DeferredText(Later, base):  # type: ignore[misc]
        """A str column of some `rows` of a source; slices and filtered rows of it make nothing either."""

        _source: _Source
        _rows: I64

        def __new__(cls, *given: Any, **options: Any) -> Any:
            """Whatever pandas makes of strings at hand is a plain column."""
            return base(*given, **options) if given else super().__new__(cls)

        @classmethod
        def of(cls, source: _Source, rows: I64) -> Self:
            """A column that is not made yet."""
            array: Self = cls.__new__(cls)
            array._source, array._rows, array._dtype = source, rows, _plain([]).dtype
            return array

        def _compute(self) -> Any:
            return _plain(self._source.strings(self._rows))

        @property
        def _pa_array(self) -> Any:
            return made(self)._pa_array

        @_pa_array.setter
        def _pa_array(self, values: Any) -> None:
            made(self)._pa_array = values

        def __len__(self) -> int:
            return len(self._rows)

        def __getitem__(self, item: Any) -> Any:
            if isinstance(item, slice):
                return type(self).of(self._source, self._rows[item])
            return made(self)[item]

        def take(self, indices: Any, allow_fill: bool = False, fill_value: Any = None) -> Any:
            """Rows by their number."""
            wanted = np.asarray(indices, dtype=np.int64)
            if allow_fill and (wanted < 0).any():
                return made(self).take(indices, allow_fill=allow_fill, fill_value=fill_value)
            return type(self).of(self._source, self._rows[wanted])

        def copy(self) -> Any:
            """Another column that will be made."""
            return type(self).of(self._source, self._rows)

        def view(self, dtype: Any = None) -> Any:
            """As `copy`: pandas shares columns among frames through views."""
            return self.copy() if dtype is None else made(self).view(dtype)

        def equals(self, other: object) -> bool:
            """Are values and missing values the same?"""
            return bool(made(self).equals(made(other)))

        def __reduce__(self) -> Any:
            return _plain, (made(self).tolist(),)

    return DeferredText


_classes: list[Any] = []


def deferred_text(length: int, make: Make, before: list[Callable[[], None]]) -> Any:
    """A str column of `length` rows; `make(rows)` gives the strings of some of them, None where there is none.

    `before` are called before what `make` reads goes away (`Kernel.before_close`). Where pandas keeps no Arrow strings
    (pyarrow is not installed) the column is made at once.
    """
    rows = np.arange(length, dtype=np.int64)
    if _plain([]).dtype.storage != "pyarrow":
        return _plain(make(rows))
    if not _classes:
        _classes.append(_arrow_text())
    source = _Source(make, length)
    finish_before(source, before)
    return _classes[0].of(source, rows)

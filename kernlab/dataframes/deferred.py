"""Columns that are computed when somebody looks at them: Int64 to everybody, and as cheap as nothing until then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes.later import Later, finish_before, made

Values = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]


class Source:
    """Computes several columns of one table at once, the first time that one of them is looked at.

    `compute` gives for each name (int64[n], bool[n] of what is known); it is called once, by one thread. Where it
    raises, it is called again the next time.
    """

    def __init__(self, compute: Callable[[], dict[str, Values]]):
        self._compute: Callable[[], dict[str, Values]] | None = compute
        self._found: dict[str, Values] = {}
        self._lock = threading.RLock()

    def get(self, name: str) -> Values:
        """One column's values, and which of them are known."""
        with self._lock:
            self.finish()
            return self._found[name]

    def finish(self) -> None:
        """Compute now what will not be there later."""
        with self._lock:
            if self._compute is not None:
                self._found = self._compute()
                # What it held on to is no longer needed.
                self._compute = None


class DeferredArray(Later, pd.arrays.IntegerArray):
    """An Int64 column of `length` rows whose values a `Source` computes when they are first used.

    Slices and filtered rows of it are columns of the same kind, so that a selection of rows computes nothing either.
    """

    _source: Source
    _name: str
    _length: int

    def __new__(cls, *given: Any, **options: Any) -> Any:
        """Whatever pandas makes with values at hand is no deferred column."""
        return pd.arrays.IntegerArray(*given, **options) if given else super().__new__(cls)

    @classmethod
    def _simple_new(cls, values: Any, mask: Any) -> Any:
        return pd.arrays.IntegerArray._simple_new(values, mask)  # type: ignore[attr-defined]

    @classmethod
    def of(cls, source: Source, name: str, length: int) -> Self:
        """A column that is not computed yet."""
        array: Self = cls.__new__(cls)
        array._source, array._name, array._length = source, name, length
        return array

    def _compute(self) -> Any:
        values, known = self._source.get(self._name)
        return pd.arrays.IntegerArray(np.where(known, values, 1), ~known)

    @property
    def dtype(self) -> pd.Int64Dtype:
        """Int64."""
        return pd.Int64Dtype()

    @property
    def ndim(self) -> int:
        """One."""
        return 1

    @property
    def shape(self) -> tuple[int]:
        """(rows,)."""
        return (len(self),)

    def __len__(self) -> int:
        return self._length

    def copy(self) -> Any:
        """Another column that will be computed."""
        return type(self).of(self._source, self._name, self._length)

    def view(self, dtype: Any = None) -> Any:
        """As `copy`: pandas shares columns among frames through views."""
        return self.copy() if dtype is None else made(self).view(dtype)

    def equals(self, other: object) -> bool:
        """Are values and missing values the same?"""
        return bool(made(self).equals(made(other)))

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, slice):
            return self._later(len(range(*item.indices(len(self)))), lambda plain: plain[item])
        return made(self)[item]

    def take(self, indexer: Any, *, allow_fill: bool = False, fill_value: Any = None, axis: int = 0) -> Any:
        """Rows by their number."""
        return self._later(
            len(indexer), lambda plain: plain.take(indexer, allow_fill=allow_fill, fill_value=fill_value)
        )

    def _later(self, length: int, change: Callable[[Any], Any]) -> Any:
        """The array that `change` will make of this one."""

        def compute() -> dict[str, Values]:
            changed = change(pd.arrays.IntegerArray(self._data, self._mask))
            return {name: (changed._data, ~changed._mask)}

        name = self._name
        return type(self).of(Source(compute), name, length)

    def __reduce__(self) -> Any:
        return pd.arrays.IntegerArray, (self._data, self._mask)


def deferred(
    names: Sequence[str],
    length: int,
    compute: Callable[[], dict[str, Values]],
    before: list[Callable[[], None]],
) -> dict[str, Any]:
    """Int64 columns of `length` rows that one call of `compute` gives when the first of them is looked at.

    `before` are called before what `compute` reads goes away (`Kernel.before_close`): columns that are still in use
    then are computed at last. A `compute` that raises makes every look raise; let it give missing values where that is
    the answer.
    """
    source = Source(compute)
    finish_before(source, before)
    return {name: DeferredArray.of(source, name, length) for name in names}

"""Text columns whose strings are made when somebody looks at them, and only those of the rows that are looked at.

Such a column is a str column before and after: neither its dtype nor its class changes. It can be computed with,
sliced, joined, written to parquet and pickled as any other; a pickle holds the strings, whether or not they had been
made, and nothing of the dump. What is lost in making them is told to the table that the column was made for (its
attrs["problems"], and so `dump.problems`), and to the scope that is open when it happens; tables derived from that one
before have attrs of their own. Once the dump is closed, what nobody had looked at cannot be made: a KernlabError says
so.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.indexers import check_array_indexer

from kernlab.errors import KernlabError
from kernlab.util import losses

I64 = npt.NDArray[np.int64]
Make = Callable[[I64], Sequence[str | None]]

#: Strings of so few rows are made at once: it takes no time that anybody notices, and they outlive the dump.
FEW_ROWS = 4096


class Closable(Protocol):
    """What strings are made of; a `Kernel` is one."""

    def check_open(self) -> None:
        """Raise KernlabError once it is closed."""
        ...


class Source:
    """Makes strings by row number; those of all rows are kept once they were asked for. Threads may ask at once."""

    def __init__(self, owner: Closable, length: int, make: Make):
        self._owner: Closable | None = owner
        self._make: Make | None = make
        self._length = length
        self._all: Any = None
        self._lock = threading.RLock()
        self._losses = losses.Scope("a column")
        #: Lists of problems (of tables' attrs) that are told what is lost.
        self.told: list[list[str]] = []

    def strings(self, rows: I64) -> Any:
        """Those of some rows as a chunked Arrow array."""
        with self._lock:
            if self._make is None or self._owner is None:
                return self._all.take(rows)
            try:
                self._owner.check_open()
            except KernlabError as error:
                raise KernlabError(
                    f"nobody looked at this column before its dump was closed, and now it cannot be made: {error}"
                ) from None
            before = set(self._losses.losses)
            with losses.resumed(self._losses, passing_on=True) as here:
                made = _plain(self._make(rows))._pa_array
            if before != set(here.losses):
                for problems in self.told:
                    # What is lost of these rows counts with what was lost of others: one sentence.
                    kept = [sentence for sentence in problems if sentence not in before]
                    problems[:] = [*kept, *[sentence for sentence in here.losses if sentence not in kept]]
            if np.array_equal(rows, np.arange(self._length)):
                # What it held on to is no longer needed.
                self._all, self._make, self._owner = made, None, None
            return made


def _plain(strings: Sequence[str | None]) -> Any:
    held = np.empty(len(strings), dtype=object)
    held[:] = strings
    return pd.array(held, dtype="str")


_ARROW: Any = pd.arrays.ArrowStringArray


class DeferredText(pd.arrays.ArrowStringArray):
    """A str column of some `rows` of a source; slices, filtered and sorted rows of it make nothing either."""

    _source: Source
    _rows: I64
    # pandas' own.
    _dtype: Any
    _cache: Any
    _readonly: bool
    #: The strings, once they are made, as pandas keeps them.
    _made: Any = None

    @classmethod
    def of(cls, source: Source, rows: I64) -> Self:
        """A column that is not made yet."""
        array: Self = cls.__new__(cls)
        array._source, array._rows, array._dtype, array._cache = source, rows, _plain([]).dtype, {}
        return array

    @property
    def is_made(self) -> bool:
        """Has anybody looked at it?"""
        return self._made is not None

    @property
    def plain(self) -> Any:
        """The same strings as pandas' own array."""
        return _ARROW(self._pa_array, dtype=self._dtype)

    @property
    def _pa_array(self) -> Any:
        made = self._made
        if made is None:
            # Of two threads the first one counts: what is written into the array meanwhile must stay.
            made = vars(self).setdefault("_made", self._source.strings(self._rows))
        return made

    @_pa_array.setter
    def _pa_array(self, values: Any) -> None:
        self._made = values

    @property
    def nbytes(self) -> int:
        """Bytes of the strings that are made."""
        return int(super().nbytes) if self.is_made else 0

    def __len__(self) -> int:
        return len(self._made if self.is_made else self._rows)

    def __getitem__(self, item: Any) -> Any:
        if not self.is_made:
            wanted = item if isinstance(item, slice) else check_array_indexer(self, item)
            if isinstance(wanted, slice | np.ndarray):
                return self._waiting(self._rows[wanted])
            if isinstance(wanted, int | np.integer):
                return self._waiting(self._rows[np.array([wanted])]).plain[0]
        return super().__getitem__(item)

    def take(self, indices: Any, allow_fill: bool = False, fill_value: Any = None) -> Any:
        """Rows by their number."""
        wanted = np.asarray(indices, dtype=np.int64)
        if self.is_made or (allow_fill and (wanted < 0).any()):
            return super().take(indices, allow_fill=allow_fill, fill_value=fill_value)
        return self._waiting(self._rows[wanted])

    def copy(self) -> Any:
        """Another column that will be made."""
        return super().copy() if self.is_made else self._waiting(self._rows)

    def view(self, dtype: Any = None) -> Any:
        """As `copy`: pandas shares columns among frames through views."""
        if self.is_made or dtype is not None:
            return super().view(dtype)
        array = self._waiting(self._rows)
        array._readonly = self._readonly
        return array

    def _waiting(self, rows: I64) -> Self:
        return type(self).of(self._source, rows)

    def __reduce__(self) -> Any:
        return functools.partial(_ARROW, dtype=self._dtype), (self._pa_array.combine_chunks(),)


def deferred_text(owner: Closable, length: int, make: Make) -> Any:
    """A str column of `length` rows; `make(rows)` gives the strings of some of them, None where there is none.

    `owner` is the kernel that `make` reads: once it is closed, nothing is made any more. Of few rows, and where pandas
    keeps no Arrow strings (pyarrow is not installed), the column is made at once.
    """
    rows = np.arange(length, dtype=np.int64)
    if length <= FEW_ROWS or _plain([]).dtype.storage != "pyarrow":
        return _plain(make(rows))
    return DeferredText.of(Source(owner, length, make), rows)


def tell_later(column: Any, problems: list[str]) -> None:
    """Have a table's `problems` told what is lost when its column is made, if that is yet to come."""
    if isinstance(column, DeferredText) and not column.is_made:
        column._source.told.append(problems)

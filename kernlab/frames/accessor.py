"""`.kern`: the rows of a table as the structs they were read from, to gather any more of their members.

The address column says in its dtype which dump it is of and which type lies there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.frames import origin
from kernlab.frames.address import AddressArray, AddressDtype


@pd.api.extensions.register_dataframe_accessor("kern")
class KernAccessor:
    """Kernel structs behind the rows: `tasks.kern.field("signal->oom_score_adj")`, `tasks.kern.structs`."""

    def __init__(self, frame: pd.DataFrame, column: str | None = None, target: str = ""):
        self._frame = frame
        self._column = column
        self._target = target
        if column is None and not self._candidates():
            # hasattr(frame, "kern") and tab completion ask like this; only AttributeError answers them.
            raise AttributeError(
                "this DataFrame has no column of addresses, so there are no structs behind its rows"
            )

    def _candidates(self) -> list[Any]:
        return [name for name, dtype in self._frame.dtypes.items() if isinstance(dtype, AddressDtype)]

    def on(self, column: str, type: str | None = None) -> KernAccessor:  # noqa: A002 - the word users expect
        """The same for another column of addresses: `tasks.kern.on("mm").field("total_vm")`.

        `type` names what lies there, where the column does not know it or for a look at it as something else.
        """
        if column not in self._frame.columns:
            raise KernlabError(f"there is no column {column!r}; columns of addresses: {self._listed()}")
        if not isinstance(self._frame[column].dtype, AddressDtype):
            raise KernlabError(
                f"column {column!r} holds no addresses; columns of addresses: {self._listed()}"
            )
        return KernAccessor(self._frame, column, type or "")

    def _listed(self) -> str:
        return ", ".join(repr(name) for name in self._candidates()) or "none"

    @property
    def column(self) -> str:
        """The column that the structs are taken from: "address", or the only one of addresses."""
        if self._column is not None:
            return self._column
        candidates = self._candidates()
        if "address" in candidates:
            return "address"
        if len(candidates) == 1:
            return str(candidates[0])
        raise KernlabError(f"which addresses? Choose with .kern.on(column): {self._listed()}")

    @property
    def _addresses(self) -> AddressArray:
        array = self._frame[self.column].array
        assert isinstance(array, AddressArray)
        return array

    @property
    def dump(self) -> Any:
        """The dump that these rows are of. Raises KernlabError when it is gone, or when there are several."""
        return origin.find(self._addresses.dtype.origin)

    @property
    def type(self) -> str:
        """The C type that lies at the addresses. Raises KernlabError where the column does not know."""
        target = self._target or self._addresses.dtype.target
        if not target or target == origin.MIXED:
            why = (
                "holds addresses of different types" if target else "does not say what lies at its addresses"
            )
            raise KernlabError(
                f"column {self.column!r} {why}; name it: .kern.on({self.column!r}, 'struct …')"
            )
        return target

    @property
    def structs(self) -> Any:
        """The `StructArray`, one struct per row; members are missing where the address is missing or NULL."""
        addresses = self._addresses
        return self.dump.structs(self.type, addresses.fillna(0).to_numpy(dtype=np.uint64))

    def field(self, *paths: str) -> Any:
        """One more member of these rows' structs, by its C path: a Series; with several paths a DataFrame.

        Missing where the address is missing or NULL or cannot be read; integers are Int64 or UInt64 for that.
        Raises MemberNotFoundError, naming the nearest member.
        """
        from kernlab.frames.builder import build, nullable

        if not paths:
            raise KernlabError("name at least one member, as in .kern.field('signal->oom_score_adj')")
        structs, token = self.structs, self._addresses.dtype.origin
        series = [
            pd.Series(
                build(token, path, nullable(structs[path])), index=self._frame.index, name=path, copy=False
            )
            for path in paths
        ]
        if len(paths) == 1:
            return series[0]
        result = pd.concat(series, axis=1)
        result.attrs = dict(self._frame.attrs)
        return result

"""Tables that can do more than pandas': a DataFrame whose selections are of its class, and keep attrs and methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pandas as pd

from kernlab.errors import KernlabError


class TableWithMethods(pd.DataFrame):
    """A base for tables with methods of their own: `class Stacks(TableWithMethods)`.

    `dump.stacks[dump.stacks.pid == 1].groups()` works as `.query`, `.sort_values` and `pickle` do: what pandas makes of
    such a table has its class. `named` says how a user writes it.
    """

    named = "the table"

    @property
    def _constructor(self) -> Callable[..., Any]:
        return type(self)

    @classmethod
    def of(cls, table: pd.DataFrame) -> Self:
        """The same columns and attrs, with methods; nothing is copied."""
        made = cls(table)
        made.attrs = table.attrs
        return made

    def need(self, *columns: str) -> None:
        """Raises KernlabError where a column that a method works on was dropped."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise KernlabError(
                f"this takes the columns {', '.join(columns)} of {self.named}; these rows lack {', '.join(missing)}"
            )

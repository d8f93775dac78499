"""Tables tried on a kernel without memory: what they asked for, what they made of it, and how they failed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pandas as pd

from kernlab.debuginfo.asking import Notes, noted
from kernlab.dump import TABLES, Dump
from kernlab.errors import KernlabError

#: Tables that no kernel's layouts hinder, as they are of symbols and of bytes; the timeline is made of other tables.
NOT_TRIED = frozenset({"symbols", "search", "timeline", "holders"})
#: What tables with parameters are given: what there is, on any machine.
_ARGUMENTS: dict[str, Callable[[Dump], tuple[object, ...]]] = {
    "slab_objects": lambda dump: (dump.slabs["name"].iloc[:1].tolist(),),
    "owner": lambda dump: ([dump.kernel.layout.direct_start],),
}


#: Shorter words of names are shared by what has nothing in common; so is "struct".
_SHORTEST_WORD = 6


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one table: `notes` are the names that it asked for; `columns` has those that it made (of a Series
    the keys), True where any value is there; `rows` their number; `problems` what it told; `error` why it failed.
    """

    name: str
    notes: Notes
    columns: dict[str, bool] = field(default_factory=dict)
    rows: int = 0
    problems: tuple[str, ...] = ()
    error: Exception | None = None

    @property
    def absent_symbols(self) -> list[str]:
        """The symbols that it asked for and that are not there."""
        return [name for (kind, name), found in self.notes.found.items() if kind == "symbol" and not found]

    @property
    def last_symbol(self) -> str | None:
        """The last symbol that was there, and need not have been."""
        soft = (
            name
            for (kind, name), found in reversed(self.notes.found.items())
            if kind == "symbol" and found and (kind, name) in self.notes.soft
        )
        return next(soft, None)

    def lacks_type_like(self, symbol: str) -> bool:
        """Does a type that is not there share a word with a symbol?"""
        asked = self.notes.found.items()
        lacking = (_words(name) for (kind, name), found in asked if kind == "type" and not found)
        return any(words & _words(symbol) for words in lacking)


def _words(name: str) -> set[str]:
    return {word for word in re.findall(r"[a-z0-9]+", name) if len(word) >= _SHORTEST_WORD} - {"struct"}


def tried(tables: Iterable[str] | None = None) -> list[str]:
    """The tables that are tried, plug-ins' among them, in the order in which they are listed."""
    return [name for name in (TABLES if tables is None else tables) if name not in NOT_TRIED]


def trial(dump: Dump, name: str) -> Trial:
    """Try one table, on a dump or on a kernel without memory."""
    with noted() as notes:
        try:
            made = build(dump, name)
        except KernlabError as error:
            return Trial(name, notes, error=error)
        except Exception as error:
            # A plug-in may raise anything, and what is made up may be what no memory holds.
            return Trial(name, notes, error=error)
    there: pd.Series[bool] = made.notna() if isinstance(made, pd.Series) else made.notna().any(axis=0)
    columns = there.to_dict()
    told = made.attrs.get("problems", ())
    return Trial(name, notes, {str(k): bool(v) for k, v in columns.items()}, len(made), tuple(told))


def build(dump: Dump, name: str) -> pd.DataFrame | pd.Series:
    """The table; one with parameters for what there is."""
    if name in _ARGUMENTS:
        made: pd.DataFrame | pd.Series = getattr(dump, name)(*_ARGUMENTS[name](dump))
        return made
    found = getattr(dump, name)
    result: pd.DataFrame | pd.Series = found() if TABLES[name].is_method else found
    return result

"""Tables in, pages of cells out: filtered, sorted and made legible in the kernel, so that a browser gets only what it
shows, and every number as text (a browser's numbers lose an address's low bits)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dashboard.filter import is_text, matches
from kernlab.dashboard.lead_cells import PlotCell, show
from kernlab.display.cells import Kind, duration, kind_of_column, readable
from kernlab.display.summary import opens_alone
from kernlab.dump import TABLES
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.util import text
from kernlab.util.addresses import is_missing

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: What to look at first: these are in no group.
FIRST = ("verdict", "suspects")
#: Tables whose rows have a cell that shows them, by what the view of one is called: "lead:3".
CELLS = {"lead": "suspects", "finding": "verdict"}

#: Rows of one answer, and of one view: a browser's page cannot be higher.
MOST_ROWS = 400
MOST_SCROLLED = 1_000_000

_LONGEST_CELL = 240
_LONGEST_TOOLTIP = 2000
_MOST_COLUMNS = 60

#: Orders kept: scrolling asks for the same one again and again.
_ORDERS = 8
#: Tables that the dump does not keep: those with parameters, traces, and what leads show.
_CALLED = 6

#: What else is listed: description, how Python asks for it, what makes it.
_TRACES: dict[str, tuple[str, str, Callable[[Dump], pd.DataFrame]]] = {
    "relay": (
        "Relay channels, one row each per CPU: what blktrace and others had not read yet.",
        "dump.relay.channels",
        lambda dump: dump.relay.channels,
    ),
    "ftrace": (
        "Events in ftrace's ring buffers, of all instances.",
        "dump.ftrace.all",
        lambda dump: dump.ftrace.all,
    ),
}


#: Rooms above the tables whose own are listed with others.
_GROUPS = {"replay": "traces"}


class Pages:
    """Pages of a dump's tables. Any thread may ask."""

    def __init__(self, dump: Dump):
        self._dump = dump
        self._lock = threading.Lock()
        self._orders: OrderedDict[tuple[Any, ...], npt.NDArray[np.intp] | None] = OrderedDict()
        self._called: OrderedDict[str, pd.DataFrame] = OrderedDict()

    def names(self, *, every: bool = False) -> list[dict[str, Any]]:
        """What can be shown by its name alone, in the order in which it is listed, each once; none is built for it.

        name; group ('' for what comes first); description; rows (None until it was built); code: how Python asks for
        it. With `every`, also the tables that need to be told more.
        """
        listed = self._dump.tables.set_index("name")
        found = []
        for name, entry in TABLES.items():
            if every or opens_alone(name):
                rows = listed["rows"][name]
                found.append(
                    _entry(
                        name,
                        "" if name in FIRST else _GROUPS.get(entry.group, entry.group),
                        entry.description,
                        None if pd.isna(rows) else int(rows),
                        f"dump.{name}{'(…)' if entry.is_method else ''}",
                    )
                )
        for name, (description, code, _) in _TRACES.items():
            with self._lock:
                held = self._called.get(name)
            found.append(_entry(name, "traces", description, None if held is None else len(held), code))
        return found

    def table(self, name: str) -> pd.DataFrame:
        """A table as a DataFrame: a Series becomes two columns. Raises KernlabError when there is none.

        Besides the dump's tables: "relay", "ftrace", "trace:CHANNEL" (the events of a relay channel), and "lead:N"
        and "finding:N", what the cell of row N of the suspects and of the verdict shows.
        """
        other = self._other(name)
        if other is not None:
            return self._kept(name, other)
        entry = TABLES.load(name)
        if not entry.is_method:
            built = getattr(self._dump, name)
            if not isinstance(built, pd.DataFrame | pd.Series):
                raise KernlabError(f"dump.{name} is not a table but {built!r}")
            return _framed(built)
        return self._kept(name, getattr(self._dump, name))

    def cell(self, kind: str, place: int) -> tuple[str, pd.DataFrame | pd.Series[Any] | PlotCell]:
        """The cell of one row of the suspects ("lead") or of the verdict ("finding"), and what it shows. Raises
        KernlabError where it shows nothing."""
        if kind not in CELLS:
            raise KernlabError(f"no rows have cells that are called {kind!r}")
        code = str(self.row(CELLS[kind], place)["cell"])
        return code, show(self._dump, code)

    def _other(self, name: str) -> Callable[[], pd.DataFrame] | None:
        """What makes a table that is none of the dump's own."""
        if name in _TRACES:
            return lambda: _TRACES[name][2](self._dump)
        kind, _, rest = name.partition(":")
        if kind == "trace":
            return lambda: self._dump.relay.events(rest, mode="all")
        if kind in CELLS and rest.isdecimal():
            return lambda: self._of_cell(kind, int(rest))
        return None

    def _of_cell(self, kind: str, place: int) -> pd.DataFrame:
        code, shown = self.cell(kind, place)
        if isinstance(shown, PlotCell):
            raise KernlabError(f"{code} draws a plot, and gives no table")
        return _framed(shown)

    def _kept(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        with self._lock:
            if name in self._called:
                self._called.move_to_end(name)
                return self._called[name]
        try:
            called = make()
        except TypeError as error:
            raise KernlabError(f"dump.{name} needs arguments: {error}") from error
        with self._lock:
            self._called[name] = called
            while len(self._called) > _CALLED:
                self._called.popitem(last=False)
        return called

    def chosen(
        self,
        name: str,
        search: str = "",
        sort: str = "",
        descending: bool = False,
        where: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """The rows that a view shows, all of them, in its order."""
        whole = self.table(name)
        order = self._order(whole, name, search, sort, descending, where or {})
        return whole if order is None else whole.iloc[order]

    def page(
        self,
        name: str,
        search: str = "",
        sort: str = "",
        descending: bool = False,
        where: dict[str, Any] | None = None,
        offset: int = 0,
        count: int = 100,
    ) -> dict[str, Any]:
        """`count` rows from `offset` of what `chosen` gives, as text.

        Returns columns (name, kind), rows (position in the table, cells), like (the dump's table that they are rows
        of), total, matched, problems. A cell is its text, None where it is missing, or [text, tooltip].
        """
        whole = self.table(name)
        order = self._order(whole, name, search, sort, descending, where or {})
        matched = len(whole) if order is None else len(order)
        start = max(0, min(int(offset), matched))
        stop = min(start + max(1, min(int(count), MOST_ROWS)), matched, MOST_SCROLLED)
        places = np.arange(start, stop) if order is None else order[start:stop]
        shown = whole.iloc[places, :_MOST_COLUMNS]
        kinds = [_kind(str(key), shown.iloc[:, i]) for i, key in enumerate(shown.columns)]
        columns = [[_cell(kind, value) for value in shown.iloc[:, i].array] for i, kind in enumerate(kinds)]
        return {
            "columns": [
                {"name": show_controls(str(key)), "kind": kind}
                for key, kind in zip(shown.columns, kinds, strict=True)
            ],
            "rows": [
                [int(place), list(cells)]
                for place, cells in zip(places, zip(*columns, strict=True), strict=False)
            ],
            # Rows of a log are shown as a log, whatever picked them.
            "like": str(whole.attrs.get("table", "")),
            "offset": start,
            "total": len(whole),
            "matched": matched,
            "problems": [
                text.shorten(show_controls(str(problem)), 500)
                for problem in list(whole.attrs.get("problems", ()))[:20]
            ],
        }

    def row(self, name: str, place: int) -> pd.Series[Any]:
        """One row by its position in the table."""
        whole = self.table(name)
        if not 0 <= place < len(whole):
            raise KernlabError(f"{name} has {len(whole):,} rows, and none at {place:,}")
        return whole.iloc[place]

    def _order(
        self, whole: pd.DataFrame, name: str, search: str, sort: str, descending: bool, where: dict[str, Any]
    ) -> npt.NDArray[np.intp] | None:
        """Positions of the rows to show, in order; None for all of them as they are."""
        key = (name, len(whole), search.strip(), sort, descending, tuple(sorted(where.items())))
        with self._lock:
            if key in self._orders:
                self._orders.move_to_end(key)
                return self._orders[key]
        order = _order(whole, search.strip(), sort, descending, where)
        with self._lock:
            self._orders[key] = order
            while len(self._orders) > _ORDERS:
                self._orders.popitem(last=False)
        return order


def _order(
    whole: pd.DataFrame, search: str, sort: str, descending: bool, where: dict[str, Any]
) -> npt.NDArray[np.intp] | None:
    kept = matches(whole, search)
    for column, value in where.items():
        if column not in whole.columns:
            raise KernlabError(f"there is no column {column!r} here")
        fits = np.asarray((whole[column] == value).fillna(False)).astype(bool)
        kept = fits if kept is None else kept & fits
    places = None if kept is None else np.flatnonzero(kept)
    if not sort:
        return places
    if sort not in whole.columns:
        raise KernlabError(f"there is no column {sort!r} to sort by")
    keys: pd.Series[Any] = whole[sort] if places is None else whole[sort].iloc[places]
    ranked: pd.Series[Any] = keys.reset_index(drop=True)
    if is_text(ranked):
        ranked = ranked.str.lower()
    by = ranked.sort_values(ascending=not descending, kind="stable", na_position="last").index.to_numpy()
    return np.asarray(by if places is None else places[by], dtype=np.intp)


def cells(row: pd.Series[Any], columns: pd.DataFrame) -> list[dict[str, Any]]:
    """One row of the table `columns` as facts: name, kind, and cell."""
    facts = []
    for name in columns.columns:
        kind = _kind(str(name), columns[name])
        facts.append({"name": show_controls(str(name)), "kind": kind, "cell": _cell(kind, row[name])})
    return facts


def _entry(name: str, group: str, description: str, rows: int | None, code: str) -> dict[str, Any]:
    return {"name": name, "group": group, "description": description, "rows": rows, "code": code}


def _framed(table: pd.DataFrame | pd.Series[Any]) -> pd.DataFrame:
    """A table whose rows are its own: names and values of a Series, the index of a grouping as columns."""
    if isinstance(table, pd.Series):
        return _of_series(table)
    return (
        table if isinstance(table.index, pd.RangeIndex) or table.index.name is None else table.reset_index()
    )


def _of_series(series: pd.Series[Any]) -> pd.DataFrame:
    """Names and values. Values of one kind stay so: a Series of byte counts is shown as such."""
    values: Any = series.array
    if series.dtype == object:
        values = pd.array([_said(str(key), value) for key, value in series.items()], dtype="str")
    frame = pd.DataFrame({"name": pd.array([str(key) for key in series.index], dtype="str"), "value": values})
    frame.attrs = dict(series.attrs)
    return frame


def _said(name: str, value: Any) -> str | None:
    if is_missing(value):
        return None
    if isinstance(value, pd.Timedelta):
        return duration(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool | text.Address):
        return f"{text.human_bytes(value)} ({value:,})" if name.endswith("_bytes") else f"{value:,}"
    return str(value)


def _kind(name: str, column: pd.Series[Any]) -> Kind:
    return kind_of_column(name, column.dtype)


def _cell(kind: Kind, value: Any) -> str | list[str] | None:
    if is_missing(value):
        return None
    if kind == "bool":
        return "yes" if value else "no"
    said, exact = readable(kind, value)
    said = show_controls(said)
    if kind == "text" and len(said) > _LONGEST_CELL:
        exact = f"{len(said):,} characters: {text.shorten(said, _LONGEST_TOOLTIP)}"
        said = text.shorten(said, _LONGEST_CELL)
    return [said, exact] if exact else said

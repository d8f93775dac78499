"""Two dumps in, how their tables differ out: column by column, how many cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernlab.dump import TABLES
from kernlab.errors import KernlabError
from kernlab.util.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from kernlab.dump import Dump

#: What a table of one row says of the file that it was read from, not of the machine: two files differ there.
OF_THE_FILE = {"info": frozenset({"file", "file_bytes", "format", "dump_level", "redacted"})}

#: Tables with parameters that have something to say without any.
_WITHOUT_PARAMETERS = ("slab_objects",)
#: Tables of views: the view's name, and how the table is had of it.
_VIEWS: tuple[tuple[str, str], ...] = (
    ("relay", "channels"),
    ("ftrace", "instances"),
    ("ftrace", "counts"),
)


@dataclass(frozen=True)
class Compared:
    """One table of both: its rows in the first, the cells that differ by column, and why it could not be compared."""

    table: str
    rows: int
    differ: dict[str, int] = field(default_factory=dict)
    problem: str = ""


def compare(first: Dump, second: Dump) -> list[Compared]:
    """Every table without parameters of two dumps, held against each other; none of them is kept."""
    tables = list(_tables())
    found = []
    with progress("Comparing tables", len(tables), " tables") as bar:
        for name, build in tables:
            found.append(_compared(name, _built(build, first), _built(build, second)))
            bar.advance()
    return found


def _tables() -> Iterator[tuple[str, Callable[[Dump], Any]]]:
    for name in TABLES:
        if not TABLES[name].is_method or name in _WITHOUT_PARAMETERS:
            yield name, lambda dump, name=name: TABLES.load(name).function(dump.kernel)  # type: ignore[misc]
    for view, table in _VIEWS:
        yield f"{view}.{table}", lambda dump, view=view, table=table: _of_view(dump, view, table)  # type: ignore[misc]


def _of_view(dump: Dump, view: str, table: str) -> Any:
    found = getattr(getattr(dump, view), table)
    return found() if callable(found) else found


def _built(build: Callable[[Dump], Any], dump: Dump) -> Any:
    try:
        return build(dump)
    except KernlabError as error:
        return error


def _compared(name: str, first: Any, second: Any) -> Compared:
    errors = [isinstance(one, KernlabError) for one in (first, second)]
    if all(errors):
        return Compared(name, 0)
    if any(errors):
        which, why = ("redacted dump", second) if errors[1] else ("original", first)
        return Compared(name, 0, problem=f"it cannot be made of the {which}: {why}")
    columns, others = _columns(first), _columns(second)
    rows = len(next(iter(columns.values()), ()))
    ignored = OF_THE_FILE.get(name, frozenset())
    if list(columns) != list(others):
        return Compared(name, rows, problem="it has other columns")
    if rows != len(next(iter(others.values()), ())):
        count = len(next(iter(others.values()), ()))
        return Compared(name, rows, problem=f"it has {count:,} rows instead of {rows:,}")
    differ = {
        column: count
        for column, one in columns.items()
        if column not in ignored and (count := cells_that_differ(one, others[column]))
    }
    return Compared(name, rows, differ)


def _columns(table: pd.DataFrame | pd.Series[Any]) -> dict[str, Any]:
    """Columns by name; the facts of a Series are columns of one row each. Names that are there twice are numbered."""
    if table.ndim == 1:
        pairs: list[tuple[str, Any]] = [(str(name), [value]) for name, value in table.items()]
    else:
        parts: Any = table.iloc
        pairs = [(str(name), parts[:, number]) for number, name in enumerate(table.columns)]
    found: dict[str, Any] = {}
    for name, values in pairs:
        found[name if name not in found else f"{name} ({len(found)})"] = values
    return found


def cells_that_differ(first: Any, second: Any) -> int:
    """How many places of two columns have other values: missing equals missing, whatever the type."""
    if len(first) != len(second):
        return max(len(first), len(second))
    equals = getattr(first, "equals", None)
    if equals is not None and type(first) is type(second) and equals(second):
        return 0
    one, other = _objects(first), _objects(second)
    return sum(not _same(a, b) for a, b in zip(one, other, strict=True))


def _objects(column: Any) -> list[Any]:
    return column if isinstance(column, list) else list(column)


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if _missing(a) or _missing(b):
        return _missing(a) and _missing(b)
    if isinstance(a, np.ndarray | list | tuple) or isinstance(b, np.ndarray | list | tuple):
        if not isinstance(a, np.ndarray | list | tuple) or not isinstance(b, np.ndarray | list | tuple):
            return False
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(_listed(a), _listed(b), strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    equal: Any = a == b
    return bool(equal) if isinstance(equal, bool | np.bool_) else bool(np.all(equal))


def _listed(values: Any) -> list[Any]:
    listed: list[Any] | npt.NDArray[Any] = values
    return listed.tolist() if isinstance(listed, np.ndarray) else list(listed)


def _missing(value: Any) -> bool:
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT:
        return True
    # Only what is no number differs from itself; arrays say so cell by cell, and are not missing.
    return isinstance(value, float | np.floating | np.datetime64 | np.timedelta64) and bool(value != value)

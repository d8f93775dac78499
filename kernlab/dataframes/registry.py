"""Table functions in, tables by name out; each is known and described before its module is imported."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from kernlab.errors import KernlabError
from kernlab.util.text import nearest

Function = TypeVar("Function", bound=Callable[..., Any])


class Entry(NamedTuple):
    """What is known of a table before its module is imported."""

    module: str
    description: str
    is_method: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table: `function(kernel)` gives its DataFrame (or Series); `is_method` when it takes parameters."""

    name: str
    description: str
    function: Callable[..., Any]
    is_method: bool
    #: The C type that one row stands for, '' for none.
    rows: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the source of its module names, without building anything; those made in loops are not."""
        tree = ast.parse(inspect.getsource(sys.modules[self.function.__module__]))
        calls = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "frame"
        ]
        mine = [call for call in calls if [one for one in call.args if _is(one, self.name)]]
        named = [word.arg for call in mine for word in call.keywords if word.arg and word.arg != "problems"]
        return tuple(dict.fromkeys(named))

    @property
    def entry(self) -> Entry:
        """The line that a static index holds for this table."""
        return Entry(self.function.__module__, self.description, self.is_method)


def _is(node: ast.expr, value: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


_tables: dict[tuple[str, str], Table] = {}


def table(description: str, *, name: str | None = None, rows: str = "") -> Callable[[Function], Function]:
    """Declare a function `(kernel, ...) -> DataFrame` a table; `name` is the function's own unless given.

    `rows` is the C type of which there is one a row, by its address.

    Without parameters beyond the kernel the table is a cached attribute of `Dump`, with them a method.
    """

    def declare(function: Function) -> Function:
        parameters = inspect.signature(function).parameters
        if not parameters:
            raise TypeError(f"the table function {function.__qualname__} must take the kernel")
        known = Table(name or function.__name__, description, function, len(parameters) > 1, rows)
        _tables[function.__module__, known.name] = known
        return function

    return declare


class Registry(Mapping[str, Entry]):
    """Tables by name over a static index of (module, description, is_method); `load` imports just the one."""

    def __init__(self, index: Mapping[str, tuple[str, str] | tuple[str, str, bool]]):
        self._index = {name: Entry(*entry) for name, entry in index.items()}

    def __getitem__(self, name: str) -> Entry:
        return self._index[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def load(self, name: str) -> Table:
        """The table `name`. Raises KernlabError, naming the nearest, when there is none."""
        entry = self._index.get(name)
        if entry is None:
            hint = nearest(name, self._index, 1) or f"; there are: {', '.join(sorted(self._index))}"
            raise KernlabError(f"there is no table {name!r}{hint}")
        import_module(entry.module)
        known = _tables.get((entry.module, name))
        if known is None:
            raise KernlabError(
                f"the index says that {entry.module} holds the table {name!r}, but it declares none"
            )
        return known

"""Table functions in, tables by name out; each is known and described before its module is imported."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from kernlab.errors import KernlabError, no_attribute_error
from kernlab.util import losses
from kernlab.util.text import nearest

if TYPE_CHECKING:
    from kernlab.core.kernel import Kernel
    from kernlab.util.plugins import Plugin

Function = TypeVar("Function", bound=Callable[..., Any])

#: Where other distributions name tables of theirs (pyproject.toml: [project.entry-points."kernlab.tables"]).
PLUGIN_GROUP = "kernlab.tables"
#: What makes a table of columns (builder.py).
_BUILDERS = ("frame", "widen")

#: The package whose packages hold kernlab's own tables, grouped as people look for them.
_HOME = "kernlab.tables."


@dataclass(frozen=True, slots=True)
class Table:
    """A table: `function(kernel)` gives its DataFrame (or Series); `is_method` when it takes parameters."""

    name: str
    function: Callable[..., Any]
    is_method: bool
    #: The C type that one row stands for, '' for none.
    rows: str = ""
    #: The table function whose columns it has, too.
    widens: Callable[..., Any] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the source of its module names, without building anything; those made in loops are not."""
        tree = ast.parse(inspect.getsource(sys.modules[self.function.__module__]))
        calls = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BUILDERS
        ]
        mine = [call for call in calls if [one for one in call.args if _is(one, self.name)]]
        named = [
            word.arg for call in mine for word in call.keywords if word.arg and not _is_spread(word.value)
        ]
        if self.widens is not None:
            named = [*_tables[self.widens.__module__, self.widens.__name__].columns, *named]
        return tuple(dict.fromkeys(named))


def _is_spread(node: ast.expr) -> bool:
    """Columns that the dump names, whose keyword is no name."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "spread"


def _is(node: ast.expr, value: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


_tables: dict[tuple[str, str], Table] = {}


@overload
def table(function: Function, /) -> Function: ...
@overload
def table(*, rows: str = "", widens: Callable[..., Any] | None = None) -> Callable[[Function], Function]: ...
def table(function: Any = None, /, *, rows: str = "", widens: Callable[..., Any] | None = None) -> Any:
    """Declare a function `(kernel, ...) -> DataFrame` a table.

    `rows` is the C type of which there is one a row; `widens` the table whose columns it has, and more (`widen`).

    A line of `Dump` (or an entry point) names it and says what it is. What is lost while it runs is the table's own
    loss: it runs in a scope (`Kernel.scope`) of its name. This is where every table function is called: an
    AttributeError that leaves it would pass for a dump without that attribute, so it comes out as a KernlabError.
    """

    def declare(function: Function) -> Function:
        parameters = inspect.signature(function).parameters
        if not parameters:
            raise TypeError(f"the table function {function.__qualname__} must take the kernel")
        name = function.__name__

        @functools.wraps(function)
        def called(kernel: Kernel, *args: Any, **kwargs: Any) -> Any:
            if getattr(kernel, "changes", False):
                from kernlab.dataframes.moments import in_a_window, is_inside

                if not is_inside(kernel):
                    made = functools.partial(function, kernel, *args, **kwargs)
                    return in_a_window(kernel, name, rows, made, function.__module__)
            with losses.scope(name), no_attribute_error(f"the table {name}", function.__module__):
                return function(kernel, *args, **kwargs)

        _tables[function.__module__, name] = Table(name, called, len(parameters) > 1, rows, widens)
        return cast("Function", called)

    return declare if function is None else declare(function)


def declared(module: str) -> list[str]:
    """The tables that a module declares, by the names of their functions; the module is imported."""
    import_module(module)
    return [name for home, name in _tables if home == module]


class Place:
    """Where something of a dump is made ("module:name", imported when first used), and what it is, in a sentence."""

    name = ""

    def __init__(self, place: str, description: str):
        self.module, _, self.attribute = place.partition(":")
        self._description = description

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def description(self) -> str:
        """What it is, in a sentence."""
        return self._description


class Entry(Place):
    """A table before its module is imported."""

    @property
    def is_method(self) -> bool:
        """Whether it takes parameters."""
        return False

    @property
    def group(self) -> str:
        """What it is about: the package of `kernlab.tables` that its module lies in, else the room ("traces")."""
        return self.module.removeprefix(_HOME).removeprefix("kernlab.").split(".")[0]

    def load(self) -> Table:
        """The table itself. Raises KernlabError where its module declares none of that name."""
        import_module(self.module)
        known = _tables.get((self.module, self.attribute))
        if known is None:
            raise KernlabError(
                f"{self.name} should be the table {self.attribute!r} of {self.module}, which declares none (@table)"
            )
        return known


class PluginTable(Entry):
    """A table of another distribution. What it is stands in its function's docstring, so asking for it imports it."""

    def __init__(self, plugin: Plugin):
        super().__init__(plugin.point.value, "")
        self.name = plugin.name
        self._plugin = plugin

    @property
    def group(self) -> str:
        """The group of all tables that kernlab does not bring itself."""
        return "plug-ins"

    def load(self) -> Table:
        """The table itself. Raises KernlabError where it cannot be imported, or is not declared with @table."""
        function = self._plugin.load()
        for known in _tables.values():
            if known.function is function:
                return known
        raise KernlabError(
            f"{self.name} of the plug-in {self._plugin.distribution} is not a table: {self._plugin.point.value} is not "
            "declared with @kernlab.dataframes.table"
        )

    @property
    def problem(self) -> str:
        """Why it cannot be had, '' where it can."""
        try:
            self.load()
        except KernlabError as error:
            return str(error)
        return ""

    @property
    def description(self) -> str:
        """The first line of its function's docstring, or why it cannot be had."""
        return self.problem or (inspect.getdoc(self.load().function) or "").partition("\n")[0]

    @property
    def is_method(self) -> bool:
        """Whether it takes parameters; one that cannot be had does not, so that asking for it says why."""
        return not self.problem and self.load().is_method


class Registry(Mapping[str, Entry]):
    """The tables of a class (`Dump`) by name: those it has lines for, in their order, and those of plug-ins."""

    def __init__(self, owner: type, plugin_group: str = PLUGIN_GROUP):
        self._owner = owner
        self._plugin_group = plugin_group
        self._entries = {
            name: entry
            for base in reversed(owner.__mro__)
            for name, entry in vars(base).items()
            if isinstance(entry, Entry)
        }

    @cached_property
    def _plugins(self) -> tuple[dict[str, PluginTable], list[str]]:
        from kernlab.util.plugins import plugins

        found, problems = plugins(self._plugin_group, self._refused)
        return {name: PluginTable(plugin) for name, plugin in found.items()}, problems

    def _refused(self, name: str) -> str:
        if not name.isidentifier() or name.startswith("_"):
            return "a dump cannot have an attribute of that name"
        return f"a dump's own {name} has that name" if hasattr(self._owner, name) else ""

    @property
    def problems(self) -> list[str]:
        """What plug-ins offer and cannot be had, one sentence each."""
        found, refused = self._plugins
        return [*refused, *(why for one in found.values() if (why := one.problem))]

    def __getitem__(self, name: str) -> Entry:
        known = self._entries.get(name)
        return self._plugins[0][name] if known is None else known

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from self._plugins[0]

    def __len__(self) -> int:
        return len(self._entries) + len(self._plugins[0])

    def load(self, name: str) -> Table:
        """The table `name`. Raises KernlabError, naming the nearest, when there is none."""
        if name not in self:
            hint = nearest(name, self, 1) or f"; there are: {', '.join(sorted(self))}"
            raise KernlabError(f"there is no table {name!r}{hint}")
        return self[name].load()

"""Attributes of a dump that are made when they are looked at: `lazy` for tables, `method` for those with parameters,
`view` for what is not a table. Type checkers see what each gives; `Dump.tasks.__doc__` is the table function's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, Never, Protocol, Self, TypeVar, cast, overload

from kernlab.dataframes.registry import Entry, Place
from kernlab.errors import no_attribute_error

if TYPE_CHECKING:
    from kernlab.core.kernel import Kernel

T = TypeVar("T")
Stub = TypeVar("Stub", bound=Callable[..., Any])


class Holder(Protocol):
    """What has such attributes: a dump."""

    def _open_kernel(self) -> Kernel: ...

    def _table(self, entry: Entry) -> Any: ...

    def _view(self, place: Place, make: Callable[[Kernel], Any]) -> Any: ...


class _Getter:
    """Stands where a property has its function: what its annotation says Jedi believes, and builds nothing for it."""

    def __init__(self, gives: Callable[[], Any]):
        self._gives = gives

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        try:
            return {"return": self._gives()}
        except Exception:
            # Where what it gives cannot be imported, nothing is known of it.
            return {}


def _ignore(place: Place, text: str | None) -> None:
    """Leave a docstring as it is."""


class lazy(Entry, property, Generic[T]):  # noqa: N801 - written like a decorator
    """A table without parameters: `tasks: lazy[pd.DataFrame] = lazy("package.module:tasks", "Threads, one row each.")`.

    Built when first looked at, and kept. It is a property to all that must not look: completion and `dump.tasks?`.
    """

    def __init__(self, place: str, description: str):
        super().__init__(place, description)
        property.__init__(self, cast("Callable[[Any], Any]", _Getter(self._kind)))
        self._annotation = ""

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, name)
        self._annotation = str(getattr(owner, "__annotations__", {}).get(name, ""))

    def _kind(self) -> type:
        """What it gives, as its line says."""
        import pandas as pd

        if "Series" in self._annotation:
            return pd.Series
        # A table with methods of its own stands beside its function.
        own = getattr(
            import_module(self.module), self._annotation.removeprefix("lazy[").removesuffix("]"), None
        )
        return own if isinstance(own, type) and issubclass(own, pd.DataFrame) else pd.DataFrame

    @overload
    def __get__(self, dump: None, owner: type) -> Self: ...
    @overload
    def __get__(self, dump: object, owner: type | None = None) -> T: ...
    def __get__(self, dump: Any, owner: type | None = None) -> Any:
        return self if dump is None else dump._table(self)

    def __set__(self, dump: object, value: Never) -> None:
        raise AttributeError(f"dump.{self.name} is read from the dump; give yours another name")

    if not TYPE_CHECKING:
        # A property sets its own, of the function that it stands for.
        __doc__ = property(lambda self: _documented(self, lambda: self.load().function), _ignore)


class Method(Entry):
    """A table with parameters, as `method` makes it of a stub."""

    def __init__(self, place: str, stub: Callable[..., Any]):
        super().__init__(place, inspect.getdoc(stub) or "")
        self.__name__ = stub.__name__
        self.__qualname__ = stub.__qualname__
        self.__module__ = stub.__module__
        self.__signature__ = inspect.signature(stub)

    @property
    def is_method(self) -> bool:
        """Whether it takes parameters."""
        return True

    def __get__(self, dump: Holder | None, owner: type | None = None) -> Any:
        return self if dump is None else MethodType(self, dump)

    def __call__(self, dump: Holder, *args: Any, **kwargs: Any) -> Any:
        """The table for these arguments."""
        return self.load().function(dump._open_kernel(), *args, **kwargs)

    if not TYPE_CHECKING:
        __doc__ = property(lambda self: _documented(self, lambda: self.load().function))


class _Declare(Protocol):
    def __call__(self, stub: Stub, /) -> Stub: ...


def method(place: str) -> _Declare:
    """Make a table with parameters of a stub: its parameters are the table function's without the kernel, its docstring
    is the table's description.
    """

    def declare(stub: Stub, /) -> Stub:
        return cast("Stub", Method(place, stub))

    return declare


class view(Place, property, Generic[T]):  # noqa: N801 - written like a decorator
    """What is not a table: made of the dump whenever it is looked at, or (`kept`) once of its kernel."""

    def __init__(self, place: str, description: str, *, kept: bool = False):
        super().__init__(place, description)
        property.__init__(self, cast("Callable[[Any], Any]", _Getter(self._load)))
        self._kept = kept

    @overload
    def __get__(self, dump: None, owner: type) -> Self: ...
    @overload
    def __get__(self, dump: object, owner: type | None = None) -> T: ...
    def __get__(self, dump: Any, owner: type | None = None) -> Any:
        if dump is None:
            return self
        with no_attribute_error(f"dump.{self.name}", self.module):
            return dump._view(self, self._load()) if self._kept else self._load()(dump)

    def __set__(self, dump: object, value: Never) -> None:
        raise AttributeError(f"dump.{self.name} belongs to the dump; give yours another name")

    def _load(self) -> Callable[..., T]:
        made: Callable[..., T] = getattr(import_module(self.module), self.attribute)
        return made

    if not TYPE_CHECKING:
        __doc__ = property(lambda self: _documented(self, lambda: _what_is_called(self._load())), _ignore)


def _what_is_called(made: Any) -> Any:
    return made.__call__ if isinstance(made, type) and "__call__" in vars(made) else made


def _documented(place: Place, load: Callable[[], Any]) -> str:
    """The docstring of what is made; where that cannot be imported, the description."""
    try:
        return inspect.getdoc(load()) or place.description
    except Exception:
        # A library that is not installed costs its view, not help(dump).
        return place.description

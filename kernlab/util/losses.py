"""What was lost while something was made: sentences, collected by the scope in which they were said."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt

from kernlab.util.work import Meter

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

#: More sentences than this nobody reads, and a hostile dump may bring any number; the rest is counted.
MOST_LOSSES = 10_000


@dataclass
class Scope:
    """Collects what is lost while a table, or a fact of a kernel, is made; `name` is that table's or fact's."""

    name: str
    #: What is done for it, counted by what reads memory.
    meter: Meter = field(default_factory=Meter)
    _said: dict[str, None] = field(default_factory=dict)
    _beyond: int = 0

    @property
    def losses(self) -> list[str]:
        """The sentences in the order in which they came, each once."""
        more = [f"and {self._beyond:,} more losses of {self.name}"] if self._beyond else []
        return [*self._said, *more]

    def __bool__(self) -> bool:
        return bool(self._said)

    def lost(self, *what: str, mask: npt.NDArray[np.bool_] | None = None, why: str = "") -> None:
        """Say what was lost, as `sentences` makes it of `what`, `mask` and `why`."""
        for sentence in sentences(what, mask, why):
            if sentence in self._said:
                continue
            if len(self._said) < MOST_LOSSES:
                self._said[sentence] = None
            else:
                self._beyond += 1


_current: ContextVar[Scope | None] = ContextVar("kernlab_losses", default=None)


def sentences(what: tuple[str, ...], mask: npt.NDArray[np.bool_] | None = None, why: str = "") -> list[str]:
    """The sentences of one loss.

    Of `what` alone itself; with `mask` (bool[n], True where something was lost) it is counted, and none without any:
    "3 of 1,000 slab pages are left out"; `why` follows behind a colon.
    """
    because = f": {why}" if why else ""
    if mask is None:
        return [f"{sentence}{because}" for sentence in what]
    count = int(np.count_nonzero(mask))
    return [f"{count:,} of {mask.size:,} {sentence}{because}" for sentence in what] if count else []


def current() -> Scope | None:
    """The scope that is open in this context; None outside of all."""
    return _current.get()


@contextmanager
def scope(name: str, *, passing_on: bool = False, apart: bool = False) -> Iterator[Scope]:
    """Open a scope: what is lost within the block is its own.

    `passing_on`: and is told to the scope around it at the end, for code that asks whether a step lost anything.
    `apart`: its work does not count as that of the scope around it.
    """
    around = _current.get()
    here = Scope(name) if around is None or apart else Scope(name, around.meter)
    token = _current.set(here)
    try:
        yield here
    finally:
        _current.reset(token)
        if passing_on and around is not None:
            around.lost(*here.losses)


def lost(*what: str, mask: npt.NDArray[np.bool_] | None = None, why: str = "") -> bool:
    """Say in the scope that is open what was lost; False where none is, and nobody was told."""
    here = _current.get()
    if here is None:
        return False
    here.lost(*what, mask=mask, why=why)
    return True


class Losing:
    """Several tables of one source, which is read once: what was lost for one of them the later ones tell, too.

    `problems` are the sentences so far; methods under `@telling` run in a scope that begins with them.
    """

    problems: list[str]

    @contextmanager
    def _scope(self) -> Iterator[Scope]:
        # Passing on: one method may call another, whose losses are its own, too.
        with scope(type(self).__name__.lower(), passing_on=True) as here:
            here.lost(*self.problems)
            yield here
        self.problems[:] = here.losses


def telling(
    method: Callable[Concatenate[Any, Parameters], Result],
) -> Callable[Concatenate[Any, Parameters], Result]:
    """Have a method of a `Losing` run in the scope of its object."""

    @functools.wraps(method)
    def told(self: Any, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with self._scope():
            return method(self, *args, **kwargs)

    return cast("Callable[Concatenate[Any, Parameters], Result]", told)

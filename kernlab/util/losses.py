"""What was lost while something was made: sentences, collected by the scope in which they were said.

What could not be read the reads themselves tell (`unread`), and a scope counts it: a page that the dump lacks costs
many members of the same structs, and makes one sentence of them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt

from kernlab.util.unread import U64, Unread
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
    _unread: dict[str, Unread] = field(default_factory=dict)
    # Threads that work for one table share its scope.
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def losses(self) -> list[str]:
        """The sentences in the order in which they came, each once, and then what could not be read."""
        with self._lock:
            unread = [kind.sentence for kind in self._unread.values()]
        more = [f"and {self._beyond:,} more losses of {self.name}"] if self._beyond else []
        return [*self._said, *unread, *more]

    def __bool__(self) -> bool:
        return bool(self._said or self._unread)

    def unread(self, kind: str, member: str, of: int, why: Mapping[str, U64], first: int) -> None:
        """Count what could not be read; parameters as of `Unread.add`, `first` the address of the first failure."""
        with self._lock:
            self._unread.setdefault(kind, Unread(kind, first)).add(member, of, why)

    def tell(self, other: Scope) -> None:
        """Say all of it in another scope, too."""
        other.lost(*self._said)
        other._beyond += self._beyond
        with self._lock:
            mine = list(self._unread.values())
        with other._lock:
            for unread in mine:
                other._unread.setdefault(unread.kind, Unread(unread.kind, unread.first)).merge(unread)

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
_quiet: ContextVar[bool] = ContextVar("kernlab_quiet", default=False)


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
    with resumed(Scope(name), passing_on=passing_on, apart=apart) as here:
        yield here


@contextmanager
def resumed(here: Scope, *, passing_on: bool = False, apart: bool = False) -> Iterator[Scope]:
    """As `scope`, which it opens again: what was lost before is still known there."""
    around = _current.get()
    here.meter = Meter() if around is None or apart else around.meter
    token = _current.set(here)
    # What is made in a scope of its own is made for others, too.
    hush = _quiet.set(_quiet.get() and passing_on)
    try:
        yield here
    finally:
        _quiet.reset(hush)
        _current.reset(token)
        if passing_on and around is not None and around is not here:
            here.tell(around)


@contextmanager
def quiet() -> Iterator[None]:
    """Nobody is told what cannot be read within the block.

    What is said there in so many words (`lost`) is told all the same, and so is what a fact has lost.
    """
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def listens() -> bool:
    """Is anybody told what cannot be read?"""
    return _current.get() is not None and not _quiet.get()


def unread(kind: str, member: str, of: int, why: Mapping[str, U64], first: int) -> None:
    """Count in the scope that is open what could not be read; see `Scope.unread`."""
    here = _current.get()
    if here is not None and not _quiet.get():
        here.unread(kind, member, of, why, first)


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
    _losses: Scope | None = None
    #: What is open around each method, such as a moment in which memory that changes is held.
    _around: Callable[[], AbstractContextManager[object]] = nullcontext

    @contextmanager
    def _scope(self) -> Iterator[Scope]:
        if self._losses is None:
            self._losses = Scope(type(self).__name__.lower())
        known = set(self._losses.losses)
        self._losses.lost(*[problem for problem in self.problems if problem not in known])
        # Passing on: one method may call another, whose losses are its own, too.
        with resumed(self._losses, passing_on=True) as here:
            yield here
        self.problems[:] = here.losses


def telling(
    method: Callable[Concatenate[Any, Parameters], Result],
) -> Callable[Concatenate[Any, Parameters], Result]:
    """Have a method of a `Losing` run in the scope of its object."""

    @functools.wraps(method)
    def told(self: Any, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with self._around(), self._scope():
            return method(self, *args, **kwargs)

    return cast("Callable[Concatenate[Any, Parameters], Result]", told)

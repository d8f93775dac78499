"""Tables of a running machine: each made in a window of time, with what changed in it marked, and races tried again."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from kernlab.core.journal import Journal
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError, no_attribute_error
from kernlab.linux.kernel_modules import has_modules
from kernlab.linux.stacks.starts import UNKNOWN_REGISTERS
from kernlab.memory.second_look import SecondLook
from kernlab.util import losses
from kernlab.walk.lists import list_nodes

if TYPE_CHECKING:
    import pandas as pd

    from kernlab.core.kernel import Kernel

#: How often a table is made, at most, where what it is made of changes under it.
MOST_TIMES = 4
_NUMBERS = re.compile(r"0x[0-9a-f]+|[0-9][0-9,]*")

#: The kernel whose window is open in this context: what a table asks of another belongs to the same moment.
_inside: ContextVar[object] = ContextVar("kernlab_window", default=None)


@dataclass
class _Machine:
    """One at a time makes a table of a running machine: memory is held meanwhile."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    #: The modules that were loaded, by their places.
    modules: tuple[int, ...] | None = None


_machines: WeakKeyDictionary[Kernel, _Machine] = WeakKeyDictionary()
_lock = threading.Lock()


def is_inside(kernel: Kernel) -> bool:
    """Is a window of this kernel open already, in this context?"""
    return _inside.get() is kernel


@dataclass
class _Attempt:
    """A table, or why there is none; what was lost in making it, and when memory was read for it (`Kernel.window`)."""

    made: Any
    error: KernlabError | None
    lost: list[str]
    window: dict[str, Any]

    @property
    def raced(self) -> list[str]:
        """What may have been a race: an error, and losses that not every moment of a running machine has."""
        lost = [sentence for sentence in self.lost if UNKNOWN_REGISTERS not in sentence]
        return lost if self.error is None else [str(self.error), *lost]

    @property
    def kinds(self) -> set[str]:
        """The same without numbers: how many rows something is said of differs from one moment to the next."""
        return {_NUMBERS.sub("", sentence) for sentence in self.raced}


def in_a_window(kernel: Kernel, name: str, rows: str, make: Callable[[], Any], module: str) -> Any:
    """A table of a running machine, made by `make()`; `rows` is the C type that a row stands for, `module` its home.

    Its attrs have the window of time in which memory was read, and a DataFrame has a column `torn` (boolean): True of
    rows that mix moments (`core.journal`), missing where that is not known. What fails, or loses something, is made
    again: what is lost every time in the same words was no race. Raises what `make` raises the last time.
    """
    with _lock:
        machine = _machines.setdefault(kernel, _Machine())
    tried: list[_Attempt] = []
    with machine.lock:
        while True:
            now = _attempt(kernel, machine, name, rows, make, module)
            same = any(one.raced == now.raced for one in tried)
            tried.append(now)
            if not now.raced or same or len(tried) == MOST_TIMES:
                break
    best = min(reversed(tried), key=lambda one: (one.error is not None, len(one.raced)))
    if best.error is not None:
        raise best.error
    attrs = getattr(best.made, "attrs", None)
    if attrs is not None:
        if any(one.kinds != best.kinds for one in tried):
            attrs.setdefault("problems", []).append(
                f"{name} was read {len(tried):,} times, as the machine changed it meanwhile: this is the "
                f"{'last' if best is tried[-1] else 'best'} of them"
            )
        attrs["window"] = best.window
    return best.made


def _attempt(
    kernel: Kernel, machine: _Machine, name: str, rows: str, make: Callable[[], Any], module: str
) -> _Attempt:
    """Make the table once."""
    made, error = None, None
    with _window(kernel, machine) as journal, losses.scope(name) as here:
        frames = kernel.file.generation
        try:
            with no_attribute_error(f"the table {name}", module):
                made = make()
        except KernlabError as raised:
            error = raised
        window = kernel.window
        if error is None:
            _mark(kernel, journal, rows, made)
        lost = here.losses
        kernel.file.refresh()
        if kernel.file.generation != frames:
            # Its places were numbered anew: what was read meanwhile may have been other memory.
            lost = [*lost, "memory was plugged or unplugged while it was read"]
    return _Attempt(made, error, lost, window)


@contextmanager
def _window(kernel: Kernel, machine: _Machine) -> Iterator[Journal]:
    """Hold the machine's memory as it is read from here on, and note what is read."""
    token = _inside.set(kernel)
    try:
        with kernel.memory.held():
            modules = _modules(kernel)
            kernel.anew(modules=modules != machine.modules)
            machine.modules = modules
            kernel.journal = Journal()
            yield kernel.journal
    finally:
        kernel.journal = None
        kernel.anew(modules=False)
        _inside.reset(token)


def _modules(kernel: Kernel) -> tuple[int, ...]:
    """The places of the modules that are loaded, to see whether they are others than before."""
    with losses.scope("modules"):
        try:
            if not has_modules(kernel):
                return ()
            _, nodes = list_nodes(kernel, [kernel.symbol("modules")], what="the list of modules")
        except KernlabError:
            return ()
    return tuple(nodes.tolist())


def _mark(kernel: Kernel, journal: Journal, rows: str, made: Any) -> None:
    """Give a DataFrame its column `torn`, and say how many rows are."""
    columns = getattr(made, "columns", None)
    if columns is None:
        return
    import pandas as pd

    torn = np.zeros(len(made), dtype=bool)
    known = np.zeros(len(made), dtype=bool)
    kind = kernel.type_or_none(rows) if rows else None
    if isinstance(kind, StructType) and "address" in columns:
        torn, known = _torn(kernel, journal, kind, made["address"])
    if torn.any():
        made.attrs.setdefault("problems", []).append(
            f"{int(torn.sum()):,} of {len(made):,} rows are torn: what they stand for changed while it was read"
        )
    made["torn"] = pd.arrays.BooleanArray(torn, ~known)


def _torn(
    kernel: Kernel, journal: Journal, kind: StructType, addresses: pd.Series[Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Which rows are torn, and of which that is known: bool[n] each."""
    where = addresses.array
    missing = np.asarray(where.isna(), dtype=bool)
    values = np.asarray(where.fillna(0) if missing.any() else where, dtype=np.uint64)
    look = SecondLook(kernel.memory)
    torn, known = np.zeros(len(values), dtype=bool), np.zeros(len(values), dtype=bool)
    try:
        torn[~missing], known[~missing] = journal.torn(look, kind.c_name, kind.size, values[~missing])
    except KernlabError as error:
        kernel.lost(f"whether rows are torn is not known: {error}")
    finally:
        look.close()
    return torn, known

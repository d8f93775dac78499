"""What columns share that are computed when somebody looks at them, and are as cheap as nothing until then."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol


class Finishing(Protocol):
    """What columns are computed from, and can be told to be so at last."""

    def finish(self) -> None:
        """Compute what is still waited for."""


def finish_before(source: Finishing, before: list[Callable[[], None]]) -> None:
    """See to it that `source` is finished when `before` are called (`Kernel.before_close`), if it is in use then."""
    alive = weakref.ref(source)

    def finish() -> None:
        waiting = alive()
        if waiting is not None:
            waiting.finish()

    before.append(finish)


def made(array: Any) -> Any:
    """The array itself, computed if it was not: from then on it is a plain one, its class too."""
    # Looked up once: another thread may make it a plain one at any moment, which has no such method.
    compute = getattr(array, "_compute", None)
    if compute is not None:
        plain = compute()
        if isinstance(array, Later):
            vars(array).update(vars(plain))
            array.__class__ = type(plain)
    return array


class Later:
    """Stands before a pandas array in the bases of a class, and keeps back its `_data` and `_mask` until used."""

    @abstractmethod
    def _compute(self) -> Any:
        """The plain array; each call gives the same."""

    @property
    def _data(self) -> Any:
        return made(self)._data

    @_data.setter
    def _data(self, values: Any) -> None:
        made(self)._data = values

    @property
    def _mask(self) -> Any:
        return made(self)._mask

    @_mask.setter
    def _mask(self, mask: Any) -> None:
        made(self)._mask = mask

    @property
    def nbytes(self) -> int:
        """Nothing is held yet."""
        return 0

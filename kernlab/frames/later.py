"""What columns share that are computed when somebody looks at them, and are as cheap as nothing until then."""

from __future__ import annotations

from typing import Any


class Later:
    """Stands before a pandas array in the bases of a class, and keeps back its `_data` and `_mask` until they are read.

    `_compute` gives the plain array; from then on the column is that, its class too.
    """

    def _compute(self) -> Any:
        raise NotImplementedError

    @property
    def _data(self) -> Any:
        return self._plain()._data

    @_data.setter
    def _data(self, values: Any) -> None:
        self._plain()._data = values

    @property
    def _mask(self) -> Any:
        return self._plain()._mask

    @_mask.setter
    def _mask(self, mask: Any) -> None:
        self._plain()._mask = mask

    def _plain(self) -> Any:
        """This array, computed."""
        plain = self._compute()
        if isinstance(self, Later):  # no other thread was here meanwhile
            vars(self).update(vars(plain))
            self.__class__ = type(plain)
        return self

    @property
    def nbytes(self) -> int:
        """Nothing is held yet."""
        return 0

"""Addresses of the elements of an array, by their numbers: free until somebody looks at them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pandas.api.indexers import check_array_indexer

from kernlab.dataframes.address import AddressArray, AddressDtype
from kernlab.util.text import Address

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


class ElementAddresses(AddressArray):
    """An address column whose row i is `base + index[i] * size`, computed when it is first used, and kept then.

    Slices and selections of it compute nothing either. It is an address column before and after; a pickle holds the
    addresses.
    """

    _base: int
    _index: I64
    _size: int
    #: The addresses, once they are computed.
    _made: U64 | None = None

    @classmethod
    def of(cls, base: int, index: I64, size: int, dtype: AddressDtype) -> Self:
        """Elements of `size` bytes from address `base` on, by their int64[n] numbers; these are kept, not copied."""
        array: Self = cls.__new__(cls)
        array._base, array._index, array._size, array._dtype = base, index, size, dtype
        array._mask = np.zeros(len(index), dtype=bool)
        return array

    @property
    def is_made(self) -> bool:
        """Has anybody looked at it?"""
        return self._made is not None

    @property
    def _data(self) -> U64:
        made = self._made
        if made is None:
            values = self._index.astype(np.uint64)
            values *= np.uint64(self._size)
            values += np.uint64(self._base)
            # Of two threads the first one counts: what is written into the array meanwhile must stay.
            made = vars(self).setdefault("_made", values)
        return made

    @_data.setter
    def _data(self, values: U64) -> None:
        self._made = values

    @property
    def nbytes(self) -> int:
        """Bytes of the addresses that are computed."""
        return super().nbytes if self.is_made else 0

    def __len__(self) -> int:
        return len(self._mask)

    def __getitem__(self, item: Any) -> Any:
        if self.is_made:
            return super().__getitem__(item)
        index = self._index[check_array_indexer(self, item)]
        if isinstance(index, np.integer):
            return Address((self._base + int(index) * self._size) % (1 << 64))
        array = self._waiting(index)
        array._readonly = self._readonly and np.may_share_memory(index, self._index)
        return array

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Any:
        """The addresses at `indices`; see AddressArray.take."""
        wanted = np.asarray(indices, dtype=np.intp)
        if self.is_made or (allow_fill and (wanted < 0).any()):
            return super().take(indices, allow_fill=allow_fill, fill_value=fill_value)
        return self._waiting(self._index[wanted])

    def copy(self) -> Any:
        """A copy that shares nothing that anybody writes to."""
        return super().copy() if self.is_made else self._waiting(self._index)

    def with_dtype(self, dtype: AddressDtype) -> Any:
        """See AddressArray.with_dtype."""
        if self.is_made:
            return super().with_dtype(dtype)
        return type(self).of(self._base, self._index, self._size, dtype)

    def _waiting(self, index: I64) -> Self:
        return type(self).of(self._base, index, self._size, self._dtype)

    def __reduce__(self) -> Any:
        return AddressArray, (self._data, self._mask, self._dtype)

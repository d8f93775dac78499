"""Addresses of the elements of an array, by their numbers: as cheap as nothing until somebody looks at them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kernlab.dataframes.address import AddressArray, AddressDtype
from kernlab.dataframes.later import Later, made

I64 = npt.NDArray[np.int64]


class ElementAddresses(Later, AddressArray):
    """An address column whose row i is `base + index[i] * size`, computed when it is first used.

    Slices of it compute nothing either. `index` is kept, not copied.
    """

    _base: int
    _index: I64
    _size: int

    def __new__(cls, *given: Any, **options: Any) -> Any:
        """Whatever is made of addresses at hand is a plain column."""
        return AddressArray(*given, **options) if given else super().__new__(cls)

    @classmethod
    def of(cls, base: int, index: I64, size: int, dtype: AddressDtype) -> Self:
        """A column that is not computed yet: int64[n] numbers of elements of `size` bytes, from address `base` on."""
        array: Self = cls.__new__(cls)
        array._base, array._index, array._size, array._dtype = base, index, size, dtype
        return array

    def _compute(self) -> AddressArray:
        values = self._index.astype(np.uint64)
        values *= np.uint64(self._size)
        values += np.uint64(self._base)
        return AddressArray(values, None, self._dtype)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, slice):
            return type(self).of(self._base, self._index[item], self._size, self._dtype)
        return made(self)[item]

    def copy(self) -> Any:
        """Another column that will be computed."""
        return self[:]

    def with_dtype(self, dtype: AddressDtype) -> Any:
        """See AddressArray.with_dtype."""
        return type(self).of(self._base, self._index, self._size, dtype)

    def __reduce__(self) -> Any:
        return AddressArray, (self._data, self._mask, self._dtype)

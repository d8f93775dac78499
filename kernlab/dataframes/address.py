"""The address array: hexadecimal wherever it is read, uint64 wherever it is computed with, never a float."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.extensions import ExtensionArray, ExtensionDtype, no_default, take
from pandas.api.indexers import check_array_indexer

from kernlab.dataframes import address_values as av
from kernlab.dataframes.address_arithmetic import AddressArithmetic, refusal
from kernlab.dataframes.address_dtype import AddressDtype
from kernlab.util.addresses import is_missing, number, values_of
from kernlab.util.text import Address

__all__ = ["AddressArray", "AddressDtype"]

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class AddressArray(AddressArithmetic, ExtensionArray):
    """Addresses: `values` uint64[n] and `mask` bool[n], True where missing. `pd.array(…, dtype="address")`.

    `+` and `-` of integers, `|` and `^` give addresses modulo 2**64; address - address is Int64; `&` gives
    UInt64, or addresses where the other side has the top bit (`& ~0xfff`); `>>`, `<<`, `//`, `%` give UInt64.
    """

    #: Set by pandas (since 3.1) on arrays that it shares.
    _readonly = False

    # Before NumPy's scalars and arrays, whose own operators would try to make floats.
    __array_priority__ = 2000

    def __init__(
        self, values: U64, mask: Mask | None = None, dtype: AddressDtype | None = None, copy: bool = False
    ):
        if values.dtype != np.uint64 or values.ndim != 1:
            raise TypeError(
                f"an AddressArray is made of uint64[n], not {values.dtype} in {values.ndim} dimensions"
            )
        if mask is None:
            mask = np.zeros(len(values), dtype=bool)
        elif mask.dtype != np.bool_ or mask.shape != values.shape:
            raise TypeError("the mask of an AddressArray is one bool per address")
        self._data = values.copy() if copy else values
        self._mask = mask.copy() if copy else mask
        self._dtype = dtype or AddressDtype()

    # What pandas asks of every extension array

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Self:
        wanted = dtype if isinstance(dtype, AddressDtype) else None
        if isinstance(scalars, pd.Series | pd.Index):
            scalars = scalars.array
        if isinstance(scalars, AddressArray):
            return cls(scalars._data, scalars._mask, scalars._dtype, copy)
        values, mask = values_of(scalars)
        return cls(values, mask, wanted, copy)

    @classmethod
    def _from_sequence_of_strings(cls, strings: Any, *, dtype: Any = None, copy: bool = False) -> Self:
        return cls._from_sequence(strings, dtype=dtype, copy=copy)

    @classmethod
    def _from_factorized(cls, values: Any, original: AddressArray) -> Self:
        return cls._from_sequence(values, dtype=original._dtype)

    @property
    def dtype(self) -> AddressDtype:
        """The dtype, with what it carries."""
        return self._dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the values and of the mask."""
        return self._data.nbytes + self._mask.nbytes

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, item: Any) -> Any:
        item = check_array_indexer(self, item)
        mask = self._mask[item]
        if isinstance(mask, np.bool_):
            return pd.NA if mask else Address(self._data[item])
        result = type(self)(self._data[item], mask, self._dtype)
        result._readonly = self._readonly and np.may_share_memory(mask, self._mask)
        return result

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._readonly:
            raise ValueError("Cannot modify read-only array")
        key = check_array_indexer(self, key)
        if isinstance(value, pd.Series | pd.Index):
            value = value.array
        if isinstance(value, AddressArray):
            self._dtype = self._dtype.combine(value._dtype)
            self._data[key], self._mask[key] = value._data, value._mask
        elif is_missing(value):
            self._data[key], self._mask[key] = 0, True
        elif pd.api.types.is_list_like(value):
            self._data[key], self._mask[key] = values_of(value)
        else:
            self._data[key], self._mask[key] = np.uint64(number(value)), False

    def isna(self) -> Mask:
        """bool[n], True where missing."""
        return self._mask.copy()

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Self:
        """The addresses at `indices`; with `allow_fill`, -1 gives what is missing (or `fill_value`)."""
        missing = fill_value is no_default or is_missing(fill_value)
        fill = np.uint64(0 if missing else number(fill_value))
        data: Any = take(self._data, indices, allow_fill=allow_fill, fill_value=fill)
        mask: Any = take(self._mask, indices, allow_fill=allow_fill, fill_value=missing)
        return type(self)(data, mask, self._dtype)

    def copy(self) -> Self:
        """A copy that shares nothing."""
        return type(self)(self._data, self._mask, self._dtype, copy=True)

    def view(self, dtype: Any = None) -> Any:
        """The same memory as another AddressArray."""
        if dtype is not None:
            raise NotImplementedError(f"an address column is not viewed as {dtype}; use astype")
        return self[:]

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[Self]) -> Self:
        dtype = to_concat[0]._dtype
        for array in to_concat[1:]:
            dtype = dtype.combine(array._dtype)
        return cls(
            np.concatenate([array._data for array in to_concat]),
            np.concatenate([array._mask for array in to_concat]),
            dtype,
        )

    def equals(self, other: object) -> bool:
        """Are addresses and missing values the same?"""
        if not isinstance(other, AddressArray) or len(self) != len(other):
            return False
        if self._mask.any() or other._mask.any():
            same = np.array_equal(self._mask, other._mask)
            return same and bool((self._data == other._data)[~self._mask].all())
        return np.array_equal(self._data, other._data)

    def with_dtype(self, dtype: AddressDtype) -> Self:
        """The same addresses with another origin or target (astype would see equal dtypes and do nothing)."""
        return type(self)(self._data, self._mask, dtype)

    # Conversion

    @property
    def numbers(self) -> Any:
        """The same values as a UInt64 array (pd.arrays.IntegerArray), sharing memory."""
        return pd.arrays.IntegerArray(self._data, self._mask)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if dtype is None:
            dtype = np.dtype(object if self._mask.any() else np.uint64)
        return self.to_numpy(dtype, copy=bool(copy))

    def to_numpy(self, dtype: Any = None, copy: bool = False, na_value: Any = no_default) -> npt.NDArray[Any]:
        """uint64[n] where nothing is missing (or `na_value` is given), else objects: `Address` and NA."""
        filled = self if na_value is no_default or is_missing(na_value) else self.fillna(na_value)
        wanted = (
            np.dtype(dtype) if dtype is not None else np.dtype(object if filled._mask.any() else np.uint64)
        )
        if wanted.kind == "O":
            objects = av.as_objects(filled._data, filled._mask)
            if na_value is not no_default and na_value is not pd.NA:
                objects[filled._mask] = na_value
            return objects
        if wanted.kind in "US":
            return av.as_text(filled._data, filled._mask).astype(wanted)
        if wanted.kind not in "iub":
            raise TypeError(f"addresses cannot become {wanted}, which would drop their low bits; use uint64")
        if filled._mask.any():
            raise ValueError(
                f"addresses are missing here, and {wanted} cannot say so; use UInt64, or fillna first"
            )
        if wanted.kind != "b":
            filled._check_fits(wanted)
        result = filled._data.astype(wanted, copy=copy)
        if filled._readonly and result is filled._data:
            result = result.view()
            result.flags.writeable = False
        return result

    def _check_fits(self, dtype: Any) -> None:
        largest = int(self._data[~self._mask].max(initial=0))
        if largest > np.iinfo(dtype).max:
            raise ValueError(
                f"{largest:#x} does not fit into {dtype}; use uint64, or UInt64 where some are missing"
            )

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """To "address", integers (exact, or ValueError), `str` (hexadecimal), objects (`Address`, NA)."""
        wanted = pd.api.types.pandas_dtype(dtype)
        if isinstance(wanted, AddressDtype):
            return self.copy() if copy else self
        if isinstance(wanted, pd.StringDtype):
            text: Any = wanted.construct_array_type()
            return text._from_sequence(av.as_text(self._data, self._mask), dtype=wanted)
        if isinstance(wanted, ExtensionDtype):
            if wanted.name.startswith("Float"):
                raise TypeError(
                    f"addresses cannot become {wanted}, which would drop their low bits; use UInt64"
                )
            if isinstance(wanted, pd.CategoricalDtype):
                return super().astype(wanted, copy)
            if wanted.name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32"):
                self._check_fits(wanted.name.lower())
            return self.numbers.astype(wanted, copy=copy)
        if wanted.kind == "U":
            return av.as_text(self._data, self._mask)
        return self.to_numpy(wanted, copy=copy)

    def __arrow_array__(self, type: Any = None) -> Any:  # noqa: A002 - pyarrow's name
        from kernlab.dataframes.arrow import to_arrow

        return to_arrow(self._data, self._mask, type)

    def _values_for_json(self) -> npt.NDArray[Any]:
        # As strings: numbers of JavaScript are floats.
        return av.as_text(self._data, self._mask)

    def _formatter(self, boxed: bool = False) -> Callable[[Any], str]:
        return str

    # Order, sets and groups: all on the exact integers

    def _values_for_argsort(self) -> U64:
        return self._data

    def _values_for_factorize(self) -> tuple[npt.NDArray[Any], Any]:
        # merge() compares these values of two columns, so a missing one must not look like any address.
        if self._mask.any():
            return av.as_objects(self._data, self._mask), pd.NA
        return self._data, np.uint64(0)

    def factorize(self, use_na_sentinel: bool = True) -> tuple[npt.NDArray[np.intp], Self]:
        """Codes and uniques, in order of appearance."""
        codes, uniques = self.numbers.factorize(use_na_sentinel=use_na_sentinel)
        return codes, self._wrap(uniques)

    def unique(self) -> Self:
        """Each address once, in order of appearance."""
        return self._wrap(self.numbers.unique())

    def duplicated(self, keep: Any = "first") -> Mask:
        """bool[n], True for what came before (or comes after, as `keep` says)."""
        result: Mask = self.numbers.duplicated(keep=keep)
        return result

    def map(self, mapper: Any, na_action: Any = None) -> Any:
        """What a function, a dict or a Series gives for each address; keys may be integers of any kind."""
        if isinstance(mapper, dict) and not hasattr(mapper, "__missing__"):
            mapper = pd.Series(list(mapper.values()), index=pd.Index(list(mapper), dtype=object))
        if isinstance(mapper, pd.Series) and not isinstance(mapper.index.dtype, AddressDtype):
            # An index of numbers takes addresses for something else, and would find none of them.
            mapper = mapper.set_axis(pd.Index(list(mapper.index), dtype=AddressDtype()))
        return super().map(mapper, na_action=na_action)

    def _hash_pandas_object(self, **kwargs: Any) -> U64:
        result: U64 = self.numbers._hash_pandas_object(**kwargs)
        return result

    def value_counts(self, dropna: bool = True) -> pd.Series:
        """How often each address occurs, by address."""
        counts = self.numbers.value_counts(dropna=dropna)
        return pd.Series(
            counts.array, index=pd.Index(self._wrap(counts.index.array)), name="count", copy=False
        )

    def isin(self, values: Any) -> Mask:
        """bool[n]: is it one of `values` (integers of any kind, strings like `0xffff…`, addresses)?"""
        if isinstance(values, pd.Series | pd.Index):
            values = values.array
        if isinstance(values, AddressArray):
            wanted, missing = values._data[~values._mask], bool(values._mask.any())
        else:
            given, absent = values_of(list(values))
            wanted, missing = given[~absent], bool(absent.any())
        result: Mask = np.where(self._mask, missing, np.isin(self._data, wanted))
        return result

    def searchsorted(self, value: Any, side: Any = "left", sorter: Any = None) -> Any:
        """Where `value` would be put in to keep the order."""
        if self._mask.any():
            raise ValueError("searchsorted needs addresses of which none is missing")
        if pd.api.types.is_list_like(value):
            return self._data.searchsorted(values_of(value)[0], side=side, sorter=sorter)
        return self._data.searchsorted(np.uint64(number(value)), side=side, sorter=sorter)

    def _wrap(self, numbers: Any) -> Self:
        return type(self)(
            numbers.to_numpy(dtype=np.uint64, na_value=0), np.asarray(numbers.isna()), self._dtype
        )

    def _reduce(self, name: str, *, skipna: bool = True, keepdims: bool = False, **kwargs: Any) -> Any:
        if name == "count":
            count = int((~self._mask).sum())
            return pd.array([count], dtype="Int64") if keepdims else count
        if name not in ("min", "max"):
            raise refusal(name)
        kept = self._data[~self._mask]
        if not len(kept) or (not skipna and self._mask.any()):
            result: Any = pd.NA
        else:
            result = Address(kept.min() if name == "min" else kept.max())
        return type(self)._from_sequence([result], dtype=self._dtype) if keepdims else result

    def _accumulate(self, name: str, *, skipna: bool = True, **kwargs: Any) -> Self:
        if name not in ("cummin", "cummax"):
            raise refusal(name)
        return self._wrap(self.numbers._accumulate(name, skipna=skipna, **kwargs))

    def _groupby_op(self, *, how: str, **kwargs: Any) -> Any:
        if how not in ("min", "max", "first", "last", "nth", "cummin", "cummax", "rank", "idxmin", "idxmax"):
            raise refusal(how)
        result = self.numbers._groupby_op(how=how, **kwargs)
        return result if how in ("rank", "idxmin", "idxmax") else self._wrap(result)

    def _cast_pointwise_result(self, values: Any) -> Any:
        """What a function of each address gave: addresses if it gave addresses, else what it looks like."""
        items = list(values)
        if all(isinstance(item, Address) or is_missing(item) for item in items):
            return type(self)._from_sequence(items, dtype=self._dtype)
        inferred = pd.api.types.infer_dtype(items, skipna=True)
        if inferred == "boolean":
            return pd.array(items, dtype="boolean")
        if inferred == "integer":
            numbers = [int(item) for item in items if not is_missing(item)]
            kind: Any = "Int64" if max(numbers) < 1 << 63 else "UInt64"
            if min(numbers) >= (0 if kind == "UInt64" else -(1 << 63)) and max(numbers) < 1 << 64:
                return pd.array(items, dtype=kind)
            return pd.array(items, dtype=object)
        result = pd.Series(items, copy=False).array
        return result.to_numpy() if isinstance(result, pd.arrays.NumpyExtensionArray) else result


# pandas imports pyarrow where it is installed; then a parquet file's addresses must come back as such.
if "pyarrow" in sys.modules:
    from kernlab.dataframes import arrow  # noqa: F401

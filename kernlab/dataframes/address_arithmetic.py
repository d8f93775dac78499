"""Operators of the address array: exact in 64 bits, with addresses and with integers of any sign."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from kernlab.dataframes import address_values as av
from kernlab.dataframes.address_dtype import AddressDtype
from kernlab.util.addresses import number
from kernlab.util.text import Address

if TYPE_CHECKING:
    from kernlab.dataframes.address import AddressArray

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}
#: Operations whose result is a plain number (UInt64), and how a message names their second operand.
_NUMBERS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "floordiv": (operator.floordiv, "divided by"),
    "mod": (operator.mod, "divided by"),
    "rshift": (operator.rshift, av.SHIFTED),
    "lshift": (operator.lshift, av.SHIFTED),
}
_ADDRESSES: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
}
_PANDAS = (pd.DataFrame, pd.Series, pd.Index)


def refusal(operation: str) -> TypeError:
    """The error for what addresses do not do, in the words that pandas' own arrays use."""
    return TypeError(
        f"dtype 'address' does not support operation '{operation}'; for numbers use .astype('UInt64')"
    )


def _operator(name: str, swapped: bool = False) -> Callable[[Any, Any], Any]:
    def operate(self: AddressArray, other: Any) -> Any:
        return NotImplemented if isinstance(other, _PANDAS) else _binary(self, other, name, swapped)

    return operate


def _refused(name: str) -> Callable[[Any, Any], Any]:
    def refuse(self: AddressArray, other: Any) -> Any:
        if isinstance(other, _PANDAS):
            return NotImplemented
        raise refusal(name)

    return refuse


def _binary(array: AddressArray, other: Any, name: str, swapped: bool) -> Any:
    pointer = isinstance(other, AddressArithmetic | Address)
    if isinstance(other, AddressArithmetic):
        other_dtype: AddressDtype = other._dtype
        found: av.Operand | None = (other._data, other._mask)
    else:
        other_dtype = AddressDtype()
        taken = av.compared if name in _COMPARISONS else av.operand
        found = taken(number(other) if isinstance(other, str) else other)
    if found is None:
        if name in ("eq", "ne"):
            return pd.arrays.BooleanArray(np.full(len(array), name == "ne"), array._mask.copy())
        raise TypeError(f"{name} of addresses and {type(other).__name__}: the other side must hold integers")
    values, missing = found
    if isinstance(values, np.ndarray) and values.ndim and len(values) != len(array):
        raise ValueError(f"lengths differ: {len(array):,} addresses and {len(values):,} other values")
    data, mask = array._data, array._mask | missing
    if name in _COMPARISONS:
        # Not by what they are worth: C prints an address with its top bit set as a negative number.
        return pd.arrays.BooleanArray(_COMPARISONS[name](data, av.modulo(values)), mask)
    if name in _NUMBERS:
        operation, words = _NUMBERS[name]
        second, unusable = av.natural(values, words)
        return pd.arrays.IntegerArray(operation(data, second), mask | unusable)
    second = av.modulo(values)
    if name == "sub" and (pointer or swapped):
        difference = second - data if swapped else data - second
        return pd.arrays.IntegerArray(difference.view(np.int64), mask)
    result = _ADDRESSES[name](data, second)
    if name == "and" and not pointer and not (isinstance(values, int) and int(second) >> 63):
        return pd.arrays.IntegerArray(result, mask)
    # The same dump, but at another address lies another type.
    return type(array)(result, mask, AddressDtype(array._dtype.combine(other_dtype).origin))


class AddressArithmetic:
    """The operators; a mixin of AddressArray."""

    _data: av.U64
    _mask: av.Mask
    _dtype: AddressDtype

    __eq__ = _operator("eq")
    __ne__ = _operator("ne")
    __lt__ = _operator("lt")
    __le__ = _operator("le")
    __gt__ = _operator("gt")
    __ge__ = _operator("ge")
    __hash__ = None  # type: ignore[assignment]

    __add__ = _operator("add")
    __radd__ = _operator("add", swapped=True)
    __sub__ = _operator("sub")
    __rsub__ = _operator("sub", swapped=True)
    __and__ = _operator("and")
    __rand__ = _operator("and", swapped=True)
    __or__ = _operator("or")
    __ror__ = _operator("or", swapped=True)
    __xor__ = _operator("xor")
    __rxor__ = _operator("xor", swapped=True)
    __floordiv__ = _operator("floordiv")
    __mod__ = _operator("mod")
    __rshift__ = _operator("rshift")
    __lshift__ = _operator("lshift")

    # Left out, these would go to NumPy, which answers with floats or with what wrapped around.
    __mul__ = _refused("mul")
    __rmul__ = _refused("mul")
    __truediv__ = _refused("truediv")
    __rtruediv__ = _refused("truediv")
    __pow__ = _refused("pow")
    __rpow__ = _refused("pow")
    __matmul__ = _refused("matmul")
    __rmatmul__ = _refused("matmul")
    __divmod__ = _refused("divmod")
    __rdivmod__ = _refused("divmod")
    __rfloordiv__ = _refused("floordiv")
    __rmod__ = _refused("mod")
    __rrshift__ = _refused("rshift")
    __rlshift__ = _refused("lshift")

    def __invert__(self) -> Any:
        return type(self)(~self._data, self._mask.copy(), AddressDtype(self._dtype.origin))  # type: ignore[call-arg]

    def __pos__(self) -> Any:
        return type(self)(self._data.copy(), self._mask.copy(), self._dtype)  # type: ignore[call-arg]

    def __neg__(self) -> Self:
        raise refusal("neg")

    def __abs__(self) -> Self:
        raise refusal("abs")

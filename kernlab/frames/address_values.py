"""Anything that may hold addresses in, uint64 values and a mask of what is missing out; and back to text.

Nothing here passes through a float: above 2**53 a float drops the low bits of an address.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.text import Address

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_ALL_ONES = (1 << 64) - 1


def parse(text: str) -> int:
    """An address as people write it: `0xffff…`, or decimal digits. Raises ValueError."""
    word = text.strip()
    try:
        value = int(word, 16) if word[:2] in ("0x", "0X") else int(word, 10)
    except ValueError:
        raise ValueError(
            f"{text!r} is no address: write 0x and hexadecimal digits, or a decimal number"
        ) from None
    return _checked(value)


def _checked(value: int) -> int:
    if not 0 <= value <= _ALL_ONES:
        raise ValueError(f"{value:#x} is no address: it does not fit into 64 bits without a sign")
    return value


def is_missing(value: Any) -> bool:
    """Is this scalar one of the ways to say that nothing is there: None, NA, NaN, NaT?"""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def scalar(value: Any) -> int:
    """One address from an int, a NumPy integer or a string. Raises TypeError, ValueError."""
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(
            f"{value!r} ({type(value).__name__}) is no address; those are integers, or strings like '0xffff…'"
        )
    return _checked(int(value))


def number(item: Any) -> int | None:
    """One address, or None where `item` can be none."""
    try:
        return scalar(item)
    except (TypeError, ValueError):
        return None


def to_values(source: Any) -> tuple[U64, Mask]:
    """A sequence of addresses as (uint64[n], bool[n], True where missing); may share memory with `source`.

    Takes NumPy and pandas integers, Python ints, strings (`parse`), and None, NA or NaN for what is missing.
    Raises TypeError for floats, ValueError for what does not fit into 64 bits.
    """
    if isinstance(source, pd.Series | pd.Index):
        source = source.array
    if isinstance(source, pd.arrays.IntegerArray):
        mask = np.asarray(source.isna())
        return _unsigned(_plain(source)), mask
    if isinstance(source, pd.arrays.NumpyExtensionArray):
        source = source.to_numpy()
    values = source if isinstance(source, np.ndarray) else _object_array(source)
    if values.ndim != 1:
        raise TypeError(f"addresses come in one dimension, not {values.ndim}")
    if values.dtype.kind in "iu":
        return _unsigned(values), np.zeros(len(values), dtype=bool)
    if values.dtype.kind == "f" and np.isnan(values).all():
        return np.zeros(len(values), dtype=np.uint64), np.ones(len(values), dtype=bool)
    if values.dtype.kind not in "OUT":
        raise TypeError(
            f"{values.dtype} holds no addresses"
            + (": it drops their low bits" if values.dtype.kind == "f" else "")
        )
    mask = np.fromiter((is_missing(value) for value in values), dtype=bool, count=len(values))
    numbers = (0 if missing else scalar(value) for value, missing in zip(values, mask, strict=True))
    return np.fromiter(numbers, dtype=np.uint64, count=len(values)), mask


def _plain(numbers: Any) -> npt.NDArray[Any]:
    """An IntegerArray's values in its own width, 0 where missing."""
    values: npt.NDArray[Any] = numbers.to_numpy(dtype=numbers.dtype.numpy_dtype, na_value=0)
    return values


def _object_array(source: Iterable[Any]) -> npt.NDArray[Any]:
    items = list(source)
    values = np.empty(len(items), dtype=object)
    values[:] = items
    return values


def _unsigned(values: npt.NDArray[Any]) -> U64:
    if values.dtype.kind == "i" and len(values) and values.min() < 0:
        raise ValueError(f"{int(values.min())} is no address: it is negative")
    return values.astype(np.uint64, copy=False)


#: Operand of an operation: values (an integer array or a Python int) and where they are missing.
Operand = tuple[npt.NDArray[Any] | int, Mask | bool]


def operand(other: Any) -> Operand | None:
    """The other side of an operation with addresses, or None where it is no integer of any kind."""
    if is_missing(other) and not isinstance(other, float | np.floating):
        return 0, True
    if isinstance(other, bool | np.bool_):
        return None
    if isinstance(other, int | np.integer):
        return int(other), False
    if isinstance(other, pd.arrays.IntegerArray):
        return _plain(other), np.asarray(other.isna())
    if isinstance(other, str) or not pd.api.types.is_list_like(other):
        return None
    values = np.asarray(other)
    if values.dtype.kind in "iu":
        return values, False
    if values.dtype.kind != "O":
        return None
    try:
        return to_values(values)
    except (TypeError, ValueError):
        return None


def modulo(values: npt.NDArray[Any] | int) -> U64 | np.uint64:
    """Integers of any sign as uint64, modulo 2**64."""
    return np.uint64(values & _ALL_ONES) if isinstance(values, int) else values.astype(np.uint64)


SHIFTED = "shifted by"


def natural(values: npt.NDArray[Any] | int, name: str) -> tuple[U64 | np.uint64, Mask | bool]:
    """A divisor or a shift as uint64, and where it is not usable (a zero in an array of divisors).

    Raises ValueError for negative ones, ZeroDivisionError for a divisor of 0.
    """
    if isinstance(values, int):
        if values < 0:
            raise ValueError(f"an address {name} {values}: negative")
        if name != SHIFTED and not values:
            raise ZeroDivisionError(f"an address {name} 0")
        return np.uint64(min(values, _ALL_ONES)), False
    if values.dtype.kind == "i" and len(values) and values.min() < 0:
        raise ValueError(f"an address {name} {int(values.min())}: negative")
    unsigned = values.astype(np.uint64)
    if name == SHIFTED:
        return unsigned, False
    return np.maximum(unsigned, np.uint64(1)), unsigned == 0


def as_objects(values: U64, mask: Mask) -> npt.NDArray[np.object_]:
    """The scalars: `Address`, or NA."""
    result = np.empty(len(values), dtype=object)
    result[:] = list(map(Address, values.tolist()))
    result[mask] = pd.NA
    return result


def as_text(values: U64, mask: Mask) -> npt.NDArray[np.object_]:
    """Hexadecimal, `0x` and 16 digits, or NaN."""
    digits = values.astype(">u8").tobytes().hex()
    result = np.empty(len(values), dtype=object)
    result[:] = [f"0x{digits[i : i + 16]}" for i in range(0, len(digits), 16)]
    result[mask] = np.nan
    return result

"""The other side of an operation with addresses in, integers and a mask of what is missing out; and back to text.

What may stand for an address is said in kernlab/util/addresses.py. Nothing here passes through a float.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.errors import AddressError
from kernlab.util.addresses import is_missing, number, values_of
from kernlab.util.text import Address

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_ALL_ONES = (1 << 64) - 1


#: Operand of an operation: values (an integer array or a Python int) and where they are missing.
Operand = tuple[npt.NDArray[Any] | int, Mask | bool]


def operand(other: Any) -> Operand | None:
    """The other side of an operation with addresses, or None where it is not an integer of any kind."""
    if is_missing(other) and not isinstance(other, float | np.floating):
        return 0, True
    if isinstance(other, bool | np.bool_):
        return None
    if isinstance(other, int | np.integer):
        return int(other), False
    if isinstance(other, pd.arrays.IntegerArray):
        kind: Any = other.dtype
        return other.to_numpy(dtype=kind.numpy_dtype, na_value=0), np.asarray(other.isna())
    if isinstance(other, str) or not pd.api.types.is_list_like(other):
        return None
    values = np.asarray(other)
    if values.dtype.kind in "iu":
        return values, False
    if values.dtype.kind != "O":
        return None
    try:
        return values_of(values)
    except AddressError:
        return None


def compared(other: Any) -> Operand | None:
    """The other side of a comparison as addresses, or None for an object that nobody takes for one: it equals none.

    Raises AddressError for floats, for text that is not an address, and for what does not fit into 64 bits.
    """
    if is_missing(other):
        return None if isinstance(other, float | np.floating) else (0, True)
    if pd.api.types.is_list_like(other):
        return values_of(other)
    if isinstance(other, bool | np.bool_) or not isinstance(
        other, str | int | np.integer | float | np.floating
    ):
        return None
    return number(other), False


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

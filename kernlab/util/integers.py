"""Integers of 64 bits by the million, computed exactly: a result that does not fit is marked, none wraps round.

| operators | a result is | marked is |
|---|---|---|
| `+ - * // %` | the exact integer as int64 or uint64; `//` and `%` floor | what does not fit, a division by 0 |
| `<<` | the exact integer, as the left side is | what does not fit, a shift by less than 0 or more than 63 |
| `>>` | as the left side is, with its sign | a shift by less than 0 or more than 63 |
| `& | ^` | all 64 bits as C has them: uint64 where either side is, else int64 | nothing |
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.errors import KernlabError

#: int64 or uint64, of n elements or of none (a constant).
Integers = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

I64_RANGE = (-(1 << 63), (1 << 63) - 1)
U64_RANGE = (0, (1 << 64) - 1)
#: Floats of numbers below 2^64, and of what is computed from two, are off by less than this.
_DOUBT = float(1 << 54)
_LOW = (1 << 32) - 1

#: What is said of numbers that do not.
TOO_LARGE = "does not fit into 64 bits, and is missing"

_EXACT: dict[str, Callable[[Any, Any], Any]] = {
    "+": python.add, "-": python.sub, "*": python.mul, "//": python.floordiv, "%": python.mod, "<<": python.lshift,
}  # fmt: skip
_BITS: dict[str, Callable[[Any, Any], Any]] = {"&": np.bitwise_and, "|": np.bitwise_or, "^": np.bitwise_xor}


def widened(values: npt.NDArray[Any]) -> Integers:
    """Integers or bools of any width as int64, those of 64 bits without a sign as uint64. Not copied where they are."""
    wide: Integers = values.astype(np.uint64 if values.dtype == np.uint64 else np.int64, copy=False)
    return wide


def constant(value: int) -> Integers:
    """A Python integer as an array without dimensions. Raises KernlabError where it does not fit into 64 bits."""
    if not I64_RANGE[0] <= value <= U64_RANGE[1]:
        raise KernlabError(f"{value} does not fit into 64 bits")
    return np.array(value, dtype=np.uint64 if value > I64_RANGE[1] else np.int64)


def signed(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], Mask | None]:
    """Integers of any width as int64, and which of them fit (None: all)."""
    wide = values.astype(np.int64, copy=False)
    if values.dtype != np.uint64 or not values.size or int(values.max()) <= I64_RANGE[1]:
        return wide, None
    fits = wide >= 0
    return np.where(fits, wide, 0), fits


def calculate(
    sign: str, left: Integers, right: Integers, *, unsigned: bool = False
) -> tuple[Integers, Mask | None]:
    """One of the operators above on two sides of one length (or constants): (values, which are right; None: all).

    What `+ - *` give is uint64 where `unsigned`, else int64. A value that is not right is 0.
    """
    if sign in _BITS:
        kind = np.uint64 if np.uint64 in (left.dtype, right.dtype) else np.int64
        return _BITS[sign](left.astype(kind, copy=False), right.astype(kind, copy=False)), None
    if sign == ">>":
        fits = _can_shift(right)
        count = np.where(fits, right, 0) if fits is not None else right
        return np.right_shift(left, count.astype(left.dtype)), fits
    if sign in ("//", "%"):
        return _divide(sign, left, right)
    if sign == "<<":
        fits = _can_shift(right)
        count = np.where(fits, right, 0) if fits is not None else right
        values, whole = _exact("<<", left, count, left.dtype == np.uint64)
        return values, _both(fits, whole)
    return _exact(sign, left, right, unsigned)


def apart(begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How far each end lies behind its begin; where that does not fit, as far as int64 goes in its direction."""
    values, fits = calculate("-", end, begin)
    far = np.where(end > begin, I64_RANGE[1], I64_RANGE[0])
    return np.asarray(values if fits is None else np.where(fits, values, far), dtype=np.int64)


def total(values: Integers) -> int:
    """The sum of int64 or uint64, as Python has integers."""
    if _cannot_overflow(values, len(values)):
        return int(values.sum())
    high, low = _halves(values)
    return (int(high.sum()) << 32) + int(low.sum())


def added(values: Integers, axis: int) -> tuple[npt.NDArray[np.int64], Mask | None]:
    """The sums of int64 or uint64 along an axis, and which of them fit (None: all); one that does not is 0."""
    if _cannot_overflow(values, values.shape[axis]):
        return np.asarray(values.sum(axis=axis)).astype(np.int64), None
    high, low = _halves(values)
    return _joined(high.sum(axis=axis), low.sum(axis=axis))


def added_by(
    owner: npt.NDArray[np.integer[Any]], values: Integers, count: int
) -> tuple[npt.NDArray[np.int64], Mask | None]:
    """The sums of int64 or uint64 by whose they are (an index below `count`), as `added` has them: int64[count]."""
    whole = _cannot_overflow(values, len(values))
    parts = [values] if whole else _halves(values)
    sums = [np.zeros(count, dtype=np.int64) for _ in parts]
    for total, part in zip(sums, parts, strict=True):
        np.add.at(total, owner, part.astype(np.int64, copy=False))
    return (sums[0], None) if whole else _joined(*sums)


def _cannot_overflow(values: Integers, count: int) -> bool:
    """Is the sum of `count` of these within int64, whichever they are?"""
    return _within([bound * count for bound in _bounds(values)], I64_RANGE)


def _halves(values: Integers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Their upper and lower 32 bits: sums of fewer than 2^31 of either fit."""
    low = values & values.dtype.type(_LOW)
    return (values >> values.dtype.type(32)).astype(np.int64), low.astype(np.int64)


def _joined(
    high: npt.NDArray[np.int64], low: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Mask | None]:
    """Sums of halves as whole numbers."""
    high = high + (low >> 32)
    fits = (high >= -(1 << 31)) & (high < 1 << 31)
    return np.where(fits, (high << 32) | (low & _LOW), 0), fits


def _both(one: Mask | None, other: Mask | None) -> Mask | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _can_shift(count: Integers) -> Mask | None:
    lowest, highest = _bounds(count)
    return None if lowest >= 0 and highest < 64 else (count >= 0) & (count < 64)


def _bounds(values: Integers) -> tuple[int, int]:
    """The least and the greatest of them, as Python has integers; (0, 0) of none."""
    return (int(values.min()), int(values.max())) if values.size else (0, 0)


def _within(numbers: list[int], limits: tuple[int, int]) -> bool:
    return limits[0] <= min(numbers) and max(numbers) <= limits[1]


def _exact(sign: str, left: Integers, right: Integers, unsigned: bool) -> tuple[Integers, Mask | None]:
    """+ - * <<, which are the same modulo 2^64 whatever the signs: they are right where the exact result fits."""
    limits = U64_RANGE if unsigned else I64_RANGE
    corners = [_EXACT[sign](a, b) for a in _bounds(left) for b in _bounds(right)]
    a, b = left.astype(np.uint64, copy=False), right.astype(np.uint64, copy=False)
    # NumPy warns of the overflow of scalars only, and constants are as good as scalars.
    with np.errstate(over="ignore"):
        wrapped = np.asarray(np.left_shift(a, b) if sign == "<<" else _EXACT[sign](a, b))
    values: Integers = wrapped if unsigned else wrapped.view(np.int64)
    if _within(corners, limits):
        return values, None
    x = left.astype(np.float64)
    rough = np.ldexp(x, right.astype(np.int64)) if sign == "<<" else _EXACT[sign](x, right.astype(np.float64))
    fits = (rough > float(limits[0]) + _DOUBT) & (rough < float(limits[1]) - _DOUBT)
    doubtful = np.flatnonzero(~fits)
    every = np.broadcast_to(left, fits.shape)[doubtful], np.broadcast_to(right, fits.shape)[doubtful]
    fits[doubtful] = [
        limits[0] <= _EXACT[sign](a, b) <= limits[1]
        for a, b in zip(*(side.tolist() for side in every), strict=True)
    ]
    return np.where(fits, values, values.dtype.type(0)), fits


def _divide(sign: str, left: Integers, right: Integers) -> tuple[Integers, Mask | None]:
    low, high = _bounds(left)
    least, greatest = _bounds(right)
    fits: Mask | None = None
    if least <= 0 <= greatest:
        fits = np.broadcast_to(np.asarray(right != 0), np.broadcast_shapes(left.shape, right.shape)).copy()
        right = np.where(right == 0, right.dtype.type(1), right)
    bounds = [low, high, least, greatest]
    if _within(bounds, I64_RANGE) and (low > I64_RANGE[0] or least > 0):
        kind: type[np.int64 | np.uint64] = np.int64
    elif _within(bounds, U64_RANGE):
        kind = np.uint64
    else:
        return _divide_slowly(sign, left, right, fits)
    a, b = left.astype(kind, copy=False), right.astype(kind, copy=False)
    values, whole = signed(np.asarray(np.floor_divide(a, b) if sign == "//" else np.remainder(a, b)))
    return (values if fits is None else np.where(fits, values, 0)), _both(fits, whole)


def _divide_slowly(
    sign: str, left: Integers, right: Integers, fits: Mask | None
) -> tuple[Integers, Mask | None]:
    """What neither 64 signed nor 64 unsigned bits hold both sides of: one by one."""
    exact = [_EXACT[sign](int(a), int(b)) for a, b in np.broadcast(left, right)]
    whole = np.array([I64_RANGE[0] <= value <= I64_RANGE[1] for value in exact], dtype=bool)
    good = whole if fits is None else whole & fits
    return np.array(
        [v if ok else 0 for v, ok in zip(exact, good.tolist(), strict=True)], dtype=np.int64
    ), good

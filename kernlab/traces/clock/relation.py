"""How one clock follows from another: a straight line through an instant at which both were known, computed exactly."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

#: Times and errors that do not fit, or that nothing is known of: 146 years.
FAR = 1 << 62
#: Of two numbers below this the product fits into 64 bits.
_HALF = 1 << 32
#: Clocks that count ns run this close to each other.
_ALIKE = 0.01


@dataclass(frozen=True)
class Relation:
    """A clock on the axis: it said `zero` at the instant `axis`, and each count of it lasts `rate` ns.

    What it gives is off by at most `error` ns near that instant, and by `drift` ns more for each ns of distance.
    """

    zero: int
    axis: int
    rate: Fraction = Fraction(1)
    error: int = 0
    drift: float = 0.0

    def apply(self, values: npt.NDArray[np.integer]) -> tuple[I64, I64]:
        """What a clock said, on the axis: (ns, how far that may be off in ns; FAR where it is not known at all)."""
        counts, far = _signed(values)
        if max(abs(self.zero), abs(self.axis)) >= FAR:
            return np.full(len(counts), FAR), np.full(len(counts), FAR)
        # In two's complement the difference is right wherever it fits, which is checked in floats.
        distance = counts - np.int64(self.zero)
        span = counts.astype(np.float64) - float(self.zero)
        rough = span * float(self.rate)
        far |= np.max(np.abs([span, rough, rough + float(self.axis)]), axis=0) >= FAR
        distance[far] = 0
        passed = scaled(distance, self.rate)
        ns = passed + np.int64(self.axis)
        bound = np.minimum(self.error + np.ceil(np.abs(rough) * self.drift), float(FAR)).astype(np.int64)
        if far.any():
            ns[far] = np.where(rough[far] < 0, -FAR, FAR)
            bound[far] = FAR
        return ns, bound


def _signed(values: npt.NDArray[np.integer]) -> tuple[I64, npt.NDArray[np.bool_]]:
    """Counts as int64 of their own, and which of them are beyond FAR."""
    raw = np.asarray(values)
    if raw.dtype == np.uint64:
        far = raw >= np.uint64(FAR)
        return np.where(far, np.uint64(FAR), raw).astype(np.int64), far
    counts = raw.astype(np.int64)
    return counts, (counts >= FAR) | (counts <= -FAR)


def scaled(distance: I64, rate: Fraction) -> I64:
    """distance * rate, to the nearest below; for a result within ±2^62.

    Exact where numerator and denominator have 32 bits each (what a kernel multiplies and shifts by); else the rate is
    near 1, and what it differs by is computed in floats, which is off by less than 1 ns in 100,000 years.
    """
    over, under = rate.numerator, rate.denominator
    if rate == 1:
        return distance
    if over < _HALF and under <= _HALF:
        whole, rest = np.divmod(distance, np.int64(under))
        part = rest.astype(np.uint64) * np.uint64(over) // np.uint64(under)
        return whole * np.int64(over) + part.astype(np.int64)
    if abs(rate - 1) < _ALIKE:
        correction: I64 = np.rint(distance * float(rate - 1)).astype(np.int64)
        return distance + correction
    product: I64 = np.rint(distance * float(rate)).astype(np.int64)
    return product

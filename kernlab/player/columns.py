"""Arrays in, one block of bytes out that a browser reads as typed arrays; and instants as ticks that 32 bits hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.errors import MissingDependencyError

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

#: A request that never came back ends there. Ticks stay below.
NEVER = (1 << 32) - 1
_MOST_TICKS = (1 << 32) - 16
_NAT = np.iinfo(np.int64).min
_ALIGNED = 8


@dataclass(slots=True)
class Block:
    """Columns one after the other: `columns` has type, offset and length of each, `bytes()` what they hold."""

    columns: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0

    def put(self, name: str, values: npt.NDArray[Any]) -> None:
        """Add a column of uint8, uint16, uint32, float32 or float64."""
        data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        self.columns[name] = (values.dtype.name, self._size, len(values))
        padded = data + b"\0" * (-len(data) % _ALIGNED)
        self._parts.append(padded)
        self._size += len(padded)

    def bytes(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of time: ns since boot of its first and last instant, and how many ns a tick is."""

    origin: int
    end: int
    tick: int

    @classmethod
    def over(cls, origin: int, end: int) -> Axis:
        """The finest axis whose ticks 32 bits count: powers of ten of nanoseconds, of which `end` is a whole number."""
        tick = 1
        while (end - origin) // tick > _MOST_TICKS:
            tick *= 10
        return cls(end - max(-(-(end - origin) // tick), 1) * tick, end, tick)

    def ticks(self, ns: I64) -> npt.NDArray[np.uint32]:
        """Instants as ticks; what lies outside of the axis is at its end, and what is missing is `NEVER`."""
        inside = (np.clip(ns, self.origin, self.end) - self.origin) // self.tick
        return np.where(ns == _NAT, NEVER, inside).astype(np.uint32)

    def tick_of(self, ns: int) -> float:
        """One instant as ticks, outside of the axis, too."""
        return (ns - self.origin) / self.tick


def ns_of(times: pd.Series[Any]) -> I64:
    """A column of timedeltas as nanoseconds; NaT is the least int64."""
    return times.to_numpy(dtype="timedelta64[ns]").view(np.int64)


def numbers(column: pd.Series[Any]) -> F64:
    """A column of numbers as floats, NaN where it is missing."""
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def thinned(y: F64, most: int) -> I64:
    """Places of at most about `most` values (MinMaxLTTB: the least and the most of each stretch among them), ascending.

    y has no NaN. Raises MissingDependencyError without tsdownsample.
    """
    if len(y) <= most:
        return np.arange(len(y), dtype=np.int64)
    try:
        from tsdownsample import MinMaxLTTBDownsampler
    except ImportError as error:
        raise MissingDependencyError(
            f"the player thins {len(y):,} readings with tsdownsample: pip install 'kernlab[jupyter]'"
        ) from error
    downsampler: Any = MinMaxLTTBDownsampler
    kept = downsampler().downsample(np.ascontiguousarray(y), n_out=most)
    return np.asarray(kept, dtype=np.int64)

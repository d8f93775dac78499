"""The x axis that all plots over time share: seconds since boot as the kernel's log counts them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Ticks of an axis, and letters that all of their labels have room for, at the width of a notebook.
_TICKS, _LETTERS = 8, 74


def seconds(ns: Any) -> Any:
    """Nanoseconds as seconds."""
    return np.asarray(ns) / 1e9


def name_seconds(ax: Axes, low: float, high: float) -> None:
    """Ticks at round seconds, with as many digits as tell them apart: "8 s", or "17.7185 s" in a window of a ms."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    span = max(high - low, 1e-9)
    longest = len(f"{high:.0f}") + 4 + decimals(span / _TICKS)
    count = max(min(_TICKS, _LETTERS // longest), 2)
    locator = MaxNLocator(count, steps=[1, 2, 5, 10])
    ticks = locator.tick_values(low, high)
    digits = decimals(float(ticks[1] - ticks[0])) if len(ticks) > 1 else 3
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{digits}f} s"))


def decimals(step: float) -> int:
    """How many digits behind the point tell two seconds apart that differ by `step`; nine are nanoseconds."""
    return min(max(-math.floor(math.log10(step) + 1e-9), 0), 9) if step > 0 else 0


def moment(seconds: float, span: float) -> str:
    """A moment of a window that is `span` seconds long: "17.718 s", with a digit more for each tenth of a second."""
    return f"{seconds:.{max(decimals(span) + 2, 3)}f} s"


def before(seconds: float, step: float, most: float) -> str:
    """A time before the crash, of some that are `step` seconds apart and `most` at most: "−5 s", "−20 ms", "crash"."""
    if abs(seconds) < step / 1e3:
        return "crash"
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
    unit, size = next(((unit, size) for unit, size in units if most >= size), units[-1])
    return f"\N{MINUS SIGN}{-seconds / size:.{decimals(step / size)}f} {unit}"

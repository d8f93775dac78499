"""Numbers and names in, pieces of sentences out, so that all of a report says the same thing in the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from kernlab.util.text import human_bytes


def several(count: int, what: str, many: str = "") -> str:
    """`1 task`, `12 tasks`; `many` where the plural is not made by an s."""
    return f"{count:,} {what if count == 1 else many or f'{what}s'}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; '' of none."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def span(took: Any) -> str:
    """A span of time, rounded: `95 µs`, `38 ms`, `17.7 s`, `1 min 32 s`, `2 d 7 h`; a Timedelta or seconds."""
    told = took.total_seconds() if isinstance(took, pd.Timedelta) else float(took)
    if told < 0:
        return f"-{span(-told)}"
    for most, unit, name in ((1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms")):
        # 999.96 ms would round to "1,000 ms".
        if 0 < told < most - unit / 2:
            return f"{told / unit:.{1 if told < 10 * unit else 0}f} {name}"
    if told < 59.95:
        return f"{told:.1f} s"
    minutes, seconds = divmod(math.floor(told + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (0 if days else seconds, "s")]
    return " ".join(f"{count:,} {name}" for count, name in parts if count)


def size(count: Any) -> str:
    """A size as a sentence says it, three digits: 1,023.4 KiB are 1 MiB."""
    if count != count:
        return ""
    value = float(count)
    for power in range(1, 7):
        # What rounds to a whole unit is one.
        if 0.995 * 1024**power <= value < 1024**power:
            value = float(1024**power)
    return human_bytes(value)

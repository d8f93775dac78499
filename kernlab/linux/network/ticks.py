"""Times that the network keeps in jiffies, as ns from or to the last tick."""

from __future__ import annotations

import numpy as np

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.linux.timekeeping import tick

#: What is further away is no time of a timer or of a packet.
_MOST = 1 << 32


def left(kernel: Kernel, expires: Column, what: str) -> Column:
    """From the last tick to a count of jiffies, in ns; `what` names it where that is not known, which is told."""
    jiffy, now = _clock(kernel, what)
    if jiffy is None:
        return Column.missing(len(expires), "int")
    apart = (expires.values.astype(np.uint64) - np.uint64(now)).view(np.int64)
    return Column.of(apart, expires.valid & (np.abs(apart) < _MOST)) * jiffy


def ago(kernel: Kernel, when: Column, what: str) -> Column:
    """From a count of jiffies to the last tick, in ns."""
    return -left(kernel, when, what)


def lengths(kernel: Kernel, jiffies: Column, what: str) -> Column:
    """So many jiffies, in ns."""
    jiffy, _ = _clock(kernel, what)
    return Column.missing(len(jiffies), "int") if jiffy is None else jiffies.int64 * jiffy


def _clock(kernel: Kernel, what: str) -> tuple[int | None, int]:
    try:
        return tick(kernel), kernel.word("jiffies")
    except KernlabError as error:
        kernel.lost(f"{what} is not known: {error}")
        return None, 0

"""The load averages, as /proc/loadavg shows them."""

from __future__ import annotations

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError

#: include/linux/sched/loadavg.h: bits behind the point.
_FSHIFT = 11
_FIXED_1 = 1 << _FSHIFT
#: No machine has so many tasks (PID_MAX_LIMIT).
_MOST = 1 << 22


def load_averages(kernel: Kernel) -> tuple[float, float, float]:
    """Tasks that ran, could run or were in D state: the averages of 1, 5 and 15 minutes, to the hundredth.

    Mirrors fs/proc/loadavg.c. Raises KernlabError where they cannot be read, or cannot be true.
    """
    address = kernel.symbol("avenrun")
    found = []
    for at in range(3):
        scaled = int.from_bytes(kernel.read(address + 8 * at, 8), "little") + _FIXED_1 // 200
        if scaled >> _FSHIFT > _MOST:
            raise KernlabError(f"a load average of {scaled >> _FSHIFT:,} cannot be true")
        whole, hundredths = scaled >> _FSHIFT, (scaled & (_FIXED_1 - 1)) * 100 >> _FSHIFT
        found.append((whole * 100 + hundredths) / 100)
    return found[0], found[1], found[2]

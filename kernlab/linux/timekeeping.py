"""The kernel's clocks as they stood at the last tick before the crash."""

from __future__ import annotations

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.single import number_of
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError

_SECOND = 1_000_000_000
#: HZ is at least 24 (alpha's simulator), and at most 1,200 (decstation; kernel/time/timekeeping.c).
_LEAST_HZ, _MOST_HZ = 24, 1_200


def timekeeper(kernel: Kernel) -> StructArray:
    """The `struct timekeeper` of the system's clocks. Raises KernlabError where the types do not say where it lies."""
    # Linux commit 22c62b9a84b8 ("timekeeping: Introduce auxiliary timekeepers") (in v6.17) made an array of struct
    # tk_data of it; 6.13 had one of these, and before that it was a nameless struct of a sequence count and the rest.
    start = kernel.symbols.get("timekeeper_data") or kernel.symbol("tk_core")
    kind = kernel.types.get("struct tk_data") or kernel.types.nameless("seq", "timekeeper")
    if kind is None:
        raise KernlabError(
            "uptime and time of day are not known: the kernel's types do not say where its timekeeper lies"
        )
    # The sequence count in front is larger with PREEMPT_RT and with lockdep.
    return StructArray(kernel, kind, [start]).follow("timekeeper")


def monotonic(kernel: Kernel) -> int:
    """CLOCK_MONOTONIC at the last tick, in ns (kernel/time/timekeeping.c, tk_clock_read without the cycles since).

    Raises KernlabError where that is not a time.
    """
    keeper = timekeeper(kernel)
    base, scaled, shift = (number_of(keeper, f"tkr_mono.{name}") for name in ("base", "xtime_nsec", "shift"))
    total = base + (scaled >> min(shift, 63))
    if not 0 <= total < 1 << 62:
        raise KernlabError(f"the kernel's clock says {total:,} ns since boot, which is not a time")
    return total


@fact
def tick(kernel: Kernel) -> int:
    """How long a jiffy is, in ns (TICK_NSEC): what the timekeeper adds for each. Raises KernlabError where that is not
    known."""
    keeper = timekeeper(kernel)
    interval = number_of(keeper, "xtime_interval") >> min(number_of(keeper, "tkr_mono.shift"), 63)
    # It is a whole number of the clock's cycles, a little more or less than a jiffy.
    hertz = round(_SECOND / interval) if interval > 0 else 0
    if not _LEAST_HZ <= hertz <= _MOST_HZ:
        raise KernlabError(f"a tick of {interval:,} ns is not one")
    return _SECOND // hertz

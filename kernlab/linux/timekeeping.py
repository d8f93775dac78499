"""The kernel's clocks as they stood at the last tick before the crash."""

from __future__ import annotations

from dataclasses import dataclass

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.single import number_of
from kernlab.core.struct_array import StructArray
from kernlab.core.variables import nameless_type
from kernlab.errors import KernlabError
from kernlab.walk.strings import c_strings

_SECOND = 1_000_000_000
#: A cycle is multiplied by 32 bits and shifted by as many at most (clocks_calc_mult_shift).
_MOST_SHIFT = 32
#: HZ is at least 24 (alpha's simulator), and at most 1,200 (decstation; kernel/time/timekeeping.c).
_LEAST_HZ, _MOST_HZ = 24, 1_200


def timekeeper(kernel: Kernel) -> StructArray:
    """The `struct timekeeper` of the system's clocks. Raises KernlabError where the types do not say where it lies."""
    # Linux commit 22c62b9a84b8 ("timekeeping: Introduce auxiliary timekeepers") (in v6.17) made an array of struct
    # tk_data of it; 6.13 had one of these, and before that it was a nameless struct of a sequence count and the rest.
    start = kernel.symbols.get("timekeeper_data") or kernel.symbol("tk_core")
    kind = kernel.types.get("struct tk_data") or nameless_type(kernel, "tk_core", "seq", "timekeeper")
    if kind is None:
        raise KernlabError(
            "uptime and time of day are not known: the kernel's types do not say where its timekeeper lies"
        )
    # The sequence count in front is larger with PREEMPT_RT and with lockdep.
    return StructArray(kernel, kind, [start]).follow("timekeeper")


@dataclass(frozen=True)
class Reading:
    """A clock of the timekeeper at its last tick (struct tk_read_base): it said `ns` when its counter stood at `cycle`.

    From there on a cycle lasts mult / 2^shift ns.
    """

    ns: int
    cycle: int
    mult: int
    shift: int
    clocksource: str


def monotonic(kernel: Kernel, clock: str = "tkr_mono") -> int:
    """CLOCK_MONOTONIC at the last tick, in ns (kernel/time/timekeeping.c, tk_clock_read without the cycles since).

    `clock` "tkr_raw" is CLOCK_MONOTONIC_RAW. Raises KernlabError where that is not a time.
    """
    keeper = timekeeper(kernel)
    base, scaled, shift = (number_of(keeper, f"{clock}.{name}") for name in ("base", "xtime_nsec", "shift"))
    total = base + (scaled >> min(shift, 63))
    if not 0 <= total < 1 << 62:
        raise KernlabError(f"the kernel's clock says {total:,} ns since boot, which is not a time")
    return total


def reading(kernel: Kernel, clock: str = "tkr_mono") -> Reading:
    """CLOCK_MONOTONIC, or with "tkr_raw" CLOCK_MONOTONIC_RAW, and the counter that it goes by.

    Raises KernlabError where that is not a time, or the counter's rate cannot be true.
    """
    keeper = timekeeper(kernel)
    cycle, mult, shift = (number_of(keeper, f"{clock}.{name}") for name in ("cycle_last", "mult", "shift"))
    if not mult or shift > _MOST_SHIFT:
        raise KernlabError(
            f"a cycle of the kernel's clock lasts {mult:,} / 2^{shift:,} ns, which cannot be true"
        )
    source = keeper.follow(f"{clock}.clock")
    name = c_strings(kernel, source["name"], 64)[0]
    return Reading(monotonic(kernel, clock), cycle, mult, shift, name or "")


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


def jiffies(kernel: Kernel) -> int:
    """How many ticks there were since boot; the kernel's own count begins five minutes before it overflows 32 bits
    (include/linux/jiffies.h, INITIAL_JIFFIES)."""
    hertz = _SECOND // tick(kernel)
    return (kernel.word("jiffies") - (-300 * hertz) % (1 << 32)) % (1 << 64)

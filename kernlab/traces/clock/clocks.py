"""A dump in, its clocks out: what each of them said when, on the axis of the log's.

The axis is what dmesg shows as seconds since boot, local_clock(). Where sched_clock is stable it is that plus an
offset, and every clock of the timekeeper that goes by the same counter follows from the counter's value at the last
tick. Where it is not, the kernel ties it to CLOCK_MONOTONIC anew at each tick (kernel/sched/clock.c).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.single import number_of
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux import sched_clock
from kernlab.linux.kernel_log import read_log
from kernlab.linux.timekeeping import jiffies, reading, tick, timekeeper
from kernlab.traces.clock.align import aligned, drift
from kernlab.traces.clock.relation import FAR, I64, Relation
from kernlab.traces.ftrace.buffers import MAIN
from kernlab.traces.ftrace.kernel_source import instances_of
from kernlab.traces.ftrace.settings import read_clocks
from kernlab.walk.cpus import percpu, possible_cpus

#: What a good calibration of the TSC may be off by (quick_pit_calibrate); one by a PIT that stood still, by far more.
_CALIBRATED = 500e-6
_MISCALIBRATED = Fraction(1, 20)
#: Clocks that, where sched_clock is not stable, traces tell more of than the last tick.
_BY_TRACES = ("local", "x86-tsc")
#: What counts events.
COUNTER = "counter"
_BY_TICKS = "local_clock follows CLOCK_MONOTONIC by ticks; where a CPU took none it stood still"
#: USER_HZ is 100.
_HUNDREDTH = 10_000_000
#: Instants that are later than all others by more than this are damage.
_LATER = 86_400 * 10**9


@dataclass(frozen=True)
class Clock:
    """One clock: how it lies on the axis, or (`relation` is None) why that is not known; `source` says which."""

    name: str
    relation: Relation | None
    source: str


class Clocks:
    """The clocks of a dump; see `clocks`."""

    def __init__(
        self, crash_ns: int, known: dict[str, Clock], later: Callable[[], dict[str, Clock]] | None = None
    ):
        #: The instant of the crash on the axis, in ns: the last one that the dump knows of.
        self.crash_ns = crash_ns
        self._known = known
        self._later = later

    @property
    def names(self) -> tuple[str, ...]:
        """The clocks that have a name, known or not."""
        return tuple(self._known)

    def clock(self, name: str) -> Clock:
        """One of them; what needs the traces to be known better is looked for when it is first asked for.

        Raises KernlabError where no clock has that name.
        """
        if self._later is not None and name in _BY_TRACES:
            self._known = self._known | self._later()
            self._later = None
        if name not in self._known:
            raise KernlabError(f"a clock {name!r} is not known; there are {', '.join(self._known)}")
        return self._known[name]

    def to_axis(self, clock: str, ns: npt.NDArray[np.integer]) -> tuple[I64, I64]:
        """What a clock said (in its own units: ns, counts of the TSC, hundredths of a second) on the axis.

        Gives (ns on the axis, how far each may be off in ns). Where a number is not a time at all the second is 2^62.
        Raises KernlabError, which says why, where the clock is not known.
        """
        found = self.clock(clock)
        if found.relation is None:
            raise KernlabError(f"the times of the clock {clock!r} cannot be put on the axis: {found.source}")
        return found.relation.apply(ns)

    def before(self, ns: npt.NDArray[np.int64]) -> I64:
        """ns on the axis as ns before the crash."""
        return np.int64(self.crash_ns) - np.asarray(ns, dtype=np.int64)


@fact
def clocks(kernel: Kernel) -> Clocks:
    """All clocks of a dump, by the names that ftrace gives them, and "printk" and "real".

    What cannot be known says why when it is asked for. Raises KernlabError only where not even the instant of the crash
    is known.
    """
    known: dict[str, Clock] = {}

    def add(name: str, find: Callable[[], Clock]) -> None:
        try:
            with kernel.quiet():
                known[name] = replace(find(), name=name)
        except KernlabError as error:
            known[name] = Clock(name, None, str(error))

    same = Clock("", Relation(0, 0), "the axis itself")
    for name in ("printk", "perf", "global"):
        known[name] = replace(same, name=name)
    axis = _Axis(kernel)
    add("local", axis.local)
    add("x86-tsc", axis.tsc)
    add("mono", axis.mono)
    add("mono_raw", axis.mono_raw)
    for name, offset in (("boot", "offs_boot"), ("tai", "offs_tai"), ("real", "offs_real")):
        add(name, lambda offset=offset: axis.shifted(offset))  # type: ignore[misc]
    add("uptime", axis.uptime)
    known[COUNTER] = Clock(COUNTER, None, "it counts events, not time")
    # What no tick ties to the axis but the last one, events tell more of: they are decoded when that is asked for.
    later = None if known["local"].relation is None or axis.stable else lambda: _by_traces(axis, known)
    return Clocks(_crash(kernel, known), known, later)


def _by_traces(axis: _Axis, known: dict[str, Clock]) -> dict[str, Clock]:
    """sched_clock and its counter, at the rate that events tell which two sources saw."""
    local, mono = known["local"], known["mono"]
    if local.relation is None or mono.relation is None:
        return {}
    counted = {"local": Relation(0, 0).apply}
    with suppress(KernlabError):
        counter = sched_clock.counter(axis.kernel)
        counted["x86-tsc"] = Relation(0, counter.offset, Fraction(counter.mult, 1 << counter.shift)).apply
    with axis.kernel.scope("the clocks"):
        found = drift(axis.kernel, mono.relation, counted)
    if found is None:
        return {}
    by_events = aligned(local.relation, found)
    source = f"{local.source}; its rate by {found.source} that two sources saw"
    better = {"local": Clock("local", by_events, source)}
    if known["x86-tsc"].relation is not None:
        better["x86-tsc"] = Clock("x86-tsc", axis.counts(by_events), f"cyc2ns; {source}")
    return better


class _Axis:
    """What the clocks follow from: the counter of sched_clock, and the timekeeper."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel

    @property
    def stable(self) -> bool:
        return sched_clock.is_stable(self.kernel)

    def local(self) -> Clock:
        """sched_clock() as it is, without the offset that makes local_clock() of it."""
        kernel = self.kernel
        offset, gtod = sched_clock.offsets(kernel)
        if self.stable:
            return Clock("", Relation(0, offset), f"sched_clock is stable: local_clock is it {offset:+,} ns")
        pairs = sched_clock.pairs(kernel)
        if not pairs:
            raise KernlabError("sched_clock is not stable, and no CPU's last tick says what it was then")
        # Each CPU has its own; the middle of them, and how far they are apart.
        latest = max(pair.raw for pair in pairs)
        last = max(pair.monotonic for pair in pairs) + gtod
        # At boot both were 0. A calibration may be wrong by any factor; else what they differ by is of the boot.
        away = abs(Fraction(max(last, 1), latest) - 1)
        rate = Fraction(max(last, 1), latest) if away > _MISCALIBRATED else Fraction(1)
        at = [pair.monotonic + gtod + round((latest - pair.raw) * rate) for pair in pairs]
        middle = (max(at) + min(at)) // 2
        return Clock(
            "",
            Relation(latest, middle, rate, max(at) - middle + tick(kernel), max(_CALIBRATED, float(away))),
            "sched_clock is not stable: by what it and CLOCK_MONOTONIC were at the last tick",
        )

    def tsc(self) -> Clock:
        """The TSC's counts, as sched_clock makes ns of them."""
        counter = sched_clock.counter(self.kernel)
        if counter.name != "the TSC":
            raise KernlabError(f"sched_clock goes by {counter.name}")
        local = self.local().relation
        assert local is not None
        if self.stable:
            rate = Fraction(counter.mult, 1 << counter.shift)
            return Clock("", replace(local, axis=local.axis + counter.offset, rate=rate), "cyc2ns")
        return Clock("", self.counts(local), f"cyc2ns; {self.local().source}")

    def counts(self, local: Relation) -> Relation:
        """sched_clock's relation, of the counts that it is made of; it is best known at the same instant."""
        counter = sched_clock.counter(self.kernel)
        zero = ((local.zero - counter.offset) << counter.shift) // counter.mult
        away = counter.ns(zero) - local.zero
        rate = local.rate * Fraction(counter.mult, 1 << counter.shift)
        return replace(local, zero=zero, axis=local.axis + round(away * local.rate), rate=rate)

    def mono(self, clock: str = "tkr_mono") -> Clock:
        """CLOCK_MONOTONIC, or CLOCK_MONOTONIC_RAW."""
        kernel = self.kernel
        now = reading(kernel, clock)
        offset, gtod = sched_clock.offsets(kernel)
        if not self.stable:
            steered = reading(kernel)
            axis = steered.ns + gtod
            rate = Fraction(steered.mult << now.shift, now.mult << steered.shift)
            return Clock(
                "",
                Relation(now.ns, axis, rate, tick(kernel)),
                _BY_TICKS,
            )
        counter = sched_clock.counter(kernel)
        if now.clocksource not in counter.clocksources:
            raise KernlabError(
                f"the clock source is {now.clocksource!r}, and sched_clock goes by {counter.name}"
            )
        rate = Fraction(counter.mult << now.shift, now.mult << counter.shift)
        axis = counter.ns(now.cycle) + offset
        error = self._history(Relation(now.ns, axis, rate)) if clock == "tkr_mono" else 0
        return Clock(
            "", Relation(now.ns, axis, rate, 2 + error), f"both go by {counter.name}, known at the last tick"
        )

    def mono_raw(self) -> Clock:
        return self.mono("tkr_raw")

    def _history(self, relation: Relation) -> int:
        """How far CLOCK_MONOTONIC was off a straight line at the instants at which both are known, in ns."""
        offset, _ = sched_clock.offsets(self.kernel)
        pairs = sched_clock.pairs(self.kernel)
        if not pairs:
            return 0
        ns, _ = relation.apply(np.array([pair.monotonic for pair in pairs]))
        return max(abs(int(at) - pair.raw - offset) for at, pair in zip(ns.tolist(), pairs, strict=True))

    def shifted(self, offset: str) -> Clock:
        """A clock that is CLOCK_MONOTONIC and an offset."""
        mono = self.mono()
        assert mono.relation is not None
        ns = number_of(timekeeper(self.kernel), offset)
        if abs(ns) >= FAR:
            raise KernlabError(f"its offset from CLOCK_MONOTONIC is {ns:,} ns, which cannot be true")
        return Clock("", replace(mono.relation, zero=mono.relation.zero + ns), f"CLOCK_MONOTONIC {ns:+,} ns")

    def uptime(self) -> Clock:
        """Ticks since boot in hundredths of a second (trace_clock_jiffies)."""
        mono = self.mono().relation
        assert mono is not None
        step = tick(self.kernel)
        ticks = jiffies(self.kernel)
        if ticks * step >= FAR:
            raise KernlabError(f"{ticks:,} ticks since boot cannot be true")
        return Clock(
            "",
            Relation(0, mono.axis - ticks * step, Fraction(_HUNDREDTH), mono.error + _HUNDREDTH + step),
            "ticks, by how many there were at the last one",
        )


def _crash(kernel: Kernel, known: dict[str, Clock]) -> int:
    """The last instant on the axis that the dump knows of."""
    told: dict[str, int] = {}
    # What log and traces lack is their tables' to tell.
    with kernel.scope("the crash"), kernel.quiet():
        with suppress(KernlabError):
            told["the log"] = _latest(read_log(kernel).infos["ts_nsec"])
        mono = known["mono"].relation
        if mono is not None:
            told["the last tick"] = mono.axis
        with suppress(KernlabError):
            where = percpu(kernel, kernel.symbol("runqueues"), possible_cpus(kernel))
            told["the run queues"] = _latest(StructArray(kernel, "struct rq", where)["clock"])
        with suppress(KernlabError):
            told["the trace buffers"] = _last_written(kernel, known)
    possible = {who: ns for who, ns in told.items() if 0 <= ns < FAR}
    if not possible:
        raise KernlabError("when the machine died is not known: neither log nor clocks can be read")
    last = sorted(possible.values())
    while len(last) > 1 and last[-1] - last[-2] > _LATER:
        late = last.pop()
        who = next(name for name, ns in possible.items() if ns == late)
        kernel.lost(
            f"when the machine died: {who} says {late / 1e9:,.0f} s after boot, which no other clock does"
        )
    return last[-1]


def _latest(times: Column) -> int:
    """The last of some times that are any; -1 without."""
    possible = times.int64
    return int(possible.values[possible.valid].max(initial=-1))


def _last_written(kernel: Kernel, known: dict[str, Clock]) -> int:
    """When the last event was written into any trace buffer; -1 where that is not known."""
    names = read_clocks(kernel)
    last = -1
    for instance in instances_of(kernel):
        number = instance.clock_id
        clock = known.get(names[number][0]) if number is not None and 0 <= number < len(names) else None
        relation = None if clock is None else clock.relation
        # A clock that is off by more than a tick does not tell when.
        if relation is None or relation.rate == _HUNDREDTH:
            continue
        # What is no ring after all has no sub-buffers.
        where = [
            ring.address
            for ring in instance.rings
            if ring.buffer == MAIN and len(ring.pages) and ring.counters.get("entries")
        ]
        if where:
            # Linux commit 10464b4aa605 ("ring-buffer: Add rb_time_t 64 bit operations for speeding up 32 bit") (in
            # v5.10): a plain number before.
            written = StructArray(kernel, "struct ring_buffer_per_cpu", where).first(
                "write_stamp.time.a.a.counter", "write_stamp"
            )
            ns, error = relation.apply(written.filled(0)[written.valid])
            last = max(last, int(ns[error < FAR].max(initial=-1)))
    return last

"""The common axis: clocks of real dumps against what the guests' events and tasks say, and the arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from conftest import WHOLE_DUMPS
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from support.overlay import Overlay

import kernlab
from kernlab.core.single import number_of
from kernlab.errors import KernlabError
from kernlab.linux.sched_clock import counter, is_stable, offsets, pairs
from kernlab.linux.timekeeping import reading, timekeeper
from kernlab.traces.clock.align import Drift, _quantiles, _slopes, aligned
from kernlab.traces.clock.clocks import Clocks, clocks
from kernlab.traces.clock.relation import FAR, Relation
from kernlab.traces.clock.window import instant, window

CRASH = 90_000_000_000


@pytest.fixture
def made() -> Clocks:
    return Clocks(CRASH, {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (12.5, 12_500_000_000),
        (0, 0),
        (-5, CRASH - 5_000_000_000),
        (np.float64(-0.25), CRASH - 250_000_000),
        (np.int64(3), 3_000_000_000),
        ("-500ms", CRASH - 500_000_000),
        ("12.5s", 12_500_000_000),
        ("-5", CRASH - 5_000_000_000),
        ("-0s", CRASH),
        (" 1min 2s ", 62_000_000_000),
        (timedelta(seconds=-1), CRASH - 1_000_000_000),
        (pd.Timedelta("1us"), 1_000),
        (np.timedelta64(7, "ms"), 7_000_000),
    ],
)
def test_an_instant_is_since_boot_or_before_the_crash(made: Clocks, value: object, expected: int) -> None:
    assert instant(made, value) == expected


@pytest.mark.parametrize(
    "value",
    [None, "soon", "", float("nan"), float("inf"), pd.NaT, "NaT", 1e300, [], True, "nan", b"1s", "1e30"],
)
def test_what_is_not_an_instant_says_what_is(made: Clocks, value: object) -> None:
    with pytest.raises(KernlabError, match="seconds since boot"):
        instant(made, value)


def test_a_window_has_an_order(made: Clocks) -> None:
    assert window(made, None, None) == (-FAR, FAR)
    assert window(made, -5, None) == (CRASH - 5_000_000_000, FAR)
    with pytest.raises(KernlabError, match="ends before it begins"):
        window(made, -1, -2)


RATES = st.one_of(
    st.builds(lambda m, s: Fraction(m, 1 << s), st.integers(1, (1 << 32) - 1), st.integers(0, 32)),
    st.builds(
        lambda a, b: Fraction(a, b), st.integers(10**9, 10**9 + 10**6), st.integers(10**9, 10**9 + 10**6)
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    RATES,
    st.integers(-(1 << 61), 1 << 61),
    st.integers(-(1 << 61), 1 << 61),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=8),
)
def test_a_relation_is_computed_exactly_or_not_known(
    rate: Fraction, zero: int, axis: int, counts: list[int]
) -> None:
    ns, error = Relation(zero, axis, rate, error=3).apply(np.array(counts, dtype=np.uint64))
    for count, got, bound in zip(counts, ns.tolist(), error.tolist(), strict=True):
        true = axis + (count - zero) * rate
        if bound < FAR:
            # What is not computed with 32 bits each is off by what a float of the difference is.
            assert abs(true - got) <= 1 + abs(count - zero) * abs(rate - 1) / (1 << 50)
        else:
            # Nothing that any machine counts is given up.
            assert count >= FAR // 2 or abs(true) >= FAR // 2 or abs(count - zero) >= FAR // 2


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, (1 << 32) - 1),
    st.integers(0, 32),
    st.lists(st.integers(0, 1 << 62), min_size=1, max_size=5),
)
@example(mult=(1 << 32) - 1, shift=32, cycles=[(1 << 60) + 1])
def test_counts_become_ns_as_the_kernel_computes_them(mult: int, shift: int, cycles: list[int]) -> None:
    ns, error = Relation(0, 0, Fraction(mult, 1 << shift)).apply(np.array(cycles, dtype=np.uint64))
    for cycle, got, bound in zip(cycles, ns.tolist(), error.tolist(), strict=True):
        if bound < FAR:
            assert got == cycle * mult >> shift


@pytest.mark.parametrize("name", WHOLE_DUMPS)
def test_what_was_read_of_two_clocks_at_one_tick_lies_at_one_instant(
    opened: Callable[[str], kernlab.Dump], name: str
) -> None:
    kernel = opened(name).kernel
    found = clocks(kernel)
    for pair in pairs(kernel):
        offset, gtod = offsets(kernel)
        axis = pair.raw + offset if is_stable(kernel) else pair.monotonic + gtod
        for clock, value in (("mono", pair.monotonic), ("local", pair.raw)):
            ns, error = found.to_axis(clock, np.array([value]))
            assert abs(int(ns[0]) - axis) <= error[0]
            # What a tick takes to read both, not the bound.
            assert abs(int(ns[0]) - axis) < 20_000


@pytest.mark.parametrize("name", WHOLE_DUMPS)
def test_the_crash_is_after_all_that_the_log_says(opened: Callable[[str], kernlab.Dump], name: str) -> None:
    dump = opened(name)
    found = clocks(dump.kernel)
    last = int(dump.log.timestamp.max().value)
    assert last <= found.crash_ns < last + 50_000_000
    assert found.before(np.array([last]))[0] == found.crash_ns - last


def test_a_clock_that_is_not_one_says_why(opened: Callable[[str], kernlab.Dump]) -> None:
    found = clocks(opened("debian-6.1").kernel)
    with pytest.raises(KernlabError, match="counts events"):
        found.to_axis("counter", np.zeros(1, dtype=np.int64))
    with pytest.raises(KernlabError, match="not known; there are"):
        found.to_axis("sundial", np.zeros(1, dtype=np.int64))


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(st.floats(1 - 400e-6, 1 + 400e-6), st.floats(0.3, 3)),
    st.integers(0, 60_000),
    st.integers(0, (1 << 32) - 1),
)
def test_events_that_two_sources_saw_tell_how_fast_a_counter_runs(rate: float, late: int, seed: int) -> None:
    """One source is always late by something, some pairs are no pairs, and the counter may be calibrated wrong."""
    random = np.random.default_rng(seed)
    counter = np.sort(random.integers(10**9, 90 * 10**9, 400))
    raw = Relation(91 * 10**9, 90 * 10**9)
    true = raw.axis + (counter - raw.zero) * rate
    axis = np.rint(true).astype(np.int64) + late + random.integers(-4_000, 4_000, 400)
    axis[::40] += random.integers(-40_000_000, 40_000_000, 10)
    low, middle, high = _quantiles(*_slopes(counter, axis), (0.25, 0.5, 0.75))
    found = aligned(raw, Drift(middle, max(high - middle, middle - low), ""))
    ns, error = found.apply(counter)
    assert (np.abs(ns - true) <= error + 2).all()
    assert np.abs(ns - true).max() < 20_000


def test_a_counter_of_an_unstable_machine_says_how_far_it_may_be_off(
    opened: Callable[[str], kernlab.Dump],
) -> None:
    """No trace went by it: its calibration is all that is known of its rate, from the last tick on."""
    found = clocks(opened("debian-6.1").kernel)
    kernel = opened("debian-6.1").kernel
    last = max(pair.raw for pair in pairs(kernel))
    for clock in ("local", "x86-tsc"):
        relation = found.clock(clock).relation
        assert relation is not None
        counts = np.array([relation.zero, relation.zero - int(10**10 / relation.rate)])
        _, error = found.to_axis(clock, counts)
        # At boot both were 0; of the 10 s before the end it has its share of what they differ by now.
        away = abs(found.clock("local").relation.axis - last) / last  # type: ignore[union-attr]
        assert error[1] - error[0] == pytest.approx(10**10 * away, rel=1e-2)
    assert found.clock("local").relation.zero == last  # type: ignore[union-attr]


#: What the clocks are made of: members of the timekeeper, and variables of 64 bits.
_READ = ("cycle_last", "mult", "shift", "xtime_nsec", "base", "clock")
MEMBERS = (
    *(f"tkr_mono.{name}" for name in _READ),
    *(f"tkr_raw.{name}" for name in _READ),
    *("offs_boot", "offs_real", "offs_tai", "xtime_interval"),
)
VARIABLES = ("__sched_clock_offset", "__gtod_offset", "jiffies", "__sched_clock_stable")
PERCPU = ("sched_clock_data", "cyc2ns")
EDGES = (0, 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
WORDS = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from(EDGES))


@pytest.mark.parametrize("name", ["debian-6.1", "debian-6.12"])
@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    data=st.dictionaries(st.sampled_from((*MEMBERS, *VARIABLES, *PERCPU)), WORDS, min_size=1, max_size=6),
    times=st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=4),
)
def test_clocks_that_are_damaged_are_refused_or_say_how_far_they_may_be_off(
    opened: Callable[[str], kernlab.Dump], name: str, data: dict[str, int], times: list[int]
) -> None:
    below = opened(name)
    overlay = Overlay(below)
    keeper = timekeeper(below.kernel)
    for where, value in data.items():
        if where in MEMBERS:
            small = value % (1 << 32) if where.endswith((".mult", ".shift")) else value
            overlay.set(keeper.type.c_name, int(keeper.addresses[0]), where, small)
        elif where in VARIABLES:
            size = 4 if "stable" in where else 8
            overlay.word(below.symbol(where), value % (1 << 8 * size), size)
        else:
            for cpu in below.kernel.percpu_offsets[:2].tolist():
                for at in range(0, 24, 8):
                    overlay.word((below.symbol(where) + int(cpu) + at) % (1 << 64), value)
    found = clocks(overlay.dump().kernel)
    assert 0 <= found.crash_ns < FAR
    for clock in found.names:
        if found.clock(clock).relation is None:
            with pytest.raises(KernlabError, match=f"'{clock}' cannot be put on the axis"):
                found.to_axis(clock, np.array(times, dtype=np.uint64))
            continue
        ns, error = found.to_axis(clock, np.array(times, dtype=np.uint64))
        assert (error >= 0).all()
        assert (np.abs(ns) <= FAR).all()
        assert ((np.abs(ns) < FAR) | (error == FAR)).all()


@pytest.mark.parametrize("name", ["debian-6.12", "debian-7.2"])
def test_a_hypervisors_clock_is_counted_by_its_own_clock_source(
    opened: Callable[[str], kernlab.Dump], name: str
) -> None:
    """kvm-clock: the clock source counts ns since the host's boot, sched_clock is it less where the guest began."""
    below = opened(name)
    kernel = below.kernel
    overlay = Overlay(below)
    keeper = timekeeper(kernel)
    began, cycle, offset = 7_000_000_000, 94_000_000_000, 5_000
    overlay.set(
        "struct static_call_key",
        below.symbol("__SCK__pv_sched_clock"),
        "func",
        below.symbol("kvm_sched_clock_read"),
    )
    overlay.word(below.symbol("kvm_sched_clock_offset"), began)
    overlay.word(below.symbol("__sched_clock_offset"), offset)
    for base in ("tkr_mono", "tkr_raw"):
        for member, value in (("cycle_last", cycle), ("mult", 1 << 23), ("shift", 23)):
            overlay.set(keeper.type.c_name, int(keeper.addresses[0]), f"{base}.{member}", value)
    source = int(keeper.follow("tkr_mono.clock").addresses[0])
    text = number_of(keeper.follow("tkr_mono.clock"), "name")
    assert source
    overlay.write(text, b"kvm-clock\0")
    dump = overlay.dump()
    found = clocks(dump.kernel)
    mono = reading(dump.kernel)
    assert counter(dump.kernel).name == mono.clocksource == "kvm-clock"
    ns, _ = found.to_axis("mono", np.array([mono.ns, mono.ns - 1_000]))
    assert ns.tolist() == [cycle - began + offset, cycle - began + offset - 1_000]
    with pytest.raises(KernlabError, match="sched_clock goes by kvm-clock"):
        found.to_axis("x86-tsc", np.zeros(1, dtype=np.int64))

"""Memory walked back: events that are made up, whose every state is known, and breaks that no value may cross."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay.made import PAGES, Made

from kernlab.replay import curves
from kernlab.replay.kinds import ANON, FILE, FREE, KINDS, OTHER, SLAB
from kernlab.replay.memory import BREAK, DUMP, EVENTS, INTERPOLATED, SAMPLE, Memory
from kernlab.replay.readings import Readings
from kernlab.replay.recording import Break

PAGE = 4096
WIDTH = len(KINDS) + 1
#: Migrate types and flags of an allocation whose kind they tell.
ASKED = {ANON: (1, 0x100), FILE: (1, 0x1000), SLAB: (2, 0), OTHER: (0, 0)}


@pytest.fixture(scope="module")
def kernel(opened):
    return opened("debian-6.1").kernel


class Machine:
    """Frames of 64 pages, handed out and given back: its kinds before each event."""

    def __init__(self, steps):
        self.out, self.alloc, self.free, self.states = {}, [], [], []
        counts = np.zeros(WIDTH, dtype=np.int64)
        counts[FREE] = 64
        for time, (kind, order, slot) in enumerate(steps, start=1):
            pfn = 0x1000 + (slot << order) % 64
            frames = range(pfn, pfn + (1 << order))
            if any(frame in self.out for frame in frames):
                pfn = next(frame for frame in frames if frame in self.out)
                pfn, order, kind = self.out[pfn]
                for frame in range(pfn, pfn + (1 << order)):
                    del self.out[frame]
                self.free.append((time, 0, 1, pfn, order))
                counts[kind] -= 1 << order
                counts[FREE] += 1 << order
            else:
                self.out |= dict.fromkeys(frames, (pfn, order, kind))
                migratetype, flags = ASKED[kind]
                self.alloc.append((time, 0, 1, pfn, order, flags, migratetype))
                counts[kind] += 1 << order
                counts[FREE] -= 1 << order
            self.states.append(counts.copy())


def readings(*rows, end=True):
    time = np.array([when for when, _ in rows], dtype=np.int64)
    values = np.array([state for _, state in rows], dtype=np.int64) * PAGE
    known = np.ones(values.shape, dtype=bool)
    return Readings(time, values, known, len(rows) - 1 if end else -1, 64 * PAGE)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(list(ASKED)), st.integers(0, 2), st.integers(0, 15)),
        min_size=1,
        max_size=40,
    )
)
def test_from_its_end_alone_every_state_before_is_found(kernel, steps):
    machine = Machine(steps)

    def at_end(_, frames):
        return np.array(
            [machine.out[one][2] if one in machine.out else FREE for one in frames.tolist()], "i1"
        )

    recording = Made(kernel, PAGES, {"mm_page_alloc": machine.alloc, "mm_page_free": machine.free})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "kinds_of_frames", at_end)
        curve = curves.curve_of(kernel, recording)
    crash = len(steps) + 5
    memory = Memory(readings((crash, machine.states[-1])), curve, [])
    times = np.arange(1, crash + 1, dtype=np.int64)
    values, known, source = memory.at(times)
    expected = np.array([machine.states[min(time, len(steps)) - 1] for time in times.tolist()]) * PAGE
    assert known[:, : len(KINDS)].all()
    assert np.array_equal(values, expected)
    assert source[-1] == DUMP
    assert set(source[:-1].tolist()) <= {EVENTS}
    assert (values[:, : len(KINDS)].sum(axis=1) == 64 * PAGE).all()


def test_a_thinned_event_is_never_integrated(kernel):
    machine = Machine([(ANON, 0, 1), (ANON, 0, 2)])
    events = {"mm_page_alloc": machine.alloc, "mm_page_free": machine.free}
    assert curves.curve_of(kernel, Made(kernel, PAGES, events, thin={"mm_page_alloc"})) is None


def state(anon):
    counts = np.zeros(WIDTH, dtype=np.int64)
    counts[ANON], counts[FREE] = anon, 64 - anon
    return counts


def test_between_readings_what_nothing_tells_is_interpolated_and_said():
    memory = Memory(readings((0, state(10)), (100, state(30)), (200, state(20))), None, [])
    values, _, source = memory.at(np.array([0, 50, 100, 150, 200]))
    assert (values[:, ANON] // PAGE).tolist() == [10, 20, 30, 25, 20]
    assert source.tolist() == [SAMPLE, INTERPOLATED, SAMPLE, INTERPOLATED, DUMP]


def test_no_value_crosses_a_break():
    hole = Break(130, 150, "ftrace", 0, "overwritten")
    memory = Memory(readings((0, state(10)), (100, state(30)), (200, state(20))), None, [hole])
    _, known, _ = memory.at(np.array([50, 100, 120, 140, 150, 180, 200]))
    assert known[:, ANON].tolist() == [True, True, False, False, False, False, True]
    assert memory.begin == 200


def test_no_events_are_followed_into_a_hole(kernel):
    machine = Machine([(ANON, 0, 1)])
    machine.alloc = [(110, *machine.alloc[0][1:]), (140, 0, 1, 0x1009, 0, 0x100, 1)]
    recording = Made(kernel, PAGES, {"mm_page_alloc": machine.alloc})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "kinds_of_frames", lambda _, frames: np.full(len(frames), ANON, dtype="i1"))
        curve = curves.curve_of(kernel, recording)
    hole = Break(130, 150, "ftrace", 0, "lost")
    memory = Memory(readings((100, state(10)), (200, state(20))), curve, [hole])
    values, known, _ = memory.at(np.array([100, 115, 130, 140, 160, 200]))
    assert known[:, ANON].tolist() == [True, True, True, False, True, True]
    assert (values[known[:, ANON], ANON] // PAGE).tolist() == [10, 11, 11, 20, 20]


def test_the_head_of_a_ring_that_was_overwritten_is_a_break():
    head = Break(None, 60, "ftrace", 1, "overwritten")
    memory = Memory(readings((0, state(10)), (100, state(30)), (200, state(20))), None, [head])
    _, known, _ = memory.at(np.array([0, 30, 60, 80, 150]))
    assert known[:, ANON].tolist() == [True, False, False, False, True]
    assert memory.begin == 100


def test_a_curve_of_processes_gives_form_where_it_explains(kernel):
    # One process gains 20 pages in one step at 90, of 20 that anonymous memory gains from 0 to 100.
    fields = {"rss_stat": ("mm_id", "curr", "member", "size")}
    anon = kernel.types.enumerator("MM_ANONPAGES")
    rows = [
        (1, 0, 5, 77, 1, anon, 0),
        (90, 0, 5, 77, 1, anon, 20 * PAGE),
        (150, 0, 5, 77, 1, anon, 60 * PAGE),
    ]
    curve = curves.curve_of(kernel, Made(kernel, fields, {"rss_stat": rows}, thin={"rss_stat"}))
    memory = Memory(readings((0, state(10)), (100, state(30)), (200, state(31))), curve, [])
    values, _, source = memory.at(np.array([80, 95, 150]))
    assert (values[:2, ANON] // PAGE).tolist() == [10, 30]
    # Of the second interval it explains nothing: it is not followed.
    assert values[2, ANON] // PAGE in (30, 31)
    assert set(source.tolist()) == {INTERPOLATED}


def test_break_rows_are_missing_in_every_kind(opened):
    # The global trace of this dump is whole; one hole laid into it shows as one row.
    sources = opened("debian-6.1").replay()._sources
    crash = sources.clocks.crash_ns
    hole = Break(crash - 2_000_000_000, crash - 1_000_000_000, "ftrace", 0, "made up")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sources.__dict__, "breaks", [hole])
        time, _, known, source = sources.memory_rows(0, crash)
    rows = np.flatnonzero(source == BREAK)
    assert time[rows].tolist() == [hole.since]
    assert not known[rows].any()

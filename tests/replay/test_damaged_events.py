"""Events that say anything at all: what a replay makes of them is bounded, ordered, and never an error."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from replay.made import PAGES, RSS, SWITCH, Made
from replay.test_memory_back import PAGE, readings, state
from replay.test_owners import end

from kernlab.replay import curves
from kernlab.replay.mem_info import blocks
from kernlab.replay.memory import Memory
from kernlab.replay.processes import Known, points
from kernlab.replay.recording import Break
from kernlab.replay.running import intervals

ANY = st.one_of(st.integers(-3, 40), st.integers(-(1 << 63), (1 << 63) - 1))
TIME = st.one_of(st.integers(0, 1000), st.integers(-(1 << 61), 1 << 61))
CRASH = 1000


def rows(count):
    return st.lists(st.tuples(TIME, st.integers(0, 3), *[ANY] * (count + 1)), max_size=12)


@pytest.fixture(scope="module")
def kernel(opened):
    return opened("debian-6.1").kernel


@settings(max_examples=30, deadline=None)
@given(rows(4), rows(2), st.lists(st.tuples(TIME, TIME), max_size=3))
def test_pages(kernel, alloc, free, holes):
    breaks = [Break(min(hole), min(max(hole), CRASH), "ftrace", 0, "lost") for hole in holes]
    recording = Made(kernel, PAGES, {"mm_page_alloc": alloc, "mm_page_free": free})
    with kernel.scope("damage"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "kinds_of_frames", lambda _, frames: (frames % 8).astype("i1"))
        curve = curves.curve_of(kernel, recording)
    memory = Memory(readings((100, state(3)), (CRASH, state(9))), curve, breaks)
    values, known, _ = memory.at(np.arange(0, CRASH + 1, 50))
    assert (values >= 0).all()
    whole = known[:, :8].all(axis=1)
    assert (values[whole, :8].sum(axis=1) == 64 * PAGE).all()
    # The end is the dump's, whatever events say.
    assert values[-1, :8].tolist() == (state(9)[:8] * PAGE).tolist()


@settings(max_examples=30, deadline=None)
@given(rows(4), rows(1), rows(2), st.booleans())
# One of the dump's own, and one that is not in it, end behind the crash.
@example([(500, 0, 2, 0, 1, 0, 7)], [(CRASH + 2, 0, 0, 2)], [], False)
@example([(0, 0, 1, 0, 1, 0, 0)] * 11, [(CRASH + 2, 0, 0, 1)], [], False)
def test_processes(kernel, rss, exits, born, thin):
    events = {"rss_stat": rss, "sched_process_exit": exits, "task_newtask": born}
    recording = Made(kernel, RSS, events, thin={"rss_stat"} if thin else set())
    last = end()
    with np.errstate(all="raise", under="ignore"):
        found = points(last, recording, Known(last, 0), (1, CRASH), [], [])
        for time in (0, 500, CRASH):
            of, values, known, _ = found.at(time)
            assert len(of) == len(set(of.tolist()))
            assert (values[known] >= 0).all()
    assert (found.time <= CRASH).all()
    assert (np.diff(found.of) >= 0).all()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(TIME, st.integers(0, 3), ANY, ANY, st.text(max_size=3), ANY, st.text(max_size=3)),
        max_size=9,
    )
)
def test_switches(kernel, switches):
    # Of one CPU they come in the order of time.
    ordered = sorted(switches, key=lambda row: row[0])
    found = intervals(Made(kernel, SWITCH, {"sched_switch": ordered}), CRASH)
    assert (found.end >= found.start).all()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(alphabet="active_anon:0123456789 []pidrssname\nkB=Total swap", max_size=60), max_size=8)
)
def test_blocks_of_the_log(texts):
    found, tasks = blocks(["active_anon:1 free:2", "[  pid  ]   uid  tgid total_vm      rss name", *texts])
    assert found[0].counters["free"] == 2
    assert all(task.pid >= 0 for task in tasks)

"""Whose an mm is: rss_stat events that are made up, of processes that fork, run another program, and end."""

import numpy as np
import pytest
from replay.made import RSS, SWITCH, Made

from kernlab.replay.end_state import Processes
from kernlab.replay.memory import DUMP, EVENTS
from kernlab.replay.mm_ids import siphash
from kernlab.replay.processes import Known, points
from kernlab.replay.recording import Break
from kernlab.replay.running import intervals

PAGE = 4096
ANON = 0


@pytest.fixture(scope="module")
def kernel(opened):
    return opened("debian-6.1").kernel


def end(pid=(10,), mm_id=(100,), anon=(50,)):
    count = len(pid)
    sizes = np.zeros((count, 4), dtype=np.int64)
    sizes[:, ANON] = np.array(anon) * PAGE
    numbers = np.array(pid, dtype=np.int64)
    start = np.full(count, 0, dtype=np.int64)
    return Processes(
        numbers, [f"p{one}" for one in pid], start, sizes, np.ones((count, 4), dtype=bool),
        np.array(mm_id, dtype=np.int64), numbers, numbers,
    )  # fmt: skip


def replayed(kernel, rows, *, exits=(), born=(), at_end=None, breaks=(), thin=()):
    anon = kernel.types.enumerator("MM_ANONPAGES")
    rss = [(time, 0, pid, mm, curr, anon, size * PAGE) for time, pid, mm, curr, size in rows]
    events = {"rss_stat": rss, "sched_process_exit": list(exits), "task_newtask": list(born)}
    recording = Made(kernel, RSS, events, thin=set(thin), breaks=list(breaks))
    last = end() if at_end is None else at_end
    return points(last, recording, Known(last, 0), (1, 1000), [], list(breaks))


def anon_of(found, pid, time):
    of, values, known, _ = found.at(time)
    rows = [row for row, one in enumerate(of.tolist()) if found.pid[one] == pid and known[row, ANON]]
    return int(values[rows[0], ANON]) // PAGE if rows else None


def test_ends_that_are_stamped_behind_the_crash(kernel):
    """Whom the dump has lived until then; who is not in it had ended, whatever a clock said."""
    rss = [(100, 10, 100, 1, 50), (100, 11, 101, 1, 7)]
    found = replayed(kernel, rss, exits=[(1002, 0, 10, 10), (1003, 0, 11, 11)])
    assert [anon_of(found, 10, time) for time in (999, 1000)] == [50, 50]
    assert [anon_of(found, 11, time) for time in (998, 1000)] == [7, None]
    assert found.time.max() == 1000


def test_sizes_hold_from_event_to_event(kernel):
    found = replayed(kernel, [(100, 10, 100, 1, 5), (200, 10, 100, 1, 40), (300, 10, 100, 1, 50)])
    assert [anon_of(found, 10, time) for time in (100, 199, 200, 250, 300, 999, 1000)] == [
        5,
        5,
        40,
        40,
        50,
        50,
        50,
    ]
    assert found.source[found.time == 1000].tolist() == [DUMP]
    assert set(found.source[found.time < 1000].tolist()) == {EVENTS}


def test_what_others_reclaim_is_taken_from_whose_it_is(kernel):
    # kswapd (pid 3) takes pages of an mm that is 10's, by what lives in the dump.
    found = replayed(kernel, [(100, 10, 100, 1, 60), (200, 3, 100, 0, 50)])
    assert [anon_of(found, 10, time) for time in (150, 250)] == [60, 50]
    assert 3 not in found.pid.tolist()


def test_a_process_goes_on_in_the_mm_that_it_runs(kernel):
    # 20 runs in 7, builds 8 (not current), runs it, and its old 7 is emptied: none of that is 20's any more.
    rows = [
        (100, 20, 7, 1, 30),
        (110, 20, 8, 0, 2),
        (120, 20, 8, 1, 3),
        (130, 20, 7, 0, 0),
        (140, 20, 8, 1, 9),
    ]
    found = replayed(kernel, rows)
    assert [anon_of(found, 20, time) for time in (105, 115, 125, 135, 145)] == [30, 30, 3, 3, 9]


def test_an_end_is_an_end(kernel):
    # What an ended process' mm gives back after it exits is nobody's growth; the mm is used again by 30.
    rows = [(100, 20, 7, 1, 30), (200, 20, 7, 0, 0), (300, 30, 7, 1, 12)]
    found = replayed(kernel, rows, exits=[(150, 0, 20, 20)])
    assert [anon_of(found, 20, time) for time in (149, 150, 250, 400)] == [30, None, None, None]
    assert anon_of(found, 30, 350) == 12


def test_threads_are_their_process(kernel):
    thread = 0x10000
    found = replayed(kernel, [(100, 11, 100, 1, 33)], born=[(50, 0, 10, 11, thread)])
    assert anon_of(found, 10, 150) == 33
    assert 11 not in found.pid.tolist()


def test_nothing_holds_across_a_break(kernel):
    hole = Break(300, 400, "ftrace", None, "lost")
    found = replayed(kernel, [(100, 10, 100, 1, 5), (500, 10, 100, 1, 50)], breaks=[hole])
    assert anon_of(found, 10, 250) == 5
    assert anon_of(found, 10, 450) is None
    assert anon_of(found, 10, 600) == 50


def test_thinned_events_are_readings_and_not_held(kernel):
    found = replayed(kernel, [(100, 10, 100, 1, 10), (200, 10, 100, 1, 20)], thin=["rss_stat"])
    assert anon_of(found, 10, 150) == 15
    assert found.hold is False


def test_the_hash_of_an_mm_is_the_kernels():
    # The vector of 8 bytes of the authors of SipHash-2-4, whose key is the bytes 0 to 15.
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert siphash(np.array([0x0706050403020100], dtype="u8"), key).tolist() == [0x93F5F5799A932462]


def test_intervals_end_at_holes_and_begin_after_them(kernel):
    rows = [
        (100, 0, 1, 1, "a", 2, "b"),
        (200, 0, 2, 2, "b", 3, "c"),
        (500, 0, 4, 4, "d", 5, "e"),
        (150, 1, 9, 9, "x", 8, "y"),
    ]
    holes = [Break(250, 400, "ftrace", 0, "lost"), Break(None, 140, "ftrace", 1, "overwritten")]
    found = intervals(Made(kernel, SWITCH, {"sched_switch": rows}, breaks=holes), 1000)
    said = zip(found.cpu.tolist(), found.pid.tolist(), found.start.tolist(), found.end.tolist(), strict=True)
    assert list(said) == [
        (0, 2, 100, 200),
        (0, 3, 200, 250),
        (0, 4, 400, 500),
        (0, 5, 500, 1000),
        (1, 9, 140, 150),
        (1, 8, 150, 1000),
    ]

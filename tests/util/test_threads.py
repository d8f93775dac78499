"""Work in threads gives what it gives without; times in pieces are ordered as all at once."""

from __future__ import annotations

import contextvars
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import blk_records as blk

from kernlab.traces.blktrace import events, headers, trace
from kernlab.traces.blktrace.headers import in_time_order
from kernlab.traces.blktrace.trace import BlkTrace
from kernlab.util import threads


def test_results_come_in_the_order_of_the_items(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 4)
    assert threads.in_threads(lambda item: item * 2, range(100)) == list(range(0, 200, 2))
    seen = threads.in_threads(lambda _: threading.get_ident(), range(4), small=True)
    assert set(seen) == {threading.get_ident()}


def test_an_error_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 3)

    def work(item):
        if item == 5:
            raise ValueError("five")

    with pytest.raises(ValueError, match="five"):
        threads.in_threads(work, range(50))


def test_a_thread_beside_is_in_the_context_of_who_asked():
    """Where an answer goes is in the context: ipykernel's parent message."""
    asked = contextvars.ContextVar("asked", default="whoever came last")
    seen: list[tuple[str, str, bool]] = []
    asked.set("the first")
    waits = threading.Event()

    def answer(what):
        waits.wait(10)
        seen.append((what, asked.get(), threading.current_thread().daemon))

    thread = threads.beside(answer, "suspects")
    asked.set("the second")
    waits.set()
    thread.join(10)
    assert seen == [("suspects", "the first", True)]


def test_what_threads_use_in_turn_is_never_used_by_two():
    made: list[list[int]] = []
    spare = threads.Spare(lambda: made.append([]) or made[-1])
    wrong = []

    def work() -> None:
        for _ in range(2000):
            mine = spare.take()
            mine.append(threading.get_ident())
            if mine != [threading.get_ident()]:
                wrong.append(mine)
            mine.clear()
            spare.give(mine)

    several = [threading.Thread(target=work) for _ in range(6)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    assert not wrong
    assert 1 <= len(made) <= 6


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 40), max_size=60), min_size=1, max_size=4),
    st.integers(1, 30),
    st.booleans(),
)
def test_times_are_ordered_as_if_all_at_once(streams, size, ascending):
    arrays = [np.array(sorted(times) if ascending else times, dtype=np.uint64) for times in streams]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headers, "_PIECE", size)
        patch.setattr(threads, "processors", lambda: 3)
        rows = [np.arange(len(times)) + 100 * number for number, times in enumerate(arrays)]
        stamps, found = in_time_order(arrays, arrays, rows)
    order = np.argsort(np.concatenate(arrays), kind="stable")
    assert found.tolist() == np.concatenate(rows)[order].tolist()
    assert stamps.tolist() == sorted(np.concatenate(arrays).tolist())


@pytest.mark.parametrize("block", [1, 7, 64])
def test_events_of_many_small_blocks_in_threads_are_those_of_one(monkeypatch, block):
    """Notes, messages, remaps and pids in thousands fall into different blocks, which several threads take."""
    chance = np.random.default_rng(3)
    streams = {}
    for cpu in range(3):
        parts = []
        for at in range(300):
            pid = int(chance.integers(1, 1 << 22))
            kind = chance.random()
            time = 1000 * at + cpu
            if kind < 0.1:
                made = blk.process(pid, "named", time=time)
            elif kind < 0.2:
                made = blk.message("a message", time=time)
            elif kind < 0.4:
                made = blk.remap(
                    time, 8 * at, 512, 1 << 20, 2 << 20, 16 * at, pid=pid, cpu=cpu, sequence=at + 1
                )
            else:
                act, flags = (blk.Q, blk.D, blk.C)[at % 3], (blk.READ, blk.WRITE | blk.SYNC)[at % 2]
                made = blk.Record(act, flags, time, at + 1, 8 * at, 512 * (at % 4), pid, cpu=cpu)
            parts.append(made.pack())
        streams[cpu] = b"".join(parts)
    whole = BlkTrace.from_bytes(streams).events
    for module in (trace, events, headers):
        monkeypatch.setattr(module, "_BLOCK", block)
    monkeypatch.setattr(trace, "_SMALL", 0)
    monkeypatch.setattr(headers, "_PIECE", block)
    monkeypatch.setattr(threads, "processors", lambda: 3)
    pieces = BlkTrace.from_bytes(streams).events
    pd.testing.assert_frame_equal(pieces, whole)
    assert pieces.attrs["problems"] == whole.attrs["problems"]


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize("most", [0, 1, 3])
def test_ahead_keeps_the_order_and_its_bound(monkeypatch, cores, most):
    monkeypatch.setattr(threads, "processors", lambda: cores)
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    for count, result in enumerate(threads.ahead(work, range(20), most)):
        assert result == count * count
        assert len(begun) <= count + 1 + most
    assert sorted(begun) == list(range(20))


def test_ahead_stops_with_its_caller_and_raises_in_place(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 4)
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    found = threads.ahead(work, range(1000), 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    found.close()
    assert len(begun) < 10

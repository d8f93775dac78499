"""What a dump claims is held against what its file holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.overlay import Overlay

from kernlab.core import budget as bounds
from kernlab.core.facts import fact
from kernlab.errors import BudgetError, WorkSpentError
from kernlab.util.losses import scope
from kernlab.util.work import Meter, Work


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


def test_no_more_structs_are_believed_than_lie_in_the_frames_that_the_file_has(below):
    kernel = below.kernel
    assert kernel.budget.bytes == kernel.file.frame_count * 4096
    assert kernel.budget.structs(4096) == kernel.file.frame_count
    assert kernel.budget.structs(1 << 40) == bounds.FEWEST_STRUCTS
    assert kernel.budget.holds(kernel.file.frame_count * 512, 8)
    assert not kernel.budget.holds(kernel.file.frame_count * 512 + 1, 8)
    assert not kernel.budget.holds(-1, 8)


WORDS = st.integers(-(1 << 63), (1 << 63) - 1)


@given(claimed=WORDS | st.integers(0, 1 << 64), size=st.integers(0, 1 << 40))
def test_a_count_is_what_is_claimed_or_what_can_be_and_then_says_so(below, claimed, size):
    with scope("test") as told:
        count = below.kernel.budget.count(claimed, size, "the CPUs")
    assert 0 <= count <= below.kernel.budget.structs(size)
    assert count == claimed or (told.losses and f"the CPUs: there should be {claimed:,}" in told.losses[0])
    assert (count == claimed) != bool(told.losses)


@given(claimed=st.lists(WORDS | st.integers(0, 1 << 20), max_size=30), size=st.integers(1, 1 << 20))
def test_counts_are_believed_as_long_as_all_of_them_fit(below, claimed, size):
    most, total, expected = below.kernel.budget.structs(size), 0, []
    for one in claimed:
        # Whatever is too much makes all that follow too much, too; what is below 0 counts as nothing.
        total += max(one, 0)
        expected.append(one if one >= 0 and total <= most else 0)
    with scope("test") as told:
        counts = below.kernel.budget.counts(np.array(claimed, dtype=np.int64), size, "their symbols")
    assert counts.tolist() == expected
    assert bool(told.losses) == (expected != claimed)


def test_room_is_refused_with_the_size_that_it_would_take(below):
    budget = below.kernel.budget
    budget.room(1 << 20, 60, "pages")
    with pytest.raises(
        BudgetError, match=r"pages would take 60\.0 TiB .*the file holds no more than 84\.6 MiB"
    ):
        budget.room(1 << 40, 60, "pages")
    with pytest.raises(BudgetError, match=r"pages would take 60\.0 TiB .*this machine has "):
        budget.room(1 << 40, 60, "pages", backed=1 << 46)


def loop(kernel, wanted):
    """A walk that nothing ends: what damage makes of one."""
    with kernel.budget.walk("the ring"):
        while True:
            wanted.append(int(kernel.words([kernel.symbol("init_task")])[0][0]))


def test_a_walk_that_nothing_bounds_ends_and_what_it_found_stays(below, monkeypatch):
    kernel = below.kernel
    monkeypatch.setattr(kernel.memory, "most_work", Work(1000, 1 << 20))
    found: list[int] = []
    with scope("test") as told:
        loop(kernel, found)
        first = len(found)
        # Whoever goes on after it may do half as much again each time, and all together not twice as much.
        for _ in range(40):
            loop(kernel, found)
    assert first == 1000
    assert len(found) <= 2000
    assert told.losses[0].startswith("the ring: a walk was ended after 1,001 steps")
    assert told.losses[0].endswith("what was found before is here")


@pytest.mark.parametrize("how", ["gather", "locate", "read_pages", "translate", "lookup", "rows"])
def test_all_reading_counts(below, monkeypatch, how):
    memory = below.kernel.memory
    address = np.full(600, below.kernel.symbol("init_task"), dtype=np.uint64)
    pages = memory.locate(address[:1])
    room = np.empty((1, 4096), dtype=np.uint8)
    read = {
        "gather": lambda: memory.gather(address[:1], 8),
        "locate": lambda: memory.locate(address[:1]),
        "read_pages": lambda: memory.read_pages(pages, room),
        "translate": lambda: memory.translate(address[:1]),
        "lookup": lambda: memory.lookup([memory.layout.page_table], address[:1]),
        "rows": lambda: memory.gather(address, 8),
    }[how]
    monkeypatch.setattr(memory, "most_work", Work(100, 10_000))
    with scope("test"):
        for _ in range(100 if how != "rows" else 16):
            read()
        with pytest.raises(WorkSpentError):
            read()
    # Outside of any table nothing is counted: it is the user who reads.
    for _ in range(101):
        read()


def test_a_step_of_a_table_counts_as_its_own_and_a_fact_apart(below, monkeypatch):
    kernel = Overlay(below).dump().kernel
    monkeypatch.setattr(kernel.memory, "most_work", Work(100, 1 << 20))

    def some():
        for _ in range(60):
            kernel.words([kernel.symbol("init_task")])

    with scope("test"):
        some()
        with kernel.watched(), pytest.raises(WorkSpentError):
            some()

    @fact
    def found(kernel):
        some()
        return 1

    # What a fact is must not depend on how much the table had done that asked for it first.
    with scope("test"):
        some()
        assert found(kernel) == 1


@given(rows=st.lists(st.integers(0, 1000), max_size=300), most=st.integers(0, 5000))
def test_all_that_is_done_after_stops_is_less_than_twice_what_was_granted(rows, most):
    meter, done = Meter(), 0
    for one in rows:
        try:
            meter.spend(one, Work(1 << 40, most))
        except WorkSpentError:
            continue
        done += one
    assert done <= 2 * most
    assert sum(rows) > most or done == sum(rows)

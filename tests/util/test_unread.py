"""What could not be read, as one sentence a kind."""

from __future__ import annotations

import numpy as np

from kernlab.util import losses, unread
from kernlab.util.losses import scope
from kernlab.util.unread import Unread

HERE = 0xFFFF_8880_0000_1000


def addresses(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.uint64)


def test_each_is_counted_once_whatever_of_it_is_lost():
    found = Unread("struct page", HERE)
    found.add("flags", 10, {"left out": addresses(1, 2, 2)})
    found.add("lru", 10, {"left out": addresses(2, 3)})
    assert (
        found.sentence == "3 of 10 struct page cannot be read in whole (flags, lru): left out; "
        "the first at 0xffff888000001000"
    )


def test_reasons_are_counted_apart_and_members_not_named_without_end():
    found = Unread("struct page", HERE)
    for number in range(6):
        found.add(f"m{number}", 10, {"left out": addresses(1), "damaged": addresses(2, 3)})
    assert "3 of 10 struct page cannot be read in whole (m0, m1, m2, m3 and 2 more)" in found.sentence
    assert ": 1 left out, 2 damaged; the first" in found.sentence


def test_of_reads_of_different_numbers_none_is_named():
    found = Unread("strings", 0)
    found.add("", 10, {"left out": addresses(1)})
    found.add("", 20, {"left out": addresses(9)})
    assert found.sentence == "2 strings cannot be read: left out"


def test_more_than_are_told_apart_are_more_than_that(monkeypatch):
    monkeypatch.setattr(unread, "_MOST_KNOWN", 100)
    found = Unread("strings", 0)
    for first in range(0, 10_000, 1000):
        found.add("", 10_000, {"left out": np.arange(first, first + 1000, dtype=np.uint64)})
    assert found.sentence == "more than 100 of 10,000 strings cannot be read: left out"


def test_a_step_passes_it_on_and_the_scope_around_counts_on():
    with scope("table") as outer:
        losses.unread("strings", "", 10, {"left out": addresses(1)}, 1)
        with scope("step", passing_on=True) as inner:
            losses.unread("strings", "", 10, {"left out": addresses(1, 2)}, 1)
        with scope("another") as other:
            losses.unread("strings", "", 10, {"left out": addresses(5)}, 1)
    assert inner
    assert [outer.losses[0][:7], inner.losses[0][:7], other.losses[0][:7]] == [
        "2 of 10",
        "2 of 10",
        "1 of 10",
    ]
    assert len(outer.losses) == 1

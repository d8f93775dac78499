"""What finds something for each of many waiters at once, against the plain way to do it for one after the other."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.linux.locks.live_stacks import live_stacks
from kernlab.linux.locks.waiters import first_row, members
from kernlab.linux.whatis.objects import object_names

words = st.lists(st.integers(0, 12), max_size=30)


@given(words, words)
def test_the_first_row_of_each_value(values, wanted):
    found = first_row(np.array(values, dtype=np.uint64), np.array(wanted, dtype=np.uint64))
    assert found.tolist() == [values.index(one) if one in values else -1 for one in wanted]


@given(st.lists(st.integers(-1, 6), max_size=30))
def test_the_members_of_each_owner(owners):
    found = members(np.array(owners, dtype=np.int64), 6)
    assert [rows.tolist() for rows in found] == [
        [row for row, owner in enumerate(owners) if owner == one] for one in range(6)
    ]


def test_which_words_of_stacks_point_to_stacks(opened):
    stacks = live_stacks(opened("debian-6.1").kernel)
    edges = np.concatenate([stacks.address[[0, -1]] + np.uint64(8), stacks.address[[0, -1]] - np.uint64(8)])
    asked = np.concatenate([stacks.word, stacks.word + np.uint64(1), edges, stacks.address])
    held = stacks.holds(asked)
    assert 100 < np.count_nonzero(held[: len(stacks.word)]) < len(stacks.word)
    assert (held == np.isin(asked, stacks.address)).all()
    nothing = np.zeros(0, dtype=np.uint64)
    assert not dataclasses.replace(stacks, address=nothing).holds(asked).any()


def test_a_type_that_is_only_asked_for_is_not_spelt_out(opened, monkeypatch):
    """To look for names alike takes longer than all waits of a thousand threads."""
    kernel = opened("debian-6.1").kernel
    monkeypatch.setattr(type(kernel.types), "near", lambda self, name: pytest.fail(name))
    where = kernel.symbol("runqueues")
    assert kernel.type_anywhere("struct no_such") is None
    assert object_names(kernel, np.array([kernel.symbol("init_task") + 8], dtype=np.uint64))[0]
    # A symbol of the name of no struct.
    names = object_names(kernel, np.array([kernel.symbol("jiffies_lock") + 2, where], dtype=np.uint64))
    assert names[0] == "jiffies_lock+0x2"

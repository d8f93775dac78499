"""Names of a dump's own are told apart, whatever they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernlab.util.names import distinct

#: Few, so that they meet; some look like what equal ones are called.
NAMES = st.lists(
    st.sampled_from(["", "free", "free (2)", "free (3)", "free (2) (2)", "node", " ", "(2)", 0, 1])
)


@given(NAMES, NAMES)
def test_no_name_is_lost_and_none_comes_twice(names, taken):
    found = distinct(names, taken)
    assert len(found) == len(names)
    assert len(set(found)) == len(found)
    assert not set(found) & set(taken)
    firsts = [name for row, name in enumerate(names) if name not in names[:row] and name not in taken]
    # What needs no number keeps its name, unless another one's number made it.
    assert all(name in found for name in firsts)


def test_equal_names_are_numbered_in_their_order():
    assert distinct(["a", "a", "b", "a"]) == ["a", "a (2)", "b", "a (3)"]
    assert distinct(["a", "a"], taken=["a", "a (3)"]) == ["a (2)", "a (4)"]


def test_many_equal_names_take_no_time_squared():
    assert distinct(["x"] * 100_000)[-1] == "x (100000)"

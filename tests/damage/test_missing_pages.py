"""No table loses a cell or a row to a missing page without a word in attrs["problems"], whichever page it is.

Each table is tried on one of the dumps (support/seed.py).
"""

from __future__ import annotations

import pandas as pd
import pytest
from support.missing_pages import differs, make, record, samples, silent, tables
from support.seed import SEED, in_turn

from kernlab.util import losses

DUMPS = ("debian-6.1", "debian-6.12", "debian-7.2", "debian-5.10")
PAGES = 4

CASES = in_turn(DUMPS, tables())


@pytest.mark.parametrize(("dump", "name"), CASES)
def test_what_a_page_costs_a_table_is_told(opened, dump, name):
    below = opened(dump)
    known = record(below, name)
    # Nothing is read of what is off in a kernel, and that is told.
    assert known.frames or any("is off in this kernel" in said for said in known.table.attrs["problems"])
    quiet = [
        said
        for frame, way in samples(known, PAGES, f"{SEED} {dump} {name}")
        if (said := silent(below, name, known, frame, way))
    ]
    assert quiet == []


def test_the_test_can_fail(opened, monkeypatch):
    """As it was when only tables told: a page of VMAs' files, paths' dentries … was lost without a word."""
    below = opened("debian-6.1")
    known = record(below, "maps")
    monkeypatch.setattr(losses.Scope, "unread", lambda *_: None)
    monkeypatch.setattr(losses.Scope, "lost", lambda *_, **__: None)
    assert any(silent(below, "maps", known, frame, "exclude") for frame in known.frames[:40])


def test_differences_are_found_and_missing_values_are_equal():
    whole = pd.DataFrame({"a": [1, 2], "b": pd.array(["x", None], dtype="str")})
    assert differs(whole.copy(), whole) == []
    assert differs(whole.astype({"a": "Int64"}), whole) == []
    assert differs(whole.assign(a=[1, 3]), whole) == ["a"]
    assert differs(whole.assign(b=[None, None]), whole) == ["b"]
    assert differs(whole.head(1), whole) == ["1 rows of 2"]
    assert differs(pd.Series({"a": 1, "b": None}), pd.Series({"a": 1, "b": 2})) == ["b"]


def test_every_table_is_tried(opened):
    made = {name for _, name in CASES}
    assert {"tasks", "maps", "slabs", "pages", "owner", "slab_objects", "relay.channels"} <= made
    assert make(opened("debian-6.1"), "tasks") is opened("debian-6.1").tasks

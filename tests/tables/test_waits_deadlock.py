"""`waits` of the sample `deadlock` against its story: NAME (PID) holds KIND LOCK, wants KIND LOCK."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.truth import Truth

import kernlab

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "deadlock"
pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason="samples/deadlock is not here")
LINE = re.compile(r"[\d.]+ (\S+) \((\d+)\) holds (.*), wants (\S+) (\S+)(.*)")


@pytest.fixture(scope="module")
def dump():
    with kernlab.open(kernlab.sample("deadlock")) as opened:
        yield opened


@pytest.fixture(scope="module")
def story():
    lines = Truth(SAMPLE / "truth.tar.xz").text("story.txt").splitlines()
    return [match for line in lines if (match := LINE.fullmatch(line))]


def test_each_waits_for_what_it_wants(dump, story):
    """The lock, the way in which it is wanted, and who holds it."""
    waits = dump.waits.set_index("pid")
    held = {words[1]: int(part[2]) for part in story if len(words := part[3].split()) > 1}
    assert len(story) == 8
    for part in story:
        row = waits.loc[int(part[2])]
        kind = {"": "mutex", " for reading": "rwsem_read", " for writing": "rwsem_write"}[part[6]]
        assert (row["comm"], row["type"]) == (part[1], kind)
        name = "lock of shop_basket" if "." in part[5] else f"{part[5]} [kernlab_shop]"
        assert row["name"] == name
        assert row["holder_pid"] == held[part[5]]


def test_both_circles_are_named_and_are_the_first_suspects(dump):
    graph = dump.waits.graph()
    assert [line.split(" (")[0] for line in graph.deadlocks] == ["deadlock: checkout", "deadlock: import"]
    assert list(dump.suspects.lead[:2]) == ["deadlock", "deadlock"]
    assert "stock_lock [kernlab_shop]" in dump.suspects.subject[0]


def test_a_reader_is_not_written_down(dump):
    """The lock of the basket is read: the table says that its holder is the last reader, and no more."""
    note = dump.waits[dump.waits.comm == "sweep"].note.iloc[0]
    assert note.startswith("held by 1 reader; the last reader was cart")

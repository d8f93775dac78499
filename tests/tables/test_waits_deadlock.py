"""`waits` of the sample `deadlock` against its story: NAME (PID) holds KIND LOCK, wants KIND LOCK."""

from __future__ import annotations

import re

import pytest
from conftest import SAMPLES
from support.captures import dumps_in, told
from support.truth import Truth

import kernlab

#: The sample, and captures of the same scenario on other kernels where KERNLAB_LAB_CAPTURES names their folder.
FOLDERS = told(SAMPLES, "deadlock")
LINE = re.compile(r"[\d.]+ (\S+) \((\d+)\) holds (.*), wants (\S+) (\S+)(.*)")


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def folder(request):
    if not (request.param / "truth.tar.xz").exists():
        pytest.skip(f"{request.param.name} is not here")
    return request.param


@pytest.fixture(scope="module")
def dump(folder):
    with kernlab.open(dumps_in(folder)[0]) as opened:
        yield opened


@pytest.fixture(scope="module")
def story(folder):
    lines = Truth(folder / "truth.tar.xz").text("story.txt").splitlines()
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
        # Where modules have no type information (5.10) the cache's name is all there is.
        names = ("lock of shop_basket", "shop_basket") if "." in part[5] else (f"{part[5]} [kernlab_shop]",)
        assert row["name"] in names
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

"""What was lost is told once: a dump's own problems by the dump, one line of them by each of its tables."""

from __future__ import annotations

import pytest
from support.overlay import Overlay

from kernlab.dataframes import frame
from kernlab.util.problems import beside, in_one_line

MANY = ["the file is cut at byte 4,096", "the bitmap ends early", "pages are damaged"]


@pytest.fixture
def lacking(opened):
    """A dump whose file tells of several losses."""
    dump = Overlay(opened("debian-6.1")).dump()
    dump.kernel.file.problems[:] = MANY
    return dump


def test_each_table_bears_one_line_of_the_dumps_own_problems(lacking):
    for table in (
        lacking.tasks,
        lacking.slabs,
        lacking.modules,
        lacking.vmstat,
        lacking.info,
        lacking.meminfo,
    ):
        told = table.attrs["problems"]
        assert len(told) == 1
        assert "3 problems" in told[0]
        # What a table says stays true without the dump at hand.
        assert MANY[0] in told[0]
        assert not any(problem in told[0] for problem in MANY[1:])
    assert lacking.problems == MANY


def test_a_single_problem_is_that_line_itself(opened):
    dump = Overlay(opened("debian-6.1")).dump()
    dump.kernel.file.problems[:] = MANY[:1]
    assert dump.tasks.attrs["problems"] == MANY[:1]
    assert dump.problems == MANY[:1]


def test_a_tables_own_problems_come_after_and_are_the_dumps_too(lacking):
    own = "2 tasks lie on pages that the dump lacks"
    with lacking.kernel.scope("mine") as k:
        k.lost(own, MANY[1])
        built = frame(lacking.kernel, k.name, pid=[1])
    assert built.attrs["problems"][1:] == [own]
    lacking._built["mine"] = built
    # Another table's line of the dump's, from when it knew of fewer, is not a problem of its own.
    stale = in_one_line(MANY[:2])
    with lacking.kernel.scope("other") as k:
        k.lost(*stale, *built.attrs["problems"])
        again = frame(lacking.kernel, k.name, pid=[1])
    assert again.attrs["problems"] == built.attrs["problems"]
    assert lacking.problems == [*MANY, own]


def test_in_one_line():
    assert in_one_line([]) == []
    assert in_one_line(["a", "a"]) == ["a"]
    (line,) = in_one_line(["a", "b"])
    assert line.endswith("the first: a")
    assert beside(["c", line, "a", "c"], ["a", "b"]) == ["c"]


def test_the_card_and_the_command_tell_all_of_them_once(lacking):
    from kernlab.display.summary import summary

    lacking.tasks  # noqa: B018
    assert list(summary(lacking).problems) == MANY

"""What is lost is told by the scope in which it was lost, in words, once; facts tell it to everybody who asks."""

from __future__ import annotations

import numpy as np
import pytest

from kernlab.core.facts import fact
from kernlab.dataframes import frame, table
from kernlab.util import losses
from kernlab.util.losses import scope, sentences
from kernlab.util.threads import ahead, in_threads


def test_each_scope_has_its_own_losses_each_once():
    with scope("outer") as outer:
        losses.lost("a")
        with scope("inner") as inner:
            losses.lost("b", "b")
        losses.lost("a", "c")
    assert (outer.losses, inner.losses) == (["a", "c"], ["b"])
    assert bool(outer)
    assert losses.current() is None
    assert not losses.lost("nobody hears it")


def fail_in_a_step():
    with scope("step", passing_on=True):
        losses.lost("second")
        raise ValueError("broken")


def test_a_step_that_is_watched_passes_its_losses_on_also_when_it_fails():
    with scope("table") as around:
        with scope("step", passing_on=True) as step:
            losses.lost("first")
        with pytest.raises(ValueError, match="broken"):
            fail_in_a_step()
        with scope("step", passing_on=True) as nothing:
            pass
    assert step.losses == ["first"]
    assert not nothing
    assert around.losses == ["first", "second"]


def test_a_mask_counts_and_none_without_any():
    mask = np.arange(1000) < 3
    assert sentences(("slab pages are left out",), mask, "they cannot be read") == [
        "3 of 1,000 slab pages are left out: they cannot be read"
    ]
    assert sentences(("slab pages are left out",), ~mask & mask) == []
    assert sentences(("a table is lost",), why="no page") == ["a table is lost: no page"]


def test_a_flood_of_losses_is_counted(monkeypatch):
    monkeypatch.setattr(losses, "MOST_LOSSES", 3)
    with scope("table") as here:
        here.lost(*map(str, range(10)))
    assert here.losses == ["0", "1", "2", "and 7 more losses of table"]


@pytest.mark.parametrize("run", [in_threads, lambda work, items: list(ahead(work, items, 4))])
def test_what_threads_lose_is_lost_in_the_scope_that_began_them(run):
    with scope("table") as here:
        run(lambda number: losses.lost(f"loss {number}"), list(range(8)))
    assert sorted(here.losses) == [f"loss {number}" for number in range(8)]


def test_a_fact_is_found_once_and_tells_its_losses_to_everybody_who_asks(opened):
    kernel = opened("debian-6.1").kernel
    made = []

    @fact
    def counted(kernel):
        made.append(kernel)
        kernel.lost("a fact is not whole")
        return len(made)

    @table
    def first(kernel):
        return frame(kernel, "first", value=[counted(kernel)])

    @table
    def second(kernel):
        kernel.lost("and a loss of its own")
        return frame(kernel, "second", value=[counted(kernel)])

    own = kernel.problems
    tables = [first(kernel), second(kernel), first(kernel)]
    assert len(made) == 1
    assert [one["value"].item() for one in tables] == [1, 1, 1]
    assert [one.attrs["problems"][-2:] for one in tables] == [
        ["a fact is not whole"],
        ["and a loss of its own", "a fact is not whole"],
        ["a fact is not whole"],
    ]
    assert kernel.problems == own


def test_outside_of_any_scope_it_is_the_dumps_own_loss(dump_files):
    import kernlab

    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        dump.kernel.lost("a list is broken")
        dump.kernel.lost("a list is broken")
        assert dump.problems == ["a list is broken"]
        assert dump.symbols.attrs["problems"] == ["a list is broken"]


def test_a_cold_look_at_the_leads_finds_the_tasks_once(dump_files, monkeypatch):
    import kernlab
    from kernlab.linux import tasks

    found = []
    by_pid = tasks._by_pid
    monkeypatch.setattr(tasks, "_by_pid", lambda kernel: (found.append(kernel), by_pid(kernel))[1])
    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        assert len(dump.suspects.columns)
        assert len(dump.memory_by_process)
        assert len(dump.tasks)
        assert len(found) == 1

"""The overlay itself: what it writes is read, what it drops is gone, and the dump below never changes."""

from __future__ import annotations

import pytest
from support.overlay import PAGE, Overlay

from kernlab.errors import FaultError, PageExcluded


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


def test_without_changes_it_is_the_dump_below(below):
    same = Overlay(below).dump()
    assert same.tasks.equals(below.tasks)
    again = Overlay(below).dump(fresh=True)
    assert again.symbol("init_task") == below.symbol("init_task")
    assert again.tasks.equals(below.tasks)


def test_writes_are_read_back_across_pages_and_only_above(below):
    address = (below.symbol("init_task") | (PAGE - 1)) - 2
    before = below.read(address - 8, 32)
    above = Overlay(below).write(address, b"\x11\x22\x33\x44\x55").dump()
    assert above.read(address - 8, 32) == before[:8] + b"\x11\x22\x33\x44\x55" + before[13:]
    assert below.read(address - 8, 32) == before


def test_set_writes_a_member_through_pointers(below):
    init = below.struct("task_struct", below.tasks.loc[below.tasks["pid"] == 1, "address"].iloc[0])
    above = Overlay(below).set("struct task_struct", init.address_, "mm->total_vm", 7).dump()
    assert above.struct("task_struct", init.address_).mm.total_vm == 7
    assert init.mm.total_vm != 7


def test_what_is_written_later_does_not_reach_a_dump_that_was_taken(below):
    overlay = Overlay(below).word(below.symbol("jiffies"), 1)
    first = overlay.dump()
    overlay.word(below.symbol("jiffies"), 2)
    assert overlay.dump().variable("jiffies") == 2
    assert first.variable("jiffies") == 1


def test_pages_are_dropped_in_three_ways(below):
    address = below.symbol("init_task")
    with pytest.raises(PageExcluded, match="left out"):
        Overlay(below).exclude(address).dump().read(address, 8)
    with pytest.raises(PageExcluded, match="cut off or damaged"):
        Overlay(below).lose(address).dump().read(address, 8)
    with pytest.raises(FaultError, match="no memory"):
        Overlay(below).remove(address).dump().read(address, 8)
    # The last word counts.
    assert Overlay(below).exclude(address).word(address, 5).dump().read(address, 8)[0] == 5
    with pytest.raises(PageExcluded):
        Overlay(below).word(address, 5).exclude(address).dump().read(address, 8)


def test_frames_that_the_dump_lacks_come_into_being(below):
    pfn = below.kernel.file.max_pfn + 5
    above = Overlay(below).write(pfn * PAGE + 8, b"hello", physical=True).dump()
    assert above.read(pfn * PAGE, 16, physical=True) == bytes(8) + b"hello" + bytes(3)

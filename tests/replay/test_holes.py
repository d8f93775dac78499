"""Where a trace has holes: sub-buffers and counters of a real one, changed."""

import pytest
from support.overlay import Overlay

from kernlab.traces.ftrace.holes import holes_of


def holes(dump, instance=""):
    ftrace = dump.ftrace
    found = next(one for one in ftrace._instances if one.name == instance)
    return [hole for hole in holes_of(dump.kernel, ftrace._trace, found) if hole.cpu is not None]


@pytest.fixture
def ring(opened):
    """CPU 1's ring of the global trace, which is whole, and its first and last event."""
    ftrace = opened("debian-6.1").ftrace
    assert holes(opened("debian-6.1")) == []
    ring = next(one for one in ftrace._trace.rings if one.cpu == 1 and one.instance.name == "")
    mine = ftrace._trace.time[ftrace._trace.ring == ftrace._trace.rings.index(ring)]
    return ring, int(mine.min()), int(mine.max())


def changed(opened, ring, counter, value):
    return (
        Overlay(opened("debian-6.1")).set("struct ring_buffer_per_cpu", ring.address, counter, value).dump()
    )


def test_what_was_overwritten_is_a_hole_before_the_first_event(opened, ring):
    with changed(opened, ring[0], "overrun.a.counter", 5) as dump:
        found = holes(dump)
    assert next((hole.cpu, hole.since, hole.until) for hole in found) == (1, None, ring[1])
    assert "5 events before were overwritten" in found[0].reason


def test_what_was_refused_is_a_hole_after_the_last_event(opened, ring):
    with changed(opened, ring[0], "dropped_events.a.counter", 7) as dump:
        found = holes(dump)
    assert [(hole.cpu, hole.since, hole.until) for hole in found] == [(1, ring[2], None)]


def test_a_sub_buffer_that_the_dump_lacks_is_a_hole(opened, ring):
    with Overlay(opened("debian-6.1")).exclude(int(ring[0].pages[0])).dump() as dump:
        found = holes(dump)
    assert len(found) == 1
    assert found[0].reason == "the dump lacks a sub-buffer"


def test_events_that_the_kernel_marks_as_missing_are_a_hole_before_the_sub_buffer(opened, ring):
    page = int(ring[0].pages[0])
    below = opened("debian-6.1")
    stamp, commit = (int.from_bytes(below.read(page + at, 8), "little") for at in (0, 8))
    with Overlay(below).word(page + 8, commit | 1 << 31).dump() as dump:
        found = holes(dump)
    assert [(hole.cpu, hole.since, hole.until) for hole in found] == [(1, None, stamp)]

"""The recorder's marks: what its writer writes is read back, and what damage leaves of a line costs no other."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.recorder.service.marks import mark_lines
from kernlab.recorder.service.tasks import escaped
from kernlab.replay.marks import gaps, parse

COUNTERS = ["nr_free_pages=123", "psi.memory.some=9", "mem_total=131072"]


def lines(kind, number, items, separator):
    return [line.decode("ascii") for line in mark_lines(kind, number, items, separator)]


def test_counters_of_the_writer_are_read_back():
    marks = parse(["trace_marker of somebody else", None, *lines("vmstat", 7, COUNTERS, " ")])
    assert marks.number.tolist() == [7]
    assert marks.row.tolist() == [2]
    assert [marks.counter(name)[0].tolist() for name in ("nr_free_pages", "psi.memory.some")] == [[123], [9]]
    assert not marks.counter("nr_anon_pages")[1].any()
    assert marks.damaged == 0


def test_a_mark_of_several_lines_is_one():
    many = [f"nr_counter_{number}={number}" for number in range(200)]
    texts = lines("vmstat", 3, many, " ")
    assert len(texts) > 1
    marks = parse([*texts, *lines("vmstat", 4, many, " ")])
    assert marks.number.tolist() == [3, 4]
    assert marks.known.all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 1 << 22), st.binary(max_size=15)), max_size=60))
def test_processes_of_the_writer_are_read_back(processes):
    items = [f"{pid},100,{row},2,3,4,{escaped(comm)}" for row, (pid, comm) in enumerate(processes)]
    marks = parse(lines("tasks", 1, items, ";"))
    assert marks.pid.tolist() == [pid for pid, _ in processes]
    assert marks.pages[:, 0].tolist() == list(range(len(processes)))
    assert marks.comm == [comm.decode("utf-8", "backslashreplace") for _, comm in processes]
    assert marks.damaged == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 80), st.binary(max_size=6))
def test_a_damaged_line_costs_no_other(at, bytes_):
    whole = lines("vmstat", 1, COUNTERS, " ")[0]
    damaged = whole[:at] + bytes_.decode("latin-1") + whole[at + len(bytes_) :]
    marks = parse([damaged, *lines("vmstat", 2, COUNTERS, " "), *lines("tasks", 2, ["1,2,3,4,5,6,a"], ";")])
    assert marks.number[-1] == 2
    assert marks.pid.tolist() == [1]
    assert marks.known[-1].sum() == len(COUNTERS)


def test_a_missing_number_is_a_gap():
    assert gaps(np.array([1, 2, 3])).tolist() == []
    assert gaps(np.array([1, 2, 4, 5, 1])).tolist() == [2, 4]

"""Marks: names that nothing can break, lines that the marker takes, the largest processes of a machine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorder.fake_machine import fake_machine, process

from kernlab.recorder.service.machine import PAGE_KIB
from kernlab.recorder.service.marks import LONGEST_MARK, mark_lines
from kernlab.recorder.service.memory import Memory
from kernlab.recorder.service.tasks import Tasks, escaped


@given(st.binary(max_size=16))
@settings(max_examples=60)
def test_any_name_can_be_told(comm: bytes) -> None:
    told = escaped(comm)
    assert unquote_to_bytes(told) == comm
    assert not set(told) & set(" ,;\n\0")
    assert told.isascii()


@given(st.lists(st.text("abc,=0", min_size=1, max_size=90), max_size=60))
@settings(max_examples=40)
def test_a_long_mark_goes_on_in_lines_of_the_same_number(items: list[str]) -> None:
    lines = mark_lines("tasks", 7, items, ";")
    assert all(len(line) <= LONGEST_MARK and line.endswith(b"\n") for line in lines)
    assert all(line.startswith(b"kernlab/1 tasks 7 ") for line in lines)
    assert [
        item for line in lines for item in line.decode().split(" ", 3)[3].rstrip("\n").split(";")
    ] == items


def test_where_memory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(fake_machine(tmp_path, monkeypatch))
    memory.zoneinfo_every = 2
    told = dict(value.split("=") for value in memory.read(2))
    assert told["nr_free_pages"] == "12345"
    assert told["mem_total"] == str(4194304 // PAGE_KIB)
    assert told["pcp"] == "42"
    assert (told["psi.memory.some"], told["psi.memory.full"]) == ("71", "7")
    assert (told["procs_running"], told["procs_blocked"]) == ("3", "1")
    assert "nr_zone_active_anon" not in told
    assert not {"psi.io.some", "swap_free"} & set(told)  # this kernel has them not: absent, not zero
    assert "pcp" not in dict(value.split("=") for value in memory.read(3))


def test_the_largest_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    process(machine, 2, b"kthreadd")
    for pid in range(10, 30):
        process(machine, pid, b"small", 400, 40, 0, 0)
    process(machine, 40, b"a b)\n,\\n;%\xff", 80_000, 4_000, 400, 40, start=777)
    process(machine, 41, b"shared", 0, 0, 60_000, 0)
    tasks = Tasks(machine, most=3)
    rows = tasks.read()
    page = PAGE_KIB
    assert (
        rows[0]
        == f"40,777,{80_000 // page},{4_000 // page},{400 // page},{40 // page},a%20b)%0A%2C\\n%3B%25%FF"
    )
    assert rows[1].endswith(",shared")
    assert len(rows) == 3
    assert len(tasks.held) == 3  # descriptors do not pile up

    process(machine, 50, b"grew", 200_000, 0, 0, 0)
    tasks.next_round = 0.0
    process(machine, 40, b"gone")  # a zombie has no memory
    assert [row.rpartition(",")[2] for row in tasks.read()[:2]] == ["grew", "shared"]
    tasks.close()
    assert not tasks.held
    assert Tasks(machine, most=0).read() == []


def test_looking_at_many_processes_takes_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(tmp_path, monkeypatch)
    for pid in range(100, 112):
        process(machine, pid, b"p%d" % pid, pid * 100, 0, 0, 0)
    monkeypatch.setattr(Tasks, "SLICE", 5)
    tasks = Tasks(machine, most=2)
    for _ in range(3):
        rows = tasks.read()
    assert [row.rpartition(",")[2] for row in rows] == ["p111", "p110"]
    tasks.close()

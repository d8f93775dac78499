"""`kernlab.open("live")` on a made /proc/kcore: the tables of the dump that it was made of, each of its own moment."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from support.kcore import Kcore

import kernlab
from kernlab.dataframes import moments
from kernlab.errors import KernlabError

TASK = "struct task_struct"


@pytest.fixture(scope="module")
def kcore(opened, tmp_path_factory):
    return Kcore(opened("panic"), tmp_path_factory.mktemp("live") / "kcore")


@pytest.fixture
def live(kcore):
    with kcore.running(), kernlab.open("live") as dump:
        yield dump


@contextmanager
def between(*steps):
    """Do a step each time that a table was read, and before it is looked at again."""
    left = list(steps)

    class Later(moments.SecondLook):
        def __init__(self, memory):
            if left:
                left.pop(0)()
            super().__init__(memory)

    with mock.patch.object(moments, "SecondLook", Later):
        yield
    assert not left


@contextmanager
def member(kcore, address, path, value):
    """A member of a task is another within the block."""
    access_was = kcore.kernel.read(*_place(kcore, address, path))
    kcore.set(TASK, address, path, value)
    try:
        yield
    finally:
        kcore.write(_place(kcore, address, path)[0], access_was)


def _place(kcore, address, path):
    from kernlab.debuginfo.member_path import resolve

    access = resolve(kcore.kernel.find_type(TASK), path)
    return address + access.hops[0], access.type.size


def plain(column):
    """Values that compare, also those that are missing."""
    return column.astype(object).where(column.notna(), None).tolist()


def some_task(dump):
    """A process in the middle of the list."""
    tasks = dump.tasks
    return int(tasks.address[tasks.mm != 0].iloc[1])


def row_of(tasks, address):
    return tasks[tasks.address == address].iloc[0]


class TestTables:
    @pytest.mark.parametrize(
        "name", ["tasks", "maps", "modules", "slabs", "log", "mounts", "files", "meminfo", "zones", "symbols"]
    )
    def test_the_same_as_of_the_dump(self, live, opened, name):
        found, expected = getattr(live, name), getattr(opened("panic"), name)
        if isinstance(found, pd.DataFrame):
            assert found.columns[-1] == "torn"
            assert not found.torn.fillna(False).any()
            found = found.drop(columns="torn")
            for column in expected.columns:
                assert (
                    found[column].astype(object).fillna("?").tolist()
                    == expected[column].astype(object).fillna("?").tolist()
                )
        else:
            assert found.tolist() == expected.tolist()

    def test_a_window(self, live):
        before = pd.Timestamp.now(tz="UTC")
        attrs = live.tasks.attrs
        after = pd.Timestamp.now(tz="UTC")
        assert json.loads(json.dumps(attrs)) == attrs
        start, end = (pd.Timestamp(attrs["window"][name]) for name in ("start", "end"))
        assert before <= start < end <= after
        assert (end - start).total_seconds() == pytest.approx(attrs["window"]["seconds"], abs=1e-5)
        assert set(live.info.attrs["window"]) == {"start", "end", "seconds"}

    def test_tables_that_ask_for_others_are_of_one_moment(self, live):
        """And have no columns of theirs."""
        assert live.map_usage.columns.tolist().count("torn") == 1
        assert "torn" not in live.verdict.attrs["problems"]
        assert live.map_usage.attrs["window"]["start"] < live.verdict.attrs["window"]["start"]

    def test_a_dump_has_none_of_it(self, opened):
        tasks = opened("panic").tasks
        assert "torn" not in tasks.columns
        assert "window" not in tasks.attrs
        assert opened("panic").refresh().tasks is tasks


class TestMoments:
    def test_a_table_is_kept_until_it_is_asked_for_anew(self, live, kcore):
        before, address = live.tasks, some_task(live)
        with member(kcore, address, "comm", b"renamed"):
            assert live.tasks is before
            assert row_of(live.refresh().tasks, address).comm == "renamed"
        assert row_of(before, address).comm != "renamed"
        assert row_of(live.refresh().tasks, address).comm != "renamed"

    def test_what_is_no_table_is_read_each_time(self, live, kcore):
        address = some_task(live)
        one, many = live.struct(TASK, address), live.structs(TASK, [address])
        was = one.comm
        with member(kcore, address, "comm", b"renamed"):
            assert one.comm == "renamed" != was
            assert many["comm"][0] == "renamed"
            assert live.read(_place(kcore, address, "comm")[0], 7) == b"renamed"
            assert live.tasks.kern.field("comm")[live.tasks.address == address].tolist() == ["renamed"]
        assert one.comm == was

    def test_one_place_is_the_same_throughout_a_table(self, live, kcore):
        """Its pages stay as they were first read: what is on one page is of one moment."""
        address = some_task(live)
        with live.kernel.memory.held():
            was = live.struct(TASK, address).comm
            with member(kcore, address, "comm", b"renamed"):
                assert live.struct(TASK, address).comm == was

    def test_memory_that_is_plugged(self, live, kcore):
        count = live.kernel.file.frame_count
        kcore.plug(kcore.frames - 256)
        try:
            assert len(live.refresh().tasks)
            assert live.kernel.file.frame_count == count - 256
        finally:
            kcore.plug(kcore.frames)
        assert len(live.refresh().tasks)
        assert live.kernel.file.frame_count == count


class TestTorn:
    def test_another_process_has_its_place(self, live, kcore):
        address = some_task(live)
        live.refresh()
        with between(lambda: kcore.set(TASK, address, "pid", 4711)):
            tasks = live.tasks
        kcore.set(TASK, address, "pid", int(row_of(tasks, address).pid))
        assert tasks.address[tasks.torn].tolist() == [address]
        assert any("1 of 64 rows are torn" in problem for problem in tasks.attrs["problems"])

    @pytest.mark.parametrize(("path", "value"), [("mm", 0), ("comm", b"exec"), ("real_parent", 0)])
    def test_it_ends_or_becomes_another(self, live, kcore, path, value):
        address = some_task(live)
        where, size = _place(kcore, address, path)
        was = kcore.kernel.read(where, size)
        live.refresh()
        with between(lambda: kcore.set(TASK, address, path, value)):
            tasks = live.tasks
        kcore.write(where, was)
        assert tasks.address[tasks.torn].tolist() == [address]

    @pytest.mark.parametrize("path", ["utime", "se.sum_exec_runtime", "state", "prio"])
    def test_what_moves_always_tears_nothing(self, live, kcore, path):
        address = some_task(live)
        where, size = _place(kcore, address, path)
        was = kcore.kernel.read(where, size)
        live.refresh()
        with between(lambda: kcore.write(where, bytes([was[0] ^ 1]) + was[1:])):
            tasks = live.tasks
        kcore.write(where, was)
        assert not tasks.torn.any()
        assert tasks.torn.notna().all()

    def modules_in_the_middle(self, live):
        """Three modules that follow each other on their list."""
        return [live.struct("struct module", address) for address in live.modules.address.iloc[1:4].tolist()]

    def test_taken_off_its_list(self, live, kcore):
        """Its own memory is what it was; but whose is it now?"""
        before, module, after = self.modules_in_the_middle(live)
        live.refresh()
        link = int(after["list.prev"]) - int(module)

        with between(lambda: kcore.set("struct module", int(before), "list.next", int(after) + link)):
            modules = live.modules
        kcore.set("struct module", int(before), "list.next", int(module) + link)
        assert modules.address[modules.torn].tolist() == [int(module)]
        assert len(live.refresh().modules) == len(modules)

    def test_one_put_in_between_tears_nothing(self, live, kcore):
        """The list leads to the next one by way of what is new."""
        before, module, after = self.modules_in_the_middle(live)
        link, new = int(after["list.prev"]) - int(module), _place(kcore, some_task(live), "comm")[0]
        was = kcore.kernel.read(new, 8)
        live.refresh()

        def insert():
            kcore.write(new, (int(module) + link).to_bytes(8, "little"))
            kcore.set("struct module", int(before), "list.next", new)

        with between(insert):
            modules = live.modules
        kcore.set("struct module", int(before), "list.next", int(module) + link)
        kcore.write(new, was)
        assert not modules.torn.any()
        assert modules.torn.notna().all()

    def test_rows_that_stand_for_no_struct(self, live):
        assert live.log.torn.isna().all()


class TestRaces:
    def broken(self, kcore, live, times):
        """The list of tasks leads nowhere while a table is made the first so many times."""
        address = some_task(live)
        where, size = _place(kcore, address, "tasks.next")
        was = kcore.kernel.read(where, size)
        count = 0
        refresh = live.kernel.file.refresh

        def refreshed():
            nonlocal count
            count += 1
            # Twice for each time that it is made: before, and after it.
            kcore.write(where, bytes([count % 251, 0, 0, 0, 0, 0, 0, 0x80]) if count <= 2 * times else was)
            refresh()

        return mock.patch.object(live.kernel.file, "refresh", refreshed)

    def test_it_is_made_again(self, live, kcore):
        expected = len(live.tasks)
        with self.broken(kcore, live.refresh(), 2):
            tasks = live.refresh().tasks
        assert len(tasks) == expected
        assert tasks.attrs["problems"] == [
            "tasks was read 3 times, as the machine changed it meanwhile: this is the last of them"
        ]

    def test_what_is_broken_for_good_is_told(self, live, kcore):
        address = some_task(live)
        with member(kcore, address, "tasks.next", 1 << 63):
            tasks = live.refresh().tasks
        assert any("the task list" in problem for problem in tasks.attrs["problems"])
        assert not any("times" in problem for problem in tasks.attrs["problems"])
        assert not live.refresh().tasks.attrs["problems"]

    def test_what_fails_fails(self, live):
        with pytest.raises(KernlabError, match="no slab cache"):
            live.slab_objects("no such cache")


class TestByName:
    def test_a_file_of_that_name(self, tmp_path, monkeypatch, dump_files):
        monkeypatch.chdir(tmp_path)
        Path("live").symlink_to(dump_files("panic").vmcore)
        for path in ("./live", Path("live")):
            with kernlab.open(path) as dump:
                assert dump.info.format != "live"

    def test_it_says_that_it_runs(self, live):
        assert live.info.format == "live"
        assert live.info.crash_time is None
        assert "running" in live.info.crash_time_source
        assert "live" in repr(live)

    def test_it_is_not_redacted(self, kcore):
        with kcore.running(), pytest.raises(KernlabError, match="cannot be redacted"):
            kernlab.open("live", redact="share")

    def test_closed(self, live):
        tasks = live.tasks
        live.close()
        assert live.tasks is tasks
        with pytest.raises(KernlabError, match="closed"):
            live.refresh()
        assert np.count_nonzero(tasks.torn) == 0


class TestCommandLine:
    @pytest.fixture
    def run(self, kcore, capsys):
        from kernlab.commands.main import main

        def run(*words):
            with kcore.running():
                status = main([str(word) for word in words])
            said = capsys.readouterr()
            return status, said.out, said.err

        return run

    def test_a_table(self, run):
        status, out, err = run("table", "live", "tasks", "--where", "pid == 1", "--columns", "pid,comm,torn")
        assert status == 0
        assert re.fullmatch(r"kernlab: read live, \S+Z to \S+Z \(\d+\.\d{3} s\)\n", err)
        assert out.split() == ["pid", "comm", "torn", "1", "init", "False"]

    def test_it_says_that_it_runs(self, run):
        status, out, _ = run("info", "live")
        assert status == 0
        assert "live for" in out
        assert not [line for line in out.splitlines() if line.startswith(("died", "left out"))]

    def test_a_notebook_of_it(self, run, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert run("notebook", "live")[0] == 0
        assert "kernlab.open('live')" in Path("live.ipynb").read_text()

    def test_a_notebook_of_a_file_of_that_name(self, run, tmp_path, monkeypatch, dump_files):
        monkeypatch.chdir(tmp_path)
        Path("live").write_bytes(dump_files("panic").vmcore.read_bytes())
        assert run("notebook", "./live")[0] == 0
        assert "kernlab.open('./live')" in Path("live.ipynb").read_text()

    def test_no_report(self, run):
        status, _, err = run("report", "live")
        assert status == 2
        assert "kernlab table live" in err


class TestViews:
    """Traces, and frames of structs: made of one moment, too, and each says of which."""

    def test_each_has_its_window(self, live):
        seen = [
            live.relay.channels,
            live.relay.events("vda/trace"),
            live.ftrace.counts,
            live.ftrace.all,
            live.structs(TASK, live.tasks.address).frame(["pid"]),
            live.timeline(),
        ]
        for each in seen:
            assert each.attrs["window"]["start"] <= each.attrs["window"]["end"]

    def test_they_are_of_one_moment(self, live, kcore):
        """What is read twice for one of them is read once of the machine."""
        address = some_task(live)
        with live.kernel.scope("a trace"):
            was = live.struct(TASK, address).comm
            with member(kcore, address, "comm", b"renamed"):
                assert live.struct(TASK, address).comm == was
                assert live.tasks.attrs["window"]["start"] <= live.kernel.window["end"]
        assert live.kernel.memory.held_since is None

    def test_asked_for_anew(self, live):
        relay = live.relay
        assert live.relay is relay
        assert live.refresh().relay is not relay


def test_threads_come_and_go(live, kcore):
    """Their number moves while they are read: no loss that a search of all memory would mend."""
    where, size = kcore.kernel.symbol("nr_threads"), 4
    was = kcore.kernel.read(where, size)
    kcore.write(where, (int.from_bytes(was, "little") + 2).to_bytes(4, "little"))
    with mock.patch("kernlab.linux.tasks._by_slab", side_effect=AssertionError):
        tasks = live.refresh().tasks
    kcore.write(where, was)
    assert tasks.attrs["problems"] == [
        f"the kernel counted {len(tasks):,} threads (nr_threads), and {len(tasks) - 2:,} were found: some came or went "
        "while they were read"
    ]


def test_a_stack_is_shown_as_it_was_at_one_moment(live, opened, monkeypatch):
    """What it is made of (threads, frames, code) is read again for each: outside of a window these would not fit."""
    from kernlab.dataframes import moments
    from kernlab.display.stacks import stack

    pid, inside = int(live.tasks.pid[live.tasks.kthread].iloc[3]), []
    trace = stack.call_trace
    monkeypatch.setattr(
        stack, "call_trace", lambda *a, **k: inside.append(moments.is_inside(live.kernel)) or trace(*a, **k)
    )
    text = live.stack(pid).text()
    assert inside[-1] is True
    assert text.splitlines()[1:] == opened("panic").stack(pid).text().splitlines()[1:]
    assert "schedule" in live.stack(pid).html()

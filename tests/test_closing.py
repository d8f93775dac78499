"""What is left of a dump once it is closed: every table that was built, and of the dump itself nothing."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import re
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.alike import assert_same
from support.overlay import Overlay

import kernlab
from kernlab import KernlabError
from kernlab.dataframes import deferred
from kernlab.dump import TABLES

WITHOUT_PARAMETERS = [name for name, entry in TABLES.items() if not entry.is_method]


def build(dump: kernlab.Dump) -> dict[str, Any]:
    """Everything that can be built of a dump, by what it is."""
    built: dict[str, Any] = {name: getattr(dump, name) for name in WITHOUT_PARAMETERS}
    built["slab_objects"] = dump.slab_objects("dentry")
    built["owner"] = dump.owner(dump.tasks["address"])
    built["search"] = dump.search(dump.symbol("init_task"))
    for name in ("all", "counts", "instances", "lost"):
        built[f"ftrace.{name}"] = getattr(dump.ftrace, name)
    built["ftrace.snapshot.all"] = dump.ftrace.snapshot.all
    built["ftrace.events"] = dump.ftrace.events("sched_switch", text=True)
    built["relay.channels"] = channels = dump.relay.channels
    for name in channels["name"].unique():
        built[f"relay.events({name})"] = dump.relay.events(name)
    tasks = dump.tasks
    built["kern"] = tasks.kern.assign(adj="signal->oom_score_adj").kern.where("mm->map_count > 10")
    built["tables"] = dump.tables
    return built


#: What tables say of features that the kernel was built, or started, without.
_OFF = re.compile(r"\(CONFIG_\w+( is off|\))|is off on this machine|were not accounted")


def work_with(vmcore: Path) -> list[weakref.ref[Any]]:
    """Open, build everything, fail now and then, close; what the dump was made of, held weakly."""
    with kernlab.open(vmcore) as dump:
        build(dump)
        assert [told for told in dump.problems if not _OFF.search(told)] == []
        assert repr(dump)
        assert dump._repr_html_()
        for failing in (lambda: dump.symbol("no_such_symbol"), lambda: dump.read(0, 8)):
            with pytest.raises(KernlabError):
                failing()
        kernel = dump.kernel
        memory = kernel.memory
        owned = (dump, kernel, memory, memory._arena, kernel.file, kernel.types, kernel.symbols)
        return [weakref.ref(each) for each in owned]


def descriptors() -> list[str]:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.islink(link)]


@pytest.fixture
def vmcore(dump_files, tmp_path: Path) -> Path:
    """A dump that no other test of this process has open."""
    return Path(shutil.copyfile(dump_files("debian-6.1").vmcore, tmp_path.resolve() / "vmcore"))


def test_nothing_of_four_dumps_stays(vmcore):
    known: int | None = None
    for _ in range(4):
        left = work_with(vmcore)
        gc.collect()
        assert [each() for each in left if each() is not None] == []
        assert str(vmcore) not in Path("/proc/self/maps").read_text()
        assert str(vmcore) not in descriptors()
        # What is opened for good with the first use of something is there after the first round.
        assert known is None or len(descriptors()) <= known
        known = len(descriptors())


def test_a_closed_dump_that_is_kept_has_let_go_of_its_file_and_memory(vmcore):
    dump = kernlab.open(vmcore)
    assert len(dump.maps)
    arena = weakref.ref(dump.kernel.memory._arena._map)
    assert str(vmcore) in descriptors()
    dump.close()
    assert arena() is None
    assert str(vmcore) not in descriptors()
    assert len(dump.maps)
    with pytest.raises(KernlabError, match="was closed"):
        dump.pages  # noqa: B018


def test_closing_reads_nothing(opened: Callable[[str], Any], monkeypatch):
    monkeypatch.setattr(deferred, "FEW_ROWS", 0)
    dump = Overlay(opened("debian-6.1")).dump()
    assert min(len(dump.maps), len(dump.pages), len(dump.ftrace.all)) > 0
    memory, read = dump.kernel.memory, []
    gathers = memory.gathers
    monkeypatch.setattr(memory.file, "read_into", lambda *args: read.append(args))
    dump.close()
    assert (memory.gathers, read) == (gathers, [])


@pytest.fixture(scope="module")
def built(dump_files) -> dict[str, Any]:
    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        return build(dump)


@pytest.fixture(scope="module")
def again(opened) -> tuple[dict[str, Any], dict[str, bytes]]:
    """All of a dump that is open, and their pickles, made before anything looked at them."""
    tables = build(Overlay(opened("debian-6.1")).dump())
    kept = {name: table for name, table in tables.items() if isinstance(table, pd.DataFrame | pd.Series)}
    return tables, {name: pickle.dumps(table) for name, table in kept.items()}


def test_tables_stay_as_they_were(built, again):
    """Each was built of a dump that is closed by now, and most were not looked at before."""
    again, _ = again
    assert set(again) == set(built)
    for name in set(built) - {"info"}:
        if isinstance(built[name], pd.DataFrame | pd.Series):
            assert_same(built[name], again[name])


def test_each_goes_through_a_pickle_whether_or_not_it_was_looked_at(again, tmp_path):
    tables, pickles = again
    for name, before in pickles.items():
        table = tables[name]
        assert b"kernlab.core" not in before, name
        # Comparing looks at all of it.
        assert pickle.loads(before).equals(table), name
        after = pickle.loads(pickle.dumps(table))
        assert_same(after, table)
        assert after.attrs == table.attrs
        table.to_pickle(tmp_path / "table.pkl")
        assert pd.read_pickle(tmp_path / "table.pkl").equals(table)


def test_each_goes_to_another_process(built):
    tables = [(table,) for table in built.values() if isinstance(table, pd.DataFrame)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(len, tables) == [len(table) for (table,) in tables]
        pids = pool.apply(pd.DataFrame.to_csv, (built["map_usage"],))
    assert pids == built["map_usage"].to_csv()

"""`.kern` finds the dump behind the rows and gathers more members, aligned with them."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import kernlab
from kernlab.dataframes import addresses, frame, origin
from kernlab.debuginfo.types import PointerType, StructType
from kernlab.errors import KernlabError, MemberNotFoundError

TASK, MM = "struct task_struct", "struct mm_struct"


class Structs:
    """What Dump.structs gives: a member's value is its address plus the length of its path; 0x30 is lost."""

    def __init__(self, type, where):  # noqa: A002
        self.type, self.where = type, where

    def __getitem__(self, path):
        if path == "nope":
            raise MemberNotFoundError("struct task_struct has no member 'nope'; the nearest is 'pid'")
        if path == "comm":
            values, kind = np.array([f"task {a:#x}" for a in self.where], dtype=object), "text"
        elif path == "mm":
            pointer = PointerType(lambda: StructType("mm_struct", 8, False, list))
            valid = (self.where != 0) & (self.where != 0x30)
            return SimpleNamespace(
                values=self.where + np.uint64(0x1000),
                valid=valid,
                kind="address",
                type=pointer,
            )
        else:
            values, kind = self.where.astype(np.int64) + len(path), "int"
        return SimpleNamespace(
            values=values, valid=(self.where != 0) & (self.where != 0x30), kind=kind, type=None
        )


class Dump:
    source = "/crash/vmcore"

    def structs(self, type, where):  # noqa: A002
        assert where.dtype == np.uint64
        return Structs(type, where)


@pytest.fixture
def dump():
    return Dump()


@pytest.fixture
def tasks(dump):
    kernel = SimpleNamespace(token=origin.register(dump, dump.source), source=dump.source, problems=[])
    where = np.array([0x10, 0x20, 0x30, 0x20, 0], np.uint64)
    valid = np.array([True, True, True, True, False])
    table = frame(
        kernel,
        "tasks",
        address=addresses(kernel, where, valid, TASK),
        mm=addresses(kernel, where + np.uint64(0x1000), valid, MM),
        x=[5, 4, 3, 2, 1],
    )
    return table.set_index(pd.Index([5, 4, 3, 2, 1]))


def test_one_field_is_a_series_on_the_frames_index(tasks):
    found = tasks.kern.field("pid")
    assert found.name == "pid"
    assert found.index.equals(tasks.index)
    assert found.dtype == "Int64"
    assert found.tolist() == [0x13, 0x23, pd.NA, 0x23, pd.NA]


def test_it_follows_the_rows(tasks):
    shuffled = tasks.sort_values("x").query("x > 2")
    assert shuffled.kern.field("pid").tolist() == [pd.NA, 0x23, 0x13]
    merged = tasks.reset_index(drop=True).merge(pd.DataFrame({"x": [5, 99]}), how="right")
    assert merged.kern.field("pid").tolist() == [0x13, pd.NA]
    assert tasks.head(0).kern.field("pid").tolist() == []
    # The dtype does not hang on whether these rows lack something.
    assert tasks.head(2).kern.field("pid").dtype == "Int64"


def test_several_fields_are_a_frame(tasks):
    found = tasks.kern.field("pid", "comm", "mm")
    assert found.columns.tolist() == ["pid", "comm", "mm"]
    assert found.comm.fillna("-").tolist() == ["task 0x10", "task 0x20", "-", "task 0x20", "-"]
    assert found.index.equals(tasks.index)
    assert found.attrs == tasks.attrs
    # The gathered pointers lead on.
    assert found.kern.on("mm").type == MM
    assert found.kern.on("mm").field("total_vm").tolist()[0] == 0x1010 + len("total_vm")


def test_another_column(tasks):
    assert tasks.kern.on("mm").structs.type == MM
    assert tasks.kern.on("mm").field("map_count").tolist()[0] == 0x1010 + len("map_count")
    assert tasks.kern.on("mm", "struct page").structs.type == "struct page"
    assert tasks[["mm"]].kern.structs.type == MM
    assert tasks.kern.column == "address"


def test_structs_and_dump(tasks, dump):
    assert tasks.kern.dump is dump
    assert tasks.kern.structs.type == TASK
    assert tasks.kern.structs.where.tolist() == [0x10, 0x20, 0x30, 0x20, 0]


def test_errors_say_what_to_do(tasks):
    with pytest.raises(MemberNotFoundError, match="nearest is 'pid'"):
        tasks.kern.field("nope")
    with pytest.raises(KernlabError, match="at least one member"):
        tasks.kern.field()
    with pytest.raises(KernlabError, match=r"no column 'nope'.*'address', 'mm'"):
        tasks.kern.on("nope")
    with pytest.raises(KernlabError, match="holds no addresses"):
        tasks.kern.on("x")
    with pytest.raises(KernlabError, match="does not say what lies"):
        tasks.assign(address=tasks.address + 8).kern.field("pid")
    with pytest.raises(KernlabError, match="belong to no dump"):
        tasks.assign(address=pd.array([1] * 5, dtype="address")).kern.on("address", TASK).field("pid")
    assert not hasattr(pd.DataFrame({"x": [1]}), "kern")
    assert hasattr(tasks, "kern")


def test_the_table_knows_what_its_rows_stand_for(tasks):
    wanted = tasks.kern.field("pid").tolist()
    still = {
        "index": tasks.set_index("address"),
        "index and column": tasks.set_index("address", drop=False),
        "two levels": tasks.set_index(["x", "address"]),
        "renamed": tasks.rename(columns={"address": "task"}),
        "names changed": tasks.rename(columns={"address": "task", "mm": "address"}),
        "merged": tasks.merge(pd.DataFrame({"x": [5, 4, 3, 2, 1]}), on="x"),
        "astype": tasks.astype({"x": "float64"}),
        "with another": tasks.assign(before=tasks.address.shift()),
        "grouped": tasks.groupby("x", sort=False).first(),
        "concat": pd.concat([tasks.head(2), tasks.tail(3)]),
        "filled": tasks.assign(address=tasks.address.fillna(0)).assign(address=tasks.address),
    }
    assert {name: table.kern.field("pid").tolist() for name, table in still.items()} == dict.fromkeys(
        still, wanted
    )
    assert tasks.set_index("address").kern.on("address").column == "address"
    assert tasks.set_index("mm").kern.on("mm").structs.type == MM


def test_no_other_column_stands_in_for_it(tasks):
    lost = [
        tasks.drop(columns="address"),
        tasks.astype({"address": "UInt64"}),
        tasks.set_index("mm").drop(columns="address"),
        tasks.groupby("mm")[["x"]].sum(),
    ]
    for table in lost:
        with pytest.raises(KernlabError, match=r"which addresses\?.*\.kern\.on\('mm'\)"):
            table.kern.field("pid")
        assert table.kern.on("mm").structs.type == MM


def test_rows_that_stand_for_two_structs_are_asked_which(tasks):
    both = tasks.merge(tasks.rename(columns={"address": "other"}), on="x")
    assert both.kern.column == "address"
    maps = tasks[["mm", "x"]].rename(columns={"mm": "address"})
    maps["address"] = maps.address.array.with_dtype(maps.address.dtype.standing_for_rows())
    for table in (tasks.merge(maps, on="x"), tasks.rename(columns={"address": "task"}).merge(maps, on="x")):
        with pytest.raises(KernlabError, match=r"stand for 2 structs each.*\.kern\.on"):
            table.kern.field("pid")
    with pytest.raises(KernlabError, match="2 columns are called"):
        pd.concat([tasks, tasks], axis=1).kern.on("mm")


def test_two_dumps_do_not_mix(tasks):
    other_dump = Dump()
    token = origin.register(other_dump)
    other = frame(
        SimpleNamespace(token=token, source="", problems=[]), "t", address=addresses(None, [1], target=TASK)
    )
    other["address"] = addresses(SimpleNamespace(token=token), [1], target=TASK)
    both = pd.concat([tasks, other])
    with pytest.raises(KernlabError, match="more than one dump"):
        both.kern.field("pid")


def test_types_do_not_mix(tasks):
    both = pd.concat([tasks[["address"]], tasks[["mm"]].set_axis(["address"], axis=1)])
    with pytest.raises(KernlabError, match="different types"):
        both.kern.field("pid")


def test_a_dump_that_is_gone():
    dump = Dump()
    kernel = SimpleNamespace(token=origin.register(dump, "/crash/vmcore"), source="", problems=[])
    table = frame(kernel, "t", address=addresses(kernel, [1], target=TASK))
    del dump
    gc.collect()
    with pytest.raises(KernlabError, match=r"/crash/vmcore.*is gone"):
        table.kern.field("pid")


SAMPLE = Path(__file__).parents[2] / "samples" / "debian-6.1" / "vmcore"


@pytest.mark.skipif(not SAMPLE.exists(), reason="the bundled sample dump is not there")
def test_on_a_real_dump():
    with kernlab.open(SAMPLE) as dump:
        tasks = dump.tasks.sample(frac=1, random_state=1)
        found = tasks.kern.field("comm", "tgid", "mm->total_vm", "parent")
        pd.testing.assert_series_equal(found.comm, tasks.comm)
        pd.testing.assert_series_equal(found.tgid, tasks.tgid)
        pd.testing.assert_series_equal(
            found["mm->total_vm"] * 4096, tasks.vsz_bytes, check_names=False, check_dtype=False
        )
        pd.testing.assert_series_equal(
            tasks.kern.on("mm").field("total_vm") * 4096,
            tasks.vsz_bytes,
            check_names=False,
            check_dtype=False,
        )
        assert found.kern.on("parent").type == TASK
        parents = dict(zip(tasks.address, tasks.pid, strict=True))
        real = tasks[tasks.pid > 0]
        assert real.kern.field("real_parent").map(parents).tolist() == real.ppid.tolist()
        with pytest.raises(MemberNotFoundError, match="oom_score_adj"):
            tasks.kern.field("signal->oom_score_adk")
    with pytest.raises(KernlabError, match="closed"):
        tasks.kern.field("comm")

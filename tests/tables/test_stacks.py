"""`stacks` against /proc/PID/stack of the guests, what `groups` joins, and what is said where stacks are lost."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

from kernlab.errors import KernlabError
from kernlab.tables.processes.stacks import Stacks, symbols_of

COLUMNS = ["pid", "frame", "address", "symbol", "sp", "kind", "reliable", "cpu"]


@pytest.fixture(scope="module")
def hung(machine_of):
    return machine_of("hung")


def outside_of_the_scheduler(dump, rows):
    """/proc/PID/stack leaves out what lies in __sched_text."""
    start, end = (np.uint64(dump.symbol(f"__sched_text_{which}")) for which in ("start", "end"))
    address = rows["address"].to_numpy(dtype=np.uint64)
    return rows[(address < start) | (address >= end)]


def test_symbols_are_those_of_proc_pid_stack(hung):
    rows = outside_of_the_scheduler(hung.dump, hung.dump.stacks)
    ours = {int(pid): list(frames) for pid, frames in rows.groupby("pid")["symbol"]}
    threads = hung.dump.tasks.query("pid > 0 and not on_cpu")["pid"].tolist()
    truth = {pid: hung.truth.stacks[pid] for pid in threads if pid in hung.truth.stacks}
    assert len(truth) >= 75
    different = {pid: (ours.get(pid), lines) for pid, lines in truth.items() if ours.get(pid) != lines}
    assert different == {}


def test_the_columns_that_everybody_builds_on(hung):
    table = hung.dump.stacks
    assert list(table.columns[: len(COLUMNS)]) == COLUMNS
    assert (table.groupby("task")["frame"].apply(list).map(lambda n: n == list(range(len(n))))).all()
    # A caller's frame lies above that of what it called, on one stack.
    sleeping = table[table["cpu"].isna()]
    assert sleeping.groupby("task")["sp"].apply(lambda sp: sp.astype("uint64").is_monotonic_increasing).all()
    assert set(table["kind"].cat.categories) == {
        "task",
        "irq",
        "softirq",
        "nmi",
        "exception",
        "entry",
        "idle",
    }


def test_what_lies_behind_a_call_is_named_by_who_called(hung):
    """%pB: behind a last call of a function that never returns there is another function already."""
    kernel = hung.dump.kernel
    start = hung.dump.symbol("do_exit")
    named, which = symbols_of(kernel, np.array([start, start], dtype=np.uint64), np.array([True, False]))
    texts = [named[row] for row in which]
    assert texts[0].startswith("do_exit+0x0/")
    name, offset, size = texts[1].replace("+", "/").split("/")
    assert (name != "do_exit", offset) == (True, size), texts


def test_groups_add_up(hung):
    table = hung.dump.stacks
    groups = table.groups()
    assert groups["count"].sum() == table["task"].nunique()
    assert groups["count"].is_monotonic_decreasing
    assert sorted(pid for pids in groups["pids"] for pid in pids) == sorted(
        table.drop_duplicates("task")["pid"].tolist()
    )
    assert groups["frames"].is_unique
    for row in groups.itertuples():
        for pid in (pid for pid in row.pids if pid):
            mine = table[table["pid"] == pid]
            assert "\n".join(mine["symbol"]) == row.frames
            assert mine["comm"].iloc[0] in row.comms
            assert mine["state"].iloc[0] in row.state
    waiters = groups[groups["frames"].str.contains("order_place")]
    assert waiters["comms"].tolist() == ["order-1, order-2, order-3, order-4, order-5, order-6"]
    assert waiters["pids"].tolist() == [[179, 180, 181, 182, 183, 184]]


def test_groups_of_some_rows_are_of_these(hung):
    table = hung.dump.stacks
    blocked = table[table["state"] == "D"]
    assert isinstance(blocked, Stacks)
    assert blocked.attrs["table"] == "stacks"
    groups = blocked.groups()
    assert groups["state"].eq("D").all()
    assert groups["count"].sum() == blocked["pid"].nunique()
    assert groups.attrs["source"] == table.attrs["source"]
    innermost = table[table["frame"] == 0].groups()
    assert len(innermost) < len(table.groups())
    assert innermost["count"].sum() == table["task"].nunique()
    assert len(table.iloc[:0].groups()) == 0
    again = pickle.loads(pickle.dumps(blocked))
    assert isinstance(again, Stacks)
    assert again.attrs == blocked.attrs
    pd.testing.assert_frame_equal(again.groups(), groups)
    with pytest.raises(KernlabError, match="these rows lack symbol"):
        table.drop(columns="symbol").groups()


def test_guesses_are_told_apart_in_groups(hung):
    table = hung.dump.stacks.copy()
    one = table["pid"] == int(hung.dump.stacks.groups()["pids"][0][0])
    table.loc[one & (table["frame"] == 1), "reliable"] = False
    before, after = hung.dump.stacks.groups(), table.groups()
    assert len(after) == len(before) + 1
    assert after["frames"].str.contains("\n? ", regex=False).sum() == 1


def test_a_stack_that_is_partly_lost_ends_there_and_says_so(hung):
    whole = hung.dump.stacks.query("pid == 176")
    # Where the second frame returns to.
    with Overlay(hung.dump).word(int(whole["sp"].iloc[2]) - 8, 0x1234).dump() as broken:
        table = broken.stacks
        mine = table[table["pid"] == 176]
        assert mine["symbol"].tolist()[:2] == whole["symbol"].tolist()[:2]
        # The rest of the stack is looked through.
        assert mine["reliable"].tolist() == [True] * 2 + [False] * (len(mine) - 2)
        assert any("inventoryd (176)" in problem for problem in table.attrs["problems"])
        others = table[table["pid"] != 176]["symbol"].tolist()
        assert others == hung.dump.stacks[hung.dump.stacks["pid"] != 176]["symbol"].tolist()


def test_a_stack_that_is_lost_is_told(hung):
    stack = int(hung.dump.tasks.query("pid == 176").kern.field("stack").iloc[0])
    with Overlay(hung.dump).exclude(*range(stack, stack + 16384, 4096)).dump() as broken:
        table = broken.stacks
        assert len(table[table["pid"] == 176]) <= 1
        assert any("inventoryd (176)" in problem for problem in table.attrs["problems"])
        others = hung.dump.stacks["pid"] != 176
        assert table[table["pid"] != 176]["symbol"].tolist() == hung.dump.stacks[others]["symbol"].tolist()

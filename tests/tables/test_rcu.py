"""RCU and the watchdogs: a CPU that spins holds both up, for as long as the log says; readers that are made up."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES
from support.absent import Absence
from support.captures import dumps_in, told
from support.overlay import Overlay

SECOND = pd.Timedelta(seconds=1)


@pytest.fixture(scope="module", params=told(SAMPLES, "lockup"), ids=lambda folder: folder.name)
def lockup(request):
    """The sample, and captures of other kernels: the till's CPU has had interrupts off since it took the lock."""
    import kernlab

    with kernlab.open(dumps_in(request.param)[0]) as dump:
        yield dump


def test_who_holds_a_grace_period_up(lockup):
    """It began when the till's CPU switched interrupts off, and waits for that CPU alone."""
    normal, expedited = lockup.grace_periods.iloc[0], lockup.grace_periods.iloc[1]
    till = lockup.runqueues.set_index("comm").loc["till"]
    assert normal["running"]
    assert normal["state"] == "WAIT_FQS"
    assert normal["waiting_cpus"] == str(till["cpu"])
    assert abs(normal["started"] - till["running"]) < SECOND
    assert normal["waiting_tasks"] == ""
    assert not normal["stalled"]
    assert not expedited["running"]
    assert expedited["waiting_cpus"] == ""
    assert pd.isna(expedited["state"])
    rows = lockup.rcu.set_index("cpu")
    assert rows["waited_for"].to_dict() == {cpu: cpu == till["cpu"] for cpu in rows.index}
    assert rows["behind"].max() <= 1
    thread = lockup.tasks.set_index("pid").loc[normal["pid"]]
    assert thread["comm"] == normal["name"]


def test_watchdogs_say_what_the_log_says(lockup):
    """ "stuck for 13s" is what the watchdog of that CPU had counted; another took no interrupt at all."""
    rows = lockup.watchdogs.set_index("cpu")
    text = "\n".join(lockup.log["text"])
    (cpu, seconds), *_ = re.findall(r"soft lockup - CPU#(\d+) stuck for (\d+)s!", text)
    units = rows["since_touch"] / pd.Timedelta(1 << 30, "ns")
    # A unit may have passed before the machine stopped.
    assert units[int(cpu)] - int(seconds) in (0, 1)
    till = int(lockup.runqueues.set_index("comm").loc["till", "cpu"])
    assert rows["soft_lockup"][till]
    assert rows["soft_lockup"][int(cpu)]
    assert not rows["soft_lockup"][0]
    assert rows["timer_late"][till] > 10 * SECOND
    assert (rows["timer_late"].drop(till) < SECOND).all()
    assert rows["interrupts"][till] < rows["interrupts"].drop(till).min()
    assert set(rows["threshold"] / SECOND) == {10.0}
    assert rows["soft"].all()


def test_callbacks_add_up(machine_or_server):
    """Each CPU's by what they wait for, and a list that is as long as its counter says."""
    dump = machine_or_server.dump
    rows = dump.rcu
    parts = rows[["ready", "waiting", "next_ready", "next"]]
    if parts.notna().all().all():
        assert (parts.sum(axis=1) == rows["callbacks"]).all()
    else:
        assert dump.info["release"].startswith("5.10")
    heads = rows.kern.structs["cblist.head"]
    assert (heads.values == 0).tolist() == (rows["callbacks"] - rows["bypass"].fillna(0) <= 0).tolist()
    assert (rows["invoked"] > 0).all()
    periods = dump.grace_periods
    assert periods["waiting_cpus"].tolist()[0] == ",".join(
        map(str, rows["cpu"][rows["waited_for"].fillna(False)])
    )
    assert (rows["behind"] >= 0).all()
    assert (rows["period"] <= periods["number"][0]).all()


@pytest.mark.parametrize("name", ["debian-6.1", "debian-7.2"])
def test_readers_that_lost_their_cpu(opened, name):
    """Of three on the list of a leaf those from the pointer on block the grace period."""
    below = opened(name)
    overlay, task = Overlay(below), "struct task_struct"
    leaf = int(below.rcu.kern.structs["mynode"].values[0])
    rows = below.tasks[below.tasks["state"] == "S"].iloc[:3]
    head, _ = overlay.where("struct rcu_node", leaf, "blkd_tasks")
    nodes = [overlay.where(task, int(address), "rcu_node_entry")[0] for address in rows["address"]]
    ring = [head, *nodes]
    for at, node in enumerate(ring):
        overlay.word(node, ring[(at + 1) % 4]).word(node + 8, ring[at - 1])
    overlay.set("struct rcu_node", leaf, "gp_tasks", nodes[1]).set(
        "struct rcu_node", leaf, "exp_tasks", nodes[2]
    )
    jiffies = int.from_bytes(below.read(below.symbol("jiffies"), 8), "little")
    overlay.set("struct rcu_state", below.symbol("rcu_state"), "jiffies_stall", jiffies - 10)
    with overlay.dump() as dump:
        found = dump.grace_periods
        pids = rows["pid"].astype(str).tolist()
        assert found["waiting_tasks"].tolist() == [",".join(pids[1:]), pids[2]]
        assert found["stalled"].tolist()[0]
    overlay.word(nodes[1], 0xDEAD0000)
    with overlay.dump() as dump:
        assert any("block RCU" in problem for problem in dump.grace_periods.attrs["problems"])


@pytest.mark.parametrize(
    ("table", "symbol", "option"),
    [
        ("rcu", "rcu_state", "CONFIG_TINY_RCU"),
        ("grace_periods", "rcu_data", "CONFIG_TINY_RCU"),
        ("watchdogs", "watchdog_touch_ts", "CONFIG_SOFTLOCKUP_DETECTOR"),
    ],
)
def test_kernels_without(opened, table, symbol, option):
    below = opened("debian-6.1")
    found = getattr(Absence(symbols=(symbol,)).of(below), table)
    assert not len(found)
    assert list(found.dtypes.astype(str)) == list(getattr(below, table).dtypes.astype(str))
    assert any(option in problem for problem in found.attrs["problems"])


def test_a_watchdog_that_begins_anew(opened):
    """5.10 was told so when it died; what is no time is none, and no lockup."""
    rows = opened("debian-5.10").watchdogs
    assert rows["since_touch"].isna().all()
    assert rows["soft_lockup"].isna().all()
    assert np.array_equal(rows["threshold"] / SECOND, [20.0, 20.0])

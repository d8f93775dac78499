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

from kernlab.walk.cpus import percpu

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


def cpus_of(text: str) -> list[int]:
    """The CPUs in a list as the kernel prints them: "0-2,7"."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


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
    waited = rows["cpu"][rows["waited_for"].fillna(False)]
    assert cpus_of(periods["waiting_cpus"].tolist()[0]) == waited.tolist()
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
    assert not below.grace_periods["stalled"][0]
    overlay.word(nodes[1], 0xDEAD0000)
    with overlay.dump() as dump:
        assert any("block RCU" in problem for problem in dump.grace_periods.attrs["problems"])


@pytest.mark.parametrize("name", ["debian-6.1", "debian-7.2"])
def test_a_stall_that_was_told(opened, name):
    """Whoever warned has put jiffies_stall off; that the grace period has run for long is still so."""
    below = opened(name)
    state, jiffies = (
        below.symbol("rcu_state"),
        int.from_bytes(below.read(below.symbol("jiffies"), 8), "little"),
    )
    assert below.grace_periods["running"][0]
    for seconds, stalled in ((20, False), (22, True)):
        overlay = Overlay(below).set("struct rcu_state", state, "gp_start", jiffies - 250 * seconds)
        overlay.set("struct rcu_state", state, "jiffies_stall", jiffies + 10_000)
        overlay.word(below.symbol("rcu_cpu_stall_timeout"), 21, 4)
        with overlay.dump() as dump:
            found = dump.grace_periods
            assert found["started"][0] == seconds * SECOND
            assert bool(found["stalled"][0]) == stalled


def test_callbacks_that_threads_call(server):
    """rcu_nocbs=1,3: the mask says so, and all CPUs have such threads."""
    assert not server.rcu["offloaded"].any()
    mask = int(
        server.structs("irq_desc", server.irqs["address"].iloc[:1])["irq_common_data.affinity"].values[0]
    )
    overlay = Overlay(server).word(server.symbol("rcu_nocb_mask"), mask).word(mask, 0b1010)
    for row in server.rcu["address"]:
        overlay.set("struct rcu_data", int(row), "nocb_cb_kthread", int(server.tasks["address"].iloc[0]))
    with overlay.dump() as dump:
        assert dump.rcu["offloaded"].tolist() == [False, True, False, True]


@pytest.mark.parametrize("name", ["debian-6.1", "debian-7.2"])
def test_a_watchdog_that_does_not_run(opened, name):
    """What a CPU that went offline kept is no lockup; that of one whose function runs is one."""
    below = opened(name)
    rows = below.watchdogs
    overlay = Overlay(below)
    for cpu, address in enumerate(rows["address"].astype("uint64").tolist()):
        touch = percpu(below.kernel, below.symbol("watchdog_touch_ts"), np.array([cpu]))
        clock = int(below.runqueues["clock"].max() / pd.Timedelta(1 << 30, "ns"))
        overlay.word(int(touch[0]), clock - 40)
        tree = "is_queued" if below.structs("hrtimer", [address]).has("is_queued") else "state"
        overlay.set("struct hrtimer", address, tree, 0)
        overlay.set("struct hrtimer", address, "node.expires", 1)
        base = int(below.structs("hrtimer", [address])["base"].values[0])
        overlay.set("struct hrtimer_clock_base", base, "active.rb_root.rb_root.rb_node", 0)
        overlay.set("struct hrtimer_clock_base", base, "running", address if cpu == 0 else 0)
    assert not rows["soft_lockup"].any()
    with overlay.dump() as dump:
        found = dump.watchdogs
        assert found["soft_lockup"].tolist() == [True, pd.NA]
        assert found["since_touch"].notna().tolist() == [True, False]
        assert found["timer_late"].notna().tolist() == [True, False]


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

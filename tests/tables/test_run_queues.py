"""What runs and what waits for CPUs: against the kernel's own counts, its sched/debug, and queues that are made up."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

from kernlab.linux.scheduling.task_groups import group_names

SECOND = pd.Timedelta(seconds=1)


def debug(truth) -> dict[int, dict[str, str]]:
    """The first block of each CPU in sched/debug: {cpu: {".nr_switches": "892"}}."""
    blocks = re.split(r"^cpu#(\d+).*$", truth.text("sched_debug"), flags=re.MULTILINE)[1:]
    return {
        int(cpu): dict(re.findall(r"^  \.(\S+) +: (\S+)$", text.split("\n\n")[0], re.MULTILINE))
        for cpu, text in zip(blocks[::2], blocks[1::2], strict=True)
    }


def test_as_many_are_queued_as_the_kernel_counts(machine_or_server):
    """Each class by its own counter, and all by nr_running; every task once."""
    queues, rows = machine_or_server.dump.runqueues, machine_or_server.dump.queued
    could = rows[~rows["throttled"].fillna(False).astype(bool)]
    for name in ("fair", "rt", "deadline"):
        counted = could[could["class"] == name]["cpu"].value_counts().reindex(queues["cpu"], fill_value=0)
        assert counted.tolist() == queues[name].tolist(), name
    assert (
        could["cpu"].value_counts().reindex(queues["cpu"], fill_value=0).tolist()
        == queues["nr_running"].tolist()
    )
    assert rows["address"].is_unique


@pytest.mark.parametrize("name", ["hung", "oom", "oops", "io", "server"])
def test_queues_are_those_of_sched_debug(machine_of, name):
    """What only grows was less, seconds before; what CPUs count apart is the number of tasks in D state at the end."""
    machine = machine_of(name)
    queues, theirs = machine.dump.runqueues, debug(machine.truth)
    online = queues[queues["online"]]
    assert online["cpu"].tolist() == list(theirs)
    for row in online.itertuples():
        before = theirs[row.cpu]
        assert 0 <= row.nr_switches - int(before["nr_switches"]) < 100_000
        passed = row.clock / pd.Timedelta(milliseconds=1) - float(before["clock"])
        assert 0 <= passed < 120_000, row.cpu
    tasks = machine.dump.tasks
    # What a task that just wakes up does to the count may come before what it does to its state.
    assert abs(queues["nr_uninterruptible"].sum() - (tasks["state"] == "D").sum()) <= 1
    current = tasks.set_index("address")["pid"].reindex(tasks[tasks["on_cpu"]]["address"])
    assert sorted(current) == sorted(queues["pid"])
    assert (queues["idle"] == queues["comm"].str.startswith("swapper/")).all()
    assert queues["running"].isna().tolist() == queues["idle"].tolist()
    assert queues["tick_stopped"].tolist() == machine.dump.cpus["tick_stopped"].tolist()


@pytest.mark.parametrize("name", ["server", "io"])
def test_groups_are_named_as_in_sched_debug(machine_of, name):
    """The group of every task that is there in both; at the end of its line."""
    machine = machine_of(name)
    kernel, tasks = machine.dump.kernel, machine.dump.tasks
    group = tasks.kern.structs["sched_task_group"]
    ours = dict(zip(tasks["pid"], group_names(kernel, group.values, group.valid), strict=True))
    lines = re.findall(
        r"^[ >][A-Z] +.{15} +(\d+) .* (/\S*)$", machine.truth.text("sched_debug"), flags=re.MULTILINE
    )
    theirs = {int(pid): path for pid, path in lines if int(pid) in ours}
    assert len(theirs) > (600 if name == "server" else 50)
    assert {pid: ours[pid] for pid in theirs} == theirs
    assert len(set(theirs.values())) > (20 if name == "server" else 0)


@pytest.fixture(scope="module")
def lockup():
    import kernlab

    with kernlab.open(kernlab.sample("lockup")) as dump:
        yield dump


def test_what_waits_behind_a_lockup(lockup):
    """Threads that wait for a CPU that spins, as long as the log says that it did: "stuck for 12s" and more."""
    rows = lockup.queued.set_index("pid")
    assert rows["running"][[137, 140, 143]].all()
    assert rows["class"][[25, 30]].tolist() == ["stop", "stop"]
    assert rows["policy"][[25, 68]].tolist() == ["SCHED_FIFO", "SCHED_OTHER"]
    stuck = (
        lockup.log["text"].str.extract(r"soft lockup - CPU#(\d) stuck for (\d+)s! \[(\S+):(\d+)\]").dropna()
    )
    queues = lockup.runqueues.set_index("cpu")
    for cpu, seconds, comm, pid in stuck.itertuples(index=False):
        on = queues.loc[int(cpu)]
        assert (on["pid"], on["comm"]) == (int(pid), comm)
        assert on["running"] >= int(seconds) * SECOND * 0.9
    assert len(stuck) >= 1
    waited = rows["waiting"].dropna()
    assert (waited[[68, 25, 53, 30, 61]] / SECOND).round().tolist() == [12] * 5
    assert rows["waiting"][[137, 140, 143]].isna().all()


def sleeping(dump, count: int) -> list[int]:
    """Addresses of threads that are on no queue."""
    tasks = dump.tasks
    return [int(a) for a in tasks[(tasks["state"] == "S") & ~tasks["on_cpu"]]["address"].iloc[:count]]


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-7.2"])
def test_real_time_and_deadline_tasks(opened, name):
    """Two on one list of a priority, and a tree of two deadlines."""
    below = opened(name)
    overlay = Overlay(below)
    first, second, early, late = sleeping(below, 4)
    queue = int(below.runqueues["address"].iloc[0])
    kind, task = "struct rq", "struct task_struct"
    head, _ = overlay.where(kind, queue, "rt.active.queue[42]")
    nodes = [overlay.where(task, each, "rt.run_list")[0] for each in (first, second)]
    ring = [head, *nodes]
    for at, node in enumerate(ring):
        overlay.word(node, ring[(at + 1) % 3]).word(node + 8, ring[at - 1])
    left, top = (overlay.where(task, each, "dl.rb_node")[0] for each in (early, late))
    overlay.set(kind, queue, "dl.root.rb_root.rb_node", top)
    for each, below_it in ((early, 0), (late, left)):
        overlay.set(task, each, "dl.rb_node.rb_left", below_it).set(task, each, "dl.rb_node.rb_right", 0)
        overlay.set(task, each, "dl.deadline", 1_000 if each == early else 2_000)
        overlay.set(task, each, "policy", 6).set(task, each, "prio", -1)
    with overlay.dump() as dump:
        rows = dump.queued
        mine = rows[rows["cpu"] == 0].set_index("class")
        assert mine.index.tolist()[:4] == ["deadline", "deadline", "rt", "rt"]
        assert [int(a) for a in mine["address"].iloc[:4]] == [early, late, first, second]
        assert mine["deadline_ns"].iloc[:2].tolist() == [1_000, 2_000]
        assert mine["deadline_ns"].iloc[2:4].isna().all()
        assert mine["vruntime_ns"].iloc[:4].isna().all()
        assert mine["policy"].iloc[:2].tolist() == ["SCHED_DEADLINE"] * 2


def test_what_runs_under_a_scheduler_in_bpf(opened):
    """The one that runs is on no list (set_next_task_scx); another waits on it."""
    below = opened("debian-7.2")
    overlay, kind, task = Overlay(below), "struct rq", "struct task_struct"
    queue = below.runqueues[~below.runqueues["idle"]].iloc[0]
    running = int(below.structs("rq", [queue["address"]])["curr"].values[0])
    (waiting,) = sleeping(below, 1)
    overlay.set(task, running, "sched_class", below.symbol("ext_sched_class"))
    overlay.set(kind, int(queue["address"]), "cfs.curr", 0)
    head, _ = overlay.where(kind, int(queue["address"]), "scx.runnable_list")
    node, _ = overlay.where(task, waiting, "scx.runnable_node")
    overlay.word(head, node).word(head + 8, node).word(node, head).word(node + 8, head)
    with overlay.dump() as dump:
        rows = dump.queued
        mine = rows[rows["class"] == "ext"]
        assert [int(address) for address in mine["address"]] == [running, waiting]
        assert mine["running"].tolist() == [True, False]


def test_a_throttled_group(server):
    """What its queue on one CPU says of all that stand on it; no task of it counts as running."""
    redis = server.queued.set_index("comm").loc["redis-server"]
    pointer = server.tasks[server.tasks["comm"] == "redis-server"].kern.structs["se.cfs_rq"]
    queue = int(pointer.values[0])
    overlay = Overlay(server)
    overlay.set("struct cfs_rq", queue, "throttle_count", 1).set("struct cfs_rq", queue, "throttled", 1)
    with overlay.dump() as dump:
        rows = dump.queued.set_index("comm")
        assert rows["throttled"].to_dict() == {"tell.sh": False, "redis-server": True}
        assert rows["group"]["redis-server"] == redis["group"] == "/system.slice/redis-server.service"
        queues = dump.runqueues
        assert queues["throttled_groups"].tolist() == [0, 0, 0, 1]
        assert queues["throttled"].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("name", ["debian-6.1", "debian-7.2"])
def test_damaged_queues(opened, name):
    """A tree that leads into itself and a queue that is not there cost their own tasks, and it is said."""
    below = opened(name)
    overlay = Overlay(below)
    rows, queue = below.queued, int(below.runqueues["address"].iloc[0])
    task = int(rows["address"].iloc[0])
    node, _ = overlay.where("struct task_struct", task, "se.run_node")
    overlay.set("struct rq", queue, "cfs.tasks_timeline.rb_root.rb_node", node)
    overlay.set("struct task_struct", task, "se.run_node.rb_left", node)
    overlay.set("struct rq", queue, "curr", 0x1234)
    overlay.set("struct rq", queue, "rt.active.queue[3].next", 0xDEAD0000)
    with overlay.dump() as dump:
        found = dump.queued
        assert any("fair tasks" in problem for problem in found.attrs["problems"])
        assert any("real-time tasks" in problem for problem in found.attrs["problems"])
        assert set(found["pid"]) == set(rows["pid"])
        assert dump.runqueues["pid"].isna().tolist() == [True, False]
        assert np.isin(dump.runqueues["nr_switches"], below.runqueues["nr_switches"]).all()

"""`tasks` against the guests' own /proc."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay
from support.truth import TICKS_PER_SECOND, same_comm

from kernlab.linux import tasks as task_search


@pytest.fixture(scope="module")
def paired(whole_dump, dump):
    """Each process of the truth beside its row of `tasks`: the truth's columns end in _t."""
    return whole_dump.truth.tasks().merge(
        dump.tasks, on="pid", how="left", suffixes=("_t", ""), indicator=True
    )


def test_no_process_is_missing_and_none_comes_twice(paired, dump):
    assert (paired["_merge"] == "both").all()
    pids = dump.tasks["pid"]
    assert not pids[pids > 0].duplicated().any()
    assert not dump.tasks["address"].duplicated().any()


def test_every_thread_is_there_with_its_group(whole_dump, dump):
    threads = whole_dump.truth.threads().merge(dump.tasks, left_on="tid", right_on="pid", how="left")
    assert (threads["tgid_x"] == threads["tgid_y"]).all()


def test_each_cpu_has_its_idle_task(whole_dump, dump):
    idle = dump.tasks[dump.tasks["pid"] == 0]
    assert sorted(idle["cpu"]) == list(range(len(idle)))
    assert len(idle) >= whole_dump.truth.cpus()
    assert idle["comm"].str.startswith("swapper/").all()
    assert (idle["tgid"] == 0).all()
    assert idle["kthread"].all()


@pytest.mark.parametrize("fact", ["tgid", "ppid", "kthread", "vsz_bytes", "uid", "prio", "nice"])
def test_what_cannot_move_is_exact(paired, fact):
    theirs, ours = paired[f"{fact}_t"].astype("Int64"), paired[fact].astype("Int64")
    wrong = paired[theirs.fillna(-1) != ours.fillna(-1)]
    assert wrong.empty, wrong[["pid", "comm", f"{fact}_t", fact]].to_string()


def test_comm_is_undecorated_and_agrees(paired):
    agree = [same_comm(row.comm, row.comm_t, row.kthread) for row in paired.itertuples()]
    assert all(agree), paired[~np.array(agree)][["pid", "comm_t", "comm"]].to_string()
    assert (paired["comm"].str.len() <= 15).all()


def test_start_time_is_exact_to_the_tick(paired):
    ticks = paired["start_time"].astype("int64") // (1_000_000_000 // TICKS_PER_SECOND)
    assert (ticks == paired["start_time_ticks"]).all()


def test_memory_only_where_there_is_an_mm(dump):
    tasks = dump.tasks
    has_mm = np.asarray(tasks["mm"]) != 0
    assert (tasks["vsz_bytes"].notna() == has_mm).all()
    assert (tasks["rss_bytes"].notna() == has_mm).all()
    # A process has read-only file pages at the least.
    assert (tasks.loc[has_mm, "rss_bytes"] > 0).all()


def test_rss_is_what_smaps_sums_to_for_those_who_slept(whole_dump, paired):
    smaps = whole_dump.truth.smaps().groupby("pid")["Rss"].sum()
    init = paired["pid"] == 1  # it collected the truth, then crashed the machine
    asleep = paired[(paired["state_t"] == "S") & ~paired["kthread"] & ~init].set_index("pid")
    assert len(asleep) >= 3
    difference = (asleep["rss_bytes"] - smaps).dropna()
    assert (difference == 0).all(), difference.to_string()


def test_who_was_running_and_where(dump):
    running = dump.tasks[dump.tasks["on_cpu"]]
    assert sorted(running["cpu"]) == list(range(int(dump.info["cpus"])))
    assert dump.info["panic_pid"] in set(running["pid"])


def test_states_are_letters_that_ps_shows(paired):
    assert set(paired["state"]) <= set("RSDTtXZPI")
    kthreads = paired[paired["kthread"]]
    moved = (kthreads["state"] != kthreads["state_t"]).sum()
    assert moved <= 2


def test_run_time_of_a_process_is_what_proc_printed(whole_dump, dump):
    """/proc scales utime and stime so that they sum to the run time of all threads (cputime_adjust)."""
    tasks = dump.tasks
    ran = tasks.kern.field("se.sum_exec_runtime").groupby(tasks["tgid"]).sum() / 1e9
    ended = tasks.kern.field("signal->sum_sched_runtime").groupby(tasks["tgid"]).first() / 1e9
    checked = 0
    for pid in whole_dump.truth.pids:
        if not whole_dump.truth.files.get(f"p/{pid}/stat"):
            continue
        stat = whole_dump.truth.stat(pid)
        seconds = (stat["utime_ticks"] + stat["stime_ticks"]) / TICKS_PER_SECOND
        assert ran[pid] + ended[pid] >= seconds - 2 / TICKS_PER_SECOND, pid
        checked += 1
    assert checked > 50


def test_times_are_within_the_machines_life(dump):
    tasks = dump.tasks
    busy = tasks[tasks["pid"] > 0]
    assert (busy["utime"] >= pd.Timedelta(0)).all()
    assert (busy["utime"] + busy["stime"] + busy["start_time"]).max() <= dump.info["uptime"] + pd.Timedelta(
        1, "s"
    )
    # Who wrote the truth ran in both modes.
    assert busy.loc[busy["pid"] == 1, "stime"].iloc[0] > pd.Timedelta(0)


def test_dtypes_are_the_contract(dump):
    kinds = {name: str(dtype) for name, dtype in dump.tasks.dtypes.items()}
    assert kinds["comm"] == kinds["state"] == "str"
    for name in ("pid", "tgid", "ppid", "cpu", "vsz_bytes", "rss_bytes", "prio", "nice"):
        assert kinds[name] == "Int64", name
    assert kinds["on_cpu"] in ("bool", "boolean")
    assert kinds["start_time"] == kinds["utime"] == kinds["stime"] == "timedelta64[ns]"
    assert isinstance(dump.tasks.index, pd.RangeIndex)


def test_damaged_dump_gives_all_that_any_way_gives(damaged_dump, opened):
    """makedumpfile dropped task pages there: the pid idr, the task list and the slab complete each other."""
    dump = opened(damaged_dump.name)
    tasks = dump.tasks
    assert not tasks["pid"][tasks["pid"] > 0].duplicated().any()
    truth = damaged_dump.truth.threads()
    share = truth["tid"].isin(tasks["pid"].dropna()).mean()
    assert share >= 0.97, f"{share:.1%} of the guest's threads are there"
    kernel = dump.kernel
    ways = (task_search._by_pid, task_search._idle_tasks)
    alone = [set(way(kernel).tolist()) for way in ways]
    alone.append(set(task_search._by_lists(kernel, np.array([kernel.symbol("init_task")])).tolist()))
    assert set().union(*alone) <= set(tasks["address"].tolist())
    # No single way gives them all here, or this dump would prove nothing.
    assert max(map(len, alone)) < len(tasks)
    assert dump.info["slab_frames_absent"] > 0
    assert any("slab frames are absent" in problem for problem in dump.problems)


def test_task_structs_begin_behind_their_red_zone(opened):
    """With slub_debug=Z. Where the zone is as large as an object, what was each slab's first lies in it."""
    dump = opened("debian-6.1")
    cache = int(dump.slabs.set_index("name")["address"]["task_struct"])
    size = dump.struct("kmem_cache", cache).size
    none = np.zeros(0, dtype=np.uint64)
    every = task_search._by_slab(dump.kernel, none)
    zoned = Overlay(dump).set("struct kmem_cache", cache, "red_left_pad", size).dump()
    found = task_search._by_slab(zoned.kernel, none)
    objects = dump.slab_objects("task_struct")
    first = (
        objects.groupby(objects["slab"].to_numpy(dtype=np.uint64))["address"].min().to_numpy(dtype=np.uint64)
    )
    assert set(first.tolist()) & set(every.tolist())
    assert set(found.tolist()) == set(every.tolist()) - set(first.tolist())

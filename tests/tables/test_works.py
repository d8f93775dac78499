"""works, of which no guest's file tells: held against the log of a machine that locked up, the stacks of workers, the
kernel's own marks, and works that a test queues."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.captures import captures, dumps_in
from support.heap import Heap

import kernlab

WAITS = captures("waits-*")
STATES = {"running", "scheduled", "pending", "inactive", "delayed"}


def check(dump: Any) -> None:
    """What holds on any machine."""
    ours, timers = dump.works, dump.timers
    assert ours.attrs["problems"] == []
    assert set(ours["state"]) <= STATES
    assert ours["function"].notna().all()
    delayed = ours["state"] == "delayed"
    assert ours.loc[delayed, "workqueue"].notna().all()
    # Each delayed work has its timer, and the other way round: container_of leads back to it.
    own = timers[timers["work"].notna()]
    shift = dump.kernel.find_type("struct delayed_work").member("timer").bit_offset // 8
    assert sorted(int(address) - shift for address in own["address"]) == sorted(
        int(address) for address in ours.loc[delayed, "address"]
    )
    assert sorted(own["expires"]) == sorted(ours.loc[delayed, "expires"])
    # Work data of a queued one says so (WORK_STRUCT_PENDING); of a running one only if it was queued again.
    waiting = ours[ours["state"].isin(["pending", "scheduled", "inactive", "delayed"])]
    assert (dump.structs("work_struct", waiting["address"])["data.counter"].values & 1 == 1).all()
    assert ours.loc[ours["state"] == "running", "pid"].notna().all()


def test_kernels(dump: Any) -> None:
    check(dump)
    assert {"vmstat_shepherd", "check_lifetime"} <= set(dump.works["function"])


def test_stuck_pools() -> None:
    """Three CPUs spun for 12 s and more, as this guest's watchdog said: their pools are stuck, that of CPU 0 is not."""
    with kernlab.open(kernlab.sample("lockup")) as dump:
        check(dump)
        ours = dump.works
        stuck = ours[ours["stalled"] > pd.Timedelta(10, "s")]
        assert set(stuck["cpu"]) == {1, 2, 3}
        assert set(stuck["state"]) == {"pending"}
        assert not stuck["unbound"].any()
        assert stuck.loc[stuck["nice"] == -20, "workqueue"].unique().tolist() == ["kblockd"]
        said = dump.log.loc[
            dump.log["text"].str.contains("soft lockup - CPU#3 stuck for 13s"), "timestamp"
        ].iloc[0]
        assert said > stuck["stalled"].max() > pd.Timedelta(12, "s")


@pytest.mark.parametrize("folder", WAITS or [None], ids=lambda folder: folder.name if folder else "none")
def test_running(folder: Path | None) -> None:
    """The function of a running work is on the stack of its worker, whose name says the workqueue."""
    if folder is None:
        pytest.skip("no capture of the story waits is here: KERNLAB_LAB_CAPTURES names folders of them")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        check(dump)
        running = dump.works.query("state == 'running'")
        assert len(running) >= 1
        stacks = dump.stacks
        for _, work in running.iterrows():
            frames = stacks.loc[stacks["pid"] == work["pid"], "symbol"].dropna()
            assert frames.str.startswith(work["function"].split(" ")[0]).any()


def test_each_state(opened: Callable[[str], Any]) -> None:
    dump = opened("debian-6.1")
    heap = Heap(dump)
    kernel, overlay = dump.kernel, heap.overlay
    head = dump.symbol("workqueues")
    link = kernel.find_type("struct workqueue_struct").member("list").bit_offset // 8
    entry = kernel.find_type("struct work_struct").member("entry").bit_offset // 8
    queues, at = {}, dump.struct("list_head", head).next.address_
    while at != head:
        queue = dump.struct("workqueue_struct", at - link)
        queues[queue.name] = queue
        at = dump.struct("list_head", at).next.address_
    queue = queues["events_long"]
    # The first CPU's pool of workers for it.
    pwqs = kernel.find_type("struct pool_workqueue").member("pwqs_node").bit_offset // 8
    pool_queue = dump.struct("pool_workqueue", queue.pwqs.next.address_ - pwqs)
    pool = pool_queue.pool
    node = kernel.find_type("struct worker").member("node").bit_offset // 8
    worker = dump.struct("worker", pool.workers.next.address_ - node)

    def work(function: str) -> int:
        where = heap.alloc(32)
        heap.member("struct work_struct", where, "func", dump.symbol(function))
        heap.member("struct work_struct", where, "data.counter", pool_queue.address_ | 0b101)
        return where

    def link_up(owner: str, address: int, member: str, works: list[int]) -> None:
        place = address + kernel.find_type(owner).member(member).bit_offset // 8
        ring = [place, *(one + entry for one in works), place]
        for here, following in pairwise(ring):
            if here == place:
                overlay.set("struct list_head", place, "next", following)
            else:
                heap.word(here, following)

    running, behind, first, second, inactive = (
        work(name)
        for name in ("psi_avgs_work", "wq_barrier_func", "vmstat_update", "wb_workfn", "crng_reseed")
    )
    overlay.set("struct worker", worker.address_, "current_work", running)
    overlay.set("struct worker", worker.address_, "current_func", dump.symbol("psi_avgs_work"))
    overlay.set("struct worker", worker.address_, "current_pwq", pool_queue.address_)
    link_up("struct worker", worker.address_, "scheduled", [behind])
    link_up("struct worker_pool", pool.address_, "worklist", [first, second])
    link_up("struct pool_workqueue", pool_queue.address_, "inactive_works", [inactive])
    overlay.set("struct worker_pool", pool.address_, "watchdog_ts", kernel.word("jiffies") - 7500)
    with heap.dump() as made:
        ours = made.works
        new = ours[ours["state"] != "delayed"].reset_index(drop=True)
        assert new["state"].tolist() == ["running", "scheduled", "pending", "pending", "inactive"]
        assert new["address"].tolist() == [running, behind, first, second, inactive]
        assert new["function"].tolist() == [
            *("psi_avgs_work", "wq_barrier_func", "vmstat_update", "wb_workfn", "crng_reseed")
        ]
        assert set(new["workqueue"]) == {"events_long"}
        assert set(new["pool"]) == {pool.id}
        assert set(new["cpu"]) == {pool.cpu}
        assert new["pid"].fillna(0).tolist() == [worker.task.pid] * 2 + [0] * 3
        # The list of the pool broke nothing: 4 ms a jiffy.
        assert set(new["stalled"]) == {pd.Timedelta(30, "s")}
        assert len(ours) == len(dump.works) + 5

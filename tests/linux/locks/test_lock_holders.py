"""Who is said to have a lock: gone, used again, dead, readers who left; and words that contradict those who wait."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES
from support.overlay import Overlay

import kernlab

WAITERS, WRITER, READER_OWNED = 2, 1, 1


@pytest.fixture(scope="module")
def hung():
    with kernlab.open(kernlab.sample("hung")) as dump:
        yield dump


@pytest.fixture(scope="module")
def shop():
    if not (SAMPLES / "deadlock").exists():
        pytest.skip("samples/deadlock is not here")
    with kernlab.open(kernlab.sample("deadlock")) as dump:
        yield dump


def orders(dump):
    return dump.waits[dump.waits.comm.str.startswith("order-").fillna(False)]


def sweep(dump):
    return dump.waits[dump.waits.comm == "sweep"].iloc[0]


def with_owner(shop, task, count=0x100 | WAITERS, flags=READER_OWNED):
    """The lock of the basket, which one reader has, as if another task were the last that took it."""
    lock = int(sweep(shop)["object"])
    overlay = Overlay(shop).set("struct rw_semaphore", lock, "owner.counter", int(task) | flags)
    return overlay.set("struct rw_semaphore", lock, "count.counter", count)


def test_a_holder_who_has_exited(hung):
    holder = hung.tasks[hung.tasks.comm == "inventoryd"].address.iloc[0]
    dump = Overlay(hung).set("struct task_struct", int(holder), "exit_state", 32).dump()
    assert set(orders(dump).holder_pid) == {176}
    assert orders(dump).note.str.contains("its holder has exited without letting go of it").all()


def test_a_mutex_whose_word_says_that_nobody_waits(hung):
    lock = hung.symbol("inventory_lock")
    holder = int(hung.tasks[hung.tasks.comm == "inventoryd"].address.iloc[0])
    assert not orders(hung).note.str.contains("does not say that anybody waits").any()
    dump = Overlay(hung).set("struct mutex", lock, "owner.counter", holder).dump()
    assert orders(dump).note.str.contains("its word does not say that anybody waits").all()
    assert set(orders(dump).holder_pid) == {176}


def test_who_waits_for_what_it_has(hung):
    """A thread that takes its own mutex once more never goes on: a circle of one."""
    lock, own = hung.symbol("inventory_lock"), orders(hung).iloc[0]
    dump = Overlay(hung).set("struct mutex", lock, "owner.counter", int(own["address"]) | 1).dump()
    rows = orders(dump).set_index("pid")
    assert rows.note[own["pid"]] == "it has the lock itself"
    assert rows.note.drop(own["pid"]).eq("").all()
    assert dump.waits.graph().cycles == [[own["pid"]]]


class TestReaders:
    """rw_semaphores note the last that took them for reading, who may have left long ago."""

    def test_who_left(self, shop):
        """It waits for a signal, with no lock in hand and none on its stack."""
        other = shop.waits[shop.waits.type == "signal"].iloc[0]
        row = sweep(with_owner(shop, other["address"]).dump())
        assert row["holder_pid"] is pd.NA
        assert f"the last reader, {other['comm']} ({other['pid']}), has left, by its stack" in row["note"]

    def test_who_runs(self, shop):
        running = shop.tasks[shop.tasks.on_cpu].iloc[0]
        row = sweep(with_owner(shop, running["address"]).dump())
        assert "runs: whether it is still in is not known" in row["note"]
        assert row["holder_pid"] == running["pid"]

    def test_who_is_still_in(self, shop):
        """The lock's address is on its stack."""
        lock, other = int(sweep(shop)["object"]), shop.waits[shop.waits.comm == "cart"].iloc[0]
        top = int(shop.structs("task_struct", [int(other["address"])])["thread.sp"].values[0])
        row = sweep(with_owner(shop, other["address"]).word(top + 16, lock).dump())
        assert row["holder_pid"] == other["pid"]
        assert "is still in, by its stack" in row["note"]

    def test_another_who_is_in(self, shop):
        """The last left; the one that is still in has the lock's address on its stack."""
        lock, left = int(sweep(shop)["object"]), shop.waits[shop.waits.type == "signal"].iloc[0]
        inside = shop.waits[shop.waits.comm == "cart"].iloc[0]
        top = int(shop.structs("task_struct", [int(inside["address"])])["thread.sp"].values[0])
        row = sweep(with_owner(shop, left["address"]).word(top + 16, lock).dump())
        assert row["holder_pid"] == inside["pid"]
        assert "has left; the holder is told by its stack" in row["note"]

    def test_who_is_gone(self, shop):
        gone = shop.tasks.address.iloc[0] + np.uint64(64)
        row = sweep(with_owner(shop, gone).dump())
        assert row["holder_pid"] is pd.NA
        assert "its holder is gone" in row["note"]

    def test_a_count_that_contradicts_the_owner(self, shop):
        other = shop.waits[shop.waits.comm == "cart"].iloc[0]
        row = sweep(with_owner(shop, other["address"], count=WRITER | WAITERS).dump())
        assert "its count says that a writer holds it, its owner that a reader does" in row["note"]

    def test_a_count_that_contradicts_the_waiters(self, shop):
        other = shop.waits[shop.waits.comm == "cart"].iloc[0]
        assert "its word does not say that anybody waits" not in sweep(shop)["note"]
        row = sweep(with_owner(shop, other["address"], count=0x100).dump())
        assert "its word does not say that anybody waits" in row["note"]

    def test_nobody(self, shop):
        row = sweep(with_owner(shop, 0, count=WAITERS).dump())
        assert row["holder_pid"] is pd.NA
        assert "nobody holds it" in row["note"]


def test_locks_say_how_long_the_longest_has_waited(hung):
    row = hung.locks.iloc[0]
    assert row["longest"] == orders(hung).since.max()


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_only_locks_are_held(opened, name):
    """What begins with a task and zeros looks like a mutex: those of which the type is known are none of them."""
    held = opened(name).locks
    held = held[held.waiters == 0]
    assert held.longest.isna().all()
    assert not held.name.str.contains("cpu_stopper").any()
    assert not ((held.name == "rcu_tasks") | (held.name == "rcu_tasks_rude")).any()


VALUES = (
    0,
    1,
    8,
    0xFFFF_FFFF_FFFF_FFF8,
    0xDEAD_0000_0000_0100,
    1 << 63,
    0x7FFF_FFFF_F000,
    "self",
    "other",
    "random",
)


@pytest.mark.parametrize("seed", range(24))
def test_damage_of_any_kind(shop, seed):
    """Words of locks, waiters and tasks overwritten: no exception, no hang, and every sleeping thread keeps its row."""
    random = np.random.default_rng(seed)
    waits, overlay = shop.waits, Overlay(shop)
    rows = waits[waits.type.isin(["mutex", "rwsem_read", "rwsem_write"])]
    first = [
        int.from_bytes(shop.read(int(lock) + at, 8), "little") for lock in rows.object for at in (16, 24)
    ]
    nodes = [int(lock) for lock in rows.object] + [node for node in first if node > 1 << 63]
    for _ in range(int(random.integers(1, 6))):
        where = int(random.choice(np.array(nodes, dtype=np.uint64))) + 8 * int(random.integers(0, 5))
        value = VALUES[int(random.integers(0, len(VALUES)))]
        made = {"self": where, "other": int(random.choice(np.array(nodes, dtype=np.uint64)))}
        number = int(random.integers(0, 1 << 63)) if value == "random" else made.get(value, value)
        overlay.word(where, number)
    with overlay.dump() as broken:
        assert set(broken.waits.pid) <= set(waits.pid)
        lost = len(waits) - len(broken.waits)
        assert lost == 0 or any("is not known" in problem for problem in broken.waits.attrs["problems"])
        assert repr(broken.waits.graph())
        assert len(broken.locks) >= 0
        assert broken.waits.graph().to_svg()

"""Spinlocks: who spins for which, in what order, and who has it; by a lockup of the lab, and by made queues."""

from __future__ import annotations

import pytest
from conftest import SAMPLES
from support.captures import dumps_in, told
from support.spinning import Spin
from support.truth import Truth

import kernlab

#: A spinlock of kernel/fork.c that all kernels have, and an rwlock.
LOCK, RWLOCK = "mmlist_lock", "tasklist_lock"


@pytest.fixture
def spin(dump):
    return Spin(dump)


def spinning(dump):
    waits = dump.waits
    return waits[waits.type.isin(["spinlock", "rwlock_read", "rwlock_write"])].set_index("pid")


def test_a_queue_of_two(spin, dump):
    """Each CPU's node leads to the next one's, and the lock's word to the last: the lock is known, and the order."""
    lock, first, second = dump.symbol(LOCK), spin.pid(0), spin.pid(1)
    broken = spin.spin(0, lock).spin(1, lock).queue(lock, 1, 0).dump()
    rows = spinning(broken)
    assert set(rows.index) == {first, second}
    assert set(rows.name) == {LOCK}
    assert set(rows.type) == {"spinlock"}
    assert (rows.object == lock).all()
    assert rows.since.isna().all()
    assert rows.note[second].startswith("CPU 1 spins, first in the queue")
    assert rows.note[first].startswith(f"CPU 0 spins behind CPU 1 ({rows.comm[second]} ({second}))")
    assert rows.holder_pid.isna().all()
    assert rows.note.str.contains("a spinlock does not say who holds it: no other CPU runs a thread").all()
    assert broken.locks.set_index("name").loc[LOCK, "waiters"] == 2
    assert broken.waits.attrs["problems"] == dump.waits.attrs["problems"]


def test_paravirtual_queues(spin, dump):
    """The same nodes; the word says that the first in line sleeps until the lock is let go."""
    lock = dump.symbol(LOCK)
    rows = spinning(spin.spin(1, lock, "__pv_queued_spin_lock_slowpath").queue(lock, 1, value=3).dump())
    assert (rows.name.iloc[0], rows.holder_pid.isna().iloc[0]) == (LOCK, True)
    assert rows.note.iloc[0].startswith("CPU 1 spins, first in the queue;")


def test_the_queue_tells_of_a_lock_that_registers_do_not(spin, dump):
    """Who waits behind another waits for the same, wherever it has the lock's address."""
    lock = dump.symbol(LOCK)
    rows = spinning(spin.spin(0, lock, register="r14").spin(1, 0).queue(lock, 1, 0).dump())
    assert (rows.object == lock).all()


def test_words_that_only_look_like_a_lock(spin, dump):
    """The first register leads to something that is held by its word: the queue's end tells which is the lock."""
    lock, other = dump.symbol(LOCK), dump.symbol("init_task")
    spin.word(other, 1).spin(1, other).register(1, "bx", lock).queue(lock, 1)
    assert (spinning(spin.dump()).object == lock).all()


@pytest.mark.parametrize(
    ("value", "note"), [(0x101, "CPU 1 spins, first in line"), (1, "CPU 1 spins"), (3, "CPU 1 spins")]
)
def test_without_a_node(spin, dump, value, note):
    """The first who waits sets a bit and no node; in a virtual machine nobody queues at all."""
    lock = dump.symbol(LOCK)
    rows = spinning(spin.spin(1, lock).word(lock, value).dump())
    assert list(rows.index) == [spin.pid(1)]
    assert rows.name.iloc[0] == LOCK
    assert rows.note.iloc[0].startswith(note + ";")


def test_a_word_that_contradicts(spin, dump):
    lock = dump.symbol(LOCK)
    rows = spinning(spin.spin(1, lock).queue(lock, 1, value=0).dump())
    assert rows.note.iloc[0].startswith("CPU 1 spins, first in the queue; its word says that nobody holds it")


def test_who_has_its_address_and_does_not_wait(spin, dump):
    lock = dump.symbol(LOCK)
    rows = spinning(spin.spin(1, lock).queue(lock, 1).register(0, "r12", lock).dump())
    assert rows.holder_pid.tolist() == [spin.pid(0)]
    assert "told by its registers or stack" in rows.note.iloc[0]


@pytest.mark.parametrize("function", ["queued_write_lock_slowpath", "queued_read_lock_slowpath"])
def test_rwlocks(spin, dump, function):
    """The first in the queue has the spinlock within, and waits for those who have the rwlock."""
    lock = dump.symbol(RWLOCK)
    spin.spin(1, lock, function).word(lock, 2 << 9).word(lock + 4, 1)
    rows = spinning(spin.dump())
    assert rows.type.tolist() == ["rwlock_write" if "write" in function else "rwlock_read"]
    assert rows.name.tolist() == [RWLOCK]


def test_nothing_tells_which_lock(spin):
    rows = spinning(spin.spin(1, 0).dump())
    assert rows.object.isna().all()
    assert "which lock it is, nothing tells" in rows.note.iloc[0]


@pytest.mark.in_turn
class TestDamage:
    """What the queues cannot be costs no row and no exception, and is told."""

    @pytest.mark.parametrize("following", [8, 1 << 63, 0xFFFF_FFFF_FFFF_FFF8, "self", "other"])
    def test_a_node_that_leads_nowhere(self, spin, dump, following):
        lock = dump.symbol(LOCK)
        spin.spin(0, lock).spin(1, lock).queue(lock, 1, 0)
        where = {"self": spin.node(0), "other": spin.node(1)}.get(following, following)
        spin.overlay.set("struct mcs_spinlock", spin.node(0), "next", where)
        broken = spin.dump()
        rows = spinning(broken)
        assert len(rows) == 2
        assert (rows.object.isna() | (rows.object == lock)).all()
        assert rows.note.str.contains("the queue is damaged").any()
        assert any("queues of spinlocks" in problem for problem in broken.waits.attrs["problems"])

    @pytest.mark.parametrize("count", [5, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
    def test_more_nodes_than_there_are(self, spin, dump, count):
        lock = dump.symbol(LOCK)
        spin.spin(1, lock).queue(lock, 1)
        spin.overlay.set("struct mcs_spinlock", spin.node(1), "count", count)
        broken = spin.dump()
        assert len(spinning(broken)) == 1
        assert any("cannot wait for more than 4" in problem for problem in broken.waits.attrs["problems"])

    def test_a_tail_that_nobody_is(self, spin, dump):
        lock = dump.symbol(LOCK)
        rows = spinning(spin.spin(1, lock).spin(0, lock).queue(lock, 1, 0).word(lock, 1 | 1234 << 18).dump())
        assert rows.object.isna().all()

    def test_nodes_that_the_dump_lacks(self, spin, dump):
        lock = dump.symbol(LOCK)
        spin.spin(1, lock).word(lock, 0x101)
        spin.overlay.exclude(*(spin.node(int(cpu)) for cpu in spin.numbers))
        broken = spin.dump()
        assert broken.waits.attrs["problems"]


@pytest.mark.parametrize("folder", told(SAMPLES, "lockup"), ids=lambda folder: folder.name)
def test_the_lockup_of_the_lab(folder):
    """Its story: till holds till_lock on CPU 1 with interrupts off, receipt-1 and receipt-2 spin on CPUs 2 and 3."""
    lines = Truth(folder / "truth.tar.xz").lines("story.txt")
    story = {line.split()[1]: int(line.split("(")[1].partition(")")[0]) for line in lines if "(" in line}
    with kernlab.open(dumps_in(folder)[0]) as dump:
        rows = spinning(dump)
        assert set(rows.index) == {story["receipt-1"], story["receipt-2"]}
        assert set(rows.name) == {"till_lock [kernlab_shop]"}
        assert set(rows.function) == {"receipt_print"}
        assert set(rows.holder_pid) == {story["till"]}
        assert rows.note.str.contains("told by the code of till_open").all()
        assert dump.locks.set_index("name").longest.isna()["till_lock [kernlab_shop]"]
        word = dump.read(dump.symbol("till_lock"), 4)
        # Who came first sets a bit, who comes behind it queues; where a CPU says that it is virtual nobody does either.
        queued = bytes([1, 1]) + ((3 + 1) << 2).to_bytes(2, "little")
        assert word == queued or (word == bytes([1, 0, 0, 0]) and folder.parent != SAMPLES)
        if word == queued:
            first, second = (rows.note[story[name]] for name in ("receipt-1", "receipt-2"))
            assert first.startswith("CPU 2 spins, first in line;")
            behind = f"CPU 2 (receipt-1 ({story['receipt-1']}))"
            assert second.startswith(f"CPU 3 spins behind {behind}, first in the queue;")

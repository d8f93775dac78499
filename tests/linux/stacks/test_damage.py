"""Damaged stacks, tables and pointers: what is still known is told, nothing is made up, nothing goes on for ever."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay

import kernlab
from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.kinds import FrameKind
from kernlab.linux.stacks.orc_tables import orc_tables
from kernlab.linux.stacks.unwind import Unwound, unwound


@pytest.fixture(scope="module")
def dump(opened):
    return opened("debian-6.1")


def frames_by_thread(found: Unwound) -> dict[int, list[tuple[int, int]]]:
    """Each thread's reliable frames: where it is and on which place of the stack, by the task's address."""
    stacks: dict[int, list[tuple[int, int]]] = {address: [] for address in found.task.addresses.tolist()}
    addresses = found.task.addresses[found.thread].tolist()
    for task, ip, sp, reliable in zip(
        addresses, found.ip.tolist(), found.sp.tolist(), found.reliable.tolist(), strict=True
    ):
        if reliable:
            stacks[task].append((ip, sp))
    return stacks


def hold_to(broken: kernlab.Dump, dump: kernlab.Dump, *hit: int) -> Unwound:
    """Stacks of a damaged dump: reliable frames are the first of the true ones, and all of the threads not hit."""
    found, true = unwound(broken.kernel), frames_by_thread(unwound(dump.kernel))
    for task, frames in frames_by_thread(found).items():
        assert frames == true[task][: len(frames)]
        if task not in hit:
            assert frames == true[task]
    return found


@pytest.fixture(scope="module")
def sleeper(dump) -> tuple[int, int]:
    """A thread that sleeps with a deep stack: its row and address."""
    found = unwound(dump.kernel)
    depth = np.bincount(found.thread[found.cpu < 0], minlength=len(found.task))
    row = int(depth.argmax())
    return row, int(found.task.addresses[row])


@pytest.mark.parametrize("value", [0, 1, 0xFFFF_FFFF_FFFF_FFF8, 0xDEAD_0000_0000_0000])
def test_a_saved_stack_pointer_that_is_wrong(dump, sleeper, value):
    row, task = sleeper
    with Overlay(dump).set("struct task_struct", task, "thread.sp", value).dump() as broken:
        found = hold_to(broken, dump, task)
        assert found.why[row]


@pytest.mark.parametrize("off", [8, 56, 400])
def test_a_saved_stack_pointer_that_leads_elsewhere_on_the_stack(dump, sleeper, off):
    row, task = sleeper
    sp = int(dump.struct("task_struct", task)["thread.sp"])
    with Overlay(dump).set("struct task_struct", task, "thread.sp", sp + off).dump() as broken:
        found = hold_to(broken, dump, task)
        assert found.why[row]


def test_a_stack_whose_page_is_lost(dump, sleeper):
    row, task = sleeper
    found = unwound(dump.kernel)
    sp = found.sp[found.thread == row]
    page = int(sp[-1]) & ~0xFFF
    with Overlay(dump).exclude(page).dump() as broken:
        assert hold_to(broken, dump, task).why[row]


def test_a_stack_of_interrupts_that_leads_back_to_itself(opened):
    """Of a CPU that was in a softirq: all that leads out of it leads to a place on it."""
    dump = opened("debian-5.10")
    found = unwound(dump.kernel)
    rows = np.flatnonzero(np.isin(found.kind, (FrameKind.IRQ, FrameKind.SOFTIRQ)))
    on_irq = rows[found.sp[rows] - found.sp[rows[0]] < 1 << 14]
    last, row = int(found.sp[on_irq[-1]]), int(found.thread[rows[0]])
    task = int(found.task.addresses[row])
    stacks = find_stacks(dump.kernel)
    end = int(stacks.end[stacks.find(found.sp[on_irq[-1:]])[0]])
    begin = int(found.sp[rows[0]])
    slots = np.arange(begin, end, 8, dtype=np.uint64)
    words, own = dump.kernel.words(slots)[0], stacks.find(found.sp[found.thread == row][-1:])[0]
    ways_out = slots[(words >= stacks.start[own]) & (words <= stacks.end[own])].tolist()
    assert ways_out
    for target in (begin, last, last + 8):
        overlay = Overlay(dump)
        for at in ways_out:
            overlay.word(at, target)
        with overlay.dump() as broken:
            damaged = hold_to(broken, dump, task)
            assert damaged.why[row]
            assert len(frames_by_thread(damaged)[task]) < len(frames_by_thread(found)[task])


def test_kinds_of_a_cpu_that_was_in_a_softirq(opened):
    """What handles softirqs and what it called, the interrupt around it, and the idle loop that it interrupted."""
    dump = opened("debian-5.10")
    found = unwound(dump.kernel)
    row = found.thread[np.flatnonzero(found.kind == FrameKind.SOFTIRQ)[0]]
    mine = np.flatnonzero(found.thread == row)
    names = dump.kernel.symbolize(found.ip[mine], ~found.exact[mine])
    handles = next(at for at, name in enumerate(names) if name.startswith("__do_softirq+"))
    entry = next(at for at, name in enumerate(names) if name.startswith("asm_sysvec_"))
    expected = [FrameKind.SOFTIRQ] * (handles + 1) + [FrameKind.IRQ] * (entry - handles)
    assert found.kind[mine].tolist() == expected + [FrameKind.IDLE] * (len(mine) - entry - 1)
    assert np.flatnonzero(found.regs[mine]).tolist() == [entry + 1]


@pytest.mark.parametrize("symbol", ["__start_orc_unwind_ip", "__start_orc_unwind"])
def test_entries_that_are_lost_are_not_covered_by_those_before_them(dump, symbol):
    kernel, table = dump.kernel, orc_tables(dump.kernel)
    size = 4 if symbol.endswith("_ip") else 6
    start = kernel.symbol(symbol)
    page = (start + size * 150_000) & ~0xFFF
    with Overlay(dump).exclude(page).dump() as broken:
        # Between the last entry before the page and the first behind it nothing is known.
        before, behind = -(-(page - start) // size) - 2, -(-(page + 4096 - start) // size)
        ends = kernel.symbol("__start_orc_unwind_ip") + 4 * np.array([before, behind], dtype=np.uint64)
        distances = kernel.words(ends, 4)[0].astype(np.uint32).view(np.int32).astype(np.int64)
        first, last = (ends + distances.view(np.uint64)).tolist()
        within = np.arange(first + 16, last, 7, dtype=np.uint64)
        with broken.kernel.scope("test") as told:
            damaged = orc_tables(broken.kernel)
        assert any("ORC tables" in loss for loss in told.losses)
        assert table.at(within).kind.any()
        assert not damaged.at(within).kind.any()
        around = np.concatenate([np.arange(first - 9000, first - 600, 5), np.arange(last, last + 9000, 5)])
        for name in ("kind", "sp_base", "sp_offset", "bp_base", "bp_offset", "signal"):
            ours, theirs = (getattr(each.at(around.astype(np.uint64)), name) for each in (damaged, table))
            assert (ours == theirs).all()
        hold_to(broken, dump, *unwound(dump.kernel).task.addresses.tolist())


@pytest.fixture(scope="module", params=["debian-5.10", "lockup"])
def interrupted(request, opened):
    """A dump with threads that were interrupted."""
    if request.param != "lockup":
        yield opened(request.param)
        return
    with kernlab.open(kernlab.sample("lockup")) as dump:
        yield dump


def test_what_was_interrupted_was_code(interrupted):
    """Where it was none, nothing from there on is sure, but after a fault at fetching it: a call of NULL."""
    dump = interrupted
    found = unwound(dump.kernel)
    at = int(np.flatnonzero(found.regs != 0)[0])
    regs, thread = int(found.regs[at]), found.thread[at]
    before = int((found.thread[:at] == thread).sum())
    overlay = Overlay(dump).set("struct pt_regs", regs, "ip", 163)
    with overlay.dump() as broken:
        rows = unwound(broken.kernel)
        mine = rows.thread == thread
        assert rows.ip[mine][before] == 163
        assert rows.reliable[mine][:before].all()
        assert not rows.reliable[mine][before:].any()
    with overlay.set("struct pt_regs", regs, "orig_ax", 0x10).dump() as broken:
        rows = unwound(broken.kernel)
        assert rows.reliable[rows.thread == thread][: before + 1].all()


def test_stacks_that_two_threads_have_or_none_can(dump):
    """Who claims another's, or a place within a page, has none; nobody else's stack is called theirs."""
    task = unwound(dump.kernel).task
    asleep = np.flatnonzero((task["on_cpu"] == 0).true)[-3:]
    odd, thief, victim = task.addresses[asleep].tolist()
    theirs = int(dump.struct("task_struct", victim)["stack"])
    overlay = Overlay(dump).set("struct task_struct", odd, "stack", theirs + 0x308)
    with overlay.set("struct task_struct", thief, "stack", theirs).dump() as broken:
        with broken.kernel.scope("test") as told:
            stacks = find_stacks(broken.kernel)
        assert not np.isin(stacks.owner[stacks.kind == 0], asleep).any()
        for said in (
            "stacks of threads begin where none can",
            "stacks are said to be of more than one thread",
        ):
            assert any(said in loss for loss in told.losses), told.losses
        hold_to(broken, dump, odd, thief, victim)

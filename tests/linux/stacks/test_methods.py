"""Which unwinder a kernel has, told by its own data; and stacks of which none leads on, or not to the end."""

from __future__ import annotations

import numpy as np
import pytest
from support.absent import Absence
from support.overlay import Overlay

from kernlab.linux.stacks.frame_pointers import FramePointerUnwinder
from kernlab.linux.stacks.methods import keeps_frame_pointers, unwinder_of
from kernlab.linux.stacks.orc import OrcUnwinder
from kernlab.linux.stacks.unwind import unwound

#: What goes with CONFIG_UNWINDER_ORC (kernel/vmlinux.lds.h, ORC_UNWIND_TABLE).
NO_ORC = Absence(
    symbols=("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind"),
    types=("struct orc_entry",),
)
FRAME = bytes.fromhex("f30f1efa 0f1f440000 55 4889e5 90 90 90".replace(" ", ""))
FUNCTIONS = ("schedule", "do_exit", "wake_up_process", "kthread_create_on_node", "schedule_timeout")


def test_debians_kernels_have_orc(dump):
    assert isinstance(unwinder_of(dump.kernel), OrcUnwinder)
    assert not keeps_frame_pointers(dump.kernel)


def test_a_kernel_without_tables_whose_functions_keep_frame_pointers(opened):
    below = opened("debian-6.12")
    overlay = Overlay(below)
    for name in FUNCTIONS:
        overlay.write(below.kernel.symbol(name), FRAME)
    dump = NO_ORC.of(overlay.dump())
    assert keeps_frame_pointers(dump.kernel)
    assert isinstance(unwinder_of(dump.kernel), FramePointerUnwinder)


def test_its_functions_are_not_in_the_dump(opened):
    """Its kind is not known: what no frame pointer leads to is not called reliable anyway."""
    below = opened("debian-6.12")
    overlay = Overlay(below)
    for name in FUNCTIONS:
        overlay.exclude(below.kernel.symbol(name) & ~4095)
    assert isinstance(unwinder_of(NO_ORC.of(overlay.dump()).kernel), FramePointerUnwinder)


@pytest.fixture(scope="module")
def without(opened):
    """6.12 as a kernel that has neither tables nor frame pointers (CONFIG_UNWINDER_GUESS)."""
    return NO_ORC.of(opened("debian-6.12"))


def test_a_kernel_that_has_neither_is_guessed_and_told(without, opened):
    with without.kernel.scope("stacks") as k:
        assert unwinder_of(without.kernel) is None
        guessed = unwound(without.kernel)
    assert any("neither ORC tables nor frame pointers" in loss for loss in k.losses)
    # Where a thread was switched from is sure, all else is not.
    assert (guessed.reliable == (guessed.frame == 0)).all()
    sure = unwound(opened("debian-6.12").kernel)
    assert (sure.task.addresses == guessed.task.addresses).all()
    found = set(zip(guessed.thread.tolist(), guessed.ip.tolist(), guessed.sp.tolist(), strict=True))
    init = [without.kernel.symbol(f"{edge}inittext") for edge in ("_s", "_e")]
    plain = ~sure.exact & ((sure.ip < init[0]) | (sure.ip >= init[1]))
    frames = zip(sure.thread[plain].tolist(), sure.ip[plain].tolist(), sure.sp[plain].tolist(), strict=True)
    assert [frame for frame in frames if frame not in found] == []


def test_tables_that_cannot_be_read_are_not_taken_for_frame_pointers(opened):
    below = opened("debian-6.12")
    overlay = Overlay(below)
    start, stop = (below.kernel.symbol(f"__{edge}_orc_unwind_ip") for edge in ("start", "stop"))
    for page in range(start & ~4095, stop, 4096):
        overlay.lose(page)
    dump = overlay.dump()
    with dump.kernel.scope("stacks") as k:
        found = unwound(dump.kernel)
    assert k.losses
    assert found.reliable.sum() <= len(found.task)
    assert len(found) > len(found.task)


def test_behind_where_a_stack_cannot_be_followed_the_rest_is_guessed(opened):
    """A saved return address that is overwritten by one of no function: up to there the frames are the same."""
    below = opened("debian-6.12")
    sure = unwound(below.kernel)
    thread = int(np.bincount(sure.thread[sure.cpu < 0]).argmax())
    rows = np.flatnonzero(sure.thread == thread)
    assert len(rows) > 6
    overlay = Overlay(below)
    overlay.word(int(sure.sp[rows[3]]) - 8, below.kernel.symbol("init_task"))
    found = unwound(overlay.dump().kernel)
    mine = np.flatnonzero(found.thread == thread)
    assert thread in found.why
    assert (np.diff(mine) == 1).all()
    assert found.frame[mine].tolist() == list(range(len(mine)))
    reliable = found.reliable[mine]
    assert found.ip[mine][:3].tolist() == sure.ip[rows][:3].tolist()
    assert reliable[:3].all()
    assert not reliable[4:].any()
    rest = set(found.ip[mine][~reliable].tolist())
    assert set(sure.ip[rows][4:].tolist()) <= rest
    others = found.thread != thread
    assert (found.ip[others] == sure.ip[sure.thread != thread]).all()

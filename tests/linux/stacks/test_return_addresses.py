"""Return addresses that no call left: overwritten ones end the stack; true ones stay whatever stands before them."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.code import behind_call, is_return_address
from kernlab.linux.stacks.unwind import Unwound, unwound

#: Padding between functions: what begins behind it was never returned to.
_PADDING = (0x90, 0xCC)


def returned_to(dump) -> tuple[Unwound, np.ndarray]:
    """All stacks, and their frames that somebody returns to by a word on the stack of a thread that sleeps."""
    found = unwound(dump.kernel)
    plain = (found.frame > 0) & ~found.exact & (found.regs == 0) & (found.cpu < 0)
    return found, np.flatnonzero(plain)


def one_of_each_thread(found: Unwound, rows: np.ndarray) -> np.ndarray:
    """One of the rows of each thread, at another depth each."""
    first = np.flatnonzero(np.diff(found.thread[rows], prepend=-1))
    count = np.diff(np.append(first, len(rows)))
    return rows[first + np.arange(len(first)) * 7 % count]


def function_starts(dump) -> np.ndarray:
    """Functions that padding comes before."""
    kernel = dump.kernel
    edges = [kernel.symbol(name) for name in ("_stext", "_etext")]
    starts = np.unique(kernel.symbols.addresses)
    starts = starts[(starts > edges[0]) & (starts < edges[1])]
    before, status = kernel.gather(starts - np.uint64(1), 1)
    return starts[(status == 0) & np.isin(before[:, 0], _PADDING)]


def wrong_words(dump, kind: str, count: int) -> np.ndarray:
    kernel = dump.kernel
    if kind == "the start of a function":
        starts = function_starts(dump)
        return starts[np.arange(count) * 101 % len(starts)]
    if kind == "the first instruction's second byte":
        return wrong_words(dump, "the start of a function", count) + np.uint64(1)
    word = {
        "data": kernel.symbol("init_task"),
        "NULL": 0,
        "a number": 0x1234,
        "a program's": 0x7F00_0000_1234,
        "a stack": int(find_stacks(kernel).start[0]) + 64,
        "no address": 0xDEAD_0000_0000_0000,
    }[kind]
    return np.full(count, word, dtype=np.uint64)


@pytest.mark.in_turn
@pytest.mark.parametrize(
    "kind",
    [
        "the start of a function",
        "the first instruction's second byte",
        "data",
        "NULL",
        "a number",
        "a program's",
        "a stack",
        "no address",
    ],
)
def test_a_frame_whose_return_address_no_call_left_is_not_reliable(dump, kind):
    """In each thread that sleeps one is overwritten: what lies within it stays, nothing of the rest is reliable."""
    true, rows = returned_to(dump)
    rows = one_of_each_thread(true, rows)
    assert len(rows) > 50
    overlay = Overlay(dump)
    for row, word in zip(rows.tolist(), wrong_words(dump, kind, len(rows)).tolist(), strict=True):
        overlay.word(int(true.sp[row]) - 8, word)
    with overlay.dump() as broken:
        found = unwound(broken.kernel)
    assert set(found.why) == set(true.thread[rows].tolist())
    assert all("behind no call" in why for why in found.why.values())
    for row in rows.tolist():
        before = np.flatnonzero((true.thread == true.thread[row]) & (true.frame < true.frame[row]))
        mine = np.flatnonzero(found.thread == true.thread[row])
        sure = mine[found.reliable[mine]]
        assert found.ip[sure].tolist() == true.ip[before].tolist()
        assert found.sp[sure].tolist() == true.sp[before].tolist()


def test_a_saved_return_address_within_the_scheduler_that_no_call_left(dump):
    """Where a thread was switched from: its neighbour in the same function."""
    true = unwound(dump.kernel)
    rows = np.flatnonzero((true.frame == 0) & (true.cpu < 0) & ~true.exact)
    size = dump.kernel.find_type("struct inactive_task_frame").size
    overlay = Overlay(dump)
    for row in rows.tolist():
        overlay.word(int(true.sp[row]) - 8, int(true.ip[row]) + 1)
        task = int(true.task.addresses[true.thread[row]])
        assert int(true.sp[row]) == int(dump.struct("task_struct", task)["thread.sp"]) + size
    with overlay.dump() as broken:
        found = unwound(broken.kernel)
    hit = np.isin(found.thread, true.thread[rows])
    assert set(found.why) == set(true.thread[rows].tolist())
    assert not found.reliable[hit].any()


@pytest.mark.in_turn
@pytest.mark.parametrize(
    "patched",
    [
        b"\x0f\x1f\x44\0\0",  # a static call that calls nothing now, or ftrace's where nobody traces now
        b"\x66\x66\x66\x66\x90",  # the same, before v5.13 on the first CPUs of 64 bits
        b"\x2e\x2e\x2e\x31\xc0",  # one that returns 0 now
        b"\x66\x66\x48\x31\xc0",  # the same in older kernels
        b"\xcc",  # a probe of the call itself
    ],
    ids=lambda data: data.hex(),
)
def test_calls_that_were_patched_while_somebody_was_in_them(dump, patched):
    """The threads sleep on: their stacks are what they were."""
    true, rows = returned_to(dump)
    code, status = dump.kernel.gather(true.ip[rows] - np.uint64(5), 5)
    calls = np.unique(true.ip[rows[(status == 0) & (code[:, 0] == 0xE8)]]) - np.uint64(5)
    assert len(calls) > 20
    overlay = Overlay(dump)
    for call in calls.tolist():
        overlay.write(call, patched)
    with overlay.dump() as broken:
        assert not behind_call(broken.kernel, calls + np.uint64(5))[0].any()
        same(unwound(broken.kernel), true)


def test_indirect_calls_that_are_probed(dump):
    true, rows = returned_to(dump)
    code, status = dump.kernel.gather(true.ip[rows] - np.uint64(2), 2)
    through = (status == 0) & (code[:, 0] == 0xFF) & (code[:, 1] & 0xF8 == 0xD0)
    overlay = Overlay(dump)
    for address in np.unique(true.ip[rows[through]]).tolist():
        overlay.write(address - 2, b"\xcc")
    with overlay.dump() as broken:
        same(unwound(broken.kernel), true)


def test_where_the_dump_lacks_the_code_nothing_is_denied(dump):
    true = unwound(dump.kernel)
    overlay = Overlay(dump)
    first, last = (dump.kernel.symbol(name) for name in ("_stext", "_etext"))
    overlay.exclude(*range(first & ~0xFFF, last, 0x1000))
    with overlay.dump() as broken:
        found = unwound(broken.kernel)
        asleep, theirs = found.cpu < 0, true.cpu < 0
        assert (found.ip[asleep] == true.ip[theirs]).all()
        assert (found.reliable[asleep] == true.reliable[theirs]).all()
        # What lies in no code is none even so.
        data = np.array([dump.kernel.symbol("init_task")], dtype=np.uint64)
        assert not is_return_address(broken.kernel, data).any()


def test_a_call_of_a_thunk_that_nothing_lists(opened):
    """Thunks against ITS lie on pages behind the image that are mapped, and are no module's code."""
    dump = opened("debian-6.12")
    true, rows = returned_to(dump)
    back = np.unique(true.ip[rows])[:1]
    number = dump.kernel.types.enumerator("MOD_RODATA")
    module = dump.struct("module", int(dump.modules["address"].iloc[0]))
    page = int(module[f"mem[{number}].base"])
    for target, leads in ((page, True), (page + (1 << 29), False)):
        distance = (target - int(back[0])) % (1 << 32)
        data = b"\xe8" + distance.to_bytes(4, "little")
        with Overlay(dump).write(int(back[0]) - 5, data).dump() as patched:
            assert behind_call(patched.kernel, back)[0][0] == leads
            assert is_return_address(patched.kernel, back)[0] == leads


def test_frames_of_what_ran_at_boot_stay(dump):
    """Its code is gone, other things lie there by now; the first idle thread returns to it."""
    true = unwound(dump.kernel)
    start, end = (dump.kernel.symbol(name) for name in ("_sinittext", "_einittext"))
    rows = np.flatnonzero((true.ip > start) & (true.ip < end))
    assert not behind_call(dump.kernel, true.ip[rows])[1].any()
    assert set(true.task["pid"].values[true.thread[rows]].tolist()) == {0}
    assert true.reliable[rows].all()


def same(found: Unwound, true: Unwound) -> None:
    for name in ("thread", "ip", "sp", "reliable"):
        assert (getattr(found, name) == getattr(true, name)).all(), name
    assert found.why == true.why

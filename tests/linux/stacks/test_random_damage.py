"""Stacks, saved pointers and unwind tables overwritten at random: it comes to an end, nothing is raised, and no frame
is called reliable that is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from linux.stacks.test_damage import frames_by_thread, hold_to
from linux.stacks.test_return_addresses import function_starts
from support.overlay import Overlay

from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.code import behind_call
from kernlab.linux.stacks.unwind import unwound
from kernlab.linux.tasks import find_tasks

#: Without shrinking: each example reads all stacks of a dump.
EXAMPLES = settings(
    max_examples=5,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NUMBER = st.integers(0, (1 << 64) - 1)
#: What a word becomes: by its kind, and one of those that there are.
WORD = st.tuples(st.sampled_from(("any", "small", "function", "data", "stack", "own stack")), NUMBER)


@pytest.fixture(scope="module", params=["debian-5.10", "debian-7.2"])
def dump(request, opened):
    return opened(request.param)


@pytest.fixture(scope="module")
def one(opened):
    return opened("debian-6.12")


@pytest.fixture(scope="module")
def chosen(dump) -> Callable[[tuple[str, int], int], int]:
    """`chosen(word, near)`: a word of that kind; those of the own stack lie around `near`."""
    starts, stacks = function_starts(dump), find_stacks(dump.kernel)
    data = [dump.symbol(name) for name in ("init_task", "jiffies", "runqueues")]

    def word(what: tuple[str, int], near: int) -> int:
        kind, number = what
        if kind == "function":
            return int(starts[number % len(starts)])
        if kind == "data":
            return data[number % len(data)]
        if kind == "stack":
            row = number % len(stacks.start)
            return int(stacks.start[row]) + number % 2048 * 8
        if kind == "own stack":
            return (near & ~0x3FFF) + number % 2048 * 8
        return number % 4096 if kind == "small" else number

    return word


@EXAMPLES
@given(damage=st.lists(st.tuples(NUMBER, st.integers(-4, 40), WORD), min_size=60, max_size=200))
def test_words_of_stacks(dump, chosen, damage):
    """Any words of the stacks of threads that sleep and of those that ran."""
    found = unwound(dump.kernel)
    overlay, hit = Overlay(dump), set()
    for where, off, what in damage:
        row = where % len(found)
        at = int(found.sp[row]) - 8 + 8 * off
        if int(find_stacks(dump.kernel).find(np.array([at], dtype=np.uint64))[0]) < 0:
            continue
        overlay.word(at, chosen(what, at))
        hit.add(int(found.task.addresses[found.thread[row]]))
    with overlay.dump() as broken:
        # A CPU's stacks are those of whoever ran there.
        hold_to(broken, dump, *hit, *found.task.addresses[found.thread[found.cpu >= 0]].tolist())


@EXAMPLES
@given(
    damage=st.lists(
        st.tuples(NUMBER, st.sampled_from(("thread.sp", "stack")), WORD), min_size=10, max_size=40
    )
)
def test_saved_pointers(dump, chosen, damage):
    """Where threads left their stacks, and where these lie: in other threads' stacks, in their own, nowhere."""
    task = find_tasks(dump.kernel)
    overlay, hit = Overlay(dump), set()
    for where, member, what in damage:
        address = int(task.addresses[where % len(task)])
        near = int(dump.struct("task_struct", address)["stack"])
        overlay.set("struct task_struct", address, member, chosen(what, near))
        hit.add(address)
    with overlay.dump() as broken:
        # Who claims another's stack may take it.
        hold_to(broken, dump, *task.addresses.tolist())


@EXAMPLES
@given(
    damage=st.lists(
        st.tuples(
            st.sampled_from(("__start_orc_unwind_ip", "__start_orc_unwind")),
            st.integers(0, 1 << 20),
            st.sampled_from((2, 4, 8, 64)),
            NUMBER,
        ),
        min_size=20,
        max_size=200,
    )
)
def test_orc_tables(dump, damage):
    """Addresses out of order or beyond the code; entries of registers and kinds that there are not, and any offsets."""
    kernel, overlay = dump.kernel, Overlay(dump)
    stop = kernel.symbol("__stop_orc_unwind_ip") - kernel.symbol("__start_orc_unwind_ip")
    for symbol, where, size, value in damage:
        room = stop if symbol.endswith("_ip") else stop // 4 * 6
        data = (value.to_bytes(8, "little") * 8)[:size]
        overlay.write(kernel.symbol(symbol) + where % (room - size), data)
    with overlay.dump() as broken:
        check_against_code(broken, dump)


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x55", b"\x25\x02"], ids=lambda data: data.hex())
@pytest.mark.parametrize("symbol", ["__start_orc_unwind_ip", "__start_orc_unwind"])
def test_tables_of_one_value(one, symbol, fill):
    kernel = one.kernel
    count = (kernel.symbol("__stop_orc_unwind_ip") - kernel.symbol("__start_orc_unwind_ip")) // 4
    size = count * (4 if symbol.endswith("_ip") else 6)
    with Overlay(one).write(kernel.symbol(symbol), fill * (size // len(fill))).dump() as broken:
        check_against_code(broken, one)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("arch.num_orcs", 0xFFFF_FFFF),
        ("arch.num_orcs", 1 << 20),
        ("arch.num_orcs", 1),
        ("arch.orc_unwind", 8),
        ("arch.orc_unwind_ip", 0xDEAD_0000_0000_0000),
        ("arch.orc_unwind", 0xFFFF_FFFF_FFFF_FFFE),
    ],
)
def test_tables_of_modules(one, member, value):
    overlay = Overlay(one)
    for address in one.modules["address"].tolist():
        overlay.set("struct module", int(address), member, value)
    with overlay.dump() as broken, broken.kernel.scope("test") as told:
        found = unwound(broken.kernel)
        check_against_code(broken, one)
    # More entries than a module has room for are neither read nor asked for one by one.
    if member == "arch.num_orcs" and value > 1:
        assert any("ORC table" in loss and f"{value:,}" in loss for loss in told.losses)
    assert len(found.task) == len(unwound(one.kernel).task)


def check_against_code(broken, dump) -> None:
    """With other tables another word of a stack may be taken for the return address, but none that no call left."""
    found, true = unwound(broken.kernel), frames_by_thread(unwound(dump.kernel))
    assert len(found.task) == len(true)
    returns = found.reliable & (found.frame > 0) & ~found.exact & (found.regs == 0)
    addresses = np.unique(found.ip[returns])
    called, known = behind_call(dump.kernel, addresses)
    assert (called | ~known).all()
    for thread, why in found.why.items():
        mine = found.thread == thread
        assert why
        # Behind where a stack could not be followed nothing is sure.
        assert not np.any(np.diff(found.reliable[mine].astype(np.int8)) > 0)

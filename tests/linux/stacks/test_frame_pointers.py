"""Unwinding by frame pointers on x86-64, on stacks whose frames are known, and on damaged ones."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stack_machine import BASE, REGS, STACK, Machine, return_addresses, steps

from kernlab.linux.stacks.frame_pointers import FramePointerUnwinder, setup_of

IRQ, EXCEPTION, NMI, ANOTHER_THREADS = 1, 2, 3, 4


@pytest.fixture(scope="module")
def kernel(opened):
    return opened("debian-6.12").kernel


@pytest.fixture(scope="module")
def code(kernel):
    return return_addresses(kernel)


def unwind(machine, frames=None):
    frames = frames if frames is not None else machine.frames()
    return steps(FramePointerUnwinder(machine.kernel), frames), frames


def whole(machine):
    """The frames are what they should be, and the end is an end."""
    found, frames = unwind(machine)
    assert found == machine.expected
    assert frames.why == {}
    return frames


def test_a_task_that_sleeps_in_a_system_call(kernel, code):
    machine = Machine(kernel).enter()
    for number, address in enumerate(code[:9]):
        machine.call(address, locals_=number)
    frames = whole(machine)
    assert frames.user[0] == machine.top


def test_a_kernel_thread_came_from_nowhere(kernel, code):
    frames = whole(Machine(kernel).call(code[0]).call(code[1]).call(code[2]))
    assert frames.user[0] == 0


def test_what_was_interrupted_is_shown_with_its_registers(kernel, code):
    machine = (
        Machine(kernel).enter().call(code[0]).call(code[1], 3).interrupt(code[2]).call(code[3]).call(code[4])
    )
    frames = whole(machine)
    assert [regs != 0 for _, _, regs in machine.expected] == [False, False, True, False, False]
    assert frames.user[0] == machine.top


def test_interrupt_and_nmi_stacks_are_crossed(kernel, code):
    machine = Machine(kernel).enter().call(code[0]).call(code[1]).interrupt(code[2]).call(code[3])
    machine.to_stack(IRQ).call(code[4]).call(code[5], 2).interrupt(code[6], on=NMI).call(code[7]).call(
        code[8]
    )
    whole(machine)


def test_an_interrupt_of_user_mode(kernel, code):
    machine = Machine(kernel).enter()
    machine.bp = machine.top | 1
    frames = whole(machine.call(code[0]).call(code[1]))
    assert frames.user[0] == machine.top


def test_a_thread_that_never_ran(kernel):
    """copy_thread: it returns to ret_from_fork, and its frame pointer is that of its registers, which are empty."""
    machine = Machine(kernel)
    start = kernel.symbol("ret_from_fork_asm")
    for on_top in (machine.top, machine.top - 64):
        # Were it not at the end by its stack pointer, it would be by the registers.
        frames = machine.frames_at(start, on_top, machine.top | 1, exact=True, on_cpu=False)
        found, frames = unwind(machine, frames)
        assert [ip for ip, _, _ in found] == [start]
        assert (frames.why, frames.user[0]) == ({}, 0)


def test_the_last_frame_of_a_function_that_aligned_its_stack(kernel, code):
    """x86_64_start_kernel: GCC pushes the return address twice."""
    machine = Machine(kernel)
    machine.push(code[0])
    machine.call(code[0]).call(code[1]).call(code[2])
    whole(machine)


def test_the_last_frame_where_ftrace_is_at_work(kernel, code):
    """is_last_ftrace_frame: bp, parent, bp, function, parent, registers."""
    machine = Machine(kernel)
    parent, function = code[:2]
    machine.push(parent)
    machine.push(function)
    machine.push(0)
    machine.call(parent).call(function).call(code[2])
    whole(machine)


def test_a_call_that_led_nowhere(kernel, code):
    machine = Machine(kernel).enter().call(code[0]).call(code[1], 2)
    machine._left.append((code[2], machine.sp, 0))
    machine.push(code[2])
    machine.exact_ip = 0xDEAD
    whole(machine)


@pytest.mark.parametrize("between", [b"", b"\x31\xd2"])
@pytest.mark.parametrize("pushed", [False, True])
def test_interrupted_in_a_functions_first_instructions(kernel, code, pushed, between, monkeypatch):
    """The kernel passes over the caller: the frame pointer is still its."""
    machine = Machine(kernel).enter().call(code[0]).call(code[1], 2)
    start = kernel.symbol("schedule")
    begins = b"\xf3\x0f\x1e\xfa" + b"\x0f\x1f\x44\x00\x00" + b"\x55" + between + b"\x48\x89\xe5\x90\x90\x90"
    gather = machine.kernel.gather

    def patched(addresses, size, what=""):
        rows, status = gather(addresses, size, what)
        for row, address in enumerate(np.asarray(addresses, dtype=np.uint64).tolist()):
            for at in range(max(start, address), min(start + len(begins), address + size)):
                rows[row, at - address] = begins[at - start]
        return rows, status

    monkeypatch.setattr(machine.kernel, "gather", patched)
    machine._left.append((code[2], machine.sp, 0))
    machine.push(code[2])
    if pushed:
        machine.push(machine.bp)
    for offset in {10, 10 + len(between)} if pushed else [0, 4, 9]:
        machine.exact_ip = start + offset
        whole(machine)


def test_interrupted_at_a_return(kernel, code):
    start = kernel.symbol("schedule")
    text = kernel.read(start, 4096)
    machine = Machine(kernel).enter().call(code[0]).call(code[1], 2)
    machine._left.append((code[2], machine.sp, 0))
    machine.push(code[2])
    thunk = kernel.symbol("__x86_return_thunk")
    jumps = [
        start + at
        for at in range(len(text) - 5)
        if text[at] == 0xE9
        and start + at + 5 + int.from_bytes(text[at + 1 : at + 5], "little", signed=True) == thunk
    ]
    returns = [start + at for at in range(32, len(text)) if text[at - 1 : at + 1] == b"\x5d\xc3"]
    assert jumps or returns
    machine.exact_ip = (jumps or returns)[0]
    whole(machine)


def test_where_a_function_pushes_the_frame_pointer():
    """The last three as a kernel has them that GCC 12 built: an ENDBR that nothing leads to is overwritten, and
    instructions stand between the two."""
    endbr, nop, setup = b"\xf3\x0f\x1e\xfa", b"\x0f\x1f\x44\0\0", b"\x55\x48\x89\xe5"
    for begins, at in (
        (setup, (0, 1)),
        (endbr + setup, (4, 5)),
        (nop + setup, (5, 6)),
        (endbr + b"\xe8\1\2\3\4" + setup, (9, 10)),
        (endbr + nop + b"\x41\x57", None),
        (b"\x55\x53", None),
        (bytes.fromhex("660f1f00 0f1f440000 55 4889e5 4157"), (9, 10)),
        (bytes.fromhex("f30f1efa 0f1f440000 55 b906000000 4889e5 415541544c"), (9, 15)),
        (bytes.fromhex("f30f1efa 0f1f440000 55 31d2be03000000 4889e5 e817"), (9, 17)),
    ):
        assert setup_of(begins + b"\x90" * 8) == at


# How a chain may be damaged, and what is said of it.


def damaged(machine, why, frames=None):
    found, frames = unwind(machine, frames)
    assert why in frames.why[0]
    assert found == machine.expected[: len(found)], "a frame that is not there was called reliable"
    return found


def record_of(machine, number):
    """Where the record lies that leads from frame `number` on."""
    bp = machine.load(machine.bp)
    for _ in range(number):
        bp = machine.load(bp)
    return bp


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (lambda m, at: at, "does not lie above"),
        (lambda m, at: at - 64, "does not lie above"),
        (lambda m, at: at + 24 + 4, "not aligned"),
        (lambda m, at: 0, "no stack of its own"),
        (lambda m, at: (1 << 64) - 8, "no stack of its own"),
        (lambda m, at: m.ends[0], "no stack of its own"),
        (lambda m, at: m.ends[0] - 8, "no stack of its own"),
        (lambda m, at: m.ends[ANOTHER_THREADS] - 256, "no stack of its own"),
        (lambda m, at: (at - 512) | 1, "do not lie above"),
        (lambda m, at: (at + 64) | 1, "not saved registers"),
        (lambda m, at: (m.ends[0] - 64) | 1, "no stack of its own"),
        (lambda m, at: m.ends[EXCEPTION] - 128, "behind no call"),
    ],
)
def test_a_frame_pointer_that_leads_astray_ends_the_stack_and_is_told(kernel, code, to, why):
    machine = Machine(kernel).enter()
    for address in code[:12]:
        machine.call(address, 12)
    at = record_of(machine, 4)
    machine.store(at, to(machine, at))
    found = damaged(machine, why)
    assert len(found) == 6


def test_stacks_that_lead_to_each_other_end(kernel, code):
    machine = Machine(kernel).enter().call(code[0])
    for number, address in enumerate(code[1:4]):
        machine.to_stack([IRQ, EXCEPTION, NMI][number]).call(address).call(code[5])
    machine.store(record_of(machine, 4), machine.ends[NMI] - 512)
    machine.store(machine.ends[NMI] - 512, machine.ends[EXCEPTION] - 512)
    machine.store(machine.ends[NMI] - 504, code[9])
    assert len(damaged(machine, "came from")) == 6


def test_registers_that_lead_back_end(kernel, code):
    machine = (
        Machine(kernel).enter().call(code[0]).call(code[1]).interrupt(code[2]).call(code[3]).call(code[4])
    )
    regs = next(regs for _, _, regs in machine.expected if regs)
    for bp, why in ((regs | 1, "not lie above"), (machine.sp, "not lie above"), (3, "no stack")):
        machine.store(regs + 32, bp)
        found, frames = unwind(machine)
        assert found == machine.expected[:3]
        assert frames.why[0], why
    machine.store(regs + 8 * 19, machine.sp)
    damaged(machine, "not lie above")


def test_a_chain_as_long_as_the_stack(kernel, code):
    """The shortest frames that there are, each 16 bytes above the one before."""
    machine = Machine(kernel).enter()
    for number in range((STACK - REGS) // 16 - 1):
        machine.call(code[number % len(code)])
    assert len(machine.expected) > 1000
    whole(machine)


def test_a_return_address_that_is_not_code(kernel, code):
    machine = Machine(kernel).enter()
    for address in code[:8]:
        machine.call(address, 3)
    machine.store(record_of(machine, 3) + 8, kernel.symbol("init_task"))
    assert len(damaged(machine, "behind no call")) == 4


WORDS = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 2 * 5 * STACK).map(lambda offset: BASE + offset),
    st.integers(0, 2 * 5 * STACK // 8).map(lambda offset: BASE + 8 * offset),
    st.integers(0, 2 * 5 * STACK // 8).map(lambda offset: BASE + 8 * offset + 1),
)


@settings(max_examples=150, deadline=None)
@given(
    acts=st.lists(st.integers(0, 99), min_size=1, max_size=40),
    damage=st.lists(st.tuples(st.integers(0, 1 << 16), WORDS), max_size=4),
    user=st.booleans(),
)
def test_whatever_happens_frames_are_those_that_there_are(kernel, code, acts, damage, user):
    """Without damage all frames are found; with it, those up to the first that it reached."""
    machine = Machine(kernel)
    if user:
        machine.enter()
    machine.call(code[0])
    free = [IRQ, EXCEPTION, NMI]
    for act in acts:
        if act < 70:
            machine.call(code[act % len(code)], act % 5)
        elif act < 85 or not free:
            machine.interrupt(code[act % len(code)]).call(code[1])
        elif act < 93:
            machine.to_stack(free.pop(0)).call(code[2])
        else:
            machine.interrupt(code[3], on=free.pop(0)).call(code[4])
    expected = machine.expected
    ends, start = machine.ends, machine.frames()
    touched = set()
    for where, word in damage:
        # Half of it hits records that are in use.
        pick = random.Random(where)
        sp = pick.choice(expected)[1]
        address = sp - 8 * pick.choice((1, 2)) if where % 2 else BASE + where % (5 * 2 * STACK) // 8 * 8
        if any(end - STACK <= address < end for end in ends):
            machine.store(address, word)
            touched.add(address)
    found, frames = unwind(machine, start)
    if not touched:
        assert found == expected
        assert frames.why == {}
        return
    # A frame is right where nothing that leads to it was touched; what is right comes first.
    sure = 1
    for (_, _, inner_regs), (_, sp, regs) in itertools.pairwise(expected):
        leads = {inner_regs + 32} if inner_regs else set()
        leads |= {sp - 16, sp - 8} if not regs else {regs + 8 * number for number in (4, 16, 17, 18, 19)}
        if leads & touched:
            break
        sure += 1
    assert found[: min(sure, len(found))] == expected[: min(sure, len(found))]
    assert len(found) >= sure or frames.why

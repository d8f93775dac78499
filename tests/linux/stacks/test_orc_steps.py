"""Single steps by ORC, on stacks and tables that the test makes: registers that were saved in part, calls of NULL, code
that no table tells of, and functions without entries."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from debuginfo.test_orc_layouts import LAYOUTS, Entry, encode
from support.stack_machine import CPU, THREAD, Machine, return_addresses, steps

from kernlab.debuginfo.orc import OrcPart, OrcTable
from kernlab.linux.stacks import orc
from kernlab.linux.stacks.frames import Frames
from kernlab.linux.stacks.orc import OrcUnwinder
from kernlab.linux.stacks.starts import OTHERS, Starts

#: Where members of struct pt_regs lie, in words.
BP, IP, CS, FLAGS, SP = 4, 16, 17, 18, 19
PLAIN = Entry("SP", "UNDEFINED", 8, 0, "CALL", False)
FRAME = Entry("BP", "PREV_SP", 16, -16, "CALL", False)
WHOLE = Entry("SP", "UNDEFINED", 0, 0, "REGS", True)
PARTLY = Entry("SP", "UNDEFINED", 0, 0, "REGS_PARTIAL", True)
END = Entry("UNDEFINED", "UNDEFINED", 0, 0, "END_OF_STACK", False)
NOTHING = Entry("UNDEFINED", "UNDEFINED", 0, 0, "UNDEFINED", False)


@pytest.fixture(scope="module")
def kernel(opened):
    return opened("debian-6.12").kernel


@pytest.fixture(scope="module")
def code(kernel):
    return return_addresses(kernel)


def unwinder(machine: Machine, entries: dict[int, Entry]) -> OrcUnwinder:
    """A table in which these addresses have these entries, and all others none."""
    kind = machine.kernel.find_type("struct orc_entry").strip()
    layout = LAYOUTS["v6.4"]
    places: dict[int, Entry] = {}
    for address in sorted(entries):
        places[address - 1], places[address] = entries[address], entries[address]
        places.setdefault(address + 1, NOTHING)
    # What has no entry has the plain one, which also says which numbers registers have.
    first = min(places)
    for number in range(len(places) * 2 + 8):
        places[first - 2 - number] = PLAIN
    ip = sorted(places)
    words = b"".join(encode(places[address], layout, kind) for address in ip)
    part = OrcPart(
        np.array(ip, dtype=np.uint64),
        np.frombuffer(words, dtype=np.uint8).reshape(-1, 6),
        np.ones(len(ip), dtype=bool),
        ip[-1] + 1,
    )
    return OrcUnwinder(machine.kernel, OrcTable([part], kind))  # type: ignore[arg-type]


def saved(machine: Machine, ip: int, bp: int, *, whole: bool) -> int:
    """What an interrupt leaves: all registers, or what the CPU itself pushes; the address of struct pt_regs."""
    before = machine.sp
    for value in (0x18, before, 0x246, 0x10, ip):
        machine.push(value)
    if whole:
        for number in range(IP - 1, -1, -1):
            machine.push(bp if number == BP else 0x1111)
        return machine.sp
    return machine.sp - 8 * IP


def on_cpu(machine: Machine, ip: int, bp: int = 0) -> Frames:
    return machine.frames_at(ip, machine.sp, bp, exact=True)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_registers_saved_in_part_keep_those_of_before(kernel, code, parts):
    """An interrupt in the midst of saving them: the frame pointer is where all were saved (state->prev_regs)."""
    machine = Machine(kernel)
    machine.push(code[0])
    record = machine.sp - 8
    machine.push(0)
    machine.sp -= 64
    inner = machine.sp
    entries = {code[0]: END, code[1]: FRAME}
    for number in range(parts):
        saved(machine, code[1 + number], 0, whole=False)
        entries[code[2 + number]] = PARTLY
    whole = saved(machine, code[1 + parts], record, whole=True)
    entries[code[10]] = WHOLE
    frames = on_cpu(machine, code[10])
    found = steps(unwinder(machine, entries), frames)
    assert [ip for ip, _, _ in found] == [code[10], *(code[1 + parts - n] for n in range(parts + 1)), code[0]]
    assert [regs != 0 for _, _, regs in found] == [False, *[True] * (parts + 1), False]
    assert found[1][2] == whole
    assert found[parts + 1][1] == inner
    assert frames.why == {}


def test_a_call_between_ends_what_was_saved_before(kernel, code):
    """Behind it registers are the callee's: those that lie on the stack are not the caller's any more."""
    machine = Machine(kernel)
    machine.push(code[0])
    record = machine.sp - 8
    machine.push(0)
    saved(machine, code[1], 0, whole=False)
    machine.push(code[2])
    saved(machine, code[3], record, whole=True)
    entries = {code[0]: END, code[1]: FRAME, code[2]: PARTLY, code[3]: PLAIN, code[10]: WHOLE}
    frames = on_cpu(machine, code[10])
    found = steps(unwinder(machine, entries), frames)
    # The frame pointer that the call left as it was is still known.
    assert [ip for ip, _, _ in found] == [code[10], code[3], code[2], code[1], code[0]]
    assert frames.saved(np.array([0]))[0] == 0


@pytest.mark.parametrize("flags", [0x244, 0])
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_not_saved_registers_ends_the_stack(kernel, code, whole, flags):
    machine = Machine(kernel)
    machine.push(code[0])
    saved(machine, code[1], 0, whole=whole)
    machine.store(machine.sp + 8 * (FLAGS if whole else FLAGS - IP), flags)
    frames = on_cpu(machine, code[10])
    found = steps(
        unwinder(machine, {code[0]: END, code[1]: PLAIN, code[10]: WHOLE if whole else PARTLY}), frames
    )
    assert [ip for ip, _, _ in found] == [code[10]]
    assert "not saved registers" in frames.why[0]


def test_a_call_of_null(kernel, code):
    """Nothing was done but to push where it came from (null_orc_entry)."""
    machine = Machine(kernel)
    machine.push(code[0])
    machine.push(code[1])
    frames = on_cpu(machine, 0)
    found = steps(unwinder(machine, {code[0]: END, code[1]: PLAIN}), frames)
    assert [ip for ip, _, _ in found] == [0, code[1], code[0]]
    assert (frames.why, frames.guessed[0]) == ({}, False)


@pytest.mark.parametrize("left", [0, 0xDEAD, "init_task"])
def test_a_call_of_null_whose_caller_is_overwritten(kernel, left):
    machine = Machine(kernel)
    machine.push(left if isinstance(left, int) else kernel.symbol(left))
    frames = on_cpu(machine, 0)
    assert len(steps(unwinder(machine, {kernel.symbol("schedule"): END}), frames)) == 1
    assert "behind no call" in frames.why[0]


@pytest.mark.parametrize("listed", [True, False])
def test_code_that_was_made_is_followed_by_its_frame_pointer(kernel, code, listed, monkeypatch):
    """BPF's has one, which is sure; of other code that no table tells of it is a guess."""
    machine = Machine(kernel)
    machine.push(code[0])
    machine.push(0x1234)
    record = machine.sp
    machine.push(0xAA)
    machine.push(code[40])
    # Behind all entries.
    made = max(code) + (1 << 20)
    table = unwinder(machine, {code[0]: END, code[1]: PLAIN})
    monkeypatch.setattr(
        orc,
        "made_code",
        lambda _: SimpleNamespace(originals=lambda ip: ip, is_bpf=lambda ip: np.full(len(ip), listed)),
    )
    frames = machine.frames_at(made, machine.sp, record, exact=False)
    seen = []
    while frames.running[0]:
        seen.append((int(frames.ip[0]), int(frames.sp[0]), bool(frames.guessed[0])))
        table.step(frames)
    assert seen == [(made, machine.sp, False), (code[0], record + 16, not listed)]
    assert frames.why == {}


def call_of(kernel, code) -> tuple[int, int]:
    """A direct call of a function: where it returns to, and what it calls."""
    for back in code:
        data = kernel.read(back - 5, 5)
        if data[0] == 0xE8:
            return back, back + int.from_bytes(data[1:], "little", signed=True)
    raise AssertionError


@pytest.mark.parametrize("exact", [True, False])
def test_who_called_a_function_without_entries(kernel, code, exact):
    """__crash_kexec: nothing tells how large its frame is, but the call of it does."""
    back, function = call_of(kernel, code[1:])
    machine = Machine(kernel)
    machine.push(code[0])
    machine.push(back)
    above = machine.sp + 8
    # Calls of other functions, and what is no call, are passed over.
    for word in (next(one for one in code if one != back and one != code[0]), function, function + 5, 0):
        machine.push(word)
    at = function + 3
    entries = {code[0]: END, back: PLAIN, at: NOTHING}
    frames = machine.frames_at(at, machine.sp, 0, exact=exact)
    seen = []
    table = unwinder(machine, entries)
    while frames.running[0]:
        seen.append((int(frames.ip[0]), int(frames.sp[0]), bool(frames.guessed[0])))
        table.step(frames)
    # Called further in, its own calls may have left another's registers: all behind is a guess.
    assert seen == [(at, machine.sp, False), (back, above, not exact), (code[0], above + 8, not exact)]
    assert frames.why == {}


def test_a_function_without_entries_that_nothing_called(kernel, code):
    _, function = call_of(kernel, code[1:])
    machine = Machine(kernel)
    machine.sp -= 256
    frames = machine.frames_at(function + 3, machine.sp, 0, exact=True)
    assert len(steps(unwinder(machine, {function + 3: NOTHING}), frames)) == 1
    assert "do not tell" in frames.why[0]


def test_registers_that_lead_to_a_realigned_frame_are_those_of_the_cpu_itself(kernel, code):
    """A function that realigned its stack keeps the way to it in r10, which only the innermost frame still has."""
    machine = Machine(kernel)
    machine.push(code[0])
    above = machine.sp + 8
    machine.sp -= 128
    by_r10 = Entry("R10", "UNDEFINED", 0, 0, "CALL", False)
    others = np.zeros((1, len(OTHERS)), dtype=np.uint64)
    others[0, OTHERS.index("r10")] = above
    one = [np.array([value], dtype=np.uint64) for value in (code[1], machine.sp, 0)]
    for full, reached in ((True, [code[1], code[0]]), (False, [code[1]])):
        starts = Starts(np.array([THREAD]), np.array([CPU]), *one, np.array([True]), np.array([full]), others)
        frames = Frames(machine.kernel, machine.stacks, starts)  # type: ignore[arg-type]
        found = steps(unwinder(machine, {code[0]: END, code[1]: by_r10}), frames)
        assert [ip for ip, _, _ in found] == reached
        assert bool(frames.why) != full

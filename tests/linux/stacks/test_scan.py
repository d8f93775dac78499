"""The scan of a stack's rest: what it finds on stacks whose frames are known, and nothing that no call left there."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay
from support.stack_machine import REGS, STACK, THREAD, Machine, return_addresses

from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.code import behind_call, is_return_address, kernel_code
from kernlab.linux.stacks.frames import Frames
from kernlab.linux.stacks.scan import scan
from kernlab.linux.stacks.starts import sleeping
from kernlab.linux.stacks.unwind import unwound
from kernlab.linux.tasks import find_tasks

IRQ, EXCEPTION = 1, 2


@pytest.fixture(scope="module")
def kernel(opened):
    return opened("debian-6.12").kernel


@pytest.fixture(scope="module")
def code(kernel):
    return return_addresses(kernel)


def test_it_knows_a_call_from_what_is_none(opened):
    """Beside capstone, over 100,000 bytes of a kernel's code."""
    capstone = pytest.importorskip("capstone")
    kernel = opened("debian-6.12").kernel
    start, size = kernel.symbol("schedule"), 100_000
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.skipdata = True
    ends, calls = [], []
    for at, length, mnemonic, _ in engine.disasm_lite(kernel.read(start, size), start):
        (calls if mnemonic == "call" else ends).append(at + length)
    called, known = behind_call(kernel, np.array(calls, dtype=np.uint64))
    assert len(calls) > 200
    assert called.all()
    assert known.all()
    # Bytes within longer instructions may look like a call, but seldom.
    called, _ = behind_call(kernel, np.array(ends, dtype=np.uint64))
    assert called.sum() < len(ends) // 500


@pytest.mark.parametrize(
    ("bytes_", "is_call"),
    [
        ("ff d0", True),  # call *%rax
        ("41 ff d3", True),  # call *%r11
        ("ff 10", True),  # call *(%rax)
        ("ff 50 18", True),  # call *0x18(%rax)
        ("ff 90 88 00 00 00", True),  # call *0x88(%rax)
        ("ff 15 11 22 33 00", True),  # call *0x332211(%rip)
        ("ff 14 c5 00 00 00 81", True),  # call *-0x7f000000(,%rax,8), of the table of system calls
        ("ff 14 25 78 56 34 12", True),  # call *0x12345678, of paravirt
        ("ff 54 24 08", True),  # call *8(%rsp)
        ("ff 14 24", True),  # call *(%rsp)
        ("48 cb", True),  # lretq, to the C code that a CPU starts with
        ("ff e0", False),  # jmp *%rax
        ("ff 60 18", False),  # jmp *0x18(%rax)
        ("ff 70 18", False),  # push 0x18(%rax)
        ("e8 00 00 00 80", False),  # call to where no code is
        ("90 90 90 90 90", False),
    ],
)
def test_forms_of_calls(kernel, code, bytes_, is_call):
    machine = Machine(kernel)
    # At the last bytes before an address on a page of its own.
    data = bytes.fromhex(bytes_.replace(" ", ""))
    address = machine.top
    machine.memory[: machine.top - 0xFFFFC90000F00000] = 0x90
    at = address - 0xFFFFC90000F00000 - len(data)
    machine.memory[at : at + len(data)] = np.frombuffer(data, dtype=np.uint8)
    called, known = behind_call(machine.kernel, np.array([address], dtype=np.uint64))
    assert (called[0], known[0]) == (is_call, True)


def test_arm64s_calls(kernel, monkeypatch):
    machine = Machine(kernel)
    monkeypatch.setattr(type(machine.kernel.types), "has_member", lambda *names: True)
    calls = (0x94000010, 0x97FFFFF0, 0xD63F0000, 0xD63F03C0, 0xD73F0A11, 0xD63F0B3F)
    others = (0x14000010, 0xD65F03C0, 0xD61F0000, 0xD503201F, 0xF9400000, 0x54000040)
    for number, word in enumerate((*calls, *others)):
        machine.store(machine.top + 8 * number, word << 32)
    where = [machine.top + 8 * number for number in range(1, len(calls) + len(others) + 1)]
    called, _ = behind_call(machine.kernel, np.array(where, dtype=np.uint64))
    assert called.tolist() == [True] * len(calls) + [False] * len(others)


def test_every_frame_is_found_and_what_is_not_code_is_not(kernel, code):
    machine = Machine(kernel).enter()
    for address in code[:9]:
        machine.call(address, 4)
    start = machine.frames()
    row, ip, sp = scan(start, np.array([0]))
    # The innermost is known already; what lies below its stack pointer is not looked at.
    assert list(zip(ip.tolist(), sp.tolist(), strict=True)) == [
        (back, sp + 0) for back, sp, _ in machine.expected[1:]
    ]
    assert set(row.tolist()) == {0}
    init_task, inside = kernel.symbol("init_task"), code[0] + 1
    for number, word in enumerate((init_task, inside, kernel.symbol("schedule"), 0x33)):
        machine.store(machine.top - 1024 - 8 * number, word)
    assert len(scan(machine.frames_at(code[0], machine.top - 2048, 0), np.array([0]))[0]) == 9


def test_registers_of_user_mode_are_not_looked_at(kernel, code):
    machine = Machine(kernel).enter().call(code[0])
    for offset in range(0, REGS, 8):
        machine.store(machine.top + offset, code[1])
    assert len(scan(machine.frames_at(code[0], machine.sp - 8, 0), np.array([0]))[0]) == 1


def test_it_goes_on_where_an_interrupts_and_an_exceptions_stack_came_from(kernel, code):
    machine = Machine(kernel).enter().call(code[0]).call(code[1])
    machine.to_stack(IRQ).call(code[2]).call(code[3]).interrupt(code[4], on=EXCEPTION).call(code[5]).call(
        code[6]
    )
    _, ip, sp = scan(machine.frames(), np.array([0]))
    found = dict(zip(sp.tolist(), ip.tolist(), strict=True))
    for back, sp, _ in machine.expected[1:]:
        # What was interrupted stands in registers, and is found by chance: its address lies behind a call here.
        assert found.get(sp) == back or back == code[4]
    # A stack that leads to itself, or to another's, ends it.
    for word in (machine.ends[IRQ] - 64, machine.ends[4] - 64, 0, (1 << 64) - 1):
        machine.store(machine.ends[IRQ] - 8, word)
        scan(machine.frames(), np.array([0]))


def test_a_stack_pointer_on_no_stack_has_all_of_the_threads_own_looked_at(kernel, code):
    machine = Machine(kernel).enter()
    for address in code[:5]:
        machine.call(address)
    frames = machine.frames_at(code[0], 0x1234, 0)
    assert frames.thread[0] == THREAD
    assert len(scan(frames, np.array([0]))[0]) == 5


def test_a_whole_stack_of_return_addresses_is_bounded(kernel, code):
    machine = Machine(kernel)
    for at in range(machine.ends[0] - STACK, machine.ends[0], 8):
        machine.store(at, code[0])
    row, _, _ = scan(machine.frames_at(code[0], machine.ends[0] - STACK + 4, 0), np.array([0]))
    assert len(row) == (STACK - REGS) // 8 - 1


def test_nothing_to_look_at(kernel):
    machine = Machine(kernel)
    row, ip, sp = scan(machine.frames_at(1, machine.top, 0), np.zeros(0, dtype=np.int64))
    assert (len(row), len(ip), len(sp)) == (0, 0, 0)


def of_all_sleeping(kernel):
    task = find_tasks(kernel)
    return Frames(kernel, find_stacks(kernel), sleeping(kernel, task, np.arange(len(task))))


def test_the_frames_that_orc_finds_are_among_those_of_the_scan(dump):
    """Of every thread of a real dump, but for code that is gone (what ran at boot only)."""
    kernel = dump.kernel
    frames = of_all_sleeping(kernel)
    row, ip, sp = scan(frames, np.arange(len(frames.ip)))
    found = set(zip(row.tolist(), ip.tolist(), sp.tolist(), strict=True))
    orc = unwound(kernel)
    asked = missing = 0
    start, end = (kernel.symbol(f"{edge}inittext") for edge in ("_s", "_e"))
    for at in np.flatnonzero((orc.frame > 0) & ~orc.exact & (orc.cpu < 0)).tolist():
        if not start <= orc.ip[at] < end:
            asked += 1
            missing += (int(orc.thread[at]), int(orc.ip[at]), int(orc.sp[at])) not in found
    assert asked > 200
    assert missing == 0


def test_return_addresses_lie_in_known_code(dump):
    orc = unwound(dump.kernel)
    assert kernel_code(dump.kernel).holds(orc.ip).all()
    assert is_return_address(dump.kernel, orc.ip[~orc.exact]).all()
    data = np.array([dump.kernel.symbol(name) for name in ("init_task", "jiffies")], dtype=np.uint64)
    assert not is_return_address(dump.kernel, data).any()


def test_without_the_code_what_lies_in_code_is_believed(opened):
    below = opened("debian-6.12")
    task = find_tasks(below.kernel)
    start = below.kernel.symbol("_stext") & ~4095
    overlay = Overlay(below)
    for page in range(start, below.kernel.symbol("_etext"), 4096):
        overlay.exclude(page)
    frames = of_all_sleeping(overlay.dump().kernel)
    assert len(task) == len(frames.ip)
    with_code = len(scan(of_all_sleeping(below.kernel), np.arange(len(task)))[0])
    assert len(scan(frames, np.arange(len(task)))[0]) > with_code

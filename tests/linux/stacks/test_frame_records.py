"""Unwinding by frame records on arm64, of which no dump is here yet: on stacks that the test makes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from debuginfo.make_btf import Blob
from hypothesis import given, settings
from hypothesis import strategies as st
from support.heap import Heap
from support.stack_machine import BASE, STACK, THREAD, Machine, return_addresses, steps

from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.linux.stacks import frame_records, scan, trampolines
from kernlab.linux.stacks.frame_records import (
    FrameRecordUnwinder,
    RecordLayout,
    layout_of,
)
from kernlab.linux.stacks.machines import ARM64, X86_64, machine_of
from kernlab.linux.stacks.trampolines import Notes

#: struct pt_regs of v6.12, and since v6.13 (arch/arm64/include/asm/ptrace.h).
OLD = RecordLayout(336, 304, 232, 240, 248, 256, 264, marked=False, signed=(1 << 64) - (1 << 48))
NEW = RecordLayout(336, 304, 232, 240, 248, 256, 264, marked=True, signed=0xFF7F << 48)
EL1H, EL0T = 0x5, 0x0
FINAL, PT_REGS = 1, 2
IRQ = 1


class Symbols:
    """The kernel's symbols, and a few of arm64."""

    def __init__(self, below, named):
        self._below, self._named = below, named

    def __getattr__(self, name):
        return getattr(self._below, name)

    def get(self, name, default=None):
        return self._named.get(name) or self._below.get(name, default)

    def room(self, address):
        return 64 if address in self._named.values() else self._below.room(address)


class Arm64(Machine):
    """Calls push a record of x29 and x30; what interrupts makes one within the registers."""

    def __init__(self, kernel, code, layout=NEW, signature=0):
        super().__init__(kernel)
        self.layout, self.signature, self.noted = layout, signature, []
        self.entry = code[-1] - 4
        self.kernel.symbols = Symbols(
            self.kernel.symbols, {"el1h_64_irq": self.entry, "ret_from_fork": code[-2] - 16}
        )
        self.top = self.ends[0] - layout.size
        self._put(self.top, pc=0, fp=0, sp=0, mode=EL0T, record=(0, 0), kind=FINAL)
        self.sp, self.bp = self.top, self.top + layout.record

    def _put(self, at, *, pc, fp, sp, mode, record, kind):
        layout = self.layout
        for offset, value in (
            (layout.pc, pc),
            (layout.fp, fp),
            (layout.sp, sp),
            (layout.pstate, mode),
            (layout.record, record[0]),
            (layout.record + 8, record[1]),
            (layout.record + 16, kind if layout.marked else 0),
        ):
            self.store(at + offset, value)

    def enter(self):
        self._put(self.top, pc=0xAAAA0000, fp=0x1234, sp=0xFFFF0000, mode=EL0T, record=(0, 0), kind=FINAL)
        return self

    def call(self, back, locals_=0, tracer=0):
        # The record lies at the bottom of the callee's frame.
        for number in range(locals_ // 2 * 2):
            self.push(0xAA0000 + number)
        self._left.append((back, self.sp, 0))
        if tracer:
            # It took the address before the function stored it, and knows it by the caller's frame pointer.
            self.noted.append((self.bp, back))
        self.push((tracer or back) ^ self.signature)
        self.push(self.bp)
        self.bp = self.sp
        return self

    def interrupt(self, ip, on=None):
        before, layout = self.sp, self.layout
        self.sp = (self.sp if on is None else self.ends[on]) - layout.size
        record = (0, 0) if layout.marked else (self.bp, ip)
        self._put(self.sp, pc=ip, fp=self.bp, sp=before, mode=EL1H, record=record, kind=PT_REGS)
        self._left.append((ip, before, self.sp))
        self.bp = self.sp + layout.record
        return self.call(self.entry + 4)

    def unwinder(self):
        return FrameRecordUnwinder(self.kernel, self.layout)


@pytest.fixture(scope="module")
def kernel(opened):
    return opened("debian-6.12").kernel


@pytest.fixture(scope="module")
def code(kernel):
    return return_addresses(kernel)


@pytest.fixture(params=[OLD, NEW], ids=["6.12", "6.13"])
def layout(request):
    return request.param


def whole(machine):
    frames = machine.frames()
    assert steps(machine.unwinder(), frames) == machine.expected
    assert frames.why == {}
    return frames


@pytest.mark.parametrize("signature", [0, 0x5A << 48, 0xFF7F << 48])
def test_a_task_that_sleeps_in_a_system_call(kernel, code, layout, signature):
    """A signature takes the bits above the address, but for the one that tells the kernel's half."""
    machine = Arm64(kernel, code, layout, signature).enter()
    for number, address in enumerate(code[:9]):
        machine.call(address, number)
    assert whole(machine).user[0] == machine.top


def test_a_kernel_thread_came_from_nowhere(kernel, code, layout):
    assert whole(Arm64(kernel, code, layout).call(code[0]).call(code[1])).user[0] == 0


def test_interrupts_on_the_same_stack_and_on_their_own(kernel, code, layout):
    machine = Arm64(kernel, code, layout).enter().call(code[0]).call(code[1]).interrupt(code[2]).call(code[3])
    machine.to_stack(IRQ).call(code[4]).interrupt(code[5]).call(code[6])
    frames = whole(machine)
    assert sum(regs != 0 for _, _, regs in machine.expected) == 2
    assert frames.user[0] == machine.top


def test_before_v5_13_a_kernel_threads_last_frame_has_no_record(kernel, code):
    machine = Arm64(kernel, code, OLD)
    machine.bp = 0
    machine.call(code[-2]).call(code[0]).call(code[1])
    whole(machine)


def test_a_record_of_an_entry_that_its_registers_do_not_bear_out_is_a_plain_one(kernel, code):
    machine = Arm64(kernel, code, OLD).enter().call(code[0]).call(code[1]).interrupt(code[2]).call(code[3])
    regs = next(regs for _, _, regs in machine.expected if regs)
    machine.store(regs + OLD.pc, code[9])
    found = steps(machine.unwinder(), machine.frames())
    assert [ip for ip, _, _ in found] == [ip for ip, _, _ in machine.expected]
    assert [regs for _, _, regs in found] == [0] * len(found)


@pytest.mark.parametrize("record", [False, True, None])
def test_who_called_a_function_without_record_is_in_the_link_register(
    kernel, code, layout, record, monkeypatch
):
    """As an interrupt found it: the caller is put in between, where the code says that there is no record."""
    monkeypatch.setattr(frame_records, "has_record", lambda *_: record)
    machine = Arm64(kernel, code, layout).enter().call(code[0]).call(code[1])
    leaf, caller = code[2], code[3]
    sp = machine.sp
    machine.interrupt(leaf).call(code[4])
    regs = next(regs for _, _, regs in machine.expected if regs)
    machine.store(regs + layout.lr, caller)
    frames = machine.frames()
    found = [(ip, sp) for ip, sp, _ in steps(machine.unwinder(), frames)]
    expected = [(ip, sp) for ip, sp, _ in machine.expected]
    if record is False:
        expected.insert(expected.index((leaf, sp)) + 1, (caller, sp))
    assert found == expected
    assert frames.why == {}


def test_a_link_register_that_is_behind_no_call_names_no_caller(kernel, code, layout, monkeypatch):
    monkeypatch.setattr(frame_records, "has_record", lambda *_: False)
    machine = Arm64(kernel, code, layout).enter().call(code[0]).interrupt(code[2]).call(code[4])
    regs = next(regs for _, _, regs in machine.expected if regs)
    machine.store(regs + layout.lr, code[3] + 1)
    whole(machine)


@pytest.fixture
def traced(kernel, monkeypatch):
    """`traced(machine)`: frames of a machine whose calls function_graph's trampoline took, with its notes."""

    def frames_of(machine):
        noted = np.array(machine.noted[::-1], dtype=np.uint64).reshape(-1, 2)
        notes = Notes(np.full(len(noted), THREAD), noted[:, 0], noted[:, 1])
        monkeypatch.setattr(trampolines, "machine_of", lambda _: ARM64)
        monkeypatch.setattr(trampolines, "_TRAMPOLINES", (("return_to_handler", lambda _: notes),))
        return machine.frames()

    return frames_of


@pytest.mark.parametrize("signature", [0, 0x5A << 48])
def test_true_callers_behind_a_trampoline(kernel, code, layout, signature, traced):
    handler = kernel.symbol("return_to_handler")
    machine = Arm64(kernel, code, layout, signature).enter()
    for number, address in enumerate(code[:9]):
        machine.call(address, number, tracer=handler if number % 3 else 0)
    frames = traced(machine)
    assert steps(machine.unwinder(), frames) == machine.expected
    assert (frames.why, frames.guessed[0]) == ({}, False)


def test_a_caller_behind_a_trampoline_that_is_noted_nowhere_is_a_guess(kernel, code, layout, traced):
    handler = kernel.symbol("return_to_handler")
    machine = Arm64(kernel, code, layout).enter().call(code[0]).call(code[1], tracer=handler).call(code[2])
    machine.noted.clear()
    frames = traced(machine)
    unwinder = machine.unwinder()
    unwinder.step(frames)
    assert (frames.ip[0], frames.guessed[0]) == (handler, True)


@pytest.mark.parametrize("signature", [0, 0x5A << 48, 0xFF7F << 48])
def test_the_scan_finds_signed_addresses_and_true_callers(
    kernel, code, layout, signature, traced, monkeypatch
):
    handler = kernel.symbol("return_to_handler")
    machine = Arm64(kernel, code, layout, signature).enter()
    for number, address in enumerate(code[:9]):
        machine.call(address, number, tracer=handler if number % 2 else 0)
    frames = traced(machine)
    monkeypatch.setattr(type(X86_64), "signature_bits", lambda *_: layout.signed)
    row, ip, sp = scan.scan(frames, np.array([0]))
    found = list(zip(ip.tolist(), sp.tolist(), strict=True))
    # Each address lies behind the record's frame pointer, which begins the frame.
    assert found == [(back, sp) for back, sp, _ in machine.expected[1:]]
    assert set(row.tolist()) == {0}


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (lambda m, at: at, "does not lie above"),
        (lambda m, at: at - 64, "does not lie above"),
        (lambda m, at: at + 20, "not aligned"),
        (lambda m, at: 0, "no stack of its own"),
        (lambda m, at: m.ends[0] - 8, "no stack of its own"),
        (lambda m, at: m.ends[4] - 256, "no stack of its own"),
        (lambda m, at: m.ends[2] - 256, "without a caller"),
    ],
)
def test_a_frame_pointer_that_leads_astray_ends_the_stack_and_is_told(kernel, code, layout, to, why):
    machine = Arm64(kernel, code, layout).enter()
    for address in code[:12]:
        machine.call(address, 12)
    at = machine.bp
    for _ in range(5):
        at = machine.load(at)
    machine.store(at, to(machine, at))
    frames = machine.frames()
    assert steps(machine.unwinder(), frames) == machine.expected[:6]
    assert why in frames.why[0]


@pytest.mark.parametrize("kind", [0, FINAL, 3, 1 << 40])
def test_a_record_of_registers_that_says_it_is_something_else(kernel, code, kind):
    machine = Arm64(kernel, code).enter().call(code[0]).call(code[1]).interrupt(code[2]).call(code[3])
    regs = next(regs for _, _, regs in machine.expected if regs)
    machine.store(regs + NEW.record + 16, kind)
    frames = machine.frames()
    assert steps(machine.unwinder(), frames) == machine.expected[:2]
    assert "without a caller" in frames.why[0]


@settings(max_examples=60, deadline=None)
@given(
    acts=st.lists(st.integers(0, 99), min_size=1, max_size=30),
    damage=st.lists(st.tuples(st.integers(0, 10 * STACK - 8), st.integers(0, (1 << 64) - 1)), max_size=6),
    marked=st.booleans(),
)
def test_whatever_happens_it_ends(kernel, code, acts, damage, marked):
    machine = Arm64(kernel, code, NEW if marked else OLD).enter().call(code[0])
    for act in acts:
        if act < 80:
            machine.call(code[act % 40], act % 5)
        else:
            machine.interrupt(code[act % 40]).call(code[1])
    start = machine.frames()
    if not damage:
        assert steps(machine.unwinder(), start) == machine.expected
    for number, (where, word) in enumerate(damage):
        sp = machine.expected[where % len(machine.expected)][1]
        address = sp - 8 * (where % 3) if number % 2 else BASE + where // 8 * 8
        machine.store(address, BASE + word % (10 * STACK) if word % 2 else word)
    steps(machine.unwinder(), start)


def types(marked: bool) -> Btf:
    """Types as arm64's, as far as they are asked for."""
    blob = Blob()
    word = blob.int("unsigned long", 8)
    record = blob.struct("frame_record", 16, [("fp", word, 0), ("lr", word, 64)])
    meta = blob.struct("frame_record_meta", 24, [("record", record, 0), ("type", word, 128)]) if marked else 0
    frame = meta or blob.array(word, 2)
    regs = [
        ("regs", blob.array(word, 31), 0),
        ("sp", word, 248 * 8),
        ("pc", word, 256 * 8),
        ("pstate", word, 264 * 8),
    ]
    blob.struct("pt_regs", 336, [*regs, ("stackframe", frame, 304 * 8)])
    context = blob.struct("cpu_context", 24, [("fp", word, 0), ("sp", word, 64), ("pc", word, 128)])
    thread = blob.struct("thread_struct", 24, [("cpu_context", context, 0)])
    blob.struct("task_struct", 64, [("thread", thread, 8 * 8)])
    return Btf(blob.bytes())


@pytest.mark.parametrize("marked", [False, True])
def test_the_layout_is_what_types_and_vmcoreinfo_say(marked):
    types_ = types(marked)
    for lines, signed in (
        ("", (1 << 64) - (1 << 48)),
        ("NUMBER(VA_BITS)=39\n", (1 << 64) - (1 << 39)),
        ("NUMBER(VA_BITS)=48\nNUMBER(KERNELPACMASK)=0xff7f000000000000\n", 0xFF7F << 48),
        ("NUMBER(VA_BITS)=48\nNUMBER(KERNELPACMASK)=0x0\n", (1 << 64) - (1 << 48)),
        ("NUMBER(VA_BITS)=48\nNUMBER(KERNELPACMASK)=0xffff\n", (1 << 64) - (1 << 48)),
    ):
        info = Vmcoreinfo.parse(lines.encode())
        kernel = SimpleNamespace(
            types=types_, find_type=types_.find, type_or_none=types_.get, vmcoreinfo=info
        )
        wanted = NEW if marked else OLD
        assert machine_of(kernel) is ARM64
        assert layout_of(kernel) == RecordLayout(
            **{
                name: getattr(wanted, name)
                for name in ("size", "record", "fp", "lr", "sp", "pc", "pstate", "marked")
            },
            signed=signed,
        )


def test_no_dump_here_is_of_arm64(dump):
    assert machine_of(dump.kernel) is X86_64


def test_where_a_sleeping_thread_goes_on(opened):
    heap = Heap(opened("debian-6.12"), pages=4)
    task = heap.words([0, 0x1110, 0x1100, 0xFFFF800080001234, 0, 0, 0, 0])
    kernel = heap.kernel()
    kernel.types = types(True)
    tasks = StructArray(kernel, "struct task_struct", np.array([task, 8, task], dtype="u8"))
    ip, sp, fp, known = ARM64.saved_context(kernel, tasks, np.array([True, True, False]))
    assert (ip[0], sp[0], fp[0]) == (0xFFFF800080001234, 0x1100, 0x1110)
    assert known.tolist() == [True, False, False]

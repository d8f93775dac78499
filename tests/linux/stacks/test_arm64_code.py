"""arm64's instructions as stacks need them: calls, addresses, and where a function has its record."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from kernlab.formats.base import Note
from kernlab.formats.cpu_notes import cpu_notes, user_mode_note
from kernlab.formats.elf_core import NT_ARM_PAC_MASK, NT_ARM_TLS
from kernlab.linux.stacks.machines import ARM64
from kernlab.linux.stacks.machines.arm64_code import called, calls, has_record, uses
from kernlab.linux.user_registers import user_registers
from kernlab.traces.clock.clocks import clocks

NOP, RET, PACIASP, AUTIASP = 0xD503201F, 0xD65F03C0, 0xD503233F, 0xD50323BF
STP, MOV, LDP = 0xA9BC7BFD, 0x910003FD, 0xA8C47BFD  # stp x29, x30, [sp, #-64]!; mov x29, sp; ldp …, [sp], #64
#: sub sp, sp, #128; stp x29, x30, [sp, #80]; add x29, sp, #80
SUB, STP_IN, ADD = 0xD10203FF, 0xA9057BFD, 0x910143FD
START = 0xFFFF800080012000


def code(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def branch(by: int) -> int:
    return 0x14000000 | by & 0x3FFFFFF


def cbz(by: int) -> int:
    return 0xB4000000 | (by & 0x7FFFF) << 5


def records(*words: int) -> list[bool | None]:
    return [has_record(code(*words), 4 * at) for at in range(len(words))]


@pytest.mark.parametrize("setup", [(PACIASP, STP, MOV), (SUB, STP_IN, ADD)])
def test_a_record_is_there_from_where_x29_points_to_it_until_it_is_given_back(setup):
    assert records(*setup, NOP, LDP, AUTIASP, RET) == [False, False, False, True, True, False, False]


def test_a_leaf_has_none():
    assert records(NOP, NOP, RET) == [False] * 3


def test_what_lies_behind_the_record_but_is_come_to_before_it_has_none():
    """Shrink wrapping: `cbz x0` leads behind the function's body."""
    words = (cbz(6), STP, MOV, NOP, LDP, RET, NOP, RET)
    assert records(*words) == [False, False, False, True, True, False, False, False]


def test_ways_that_differ_or_that_nothing_shows_tell_nothing():
    both = (cbz(3), STP, MOV, NOP, RET)
    assert records(*both)[3:] == [None, None]
    assert records(RET, NOP) == [False, None]
    assert records(branch(2), NOP, RET) == [False, None, False]
    assert has_record(b"", 0) is None
    assert has_record(code(NOP), 400) is None


def test_a_loop_and_a_way_out_of_the_code_end():
    assert records(NOP, branch(-1)) == [False, False]
    assert records(branch(-5), NOP) == [False, None]
    assert records(cbz(1000), NOP) == [False, False]


@pytest.mark.parametrize(
    ("word", "is_call", "may_be"),
    [
        (0x94000001, True, False),  # bl
        (0x97FFFFFF, True, False),
        (0xD63F0000, True, False),  # blr x0
        (0xD73F0801, True, False),  # blraa x0, x1
        (0xD63F081F, True, False),  # blraaz x0
        (0xD61F0000, False, False),  # br x0
        (0x14000001, False, False),  # b
        (RET, False, False),
        (NOP, False, True),
        (0xD4200080, False, True),  # brk #4, a probe's
    ],
)
def test_calls(word, is_call, may_be):
    found = calls(np.array([word], dtype="<u4"))
    assert [one.tolist() for one in found] == [[is_call], [may_be]]


def test_where_calls_lead():
    assert called(code(NOP, 0x94000002, 0x97FFFFFE), START).tolist() == [START + 12, START]
    assert called(b"\1\2\3", START).tolist() == []


def test_where_an_address_is_made():
    adrp, add = 0xB0000000, 0x91112000  # adrp x0, +1 page; add x0, x0, #0x448
    page = START + 0x1000
    assert uses(code(adrp, NOP, add, NOP), START, page + 0x448) == [12]
    assert uses(code(adrp, NOP, add, NOP), START, page) == [4]
    assert uses(code(NOP, 0x10000040), START, START + 12) == [8]  # adr x0, +8
    # Of another register, and of a page below.
    assert uses(code(adrp, 0x91112021), START, page + 0x448) == []
    assert uses(code(0xF0FFFFE0), START, START - 0x1000) == [4]
    assert uses(b"", START, page) == []


def prstatus(pstate: int, pid: int = 7) -> Note:
    desc = bytes(32) + struct.pack("<i76x", pid) + struct.pack("<34Q", *range(100, 133), pstate) + bytes(8)
    return Note("CORE", 1, desc, 0)


def test_a_note_of_a_cpu_is_read_by_its_size():
    (found,) = cpu_notes([prstatus(0x3C5)])
    assert (found.set, found.pid, found.user) == (ARM64.registers, 7, False)
    assert (found.ip, found.sp, found.registers["x30"], found.registers["x0"]) == (132, 131, 130, 100)


@pytest.mark.parametrize("pstate", [0x60001000, 0x80000010], ids=["EL0t", "AArch32"])
def test_of_a_program_s_registers_only_where_it_was_stays(pstate):
    note = prstatus(pstate)
    assert cpu_notes([note])[0].user
    kept = user_mode_note(note)
    assert kept is not None
    assert len(kept) == len(note.desc)
    (found,) = cpu_notes([Note("CORE", 1, kept, 0)])
    assert {name: value for name, value in found.registers.items() if value} == {
        "sp": 131,
        "pc": 132,
        "pstate": pstate,
    }
    assert user_mode_note(prstatus(0x5)) is None


def test_registers_are_told_as_the_kernel_prints_them():
    registers = {"pc": 1, "sp": 0x10, "pstate": 0x604003C5, "x30": 0x30, "x29": 0x29, "x28": 0x28, "x0": 0xF}
    assert ARM64.headline(registers, "schedule+0x1/0x2") == "pc : schedule+0x1/0x2"
    assert list(ARM64.report(registers)) == [
        "pstate: 604003c5 (nZCv DAIF +PAN -UAO -TCO -DIT -SSBS)",
        "lr : 0000000000000030",
        "sp : 0000000000000010",
        "x29: 0000000000000029 x28: 0000000000000028",
        "x0 : 000000000000000f",
    ]
    assert [ARM64.interrupts_off({"pstate": state}) for state in (0x5, 0x85)] == [False, True]
    assert ARM64.interrupts_off({}) is None


def test_clocks_and_core_files_of_a_real_machine(opened):
    """By the counter that drivers register; what a core file has of registers."""
    dump = opened("arm64")
    known = clocks(dump.kernel)
    relations = {name: known.clock(name).relation for name in ("local", "mono", "boot", "real")}
    assert None not in relations.values()
    assert relations["mono"].error < 1_000_000
    assert set(dump.registers["source"]) == {"crash_notes"}
    assert {"pc", "sp", "x0", "x30", "pstate"} <= set(dump.registers.columns)
    (one,) = user_registers(dump.kernel, dump.structs("task_struct", dump.tasks.query("pid == 1")["address"]))
    assert [kind for _, kind, _ in one.notes][-2:] == [NT_ARM_TLS, NT_ARM_PAC_MASK]

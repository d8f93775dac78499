"""Whose registers a note holds: known of each CPU by its crash_notes, then told by nothing but what the notes hold."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from support.overlay import Overlay

import kernlab
from kernlab.formats.base import Note
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.stacks.unwind import unwound
from kernlab.walk.cpus import percpu

_IP, _SP, _CS = 112 + 16 * 8, 112 + 19 * 8, 112 + 17 * 8


def notes_of(dump: kernlab.Dump) -> list[Note]:
    return [note for note in dump.kernel.file.notes if note.name == "CORE"]


def with_notes(dump: kernlab.Dump, notes: list[Note], *, kept: bool = False) -> kernlab.Dump:
    """The dump with other notes in its file, and nothing in its crash_notes unless `kept`."""
    overlay = Overlay(dump)
    kernel = dump.kernel
    pointer = kernel.word("crash_notes")
    for where in percpu(kernel, pointer, np.arange(2)).tolist() if not kept else ():
        overlay.write(where, bytes(12))
    broken = overlay.dump()
    broken.kernel.file.notes = notes
    return broken


def qemu_note(note: Note, base: int, kernel_base: int = 0, cs: int = 0x10) -> Note:
    """What QEMU would have written of the same CPU (target/i386/arch_dump.c, QEMUCPUState)."""
    order = ("ax", "bx", "cx", "dx", "si", "di", "sp", "bp", *(f"r{n}" for n in range(8, 16)), "ip", "flags")
    names = "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss"
    held = dict(zip(names.split(), struct.unpack_from("<21Q", note.desc, 112), strict=True))
    segments = [(cs, 0), (0x18, 0), (0x18, 0), (0, 0), (0, base), (0x18, 0), *[(0, 0)] * 4]
    data = struct.pack("<II18Q", 1, 440, *(held[name] for name in order))
    data += b"".join(struct.pack("<IIIIQ", selector, 0, 0, 0, at) for selector, at in segments)
    data += struct.pack("<6Q", 0x80050033, 0, 0x1234, 0x1234000, 0x6F0, kernel_base)
    return Note("QEMU", 0, data, 0)


@pytest.fixture(scope="module")
def dump(opened):
    return opened("debian-6.1")


def test_they_are_those_of_the_file_and_of_the_panic(whole_dump, opened):
    """The kernel's own copies, which makedumpfile put into the file, read apart from kernlab's reader."""
    dump = opened(whole_dump.name)
    table, notes = dump.registers, notes_of(dump)
    assert table["cpu"].tolist() == [0, 1]
    assert table["source"].tolist() == ["crash_notes"] * 2
    for name, at in (("ip", _IP), ("sp", _SP), ("cs", _CS)):
        assert table[name].astype(object).tolist() == [struct.unpack_from("<Q", n.desc, at)[0] for n in notes]
    panicked = table.set_index("cpu").loc[dump.info["panic_cpu"]]
    assert (panicked["pid"], panicked["comm"]) == (dump.info["panic_pid"], dump.info["panic_comm"])
    assert dump.symbolize(int(panicked["ip"])).startswith("__crash_kexec+")


def test_notes_in_another_order_are_matched_by_what_they_hold(dump):
    known = cpu_registers(dump.kernel)
    with with_notes(dump, notes_of(dump)[::-1]) as broken:
        found = cpu_registers(broken.kernel)
        assert found.source == ["NT_PRSTATUS", "NT_PRSTATUS"]
        assert found.values["ip"].tolist() == known.values["ip"].tolist()
        assert broken.registers.attrs["problems"] == []


@pytest.mark.parametrize("silent", [0, 1])
def test_a_cpu_that_stayed_silent_has_no_registers_and_the_others_keep_theirs(dump, silent):
    """Its place in the file is taken by the note of the next one."""
    known, notes = cpu_registers(dump.kernel), notes_of(dump)
    del notes[silent]
    with with_notes(dump, notes) as broken:
        table = broken.registers
        assert table["source"].notna().tolist() == [cpu != silent for cpu in (0, 1)]
        assert table["ip"].isna().tolist() == [cpu == silent for cpu in (0, 1)]
        assert int(table["ip"][1 - silent]) == int(known.values["ip"][1 - silent])
        assert any(f"CPU {silent} are in no note" in problem for problem in table.attrs["problems"])
        found = unwound(broken.kernel)
        thread = int(cpu_registers(broken.kernel).thread[silent])
        assert not found.reliable[found.thread == thread].any()
        assert f"it was running on CPU {silent}" in found.why[thread]


def test_qemu_notes_belong_to_the_cpu_whose_base_they_have(dump):
    """By GS, and in user mode by what it is swapped with; QEMU's NT_PRSTATUS number CPUs, not threads."""
    known, plain = cpu_registers(dump.kernel), notes_of(dump)
    bases = dump.kernel.percpu_offsets.tolist()
    notes = [qemu_note(plain[1], bases[1]), qemu_note(plain[0], 0x7F00, bases[0], cs=0x33)]
    with with_notes(dump, [*plain[::-1], *notes]) as broken:
        table = broken.registers
        assert table["source"].tolist() == ["QEMU", "QEMU"]
        assert table["ip"].astype(object).tolist() == known.values["ip"].tolist()
        assert table["cr3"].astype(object).tolist() == [0x1234000] * 2
        assert table["cs"].tolist() == [0x33, 0x10]
        assert table.attrs["problems"] == []
        # What was in user mode has no frames of the kernel, and that is no loss.
        found = unwound(broken.kernel)
        thread = int(cpu_registers(broken.kernel).thread[0])
        assert not (found.thread == thread).any()
        assert thread not in found.why


def test_what_belongs_to_no_cpu_is_told_and_not_shown(dump):
    plain = notes_of(dump)
    stray = bytearray(plain[0].desc)
    struct.pack_into("<Q", stray, _SP, 0xFFFF_8123_4567_8000)
    with with_notes(dump, [Note("CORE", 1, bytes(stray), 0), plain[1]]) as broken:
        table = broken.registers
        assert table["ip"].isna().tolist() == [True, False]
        assert any("1 of 2 notes" in problem for problem in table.attrs["problems"])


def test_notes_in_memory_that_cannot_be_true_give_way_to_those_of_the_file(dump):
    known, kernel = cpu_registers(dump.kernel), dump.kernel
    overlay = Overlay(dump)
    where = int(percpu(kernel, kernel.word("crash_notes"), np.array([1]))[0]) + 20
    overlay.word(where + _SP, 0xFFFF_8123_4567_8000)
    with overlay.dump() as broken:
        found = cpu_registers(broken.kernel)
        assert found.source == ["crash_notes", "NT_PRSTATUS"]
        assert found.values["sp"].tolist() == known.values["sp"].tolist()
        assert any(
            "point to no stack of its own" in problem for problem in broken.registers.attrs["problems"]
        )


def test_the_thread_is_what_the_queue_says_not_what_thread_info_does(dump):
    known = cpu_registers(dump.kernel)
    task = int(unwound(dump.kernel).task.addresses[known.thread[1]])
    overlay = Overlay(dump).set("struct task_struct", task, "thread_info.cpu", 0)
    with overlay.dump() as broken:
        assert cpu_registers(broken.kernel).thread.tolist() == known.thread.tolist()

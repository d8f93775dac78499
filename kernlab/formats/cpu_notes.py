"""Registers of a CPU in notes: bytes of NT_PRSTATUS and of QEMU's own notes in, registers by the kernel's names out.

The kernel writes one NT_PRSTATUS a CPU (kernel/crash_core.c, crash_save_cpu), QEMU one and of x86-64 a note of its own,
which has the control registers and the true bases of segments (target/i386/arch_dump.c, target/arm/arch_dump.c).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kernlab.formats.base import Note
from kernlab.formats.notes import NT_PRSTATUS
from kernlab.formats.register_sets import BY_NOTE, X86_64, RegisterSet

#: QEMUCPUSegment and QEMUCPUState.
_SEGMENT = np.dtype(
    [("selector", "<u4"), ("limit", "<u4"), ("flags", "<u4"), ("pad", "<u4"), ("base", "<u8")]
)
_GENERAL = (
    *("ax", "bx", "cx", "dx", "si", "di", "sp", "bp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "ip", "flags"),
)
_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "ldt", "tr", "gdt", "idt")
_QEMU = np.dtype(
    [
        ("version", "<u4"),
        ("size", "<u4"),
        *((name, "<u8") for name in _GENERAL),
        *((name, _SEGMENT) for name in _SEGMENTS),
        ("cr", "<u8", 5),
        ("kernel_gs_base", "<u8"),
    ]
)
_QEMU_NAME = "QEMU"


@dataclass(frozen=True, slots=True)
class CpuNote:
    """The registers of one CPU by their names, and who says so: "NT_PRSTATUS" or "QEMU"; `pid` of the former. `set`
    tells what they mean."""

    source: str
    registers: dict[str, int]
    pid: int | None
    raw: bytes
    set: RegisterSet

    @property
    def ip(self) -> int:
        """The instruction pointer."""
        return self.registers[self.set.ip]

    @property
    def sp(self) -> int:
        """The stack pointer."""
        return self.registers[self.set.sp]

    @property
    def user(self) -> bool:
        """Was the CPU in user mode?"""
        return self.set.is_user(self.registers)


def cpu_notes(notes: list[Note]) -> list[CpuNote]:
    """Those of the notes that hold the registers of a CPU, in their order."""
    return [found for note in notes if (found := _prstatus(note) or _qemu(note)) is not None]


def _prstatus(note: Note) -> CpuNote | None:
    kind = BY_NOTE.get(len(note.desc))
    if note.name != "CORE" or note.type != NT_PRSTATUS or kind is None:
        return None
    status = np.frombuffer(note.desc, kind.status)[0]
    values = status["registers"].tolist()
    registers = dict(zip(kind.names, values, strict=True))
    return CpuNote("NT_PRSTATUS", registers, int(status["pid"]), bytes(note.desc), kind)


def _qemu(note: Note) -> CpuNote | None:
    # kernel_gs_base was added to its end (QEMU 3.0).
    if note.name != _QEMU_NAME or len(note.desc) < _QEMU.itemsize - 8:
        return None
    state = np.frombuffer(note.desc[: _QEMU.itemsize].ljust(_QEMU.itemsize, b"\0"), _QEMU)[0]
    registers = {name: int(state[name]) for name in _GENERAL}
    registers |= {name: int(state[name]["selector"]) for name in ("cs", "ss", "ds", "es", "fs", "gs")}
    registers |= {f"{name}_base": int(state[name]["base"]) for name in ("fs", "gs")}
    registers |= {f"cr{number}": int(state["cr"][number]) for number in (0, 2, 3, 4)}
    if len(note.desc) >= _QEMU.itemsize:
        registers["kernel_gs_base"] = int(state["kernel_gs_base"])
    return CpuNote("QEMU", registers, None, bytes(note.desc), X86_64)


def user_mode_note(note: Note) -> bytes | None:
    """A note of a CPU that was in user mode, without the registers that hold its program's data.

    None for a note that needs no change: it is none of a CPU's, or the CPU was in the kernel.
    """
    found = _prstatus(note) or _qemu(note)
    if found is None or not found.user:
        return None
    data = bytearray(note.desc)
    if found.source == "NT_PRSTATUS":
        status = np.frombuffer(data, found.set.status)
        for place, name in enumerate(found.set.names):
            if name not in found.set.place:
                status["registers"][0, place] = 0
    else:
        state = np.frombuffer(memoryview(data)[: len(data) // _QEMU.itemsize * _QEMU.itemsize], _QEMU)
        for name in _GENERAL:
            if name not in X86_64.place:
                state[name] = 0
    return bytes(data)


def made_notes(registers: Sequence[Mapping[str, int]], kind: RegisterSet) -> list[Note]:
    """Notes as QEMU writes them, of registers that a file has in another form: one mapping a CPU, by the names above.

    What a mapping lacks is 0 in the notes. They lie nowhere in a file, so that their offsets are 0.
    """
    notes = []
    for own in registers:
        status = np.zeros(1, kind.status)
        status["registers"] = [own.get(name, 0) for name in kind.names]
        notes.append(Note("CORE", NT_PRSTATUS, status.tobytes(), 0))
    return [*notes, *map(_made_qemu, registers)] if kind is X86_64 else notes


def _made_qemu(registers: Mapping[str, int]) -> Note:
    state = np.zeros(1, _QEMU)
    state["version"], state["size"] = 1, _QEMU.itemsize
    for name in _GENERAL:
        state[name] = registers.get(name, 0)
    for name in _SEGMENTS:
        state[name]["selector"] = registers.get(name, 0)
        state[name]["base"] = registers.get(f"{name}_base", 0)
    state["cr"] = [registers.get(f"cr{number}", 0) for number in range(5)]
    state["kernel_gs_base"] = registers.get("kernel_gs_base", 0)
    return Note(_QEMU_NAME, 0, state.tobytes(), 0)

"""Registers of a CPU in notes: bytes of NT_PRSTATUS and of QEMU's own notes in, registers by the kernel's names out.

The kernel writes one NT_PRSTATUS a CPU (kernel/crash_core.c, crash_save_cpu), QEMU one and a note of its own, which
has the control registers and the true bases of segments (target/i386/arch_dump.c).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernlab.formats.base import Note
from kernlab.formats.notes import NT_PRSTATUS

#: struct user_regs_struct (arch/x86/include/asm/user_64.h); up to ss it is struct pt_regs.
REGISTERS = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di"),
    *("orig_ax", "ip", "cs", "flags", "sp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
)
#: What QEMU's notes have besides.
CONTROL = ("cr0", "cr2", "cr3", "cr4", "kernel_gs_base")

#: struct elf_prstatus (include/linux/elfcore.h) of a 64-bit machine.
_PRSTATUS = np.dtype(
    {
        "names": ["pid", "registers"],
        "formats": ["<i4", ("<u8", len(REGISTERS))],
        "offsets": [32, 112],
        "itemsize": 336,
    }
)

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
    """The registers of one CPU by their names, and who says so: "NT_PRSTATUS" or "QEMU"; `pid` of the former."""

    source: str
    registers: dict[str, int]
    pid: int | None
    raw: bytes


def cpu_notes(notes: list[Note]) -> list[CpuNote]:
    """Those of the notes that hold the registers of an x86-64 CPU, in their order."""
    return [found for note in notes if (found := _prstatus(note) or _qemu(note)) is not None]


def _prstatus(note: Note) -> CpuNote | None:
    if note.name != "CORE" or note.type != NT_PRSTATUS or len(note.desc) != _PRSTATUS.itemsize:
        return None
    status = np.frombuffer(note.desc, _PRSTATUS)[0]
    values = status["registers"].tolist()
    return CpuNote(
        "NT_PRSTATUS", dict(zip(REGISTERS, values, strict=True)), int(status["pid"]), bytes(note.desc)
    )


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
    return CpuNote("QEMU", registers, None, bytes(note.desc))


#: What stays of a program's registers: where it was, and in which mode.
_PLACE = ("ip", "sp", "flags", "cs", "ss", "orig_ax")
_USER = 3


def user_mode_note(note: Note) -> bytes | None:
    """A note of a CPU that was in user mode, without the registers that hold its program's data.

    None for a note that needs no change: it is none of a CPU's, or the CPU was in the kernel.
    """
    found = _prstatus(note) or _qemu(note)
    if found is None or found.registers["cs"] & _USER != _USER:
        return None
    data = bytearray(note.desc)
    if found.source == "NT_PRSTATUS":
        status = np.frombuffer(data, _PRSTATUS)
        for place, name in enumerate(REGISTERS):
            if name not in _PLACE and not name.endswith(("_base", "s")):
                status["registers"][0, place] = 0
    else:
        state = np.frombuffer(memoryview(data)[: len(data) // _QEMU.itemsize * _QEMU.itemsize], _QEMU)
        for name in _GENERAL:
            if name not in _PLACE:
                state[name] = 0
    return bytes(data)

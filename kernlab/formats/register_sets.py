"""The registers of each machine as notes of its CPUs hold them: their names, their order, what some of them mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: struct elf_prstatus (include/linux/elfcore.h) of 64-bit machines: where the process's number and its registers are.
PID_AT, REGISTERS_AT = 32, 112


@dataclass(frozen=True)
class RegisterSet:
    """One machine's registers by the kernel's names.

    names: those of struct elf_prstatus, in its order; control: what other notes have besides. ip, sp, fp: which of them
    are the instruction pointer, the stack pointer and the frame pointer; state: the one that has the mode. `place`
    are those that tell where a program was, and nothing of its data.
    """

    machine: str
    names: tuple[str, ...]
    ip: str
    sp: str
    fp: str
    state: str
    #: In these bits of `state` this stands in user mode.
    mode_bits: int
    user_mode: int
    place: tuple[str, ...]
    control: tuple[str, ...] = ()
    #: Whose note this set is in, by the bytes of it (elf_prstatus).
    note_bytes: int = field(init=False)
    status: np.dtype[np.void] = field(init=False)

    def __post_init__(self) -> None:
        size = REGISTERS_AT + 8 * len(self.names) + 8
        status = np.dtype(
            {
                "names": ["pid", "registers"],
                "formats": ["<i4", ("<u8", len(self.names))],
                "offsets": [PID_AT, REGISTERS_AT],
                "itemsize": size,
            }
        )
        object.__setattr__(self, "note_bytes", size)
        object.__setattr__(self, "status", status)

    def is_user(self, registers: Mapping[str, int]) -> bool:
        """Are these the registers of a program?"""
        return registers[self.state] & self.mode_bits == self.user_mode

    def are_user(self, state: U64) -> Mask:
        """Which values uint64[n] of the register `state` are of user mode: bool[n]."""
        user: Mask = state & np.uint64(self.mode_bits) == np.uint64(self.user_mode)
        return user


#: struct user_regs_struct (arch/x86/include/asm/user_64.h); up to ss it is struct pt_regs. The lowest bits of cs are
#: the privilege level. The control registers are those of QEMU's own notes.
X86_64 = RegisterSet(
    machine="x86_64",
    names=(
        *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di"),
        *("orig_ax", "ip", "cs", "flags", "sp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
    ),
    ip="ip",
    sp="sp",
    fp="bp",
    state="cs",
    mode_bits=3,
    user_mode=3,
    place=("ip", "sp", "flags", "cs", "ss", "orig_ax", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
    control=("cr0", "cr2", "cr3", "cr4", "kernel_gs_base"),
)

#: struct user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h). PSTATE has the exception level: EL0t, or AArch32's user
#: mode, which has a zero there, too.
AARCH64 = RegisterSet(
    machine="aarch64",
    names=(*(f"x{number}" for number in range(31)), "sp", "pc", "pstate"),
    ip="pc",
    sp="sp",
    fp="x29",
    state="pstate",
    mode_bits=0xF,
    user_mode=0,
    place=("sp", "pc", "pstate"),
)

#: By the size of an NT_PRSTATUS note, which no two machines share.
BY_NOTE = {found.note_bytes: found for found in (X86_64, AARCH64)}

"""Registers that lie on a stack in, names and values out: of what was interrupted, and of what was switched from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: What CS of saved registers can be in kernel mode: __KERNEL_CS, and what Xen gives a guest of its own kind.
_KERNEL_CS, _SELECTOR, _USER = (0x10, 0xE030), np.uint64(0xFFFF), np.uint64(3)
#: Bit 1 of the flags is always set (X86_EFLAGS_FIXED).
_FLAGS_FIXED = np.uint64(2)

#: The bit of a page fault's error code for a fetch of instructions; an interrupt's number is negative there.
_FETCH, _ERROR_CODES = np.uint64(0x10), np.uint64(1 << 16)

#: Why a frame is not followed whose caller's registers are none.
NO_REGISTERS = "it leads to what is not saved registers"

#: The lines in which the kernel prints them (arch/x86/kernel/process_64.c, __show_regs), by their names in pt_regs.
LINES = (
    ("ax", "bx", "cx"),
    ("dx", "si", "di"),
    ("bp", "r8", "r9"),
    ("r10", "r11", "r12"),
    ("r13", "r14", "r15"),
)
#: What an interrupt leaves even where nothing else was saved yet.
FRAME = ("ip", "cs", "flags", "sp", "ss")
_ALL = (*FRAME, "orig_ax", *(name for line in LINES for name in line))
#: What a function has to give back as it was: a task's that does not run lie in struct inactive_task_frame.
_CALLEE_SAVED = ("bx", "bp", "r12", "r13", "r14", "r15")


def modes(cs: U64, flags: U64) -> tuple[Mask, Mask]:
    """Which of n saved registers of x86-64 are of user mode, and which of the kernel: (bool[n], bool[n])."""
    # The low 16 bits are the selector; FRED keeps more above it.
    selector, fixed = cs & _SELECTOR, flags & _FLAGS_FIXED != 0
    user: Mask = fixed & (selector & _USER == _USER)
    return user, fixed & np.isin(selector, _KERNEL_CS)


def fetched(kernel: Kernel, regs: U64) -> Mask:
    """Which of n saved registers uint64[n] say that there was no code to go on with: a fault at fetching it.

    Mirrors arch/x86/include/asm/trap_pf.h (X86_PF_INSTR); False on other machines, whose registers have no such word.
    """
    kind = kernel.type_or_none("struct pt_regs")
    if not isinstance(kind, StructType) or not any(member.name == "orig_ax" for member in kind.members):
        return np.zeros(len(regs), dtype=bool)
    code, read = kernel.words(regs + np.uint64(kind.member("orig_ax").offset), what="")
    told: Mask = read & (code & _FETCH != 0) & (code < _ERROR_CODES)
    return told


def interrupted(kernel: Kernel, address: int, *, whole: bool = True) -> dict[str, int]:
    """The registers at a struct pt_regs by their names in it, without those that cannot be read.

    Not `whole`: only what the CPU itself saved, as the code that saves the others had only begun.
    """
    found = _read(StructArray(kernel, "struct pt_regs", [address]), _ALL)
    return found if whole else {name: found[name] for name in FRAME if name in found}


def switched_from(kernel: Kernel, task: int) -> dict[str, int]:
    """The registers that a task which does not run saved when it was switched from, by their names; {} of none."""
    if kernel.type_or_none("struct inactive_task_frame") is None:
        return {}
    where = StructArray(kernel, "struct task_struct", [task])["thread.sp"]
    return _read(StructArray(kernel, "struct inactive_task_frame", where.values, where.true), _CALLEE_SAVED)


def _read(struct: StructArray, names: tuple[str, ...]) -> dict[str, int]:
    found = {}
    with struct.kernel.quiet():
        for name in names:
            if struct.has(name):
                column = struct[name]
                if column.valid[0]:
                    found[name] = int(column.values[0])
    return found


def spelt(name: str) -> str:
    """A register as the kernel prints its name: RAX, R08, RIP; the flags are EFLAGS."""
    if name == "flags":
        return "EFLAGS"
    if name == "orig_ax":
        return "ORIG_RAX"
    return f"R{int(name[1:]):02}" if name[1:].isdecimal() else f"R{name.upper()}"

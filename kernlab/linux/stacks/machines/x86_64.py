"""x86-64: its calls, its CPUs' stacks, and its registers as they are saved and as the kernel prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType
from kernlab.formats import register_sets
from kernlab.linux.stacks.machines.base import StackMachine
from kernlab.linux.stacks.machines.named_members import members_of
from kernlab.linux.stacks.machines.x86_64_stacks import exception_stacks, interrupt_stacks
from kernlab.linux.stacks.stack_kinds import Part, StackKind, size_of
from kernlab.util.addresses import wrapped

if TYPE_CHECKING:
    from kernlab.linux.stacks.code import Code

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: ff /2 with a SIB byte and 32 bits of displacement; e8 rel32; and what a probe puts in an instruction's first byte.
_LONGEST_CALL, _CALL, _INT3 = 7, 0xE8, 0xCC
#: What becomes of the call of a static call without function, and of ftrace's: a NOP (arch/x86/include/asm/nops.h, of
#: 64-bit CPUs of old, too, before v5.13), or a zeroing of the result (arch/x86/kernel/static_call.c).
_NO_CALL = tuple(map(bytes.fromhex, ("0f1f440000", "6666666690", "2e2e2e31c0", "66664831c0")))

#: What CS of saved registers can be in kernel mode: __KERNEL_CS, and what Xen gives a guest of its own kind.
_KERNEL_CS, _SELECTOR, _USER = (0x10, 0xE030), np.uint64(0xFFFF), np.uint64(3)
#: Bit 1 of the flags is always set (X86_EFLAGS_FIXED); with X86_EFLAGS_IF interrupts are taken.
_FLAGS_FIXED, _INTERRUPTS = np.uint64(2), 1 << 9
#: The bit of a page fault's error code for a fetch of instructions; an interrupt's number is negative there.
_FETCH, _ERROR_CODES = np.uint64(0x10), np.uint64(1 << 16)

#: The lines in which the kernel prints them (arch/x86/kernel/process_64.c, __show_regs), by their names in pt_regs.
_LINES = (
    ("ax", "bx", "cx"),
    ("dx", "si", "di"),
    ("bp", "r8", "r9"),
    ("r10", "r11", "r12"),
    ("r13", "r14", "r15"),
)
#: What an interrupt leaves even where nothing else was saved yet.
_FRAME = ("ip", "cs", "flags", "sp", "ss")
_ALL = (*_FRAME, "orig_ax", *(name for line in _LINES for name in line))
#: What a function has to give back as it was: a task's that does not run lie in struct inactive_task_frame.
_CALLEE_SAVED = ("bx", "bp", "r12", "r13", "r14", "r15")
#: pt_regs.orig_ax where no system call was made and no error code was pushed.
_NO_SYSTEM_CALL = (1 << 64) - 1


def modes(cs: U64, flags: U64) -> tuple[Mask, Mask]:
    """Which of n saved registers are of user mode, and which of the kernel: (bool[n], bool[n])."""
    # The low 16 bits are the selector; FRED keeps more above it.
    selector, fixed = cs & _SELECTOR, flags & _FLAGS_FIXED != 0
    user: Mask = fixed & (selector & _USER == _USER)
    return user, fixed & np.isin(selector, _KERNEL_CS)


class _X86(StackMachine):
    registers = register_sets.X86_64
    call_bytes = _LONGEST_CALL
    # How entries begin in assembler, since v5.8 (arch/x86/include/asm/idtentry.h) and before
    # (arch/x86/entry/entry_64.S).
    irq_entries = (
        *(
            "asm_sysvec_",
            "asm_common_interrupt",
            "asm_spurious_interrupt",
            "irq_entries_start",
            "spurious_entries",
        ),
        *(
            "common_interrupt",
            "common_spurious",
            "ret_from_intr",
            "apic_timer_interrupt",
            "reschedule_interrupt",
        ),
        *(
            "call_function_",
            "irq_work_interrupt",
            "x86_platform_ipi",
            "reboot_interrupt",
            "error_interrupt",
        ),
    )
    nmi_entries = ("asm_exc_nmi", "end_repeat_nmi", "nmi_restore", "repeat_nmi", "first_nmi", "nmi")
    holders = ("di", "bx", "bp", "r12", "r13", "r14", "r15", "ax", "cx", "dx", "si", "r8", "r9", "r10", "r11")
    general_bytes = 15 * 8
    not_data = ("ip", "sp", "flags", "cs", "ss", "orig_ax")

    def calls(self, kernel: Kernel, code: Code, rows: U8, addresses: U64) -> tuple[Mask, Mask]:
        """e8 rel32 (to a function, a thunk or a static call), or ff /2.

        What may have been one has a probe's int3 in the place of its first byte, or is what a call of nothing becomes.
        """
        distance = np.ascontiguousarray(rows[:, -4:]).view("<i4")[:, 0].astype(np.int64).view(np.uint64)
        target = addresses + distance
        leads = code.holds(target)
        # Thunks against ITS lie on pages of their own behind the image, unlisted (its_allocate_thunk, v6.15).
        other = np.flatnonzero(
            (rows[:, -5] == _CALL) & ~leads & (target >= np.uint64(kernel.layout.image_end))
        )
        if len(other):
            leads[other] = kernel.gather(target[other], 1, what="")[1] == 0
        found, patched = ((rows[:, -5] == first) & leads for first in (_CALL, _INT3))
        for gone in _NO_CALL:
            patched |= (rows[:, -len(gone) :] == np.frombuffer(gone, dtype=np.uint8)).all(axis=1)
        # Before v6.12 the start of a CPU pushed where to return to, and called by a far return (lretq; head_64.S).
        found |= (rows[:, -2] == 0x48) & (rows[:, -1] == 0xCB)
        for length in range(2, _LONGEST_CALL + 1):
            opcode, modrm = rows[:, -length], rows[:, -length + 1]
            mode, register, where = modrm >> 6, modrm >> 3 & 7, modrm & 7
            has_sib = (mode != 3) & (where == 4)
            sib = rows[:, -length + 2] if length > 2 else np.zeros(len(rows), dtype=np.uint8)
            wide = (mode == 2) | ((mode == 0) & ((where == 5) | (has_sib & (sib & 7 == 5))))
            bytes_of = 2 + has_sib + np.where(mode == 1, 1, 0) + np.where(wide, 4, 0)
            fits = (register == 2) & (bytes_of == length)
            found |= (opcode == 0xFF) & fits
            patched |= (opcode == _INT3) & fits
        return found, patched

    def saved_context(self, kernel: Kernel, task: StructArray, there: Mask) -> tuple[U64, U64, U64, Mask]:
        """By struct inactive_task_frame (arch/x86/include/asm/switch_to.h)."""
        where = task["thread.sp"].where(there)
        frame = StructArray(kernel, "struct inactive_task_frame", where.values, where.true)
        ip, bp = frame["ret_addr"], frame["bp"]
        size = np.uint64(kernel.find_type("struct inactive_task_frame").size)
        return ip.values.copy(), where.values + size, bp.values.copy(), ip.valid & bp.valid & there

    def saved_bytes(self, kernel: Kernel) -> int:
        """The frame itself."""
        return size_of(kernel, "struct inactive_task_frame")

    def cpu_stacks(self, kernel: Kernel, numbers: I64) -> list[Part]:
        """The stacks of interrupts, those of the interrupt stack table, and the one of the entry from user mode."""
        return [*interrupt_stacks(kernel, numbers), *exception_stacks(kernel, numbers)]

    def left_at(self, kernel: Kernel, kind: U8, end: U64) -> U64:
        """At its end: an interrupt's last word is the stack pointer of before (arch/x86/include/asm/irq_stack.h),
        the last on an exception's are registers (arch/x86/kernel/dumpstack_64.c, in_exception_stack)."""
        regs = kernel.type_or_none("struct pt_regs")
        offset = regs.member("sp").offset if isinstance(regs, StructType) else 0
        below = size_of(kernel, "struct pt_regs") - offset
        where = np.where(kind == StackKind.IRQ, end - np.uint64(8), np.uint64(0))
        by_registers = np.isin(kind, (StackKind.EXCEPTION, StackKind.NMI))
        return np.where(by_registers, end - np.uint64(below), where)

    def fetched(self, kernel: Kernel, regs: U64) -> Mask:
        """By the error code of a page fault (arch/x86/include/asm/trap_pf.h, X86_PF_INSTR)."""
        kind = kernel.type_or_none("struct pt_regs")
        if not isinstance(kind, StructType):
            return np.zeros(len(regs), dtype=bool)
        code, read = kernel.words(regs + np.uint64(kind.member("orig_ax").offset), what="")
        told: Mask = read & (code & _FETCH != 0) & (code < _ERROR_CODES)
        return told

    def interrupted(self, kernel: Kernel, address: int, *, whole: bool = True) -> dict[str, int]:
        """All of struct pt_regs, or what an interrupt pushes."""
        found = members_of(StructArray(kernel, "struct pt_regs", [address]), _ALL)
        return found if whole else {name: found[name] for name in _FRAME if name in found}

    def switched_from(self, kernel: Kernel, task: int) -> dict[str, int]:
        """What struct inactive_task_frame has."""
        if kernel.type_or_none("struct inactive_task_frame") is None:
            return {}
        where = StructArray(kernel, "struct task_struct", [task])["thread.sp"]
        frame = StructArray(kernel, "struct inactive_task_frame", where.values, where.true)
        return members_of(frame, _CALLEE_SAVED)

    def interrupts_off(self, registers: Mapping[str, int]) -> bool | None:
        """By X86_EFLAGS_IF."""
        return None if "flags" not in registers else not registers["flags"] & _INTERRUPTS

    def spelt(self, name: str) -> str:
        """RAX, R08, RIP; the flags are EFLAGS."""
        if name == "flags":
            return "EFLAGS"
        if name == "orig_ax":
            return "ORIG_RAX"
        return f"R{int(name[1:]):02}" if name[1:].isdecimal() else f"R{name.upper()}"

    def headline(self, registers: Mapping[str, int], symbol: str) -> str:
        """`RIP: 0010:schedule+0x1/0x2`; the selector where it is known."""
        segment = f"{registers['cs'] & 0xFFFF:04x}:" if "cs" in registers else ""
        return f"RIP: {segment}{symbol}"

    def report(self, registers: Mapping[str, int]) -> Iterator[str]:
        """RSP with the flags, then the general ones."""
        if "sp" in registers:
            stack = f"{registers['ss'] & 0xFFFF:04x}:" if "ss" in registers else ""
            flags = f" EFLAGS: {registers['flags']:08x}" if "flags" in registers else ""
            call = registers.get("orig_ax", _NO_SYSTEM_CALL)
            yield f"RSP: {stack}{registers['sp']:016x}{flags}" + (
                "" if call == _NO_SYSTEM_CALL else f" ORIG_RAX: {call:016x}"
            )
        for names in _LINES:
            known = [f"{self.spelt(name)}: {registers[name]:016x}" for name in names if name in registers]
            if known:
                yield " ".join(known)

    def uses(self, code: bytes, start: int, address: int) -> list[int]:
        """32 bits of it, or its distance to the next instruction."""
        whole = np.frombuffer(code, dtype=np.uint8)
        if len(whole) < 4:
            return []
        each = np.lib.stride_tricks.sliding_window_view(whole, 4).copy().view("<u4")[:, 0].astype(np.uint64)
        after = wrapped(start + 4) + np.arange(len(each), dtype=np.uint64)
        low = np.uint64(0xFFFF_FFFF)
        hit = (each == (np.uint64(address) & low)) | (each == ((np.uint64(address) - after) & low))
        found: list[int] = (np.flatnonzero(hit) + 4).tolist()
        return found

    def called(self, code: bytes, start: int) -> U64:
        """By e8 rel32."""
        whole = np.frombuffer(code, dtype=np.uint8)
        if len(whole) < 5:
            return np.zeros(0, dtype=np.uint64)
        window = np.lib.stride_tricks.sliding_window_view(whole, 5)
        at = np.flatnonzero(window[:, 0] == _CALL)
        distance = np.ascontiguousarray(window[at, 1:]).view("<i4")[:, 0].astype(np.int64).view(np.uint64)
        target: U64 = wrapped(start + 5) + at.astype(np.uint64) + distance
        return target


X86_64 = _X86()

"""arm64: its calls, its CPUs' stacks, and its registers as they are saved and as the kernel prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType
from kernlab.formats import register_sets
from kernlab.linux.stacks.machines import arm64_code
from kernlab.linux.stacks.machines.base import StackMachine
from kernlab.linux.stacks.machines.named_members import members_of
from kernlab.linux.stacks.stack_kinds import Part, StackKind, part, percpu_pointer, size_of
from kernlab.linux.thread_stacks import thread_size
from kernlab.walk.cpus import percpu

if TYPE_CHECKING:
    from kernlab.linux.stacks.code import Code

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: Without VA_BITS in VMCOREINFO a signature is taken to have no more bits than this leaves.
_VA_BITS = 48
#: Bit 55 of an address tells the kernel's half, whatever lies in the bits of a signature.
_HALF = np.uint64(1 << 55)

#: A pointer of each CPU to the first byte of a stack as large as a thread's (arch/arm64/kernel/{irq,sdei}.c).
_POINTERS = (
    ("irq_stack_ptr", StackKind.IRQ),
    ("sdei_stack_normal_ptr", StackKind.NMI),
    ("sdei_stack_critical_ptr", StackKind.NMI),
)
#: What a thread that ran over its own stack goes on with (arch/arm64/include/asm/memory.h, OVERFLOW_STACK_SIZE).
_OVERFLOW, _OVERFLOW_BYTES = "overflow_stack", 4096

#: struct cpu_context (arch/arm64/include/asm/processor.h) has what a function gives back as it was.
_CONTEXT = {**{f"x{number}": f"x{number}" for number in range(19, 29)}, "x29": "fp"}
_GENERAL = 31

#: PSTATE (arch/arm64/include/uapi/asm/ptrace.h, arch/arm64/kernel/process.c, print_pstate): interrupts are masked; the
#: flags with a letter each, large where they are set; and those with a sign.
_MASKED = 1 << 7
_FLAGS = (((31, "N"), (30, "Z"), (29, "C"), (28, "V")), ((9, "D"), (8, "A"), (7, "I"), (6, "F")))
_SIGNED = ((22, "PAN"), (23, "UAO"), (25, "TCO"), (24, "DIT"), (12, "SSBS"))


class _Arm64(StackMachine):
    registers = register_sets.AARCH64
    call_bytes = 4
    # It counted to the scheduler's code only since v5.17.
    switches = ("__switch_to",)
    irq_entries = ("el1h_64_irq", "el1t_64_irq", "el1h_64_fiq", "el1t_64_fiq", "el1_irq", "el1_fiq")
    nmi_entries = ("__sdei_asm", "sdei_")
    # arch/arm64/kernel/ftrace.c, prepare_ftrace_return; arch/arm64/kernel/probes/kprobes.c, arch_prepare_kretprobe.
    traced_by_frame = True
    holders = ("x0", *(f"x{number}" for number in (*range(19, 29), *range(1, 19))))
    general_bytes = _GENERAL * 8
    not_data = ("pc", "sp", "pstate")

    def calls(self, kernel: Kernel, code: Code, rows: U8, addresses: U64) -> tuple[Mask, Mask]:
        """bl, blr, or a blr that authenticates its pointer."""
        return arm64_code.calls(np.ascontiguousarray(rows).view("<u4")[:, 0])

    def signature_bits(self, kernel: Kernel) -> int:
        """By KERNELPACMASK; without signatures these bits are what the sign says anyway."""
        bits = kernel.vmcoreinfo.number("VA_BITS") or _VA_BITS
        told = kernel.vmcoreinfo.number("KERNELPACMASK")
        return told or (1 << 64) - (1 << min(max(bits, _VA_BITS - 12), 56))

    def saved_context(self, kernel: Kernel, task: StructArray, there: Mask) -> tuple[U64, U64, U64, Mask]:
        """By struct cpu_context (arch/arm64/include/asm/processor.h)."""
        pc, sp, fp = (task[f"thread.cpu_context.{name}"] for name in ("pc", "sp", "fp"))
        ip = without_signatures(pc.values, self.signature_bits(kernel))
        return ip, sp.values.copy(), fp.values.copy(), pc.true & sp.true & fp.valid & there

    def saved_bytes(self, kernel: Kernel) -> int:
        """None: what was saved lies in the task_struct."""
        return 0

    def cpu_stacks(self, kernel: Kernel, numbers: I64) -> list[Part]:
        """Those of interrupts, of firmware's events (SDEI), and of threads that ran over their own stack."""
        found = []
        size = thread_size(kernel)
        for name, kind in _POINTERS if size else ():
            start = percpu_pointer(kernel, numbers, name)
            if start is not None:
                rows = np.flatnonzero(start != 0)
                found.append(part(start[rows], size, kind, numbers[rows]))
        overflow = kernel.symbols.get(_OVERFLOW)
        if overflow is not None:
            where = percpu(kernel, overflow, numbers)
            found.append(part(where, _OVERFLOW_BYTES, StackKind.EXCEPTION, numbers))
        return found

    def left_at(self, kernel: Kernel, kind: U8, end: U64) -> U64:
        """In the registers at the end of an overflow stack (arch/arm64/kernel/entry.S, __bad_stack)."""
        regs = kernel.type_or_none("struct pt_regs")
        offset = regs.member("sp").offset if isinstance(regs, StructType) else 0
        below = np.uint64(size_of(kernel, "struct pt_regs") - offset)
        return np.where(kind == StackKind.EXCEPTION, end - below, np.uint64(0))

    def fetched(self, kernel: Kernel, regs: U64) -> Mask:
        """No word of them says why; but what called is noted as where it would have returned to."""
        kind = kernel.type_or_none("struct pt_regs")
        if not isinstance(kind, StructType):
            return np.zeros(len(regs), dtype=bool)
        link, read = kernel.words(regs + np.uint64(kind.member("regs").offset + 30 * 8), what="")
        back = without_signatures(link, self.signature_bits(kernel))
        rows, status = kernel.gather(back - np.uint64(4), 4, what="")
        called, _ = arm64_code.calls(rows.view("<u4")[:, 0])
        told: Mask = called & read & (status == 0)
        return told

    def interrupted(self, kernel: Kernel, address: int, *, whole: bool = True) -> dict[str, int]:
        """All of struct user_pt_regs, which struct pt_regs begins with; the CPU itself saves pc and pstate."""
        struct = StructArray(kernel, "struct pt_regs", [address])
        found = members_of(struct, ("pc", "sp", "pstate"))
        if whole:
            found |= members_of(struct, (f"regs[{number}]" for number in range(_GENERAL)))
        return {f"x{name[5:-1]}" if name.startswith("regs[") else name: found[name] for name in found}

    def switched_from(self, kernel: Kernel, task: int) -> dict[str, int]:
        """What struct cpu_context has."""
        struct = StructArray(kernel, "struct task_struct", [task])
        if not struct.has("thread.cpu_context"):
            return {}
        found = members_of(struct, (f"thread.cpu_context.{member}" for member in _CONTEXT.values()))
        return {
            name: found[path]
            for name, member in _CONTEXT.items()
            if (path := f"thread.cpu_context.{member}") in found
        }

    def interrupts_off(self, registers: Mapping[str, int]) -> bool | None:
        """By PSTATE.I."""
        return None if "pstate" not in registers else bool(registers["pstate"] & _MASKED)

    def spelt(self, name: str) -> str:
        """As they are called; x30 is the link register."""
        return "lr" if name == "x30" else name

    def headline(self, registers: Mapping[str, int], symbol: str) -> str:
        """`pc : schedule+0x1/0x2` (arch/arm64/kernel/process.c, __show_regs)."""
        return f"pc : {symbol}"

    def report(self, registers: Mapping[str, int]) -> Iterator[str]:
        """pstate, lr, sp, then x29 down to x0, three a line."""
        if "pstate" in registers:
            yield f"pstate: {registers['pstate']:08x} ({_flags(registers['pstate'])})"
        for name, label in (("x30", "lr"), ("sp", "sp")):
            if name in registers:
                yield f"{label} : {registers[name]:016x}"
        for first in range(29, -1, -3):
            known = [
                f"{f'x{number}':<3}: {registers[f'x{number}']:016x}"
                for number in range(first, first - 3, -1)
                if f"x{number}" in registers
            ]
            if known:
                yield " ".join(known)

    def uses(self, code: bytes, start: int, address: int) -> list[int]:
        """By adrp and add, by adrp alone at a page's begin, by adr."""
        return arm64_code.uses(code, start, address)

    def called(self, code: bytes, start: int) -> U64:
        """By bl."""
        return arm64_code.called(code, start)


ARM64 = _Arm64()


def without_signatures(addresses: U64, bits: int) -> U64:
    """Addresses uint64[…] as they were before they were signed (ptrauth_strip_kernel_insn_pac)."""
    signed = np.uint64(bits)
    return np.where(addresses & _HALF != 0, addresses | signed, addresses & ~signed) if bits else addresses


def _flags(pstate: int) -> str:
    letters = [
        "".join(letter if pstate >> bit & 1 else letter.lower() for bit, letter in group) for group in _FLAGS
    ]
    return " ".join(letters + [f"{'+' if pstate >> bit & 1 else '-'}{name}" for bit, name in _SIGNED])

"""Threads of arm64 in, their registers in user mode out: as the kernel saved them on entry, or as a note has them."""

from __future__ import annotations

import struct

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.formats.elf_core import NT_ARM_PAC_MASK, NT_ARM_TLS, NT_FPREGSET
from kernlab.linux.program_registers.kinds import ThreadRegisters, on_cpus
from kernlab.linux.stacks.machines import ARM64
from kernlab.linux.thread_stacks import thread_size

#: struct user_fpsimd_state (arch/arm64/include/uapi/asm/ptrace.h): 32 registers of 16 bytes, fpsr, fpcr.
_VECTORS, _VECTOR = 32, 16
_FPSIMD = _VECTORS * _VECTOR + 16
#: In v4.16 it moved into `uw`, what user space may see.
_STATE, _TLS = ("thread.uw.fpsimd_state", "thread.fpsimd_state"), ("thread.uw.tp_value", "thread.tp_value")
#: enum fp_type: where the registers are is SVE's own state (since v6.2).
_SVE = "FP_STATE_SVE"
#: Signatures of a program's addresses end at this bit (arch/arm64/include/asm/pointer_auth.h).
_HIGHEST = 54


def of_threads(kernel: Kernel, task: StructArray) -> list[ThreadRegisters]:
    """See `user_registers.user_registers`; general registers as struct user_pt_regs has them."""
    ran, saved = on_cpus(kernel), _saved(kernel, task)
    mask = _signatures(kernel)
    result = []
    for row, address in enumerate(task.addresses.tolist()):
        one, why, notes = task[row : row + 1], [], []
        on_cpu = ran.get(address)
        general = on_cpu or saved[row]
        if general is None:
            why.append("its registers in user mode are not on its kernel stack")
        if on_cpu is not None:
            why.append("it ran on a CPU, which had its vector registers")
        elif (vectors := _fpsimd(kernel, one)) is not None:
            notes.append(("CORE", NT_FPREGSET, vectors))
        else:
            why.append("its vector registers are not in the dump")
        tls = next((one[path] for path in _TLS if one.has(path)), None)
        if tls is not None and tls.valid[0]:
            notes.append(("LINUX", NT_ARM_TLS, struct.pack("<Q", int(tls.values[0]))))
        if mask:
            notes.append(("LINUX", NT_ARM_PAC_MASK, struct.pack("<QQ", mask, mask)))
        result.append(ThreadRegisters(general, tuple(notes), tuple(why)))
    return result


def _saved(kernel: Kernel, task: StructArray) -> list[dict[str, int] | None]:
    """What each thread's kernel stack begins with (task_pt_regs); None where that is not registers of user mode."""
    result: list[dict[str, int] | None] = [None] * len(task)
    size, kind, names = thread_size(kernel), kernel.find_type("struct pt_regs"), ARM64.registers.names
    stack = task["stack"]
    rows = np.flatnonzero(stack.true)
    if not size or kind.size < 8 * len(names):
        return result
    top = stack.values[rows].astype(np.uint64) + np.uint64(size)
    data, status = kernel.gather(top - np.uint64(kind.size), 8 * len(names), "")
    for at in np.flatnonzero(status == 0).tolist():
        values = dict(zip(names, data[at].view("<u8").tolist(), strict=True))
        # A kernel thread's are all zero.
        if values["pc"] and ARM64.registers.is_user(values):
            result[int(rows[at])] = values
    return result


def _fpsimd(kernel: Kernel, task: StructArray) -> bytes | None:
    """struct user_fpsimd_state of a thread that does not run; of one that uses SVE the lower parts of its registers."""
    path = next((path for path in _STATE if task.has(path)), None)
    if path is None:
        return None
    access = resolve(task.type, path)
    data, status = kernel.gather(task.addresses + np.uint64(access.hops[-1]), _FPSIMD, "")
    if status[0]:
        return None
    state = data[0].copy()
    sve = kernel.types.enumerator_or_none(_SVE)
    if sve is None or not task.has("thread.fp_type") or int(task["thread.fp_type"].filled(0)[0]) != sve:
        plain: bytes = state.tobytes()
        return plain
    # What SVE adds lies between them (arch/arm64/kernel/fpsimd.c, __sve_to_fpsimd).
    length, where = task["thread.vl[0]"].int64.filled(0)[0], task["thread.sve_state"]
    if not where.true[0] or not 0 < length <= 256 or length % _VECTOR:
        return None
    each = where.values[:1].astype(np.uint64) + np.arange(_VECTORS, dtype=np.uint64) * np.uint64(length)
    rows, status = kernel.gather(each, _VECTOR, "")
    state[: _VECTORS * _VECTOR] = rows.reshape(-1)
    whole: bytes = state.tobytes()
    return None if status.any() else whole


def _signatures(kernel: Kernel) -> int:
    """The bits of a program's addresses that signatures take, 0 where the machine makes none: debuggers strip them."""
    signed = kernel.vmcoreinfo.number("KERNELPACMASK") or 0
    lowest = signed & -signed
    return (1 << _HIGHEST + 1) - lowest if 0 < lowest < 1 << _HIGHEST else 0

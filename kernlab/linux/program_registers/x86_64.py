"""Threads of x86-64 in, their registers in user mode out: as the kernel saved them on entry, or as a note has them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import StructType
from kernlab.formats.elf_core import NT_FPREGSET, NT_X86_XSTATE
from kernlab.formats.register_sets import X86_64
from kernlab.linux.program_registers.kinds import ThreadRegisters, on_cpus
from kernlab.linux.stacks.machines.x86_64 import modes
from kernlab.linux.thread_stacks import thread_size

U64 = npt.NDArray[np.uint64]

#: Between a stack's end and a task's registers: with CONFIG_X86_FRED (v6.9) 16 bytes (TOP_OF_KERNEL_STACK_PADDING).
_PADDINGS = (0, 16)
#: struct pt_regs has them in the order of struct user_regs_struct.
_SAVED = X86_64.names[: X86_64.names.index("ss") + 1]
#: arch/x86/include/asm/fpu/types.h: struct fxregs_state; the header of XSAVE behind it, and AVX behind that.
_FXSAVE, _AVX_AT, _AVX_BYTES, _TASK_ALIGNED = 512, 576, 256, 64
_X87, _SSE, _AVX = 1, 2, 4
_COMPACTED = 1 << 63
#: Where the fields of struct fxregs_state are: mxcsr, the registers of x87 and of SSE, what software may use.
_MXCSR, _ST, _XMM, _SOFTWARE = 24, slice(32, 160), slice(160, 416), 464
_INITIAL_CONTROL, _INITIAL_MXCSR = b"\x7f\x03", b"\x80\x1f\0\0"


def of_threads(kernel: Kernel, task: StructArray) -> list[ThreadRegisters]:
    """See `user_registers.user_registers`; general registers as struct user_regs_struct has them."""
    ran = on_cpus(kernel)
    saved = _saved(kernel, task)
    thread = "thread.fsbase", "thread.gsbase", "thread.fsindex", "thread.gsindex", "thread.ds", "thread.es"
    bases = {path: task[path].values.astype(np.uint64).tolist() for path in thread if task.has(path)}
    result = []
    for row, address in enumerate(task.addresses.tolist()):
        why: list[str] = []
        on_cpu = ran.get(address)
        general = saved[row]
        if on_cpu is not None and on_cpu:
            general = on_cpu
        elif general is None:
            why.append("its registers in user mode are not on its kernel stack")
        if general is not None:
            names = {"fs_base": "fsbase", "gs_base": "gsbase", "fs": "fsindex", "gs": "gsindex"}
            for name in ("fs_base", "gs_base", "ds", "es", "fs", "gs"):
                # The kernel's own note has them as the task does; QEMU's has the true ones.
                value = bases.get(f"thread.{names.get(name, name)}", [0] * len(task))[row]
                general.setdefault(name, value)
                general[name] = general[name] if on_cpu and general[name] else value
        fpu = xstate = None
        if on_cpu is not None:
            why.append("it ran on a CPU, which had its vector registers")
        else:
            fpu, xstate = _fpu(kernel, task[row : row + 1])
            if fpu is None:
                why.append("its vector registers are not in the dump")
        notes = [] if fpu is None else [("CORE", NT_FPREGSET, fpu)]
        notes += [] if xstate is None else [("LINUX", NT_X86_XSTATE, xstate)]
        result.append(ThreadRegisters(general, tuple(notes), tuple(why)))
    return result


def _saved(kernel: Kernel, task: StructArray) -> list[dict[str, int] | None]:
    """What each thread's kernel stack begins with (task_pt_regs); None where that is not registers of user mode."""
    result: list[dict[str, int] | None] = [None] * len(task)
    size, kind = thread_size(kernel), kernel.find_type("struct pt_regs")
    stack = task["stack"]
    count = len(_SAVED)
    if not size or kind.size < 8 * count:
        return result
    for padding in _PADDINGS:
        rows = np.array(
            [row for row in np.flatnonzero(stack.true).tolist() if result[row] is None], dtype=np.int64
        )
        if not len(rows):
            break
        top = stack.values[rows].astype(np.uint64) + np.uint64(size)
        data, status = kernel.gather(top - np.uint64(padding + kind.size), 8 * count, "")
        words = data.view("<u8")
        user, _ = modes(words[:, _SAVED.index("cs")], words[:, _SAVED.index("flags")])
        for at in np.flatnonzero(user & (status == 0)).tolist():
            values = dict(zip(_SAVED, words[at].tolist(), strict=True))
            # Above the selectors FRED keeps what delivered the event.
            result[int(rows[at])] = values | {name: values[name] & 0xFFFF for name in ("cs", "ss")}
    return result


def _fpu(kernel: Kernel, task: StructArray) -> tuple[bytes | None, bytes | None]:
    """The state of the FPU that a thread which does not run saved (arch/x86/kernel/fpu/regset.c)."""
    kind = kernel.type_or_none("struct fpu")
    if kind is None:
        return None, None
    if task.has("thread.fpu") and isinstance(resolve(task.type, "thread.fpu").type, StructType):
        inner = resolve(task.type, "thread.fpu").hops[-1]
    else:
        # Since v6.16 it lies behind the task_struct (x86_task_fpu).
        inner = -(-task.type.size // _TASK_ALIGNED) * _TASK_ALIGNED
    fpu = StructArray(kernel, kind, task.addresses + np.uint64(inner))
    # Linux commit 87d0e5be0fac ("x86/fpu: Provide struct fpstate") (in v5.16).
    if fpu.has("fpstate"):
        state = fpu.follow("fpstate")
        where, size = state.follow("regs").addresses, int(state["size"].int64.filled(0)[0])
    else:
        where, told = fpu.follow("state").addresses, kernel.symbols.get("fpu_kernel_xstate_size")
        size = min(kernel.word("fpu_kernel_xstate_size", 4), kind.size) if told else 0
    wanted = _AVX_AT + _AVX_BYTES if size >= _AVX_AT + _AVX_BYTES else _AVX_AT if size >= _AVX_AT else _FXSAVE
    rows, status = kernel.gather(where, wanted, "")
    if status[0]:
        return None, None
    data = bytearray(rows[0].tobytes())
    if wanted == _FXSAVE:
        return bytes(data), None
    saved, layout = (int.from_bytes(data[at : at + 8], "little") for at in (_FXSAVE, _FXSAVE + 8))
    # What is in its initial state is not written.
    if not saved & _X87:
        data[0:24] = _INITIAL_CONTROL + bytes(22)
        data[_ST] = bytes(128)
    if not saved & _SSE:
        data[_XMM] = bytes(256)
    if not saved & (_SSE | _AVX):
        data[_MXCSR : _MXCSR + 4] = _INITIAL_MXCSR
    legacy = bytes(data[:_FXSAVE])
    if wanted < _AVX_AT + _AVX_BYTES or (layout & _COMPACTED and not layout & _AVX):
        return legacy, None
    if not saved & _AVX:
        data[_AVX_AT:] = bytes(_AVX_BYTES)
    # A debugger learns there which parts there are (gdb, i387_guess_xsave_layout); the form is that of XSAVE.
    data[_SOFTWARE : _SOFTWARE + 8] = (_X87 | _SSE | _AVX).to_bytes(8, "little")
    data[_FXSAVE : _FXSAVE + 16] = (saved & (_X87 | _SSE | _AVX)).to_bytes(8, "little") + bytes(8)
    return legacy, bytes(data)

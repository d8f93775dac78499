"""What threads hold of their programs: registers, those of the FPU (where AES keys lie), and dead parts of stacks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import PointerType, StructType
from kernlab.linux.stacks.machines import ARM64, machine_of
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.tasks import find_tasks
from kernlab.linux.thread_stacks import thread_size
from kernlab.redaction.found import Found
from kernlab.walk.cpus import percpu

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

REGISTERS, STACK = "set of registers", "dead part of a stack"

#: The segments of user mode (asm/segment.h).
_CODE, _DATA = (0x33, 0x23), 0x2B
#: With FRED two words more lie behind struct pt_regs (TOP_OF_KERNEL_STACK_PADDING, since v6.9).
_PADDINGS = (0, 16)
#: A stack's end is marked (STACK_END_MAGIC), and below a running thread's stack pointer interrupts may have been taken.
_MARK, _BELOW = 16, 1024
#: elf_note's head and name, then struct elf_prstatus, in which the registers begin at this byte.
_NOTE_REGISTERS = 12 + 8 + 112
#: No FPU's state is larger (AMX has 8 KiB), and its alignment behind a task_struct.
_LARGEST_STATE, _ALIGNED = 1 << 15, 64
#: What arm64's struct thread_struct has of it: structs, and pointers to what is larger; most go with an option.
_ARM64_STATE = (
    *("uw.fpsimd_state", "kernel_fpsimd_state", "sve_state", "sme_state", "za_state"),
    *("keys_user", "keys_kernel"),
)


def user_registers(found: Found) -> None:
    """The general registers of every thread's user mode; ip, sp, flags and the number of the system call stay."""
    kernel = found.kernel
    machine = machine_of(kernel)
    if machine is ARM64:
        _of_arm64(found)
    else:
        _of_x86(found)
    cpus = cpu_registers(kernel)
    notes = kernel.symbols.get("crash_notes")
    if notes is not None and cpus.user.any():
        pointer, read = kernel.words([notes], what="")
        if read[0] and pointer[0]:
            where = percpu(kernel, int(pointer[0]), cpus.cpu[cpus.user])
            first = where + np.uint64(_NOTE_REGISTERS)
            found.edits.zero(first, machine.general_bytes, REGISTERS)


def _of_arm64(found: Found) -> None:
    kernel = found.kernel
    kind = kernel.find_type("struct pt_regs")
    stack = find_tasks(kernel)["stack"]
    regs = stack.values[stack.true].astype(np.uint64) + np.uint64(thread_size(kernel) - kind.size)
    state, read = kernel.words(regs + np.uint64(resolve(kind, "pstate").hops[0]), what="")
    pc, there = kernel.words(regs + np.uint64(resolve(kind, "pc").hops[0]), what="")
    # A kernel thread's are all zero.
    user = regs[read & there & machine_of(kernel).registers.are_user(state) & (pc != 0)]
    found.edits.zero(user, ARM64.general_bytes, REGISTERS)
    # The first argument of a system call is kept beside.
    found.edits.zero(user + np.uint64(resolve(kind, "orig_x0").hops[0]), 8, REGISTERS)


def _of_x86(found: Found) -> None:
    kernel = found.kernel
    task, size = find_tasks(kernel), thread_size(kernel)
    kind = kernel.find_type("struct pt_regs")
    cs, ss = (resolve(kind, name).hops[0] for name in ("cs", "ss"))
    stack = task["stack"]
    top = stack.values[stack.true].astype(np.uint64) + np.uint64(size)
    for padding in _PADDINGS:
        regs = top - np.uint64(padding + kind.size)
        code, read = kernel.words(regs + np.uint64(cs), what="")
        data, there = kernel.words(regs + np.uint64(ss), what="")
        # The upper bits are of other things where FRED delivers events.
        user = read & there & np.isin(code & np.uint64(0xFFFF), _CODE) & (data & np.uint64(0xFFFF) == _DATA)
        found.edits.zero(regs[user], machine_of(kernel).general_bytes, REGISTERS)
        top = top[~user]


def fpu_registers(found: Found) -> None:
    """The state of every thread's FPU."""
    kernel = found.kernel
    task = find_tasks(kernel)
    if task.has("thread.uw.fpsimd_state"):
        _arm64_state(found, task)
        return
    kind, whole = kernel.find_type("struct fpu"), task.type.size
    if task.has("thread.fpu") and isinstance(resolve(task.type, "thread.fpu").type, StructType):
        inner = resolve(task.type, "thread.fpu").hops[-1]
    else:
        # Since v6.16 it lies behind the task_struct (x86_task_fpu).
        inner = -(-whole // _ALIGNED) * _ALIGNED
    member = "__fpstate.regs" if kernel.types.has_member("struct fpu", "__fpstate") else "state"
    first = inner + resolve(kind, member).hops[-1]
    slab, _, rest = found.slabs.locate(task.addresses)
    room = found.slabs.caches["object_size"].int64.filled(0)[found.slabs.cache[np.maximum(slab, 0)]]
    end = np.where((slab >= 0) & (rest == 0), room, whole)
    found.edits.zero(
        task.addresses + np.uint64(first), np.clip(end - first, 0, _LARGEST_STATE), "state of an FPU"
    )
    if kernel.types.has_member("struct fpu", "fpstate"):
        # A larger state (AMX) is elsewhere.
        state = StructArray(kernel, kind, task.addresses + np.uint64(inner)).follow("fpstate")
        apart = (state.addresses < task.addresses) | (
            state.addresses >= task.addresses + end.astype(np.uint64)
        )
        state = state[np.flatnonzero(apart & state.valid)]
        size = state["size"].int64.filled(0)
        at = resolve(state.type, "regs").hops[-1]
        found.edits.zero(state.addresses + np.uint64(at), np.clip(size, 0, _LARGEST_STATE), "state of an FPU")


def _arm64_state(found: Found, task: StructArray) -> None:
    """arm64's vector registers, in the thread and beside it, and the keys that it signs pointers with
    (arch/arm64/include/asm/processor.h, struct thread_struct)."""
    for member in _ARM64_STATE:
        if not task.has(f"thread.{member}"):
            continue
        access = resolve(task.type, f"thread.{member}")
        if not isinstance(access.type, PointerType):
            found.edits.zero(task.addresses + np.uint64(access.hops[-1]), access.type.size, "state of an FPU")
            continue
        pointer = task[f"thread.{member}"]
        where = pointer.values[pointer.true].astype(np.uint64)
        slab, _, rest = found.slabs.locate(where)
        room = found.slabs.caches["object_size"].int64.filled(0)[found.slabs.cache[np.maximum(slab, 0)]]
        # What is too large for a slab has pages of its own.
        size = np.where((slab >= 0) & (rest == 0), room, found.kernel.page_size)
        found.edits.zero(where, np.clip(size, 0, _LARGEST_STATE), "state of an FPU")


def dead_stacks(found: Found) -> None:
    """What earlier calls left on stacks, below the stack pointer: copies of users' data among it."""
    kernel = found.kernel
    task, size = find_tasks(kernel), thread_size(kernel)
    stack = task["stack"]
    cpus = cpu_registers(kernel)
    running = np.zeros(len(task), dtype=bool)
    end = np.zeros(len(task), dtype=np.uint64)
    on_cpu = cpus.thread >= 0
    running[cpus.thread[on_cpu]] = True
    told = on_cpu & cpus.told
    below = np.maximum(cpus.sp, np.uint64(_BELOW)) - np.uint64(_BELOW)
    end[cpus.thread[told]] = below[told]
    # In user mode nothing is on the kernel's stack but where it came from.
    regs = stack.values.astype(np.uint64) + np.uint64(
        size - kernel.find_type("struct pt_regs").size - _PADDINGS[-1]
    )
    in_user = on_cpu & cpus.user
    end[cpus.thread[in_user]] = regs[cpus.thread[in_user]]
    machine = machine_of(kernel)
    _, sp, _, known = machine.saved_context(kernel, task, stack.true & ~running)
    saved = sp - np.uint64(machine.saved_bytes(kernel))
    end = np.where(known & ~running, saved, end)
    start = stack.values.astype(np.uint64) + np.uint64(_MARK)
    inside = stack.true & (end > start) & (end - start < np.uint64(max(size, _MARK)))
    found.edits.zero(start[inside], (end - start)[inside].astype(np.int64), STACK)

"""Threads in, their registers in user mode out, by the machine that they ran on."""

from __future__ import annotations

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.program_registers import arm64, x86_64
from kernlab.linux.program_registers.kinds import ThreadRegisters
from kernlab.linux.stacks.machines import ARM64, machine_of

__all__ = ["ThreadRegisters", "user_registers"]


def user_registers(kernel: Kernel, task: StructArray) -> list[ThreadRegisters]:
    """The registers of each thread when it was last in user mode.

    Of those that ran on a CPU in user mode the notes have them, of all others the top of their kernel stack.
    """
    if machine_of(kernel) is ARM64:
        return arm64.of_threads(kernel, task)
    return x86_64.of_threads(kernel, task)

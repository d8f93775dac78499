"""The machines whose stacks kernlab reads; a new one is a module here and a line in `machine_of`."""

from __future__ import annotations

from kernlab.core.kernel import Kernel
from kernlab.errors import TypesLostError
from kernlab.linux.stacks.machines.arm64 import ARM64
from kernlab.linux.stacks.machines.base import StackMachine
from kernlab.linux.stacks.machines.x86_64 import X86_64

__all__ = ["ARM64", "X86_64", "StackMachine", "machine_of"]


def machine_of(kernel: Kernel) -> StackMachine:
    """The machine that a kernel was built for, by its own types: arm64's threads save a cpu_context. Where these are
    lost, by the dump's."""
    try:
        arm = kernel.types.has_member("struct thread_struct", "cpu_context")
    except TypesLostError:
        arm = kernel.arch.machine == "aarch64"
    return ARM64 if arm else X86_64

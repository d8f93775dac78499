"""What is known of a thread's registers in user mode, and of those that ran when the machine died."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.tasks import find_tasks


@dataclass(frozen=True, slots=True)
class ThreadRegisters:
    """One thread: its general registers by name, or None; `notes` are the others as notes of a core file have them
    (name, type, bytes), vector registers first, as far as they are known; `why` says what is not."""

    general: dict[str, int] | None
    notes: tuple[tuple[str, int, bytes], ...]
    why: tuple[str, ...]


def on_cpus(kernel: Kernel) -> dict[int, dict[str, int]]:
    """Threads that ran on a CPU by their task_struct: their registers if it was in user mode, else {}."""
    found = cpu_registers(kernel)
    tasks = find_tasks(kernel).addresses
    ran: dict[int, dict[str, int]] = {}
    for row in np.flatnonzero(found.thread >= 0).tolist():
        user = bool(found.user[row])
        ran[int(tasks[found.thread[row]])] = (
            {name: int(found.values[name][row]) for name in found.set.names if found.known[name][row]}
            if user
            else {}
        )
    return ran

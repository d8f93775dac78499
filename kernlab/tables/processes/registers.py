"""Registers: what each CPU was doing when the machine died."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.tasks import find_tasks

#: In the order of the columns; an address is what may point to something.
_COLUMNS = {
    "x86_64": (
        *("ip", "sp", "bp", "ax", "bx", "cx", "dx", "si", "di"),
        *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
        *("flags", "cs", "ss", "ds", "es", "fs", "gs", "orig_ax"),
        *("fs_base", "gs_base", "kernel_gs_base"),
        *("cr0", "cr2", "cr3", "cr4"),
    ),
    "aarch64": ("pc", "sp", *(f"x{number}" for number in range(31)), "pstate"),
}
_NUMBERS = ("flags", "cs", "ss", "ds", "es", "fs", "gs", "orig_ax", "cr0", "cr4", "pstate")


@table
def registers(kernel: Kernel) -> pd.DataFrame:
    """One row per CPU that was online, with the thread that ran there and the registers by the kernel's names.

    source is who tells them: the kernel's own notes in memory (crash_notes), QEMU's, or the file's (NT_PRSTATUS); a
    register that it does not tell is missing. Of the CPU that panicked they are those of the panic, of the others those
    at which they were stopped. In user mode (cs & 3 is 3, on arm64 pstate & 15 is 0) they are the program's. Mirrors
    kernel/crash_core.c.

    >>> dump.registers[["cpu", "pid", "comm", "source", "ip"]]
       cpu  pid       comm       source                  ip
    0    0    0  swapper/0  crash_notes  0xffffffff9ac17a0b
    1    1    1       init  crash_notes  0xffffffff9a36475a
    """
    found = cpu_registers(kernel)
    ran = found.thread >= 0
    task = find_tasks(kernel)[np.where(ran, found.thread, 0)]

    def column(name: str, kind: str) -> Column:
        return Column.of(found.values[name], found.known[name], kind)

    columns: dict[str, Any] = {
        name: nullable(column(name, "uint")) if name in _NUMBERS else column(name, "address")
        for name in _COLUMNS[found.set.machine]
    }
    return frame(
        kernel,
        "registers",
        cpu=found.cpu,
        pid=nullable(task["pid"].where(ran)),
        comm=task["comm"].where(ran),
        source=Column.of(np.array(found.source, dtype=object), found.told, "text"),
        **columns,
    )

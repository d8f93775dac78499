"""A CPU in, whether it took no interrupts by its own doing out: a late timer alone does not tell that."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.linux.scheduling.steal import stolen_since_tick
from kernlab.linux.stacks.machines import ARM64, X86_64
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.chains import beneath
from kernlab.verdict.finding import Evidence, rows_of

#: Registers that say whether the processor takes interrupts, and whose they are.
_STATES = {"flags": X86_64, "pstate": ARM64}


def interrupts_off(case: Case, cpu: int) -> Evidence | None:
    """What shows that a CPU had interrupts off in what it did when the machine died; None where they were on, or where
    its registers are not known or are those of an interrupt that stopped it."""
    rows = case.registers[case.registers["cpu"] == cpu] if case.has("registers") else None
    stack = case.stack_of_cpu(cpu)
    if rows is None or rows.empty or len(beneath(stack)) < len(stack):
        return None
    if not any(
        machine.interrupts_off({name: int(rows[name].iloc[0])})
        for name, machine in _STATES.items()
        if name in rows and pd.notna(rows[name].iloc[0])
    ):
        return None
    said = f"CPU {cpu} had interrupts off when it was stopped"
    return Evidence("registers", said, rows_of(rows, list(rows.index)))


def taken_by_host(case: Case, cpu: int, late: float) -> str | None:
    """Why a timer that is so many seconds late does not tell of the CPU's own doing: the host did not let it run for
    most of them; None where it did, or where that is not known."""
    stolen = stolen_since_tick(case.kernel, np.array([cpu], dtype=np.int64))
    taken = float(stolen.filled(0)[0]) / 1e9
    if taken < late / 2:
        return None
    return f"The host of this virtual machine has not let CPU {cpu} run for {human_time(taken)} of that."

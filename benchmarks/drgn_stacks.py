"""drgn's side of the stacks benchmark: the physical frames of every thread, with their symbols, as a DataFrame.

python benchmarks/drgn_stacks.py DUMP VMLINUX [--figures]
"""

from __future__ import annotations

import drgn
import pandas as pd
from drgn.helpers.linux import for_each_task, task_state_to_char
from drgn_program import main
from figures import stack_figures

COLUMNS = ["pid", "frame", "address", "symbol", "sp", "comm", "state", "task"]
#: User code begins no higher: drgn shows where a thread left it, and takes what it finds from there on for more.
USER_END = 1 << 63


def stacks(prog: drgn.Program) -> pd.DataFrame:
    rows = []
    for task in for_each_task(prog, idle=True):
        pid, address = task.pid.value_(), task.value_()
        comm, state = task.comm.string_().decode("utf-8", "backslashreplace"), task_state_to_char(task)
        number = 0
        for frame in prog.stack_trace(task):
            if frame.is_inline:
                continue
            if frame.pc < USER_END:
                break
            try:
                symbol = frame.symbol()
                name = f"{symbol.name}+{frame.pc - symbol.address:#x}/{symbol.size:#x}"
            except LookupError:
                name = f"{frame.pc:#018x}"
            rows.append((pid, number, frame.pc, name, frame.sp, comm, state, address))
            number += 1
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"address": "uint64", "sp": "uint64", "task": "uint64"})


if __name__ == "__main__":
    main(stacks, stack_figures)

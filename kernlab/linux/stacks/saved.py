"""Where the stacks of threads that do not run begin: what a task saved when it was switched from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.stacks.areas import Stacks
from kernlab.linux.stacks.frames import Frames

I64 = npt.NDArray[np.int64]


def sleeping(kernel: Kernel, task: StructArray, stacks: Stacks, rows: I64) -> Frames:
    """The innermost frames of the tasks of some rows: struct inactive_task_frame (arch/x86/include/asm/switch_to.h)."""
    where = task[rows]["thread.sp"]
    frame = StructArray(kernel, "struct inactive_task_frame", where.values, where.true)
    ip, bp = frame["ret_addr"], frame["bp"]
    size = np.uint64(kernel.find_type("struct inactive_task_frame").size)
    fork = [np.uint64(kernel.symbols.get(name) or 0) for name in ("ret_from_fork_asm", "ret_from_fork")]
    return Frames(
        kernel,
        stacks,
        rows,
        np.full(len(rows), -1, dtype=np.int64),
        ip.values.copy(),
        where.values + size,
        bp.values.copy(),
        np.isin(ip.values, [start for start in fork if start]),
    )

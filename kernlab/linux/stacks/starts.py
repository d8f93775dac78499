"""Where stacks begin: at a CPU's registers, or at what a task saved when it was switched from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.stacks.code import is_return_address
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.stacks.registers import CpuRegisters

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Registers besides ip, sp and bp that may lead to a caller's frame: where a function realigned its stack.
REALIGNED = ("ax", "dx", "di", "r10", "r13")
#: All that are kept of the innermost frame: those, and arm64's link register.
OTHERS = (*REALIGNED, "x30")

#: Where a thread goes that has never run: the one in assembler, and before v6.6 the only one.
_FORK = ("ret_from_fork_asm", "ret_from_fork")

#: Why a thread that ran has no stack; of a running machine that is always so.
UNKNOWN_REGISTERS = "whose registers are not known"


@dataclass(frozen=True, slots=True)
class Starts:
    """N stacks at their innermost frames: ip, sp, bp uint64[n], and `others` uint64[n, len(OTHERS)].

    thread int64[n] is a row of `find_tasks`, cpu int64[n] the CPU that ran it (-1: none); exact bool[n]: ip is an
    instruction yet to be done; full bool[n]: all registers are known. `why` says by
    its number why one is not known, or '' of a stack that has no frames.
    """

    thread: I64
    cpu: I64
    ip: U64
    sp: U64
    bp: U64
    exact: Mask
    full: Mask
    others: U64
    why: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.thread)


def joined(parts: Sequence[Starts]) -> Starts:
    """All of them, one part behind the other."""
    first = np.cumsum([0, *map(len, parts)]).tolist()
    why = {
        start + row: why for start, part in zip(first, parts, strict=False) for row, why in part.why.items()
    }
    return Starts(
        np.concatenate([part.thread for part in parts]),
        np.concatenate([part.cpu for part in parts]),
        np.concatenate([part.ip for part in parts]),
        np.concatenate([part.sp for part in parts]),
        np.concatenate([part.bp for part in parts]),
        np.concatenate([part.exact for part in parts]),
        np.concatenate([part.full for part in parts]),
        np.concatenate([part.others for part in parts]),
        why,
    )


def running(registers: CpuRegisters) -> Starts:
    """The threads that ran on CPUs; those that were in user mode, or of which nothing is known, have no frame."""
    rows = np.flatnonzero(registers.thread >= 0)
    told, user = registers.told[rows], registers.user[rows]
    none = np.zeros(len(rows), dtype=np.uint64)
    others = [registers.values[name][rows] if name in registers.values else none for name in OTHERS]
    why = {
        row: f"it was running on CPU {int(registers.cpu[rows[row]]):,}, {UNKNOWN_REGISTERS}"
        for row in np.flatnonzero(~told).tolist()
    }
    why |= dict.fromkeys(np.flatnonzero(user).tolist(), "")
    return Starts(
        registers.thread[rows],
        registers.cpu[rows],
        registers.ip[rows],
        registers.sp[rows],
        registers.fp[rows],
        np.ones(len(rows), dtype=bool),
        told,
        np.stack(others, axis=1),
        why,
    )


def sleeping(kernel: Kernel, task: StructArray, rows: I64) -> Starts:
    """The threads of some rows, which do not run."""
    task = task[rows]
    gone = (task["stack"] == 0).true
    ip, sp, bp, known = machine_of(kernel).saved_context(kernel, task, ~gone)
    fork = np.isin(ip, [start for name in _FORK if (start := kernel.symbols.get(name))])
    why = dict.fromkeys(np.flatnonzero(~known).tolist(), "where it was switched from cannot be read")
    # Those of the dead are given back before they are.
    why |= dict.fromkeys(np.flatnonzero(gone).tolist(), "")
    wrong = np.flatnonzero(known & ~fork & ~_switches(kernel, ip))
    why |= dict.fromkeys(wrong.tolist(), "its saved stack pointer does not lead to a switch of tasks")
    count = len(rows)
    return Starts(
        rows,
        np.full(count, -1, dtype=np.int64),
        ip,
        sp,
        bp,
        fork,
        np.zeros(count, dtype=bool),
        np.zeros((count, len(OTHERS)), dtype=np.uint64),
        why,
    )


def _switches(kernel: Kernel, ip: U64) -> Mask:
    """Which addresses uint64[n] a task can have been switched from at: behind a call, in what does that."""
    found: Mask = is_return_address(kernel, ip)
    start, end = (kernel.symbols.get(f"__sched_text_{edge}") for edge in ("start", "end"))
    if start is None or end is None:
        return found
    inside = (ip >= np.uint64(start)) & (ip < np.uint64(end))
    for own in filter(None, map(kernel.symbols.get, machine_of(kernel).switches)):
        inside |= ip - np.uint64(own) < np.uint64(kernel.symbols.room(own))
    return found & inside

"""Stacks: every frame of every thread, innermost first, from the dump's own unwinding tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, frame, lookup, nullable, table
from kernlab.dataframes.with_methods import TableWithMethods
from kernlab.linux.stacks.unwind import FrameKind, Unwound, unwound
from kernlab.linux.whatis.threads import say_thread
from kernlab.tables.processes.stack_groups import groups
from kernlab.tables.processes.tasks import state
from kernlab.util.text import few

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: The kinds of frames by their numbers, as the column `kind` has them.
KINDS: Any = [kind.name.lower() for kind in FrameKind]
#: Threads that are named of those whose stack ends early for one reason.
_NAMED = 5


class Stacks(TableWithMethods):
    """The table `stacks`, or some rows of it."""

    named = "dump.stacks"

    def groups(self) -> pd.DataFrame:
        """Equal stacks joined, those of most threads first: what was everybody doing?

        count: threads; pids: theirs, a list; comms: their names, the most frequent first, joined by ", "; state: the
        states that they were in, joined by ", "; frames: the stack as text, a line per frame from the innermost on.
        Frames that are not in the rows do not count: `dump.stacks[dump.stacks.frame < 5].groups()`.

        >>> same = dump.stacks[dump.stacks.comm.str.startswith("app<")].groups()
        >>> int(same.loc[0, "count"]), same.loc[0, "pids"][:3], same.loc[0, "frames"].split()[2]
        (12, [115, 116, 117], '__do_sys_pause+0x24/0x50')
        """
        return groups(self)


@table
def stacks(kernel: Kernel) -> pd.DataFrame:
    """One row per frame of every thread, by pid and from the innermost frame on; `.groups()` joins equal stacks.

    address is the instruction pointer as unwound, symbol what /proc/PID/stack prints of it, sp the stack pointer in
    that frame; kind what the frame was part of: task, irq, softirq, nmi, exception, entry, idle; reliable is False of
    what is a guess. cpu is missing of threads that did not run when the machine died; regs is where the registers lie
    that were saved when this frame was interrupted. A stack that ends early is told of in attrs["problems"]. Frames of
    the scheduler are here, too, which /proc/PID/stack leaves out. Mirrors arch/x86/kernel/stacktrace.c.

    >>> dump.stacks.query("pid == 117").set_index("frame")[["symbol", "kind"]].head(3)
                             symbol  kind
    frame
    0        __schedule+0x34d/0xa00  task
    1            schedule+0x5a/0xd0  task
    2      __do_sys_pause+0x24/0x50  task
    """
    found = unwound(kernel)
    task = found.task
    pid, comm = task["pid"], task["comm"]
    _tell(kernel, found, pid, comm)
    of = found.thread
    order = np.lexsort((found.frame, task.addresses[of], pid.values[of], ~pid.valid[of]))
    of, cpu, regs = of[order], found.cpu[order], found.regs[order]
    text, which = symbols_of(kernel, found.ip[order], found.exact[order])
    names, comm_of = np.unique(comm.values.astype(str), return_inverse=True)
    made = frame(
        kernel,
        "stacks",
        pid=nullable(pid[of]),
        frame=found.frame[order],
        address=addresses(kernel, found.ip[order]),
        symbol=lookup(which, text),
        sp=addresses(kernel, found.sp[order]),
        kind=pd.Categorical.from_codes(found.kind[order].astype(np.int8), categories=KINDS),
        reliable=found.reliable[order],
        cpu=nullable(cpu, cpu >= 0),
        comm=lookup(np.where(comm.valid, comm_of, -1)[of], names.tolist()),
        state=state(task)[of],
        task=task[of],
        regs=addresses(kernel, regs, regs != 0, "struct pt_regs"),
    )
    return Stacks.of(made)


def symbols_of(kernel: Kernel, ip: U64, exact: Mask) -> tuple[list[str], I64]:
    """What the kernel prints of instruction pointers (%pB): the distinct texts, and which of them each one has."""
    places, at = np.unique(ip, return_inverse=True)
    keys, which = np.unique(at.astype(np.int64) * 2 + exact, return_inverse=True)
    places = places[keys >> 1]
    named = kernel.symbolize(places, keys & 1 == 0)
    text = [name or f"{place:#018x}" for name, place in zip(named, places.tolist(), strict=True)]
    return text, which.astype(np.int64)


def _tell(kernel: Kernel, found: Unwound, pid: Column, comm: Column) -> None:
    """Whose stacks end early, and why."""
    threads: dict[str, list[int]] = {}
    for row, why in found.why.items():
        threads.setdefault(why, []).append(row)
    pids, comms = pid.tolist(), comm.tolist()
    for why, rows in threads.items():
        count = "the stack of 1 thread ends" if len(rows) == 1 else f"the stacks of {len(rows):,} threads end"
        names = [say_thread(comms[row] or "?", "?" if pids[row] is None else pids[row]) for row in rows]
        kernel.lost(f"{count} early ({few(names, _NAMED)}): {why}")

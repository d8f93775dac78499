"""What `suspects` says of threads by their stacks and CPUs: stacks near their end, and who does not give up its CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.escape import show_controls, show_short
from kernlab.linux.tasks import find_tasks
from kernlab.linux.thread_stacks import thread_size
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.tables.suspects.evidence import Evidence, Lead
from kernlab.util.text import human_time
from kernlab.walk.cpus import percpu, possible_cpus

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: What stands in the last word of each stack (include/uapi/linux/magic.h, STACK_END_MAGIC).
_END_MAGIC = 0x57AC6E9D
#: What kernels that erase their stacks leave in them (CONFIG_KSTACK_ERASE, before v6.17 GCC_PLUGIN_STACKLEAK).
_ERASED = (1 << 64) - 0xBEEF
#: Of a stack so much is left, at least, on a healthy machine.
_LEAST_LEFT = 1 / 8
#: Whoever runs for so long without giving way, with others waiting, holds its CPU: half of what the watchdog grants.
_LONG_SECONDS = 10
_MOST = 10
#: What runs on top of threads that have no part in it, by the kinds of frames.
_BORROWED = {"softirq": "a softirq", "irq": "an interrupt", "nmi": "an NMI"}


def full_stacks(memory: Evidence) -> list[Lead]:
    """Stacks that were used to their end or near to it."""
    kernel = memory.kernel
    size, task = thread_size(kernel), find_tasks(kernel)
    stack = task["stack"]
    # The last word is the lowest; where thread_info lies in the stack (before v4.9 on x86) it is above that.
    if not size or not task.has("thread_info"):
        return []
    rows = np.flatnonzero(stack.true)
    end, read = kernel.words(stack.values[rows], what="the ends of kernel stacks")
    overwritten = read & (end != _END_MAGIC)
    if overwritten.sum() * 2 > len(rows):
        # This kernel marks none.
        overwritten[:] = False
    left = _left(kernel, stack.values[rows], size)
    # init_task's stack was never cleared: what is beside it in the image was filled.
    left[task.addresses[rows] == np.uint64(kernel.symbols.get("init_task") or 0)] = size
    found = []
    near = ~overwritten & (left < size * _LEAST_LEFT)
    for at in [*np.flatnonzero(overwritten)[:_MOST].tolist(), *np.flatnonzero(near)[:_MOST].tolist()]:
        name, where = _thread(task, int(rows[at]))
        if overwritten[at]:
            said = (
                f"The last word of its kernel stack ({int(stack.values[rows[at]]):#018x}) is {int(end[at]):#x} and not "
                f"the kernel's mark: the stack of {size:,} bytes overflowed, or something wrote into it."
            )
            found.append(Lead("stack overflow", name, said, f"dump.stack({where})", 3.0))
        else:
            said = (
                f"At its deepest it left {int(left[at]):,} of the {size:,} bytes of its kernel stack unused: a little "
                "more and it overflows."
            )
            found.append(Lead("stack nearly full", name, said, f"dump.stack({where})", 0.9))
    return found


def long_running(memory: Evidence) -> list[Lead]:
    """Threads that kept their CPU for long while others waited for it, or while its clock stood still."""
    kernel = memory.kernel
    numbers = possible_cpus(kernel)
    queue = StructArray(kernel, "struct rq", percpu(kernel, kernel.symbol("runqueues"), numbers))
    task = queue.follow("curr")
    # CONFIG_SCHED_INFO: what has schedstats or delay accounting.
    if not task.has("sched_info.last_arrival"):
        return []
    arrived, clock, waiting = task["sched_info.last_arrival"], queue["clock"].int64, queue["nr_running"]
    now = int(clock.filled(0).max(initial=0))
    ran, behind = (now - arrived.int64), (now - clock)
    idle = (task["pid"] == 0).true
    held = (ran >= _LONG_SECONDS * 10**9).true & ~idle & (arrived != 0).true
    others = (waiting > 1).true
    still = (behind >= _LONG_SECONDS * 10**9 // 2).true
    found = []
    rows = np.flatnonzero(held & (others | still))[:_MOST].tolist()
    spinning = _spinning(memory) if rows else pd.DataFrame()
    for row in rows:
        name, _ = _thread(task, row)
        cpu, span = int(numbers[row]), human_time(int(ran.values[row]) / 1e9)
        parts = [f"It ran on CPU {cpu} for {span} without giving way"]
        lent = _on_top(memory, cpu)
        if lent is not None:
            # Whom it interrupted has no part in it.
            parts = [f"It runs on top of {name}, which has had that CPU for {span} without giving way"]
            name = f"{lent} on CPU {cpu}"
        if others[row]:
            count = int(waiting.values[row]) - 1
            parts.append(f"{count:,} other{'' if count == 1 else 's'} waited to run there")
        if still[row]:
            stood = human_time(int(behind.values[row]) / 1e9)
            parts.append(f"the CPU's clock had not gone on for {stood}, as with interrupts off")
        pid = int(task["pid"].values[row])
        wanted, kept = spinning[spinning["pid"] == pid], spinning[spinning["holder_pid"] == pid]
        if len(wanted):
            parts.append(f"it spins for {_lock(wanted)}{_by(wanted)}")
        for _, each in kept.groupby("object", sort=False):
            names = [
                say_thread(str(comm), str(one)) for comm, one in zip(each["comm"], each["pid"], strict=True)
            ]
            verb = "spins" if len(each) == 1 else "spin"
            parts.append(f"{show_controls(say_several(names))} {verb} for {_lock(each)}, which it holds")
        said = f"{'; '.join(parts)}."
        # Whoever holds what others spin for comes before them.
        weight = 2.0 + min(len(kept), 100) * 1e-2
        found.append(Lead("CPU held", name, said, f"dump.stack(cpu={cpu})", weight))
    return found


def _on_top(memory: Evidence, cpu: int) -> str | None:
    """What runs on a CPU on top of its thread, beneath the interrupt or NMI that the machine died in."""
    try:
        kinds = memory.stacks.loc[memory.stacks["cpu"] == cpu, "kind"].astype(str).tolist()
    except KernlabError:
        return None
    first = kinds[0] if kinds and kinds[0] in ("irq", "nmi") else None
    return _BORROWED.get(next((kind for kind in kinds if kind != first), ""))


def _spinning(memory: Evidence) -> pd.DataFrame:
    """Who spins for a lock; nobody where that is not known, which the rules of waits tell."""
    try:
        waits = memory.waits
    except KernlabError:
        return pd.DataFrame({name: pd.array([], dtype="Int64") for name in ("pid", "holder_pid", "object")})
    return waits[waits["state"] == "R"]


def _lock(rows: pd.DataFrame) -> str:
    name = rows["name"].iloc[0]
    return show_short(name) if isinstance(name, str) else "a lock"


def _by(rows: pd.DataFrame) -> str:
    pid, comm = rows["holder_pid"].iloc[0], rows["holder_comm"].iloc[0]
    return "" if pd.isna(pid) else f", which {show_controls(say_thread(str(comm), int(pid)))} holds"


def _left(kernel: Kernel, start: U64, size: int) -> I64:
    """Bytes at the end of each stack that were never used: all are cleared when they are made. What cannot be read
    counts as unused."""
    step = np.arange(8, int(size * _LEAST_LEFT) + 8, 8, dtype=np.uint64)
    values, read = kernel.words((start[:, None] + step).ravel(), what="")
    used = (read & (values != 0) & (values != np.uint64(_ERASED))).reshape(len(start), len(step))
    return np.where(used.any(axis=1), used.argmax(axis=1) * 8 + 8, size).astype(np.int64)


def _thread(task: StructArray, row: int) -> tuple[str, str]:
    """A thread as people say it, and as `dump.stack` takes it: idle threads share a pid."""
    comm, pid = task["comm"], task["pid"]
    name = show_controls(str(comm.values[row])) if comm.valid[row] else "?"
    known = bool(pid.valid[row]) and int(pid.values[row]) != 0
    number = str(int(pid.values[row])) if pid.valid[row] else "?"
    return say_thread(name, number), number if known else f"{int(task.addresses[row]):#x}"

"""Who has a spinlock: the lock does not say it, but what the other CPUs were doing may.

A kernel with CONFIG_DEBUG_SPINLOCK notes the owner. Elsewhere it is a CPU that has the lock's address in a register or
on its stack and does not wait for it, or one in a function whose code has just taken it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.locks.found import UNKNOWN, Found
from kernlab.linux.locks.live_stacks import LiveStacks, function_name, stack_words
from kernlab.linux.locks.waiters import member_offset, word_at
from kernlab.linux.stacks.areas import find_stacks
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.stacks.registers import cpu_registers, on_or_behind
from kernlab.linux.stacks.unwind import unwound
from kernlab.linux.whatis.threads import say_thread

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: SPINLOCK_OWNER_INIT: nobody.
_NO_OWNER = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_TAKES = ("_raw_spin_lock", "_raw_read_lock", "_raw_write_lock", "_raw_spin_trylock")
_LETS_GO = ("_raw_spin_unlock", "_raw_read_unlock", "_raw_write_unlock", "queued_spin_unlock")
#: No function is longer; more of one is not read.
_LONGEST = 1 << 16
_NAMED = 3


def name_holders(kernel: Kernel, stacks: LiveStacks, found: Found) -> None:
    """Fill in who has each lock, as far as something tells; and say how it is told."""
    owner = member_offset(kernel, "struct raw_spinlock", "owner")
    registers = cpu_registers(kernel)
    running = registers.thread >= 0
    cpus, rows = registers.cpu[running], registers.thread[running]
    words = _words_of(kernel, rows)
    idle = (stacks.task[rows]["pid"] == 0).true
    for lock in np.unique(found.object[found.object != 0]).tolist():
        mine = np.flatnonzero(found.object == lock)
        # Who spins for a lock that nothing tells may spin for this one.
        others = ~np.isin(rows, found.row[(found.object == lock) | (found.object == 0)])
        noted = word_at(kernel, np.array([lock], dtype=np.uint64), owner)[0]
        if noted and noted != _NO_OWNER:
            found.holder[mine] = noted
            continue
        by_stack = [row for row in rows[others].tolist() if np.uint64(lock) in words[row]]
        takers = {
            row: function
            for row in rows[others & ~idle].tolist()
            if (function := _taker(kernel, row, lock)) is not None
        }
        if len(takers) == 1 or (len(by_stack) == 1 and not takers):
            row = next(iter(takers), by_stack[0] if by_stack else -1)
            found.holder[mine] = stacks.task.addresses[row]
            how = f"the code of {takers[row]}, which takes it" if takers else "its registers or stack"
            found.say(mine, f"its holder is told by {how}")
            continue
        found.holder[mine] = UNKNOWN
        busy = np.flatnonzero(others & ~idle)
        task = stacks.task[rows[busy[:_NAMED]]]
        named = [
            f"CPU {cpu} ({say_thread(comm or '?', pid if pid is not None else '?')})"
            for cpu, comm, pid in zip(cpus[busy].tolist(), task["comm"], task["pid"], strict=False)
        ]
        more = f" and {len(busy) - _NAMED:,} more" if len(busy) > _NAMED else ""
        said = f"of those that run {', '.join(named)}{more} may" if named else "no other CPU runs a thread"
        found.say(mine, f"a spinlock does not say who holds it: {said}")


def _words_of(kernel: Kernel, rows: I64) -> dict[int, U64]:
    """By the row of each thread that runs: what is in its CPU's registers, and on its stacks from where it was on."""
    registers, every, stacks = cpu_registers(kernel), unwound(kernel), find_stacks(kernel)
    frames = np.flatnonzero(np.isin(every.thread, rows))
    where = on_or_behind(stacks, every.sp[frames])
    frames, where = frames[where >= 0], where[where >= 0]
    pairs, of = np.unique(np.stack([every.thread[frames], where], axis=1), axis=0, return_inverse=True)
    start = np.full(len(pairs), ~np.uint64(0), dtype=np.uint64)
    np.minimum.at(start, of.ravel(), every.sp[frames])
    order = np.argsort(start, kind="stable")
    _, word, owner = stack_words(
        kernel, start[order] & ~np.uint64(7), stacks.end[pairs[order, 1]], pairs[order, 0]
    )
    found = {}
    for row in rows.tolist():
        at = int(np.flatnonzero(registers.thread == row)[0])
        own = [registers.values[name][at] for name in registers.values if registers.known[name][at]]
        found[row] = np.concatenate([word[owner == row], np.array(own, dtype=np.uint64)])
    return found


def _taker(kernel: Kernel, row: int, lock: int) -> str | None:
    """The function on a thread's stack that has taken a lock whose address is in its code, and not let go of it."""
    every = unwound(kernel)
    frames = np.flatnonzero((every.thread == row) & every.reliable)
    symbol, offset, _ = kernel.lookup(every.ip[frames])
    for at in np.flatnonzero((symbol >= 0) & (offset < _LONGEST)).tolist():
        ip = int(every.ip[frames[at]])
        start = ip - int(offset[at])
        if ip == start:
            continue
        code, status = kernel.gather(np.array([start], dtype=np.uint64), ip - start, what="")
        if status[0] == 0 and _takes(kernel, code[0].tobytes(), start, lock):
            return function_name(kernel.symbolize(every.ip[frames[at : at + 1]])[0])
    return None


def _takes(kernel: Kernel, code: bytes, start: int, lock: int) -> bool:
    """Does code that ran to its end leave with the lock? What it last did with it is a call that takes."""
    machine = machine_of(kernel)
    used = max(machine.uses(code, start, lock), default=-1)
    if used < 0:
        return False
    calls = machine.called(code[used:], start + used)
    # What is no call but looks like one leads to the beginning of no function.
    symbol, offset, _ = kernel.lookup(calls)
    names = [function_name(name) for name in kernel.symbolize(calls[(symbol >= 0) & (offset == 0)])]
    return (
        bool(names) and names[0].startswith(_TAKES) and not any(name.startswith(_LETS_GO) for name in names)
    )

"""CPUs that spin for a lock: which lock, and where they are in its queue.

A lock's word says only that somebody has it, that one waits without a node, and whose node is the last of the queue
(kernel/locking/qspinlock.c); of those who wait a register or their stack leads to it. In a virtual machine without
paravirtual spinlocks nobody queues (virt_spin_lock): then it only says that it is held. Readers and writers of an
rwlock_t wait on the spinlock within it (kernel/locking/qrwlock.c).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.linux.locks.found import Found
from kernlab.linux.locks.live_stacks import LiveStacks, function_name
from kernlab.linux.locks.spin_holders import name_holders
from kernlab.linux.locks.spin_queues import LOCKED, PENDING, SpinQueues, spin_queues
from kernlab.linux.locks.waiters import member_offset
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.stacks.unwind import Unwound, unwound
from kernlab.linux.whatis.threads import say_thread

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_SPINS = ("native_queued_spin_lock_slowpath", "queued_spin_lock_slowpath", "__pv_queued_spin_lock_slowpath")
_RW_SPINS = {"queued_read_lock_slowpath": "rwlock_read", "queued_write_lock_slowpath": "rwlock_write"}
#: So many frames around the one that spins have the lock's address, and no frame of them is larger.
_FRAMES, _LARGEST = 3, 512
#: A lock is held, or held and the first in line sleeps until it is let go (_Q_LOCKED_VAL, _Q_SLOW_VAL); and pending.
_HELD = (1, 3)
_LOW, _HELD_PENDING = np.uint64(0xFFFF), (0x100, 0x101, 0x103)


@dataclass(frozen=True, slots=True)
class Spinner:
    """A CPU that spins: the row of its thread, the innermost function that is not the lock's own, the type of lock,
    its node in the queues (-1: none), and words that may be the lock's address: `registers` of them from registers, the
    others from its stack; the likelier ones first."""

    cpu: int
    row: int
    function: str | None
    type: str
    node: int
    words: U64
    registers: int


def spinning(kernel: Kernel, stacks: LiveStacks) -> Found:
    """The spinlocks that CPUs wait for, by the threads that they run."""
    queues = spin_queues(kernel)
    every = spinners(kernel)
    if not every:
        return Found.nothing()
    found = Found(
        np.array([one.row for one in every], dtype=np.int64),
        np.zeros(len(every), dtype=np.uint64),
        np.array([one.type for one in every], dtype=object),
        _locks(kernel, every, queues),
    )
    task, cpus = stacks.task[found.row], {one.cpu: at for at, one in enumerate(every)}
    names = [
        say_thread(comm or "?", pid if pid is not None else "?")
        for comm, pid in zip(task["comm"], task["pid"], strict=True)
    ]
    values, read = kernel.words(found.object, 4, what="")
    # Who came first has no node, and sets a bit.
    first = {
        int(lock): at
        for at, (one, lock) in enumerate(zip(every, found.object, strict=True))
        if one.node < 0 and lock and read[at] and one.type == "spinlock" and values[at] & PENDING
    }
    for at, one in enumerate(every):
        say = f"CPU {one.cpu} spins"
        if one.node >= 0:
            before = first.get(int(found.object[at]))
            waits = f"behind CPU {every[before].cpu} ({names[before]})" if before is not None else ""
            say = _place(one, queues, cpus, names, waits)
        if found.object[at] and read[at] and one.type == "spinlock":
            value = values[at]
            if one.node < 0:
                say += ", first in line" if value & PENDING else ""
            if not value & LOCKED:
                say += "; its word says that nobody holds it"
            elif not queues.is_tail(values[at : at + 1])[0]:
                say += "; its word names a CPU as the last in line that does not wait"
        found.say(np.array([at]), say)
    found.say(found.object == 0, "which lock it is, nothing tells")
    name_holders(kernel, stacks, found)
    return found


def _place(one: Spinner, queues: SpinQueues, cpus: dict[int, int], names: list[str], waits: str) -> str:
    """Where in a queue a CPU is; `waits` says behind whom its first is, if behind anyone."""
    ahead = int(queues.ahead[one.node])
    if queues.last[one.node] < 0:
        return f"CPU {one.cpu} spins; the queue is damaged"
    if ahead < 0:
        return f"CPU {one.cpu} spins{f' {waits}' if waits else ''}, first in the queue"
    cpu = int(queues.cpu[ahead])
    who = f" ({names[cpus[cpu]]})" if cpu in cpus else ""
    return f"CPU {one.cpu} spins behind CPU {cpu}{who}"


@fact
def spinners(kernel: Kernel) -> list[Spinner]:
    """Every CPU that spins, by its number: whose frames say so, or who has a node in a queue."""
    registers, every, queues = cpu_registers(kernel), unwound(kernel), spin_queues(kernel)
    found = []
    for at, (cpu, row) in enumerate(zip(registers.cpu.tolist(), registers.thread.tolist(), strict=True)):
        if row < 0:
            continue
        frames = np.flatnonzero((every.thread == row) & every.reliable)
        names = [function_name(name) for name in kernel.symbolize(every.ip[frames])]
        node = queues.of_cpu(cpu)
        inner = next((place for place, name in enumerate(names) if name in _SPINS or name in _RW_SPINS), None)
        if inner is None:
            if node >= 0:
                # A node in use without such a frame: the stack could not be followed to it.
                found.append(Spinner(cpu, row, None, "spinlock", node, np.zeros(0, dtype=np.uint64), 0))
            continue
        outer, kind = inner, "spinlock"
        while outer < len(names) and (names[outer] in _SPINS or names[outer] in _RW_SPINS):
            kind = _RW_SPINS.get(names[outer], kind)
            outer += 1
        caller = next((name for name in names[outer:] if name and not _is_lock_function(name)), None)
        given = {
            name: registers.values[name][at]
            for name in machine_of(kernel).holders
            if registers.known[name][at]
        }
        found.append(Spinner(cpu, row, caller, kind, node, *_words(kernel, every, frames, inner, given)))
    return found


def _is_lock_function(name: str) -> bool:
    """`_raw_spin_lock_irqsave`, `_raw_write_lock`, `__raw_spin_lock`, `do_raw_spin_lock`, `__pv_…`."""
    return name.startswith(
        ("_raw_", "__raw_", "do_raw_", "queued_", "__pv_", "pv_", "native_queued", "kvm_wait")
    )


def _words(
    kernel: Kernel, every: Unwound, frames: I64, inner: int, given: dict[str, np.uint64]
) -> tuple[U64, int]:
    """The registers with which the frame that spins was left, how many, and the words of it and of its callers."""
    at = frames[inner]
    if inner == 0:
        registers = list(given.values())
    elif every.regs[at]:
        machine = machine_of(kernel)
        saved = machine.interrupted(kernel, int(every.regs[at]))
        registers = [np.uint64(saved[name]) for name in machine.holders if name in saved]
    else:
        registers = []
    start = every.sp[at] & ~np.uint64(7)
    end = every.sp[frames[min(inner + _FRAMES, len(frames) - 1)]]
    most = np.uint64(8 * _LARGEST)
    count = min(end - start, most) // np.uint64(8) if end > start else np.uint64(0)
    slots = start + np.arange(int(count), dtype=np.uint64) * np.uint64(8)
    word, read = kernel.words(slots, what="")
    every_word = np.concatenate([np.array(registers, dtype=np.uint64), word[read].astype(np.uint64)])
    keep = kernel.arch.is_kernel(every_word) & (every_word % np.uint64(4) == 0)
    _, first = np.unique(every_word[keep], return_index=True)
    first.sort()
    return every_word[keep][first], int((first < keep[: len(registers)].sum()).sum())


def _locks(kernel: Kernel, every: list[Spinner], queues: SpinQueues) -> U64:
    """The lock that each waits for, 0 where nothing tells: of all words the one that says most of what it points to."""
    words = np.concatenate([one.words for one in every])
    of = np.repeat(np.arange(len(every)), [len(one.words) for one in every])
    node = np.array([one.node for one in every], dtype=np.int64)
    within = np.array([one.type != "spinlock" for one in every], dtype=bool)[of]
    inner = np.uint64(member_offset(kernel, "struct qrwlock", "wait_lock") or 0)
    value, guard = _values(kernel, words), _values(kernel, words + inner)
    ends = np.append(queues.last, -1)[node]
    # What the word of the lock says at whose queue's end each waits; no word says all ones.
    wanted = np.where(ends >= 0, np.append(queues.tail, np.uint64(0))[ends], ~np.uint64(0))[of]
    behind = (value & queues.tail_bits) == wanted
    alone = (node < 0)[of] & ~within
    pending = alone & np.isin(value & _LOW, _HELD_PENDING) & queues.is_tail(value)
    # Of a lock that is only held, nothing but who uses it as one tells: by a register, or as two do.
    held = alone & np.isin(value, _HELD)
    near = np.concatenate([np.arange(len(one.words)) < one.registers for one in every])
    guarded = within & (node < 0)[of] & (value != 0) & np.isin(guard & LOCKED, _HELD)
    unique, which = np.unique(words, return_inverse=True)
    shared = np.bincount(which[held], minlength=len(unique))[which]
    held &= near | (shared > 1)
    score = np.select([behind, pending | guarded, held], [1 << 22, 1 << 21, np.minimum(shared, 1 << 20)], 0)
    result = np.zeros(len(every), dtype=np.uint64)
    order = np.lexsort((np.arange(len(of)), -score, of))
    order = order[score[order] > 0]
    rows, first = np.unique(of[order], return_index=True)
    best = order[first]
    result[rows] = words[best] - np.where(within[best] & behind[best], inner, np.uint64(0))
    # Of all in one queue one tells for the others.
    for end in np.unique(ends[ends >= 0]).tolist():
        same = ends == end
        known = result[same & (result != 0)]
        if len(known):
            result[same & (result == 0)] = known[0]
    return result


def _values(kernel: Kernel, addresses: U64) -> U64:
    """The 32 bits at each address, 0 where they cannot be read."""
    value, read = kernel.words(addresses, 4, what="")
    return np.where(read, value, np.uint64(0)).astype(np.uint64)

"""The queues of spinlocks: each CPU has four nodes, and whoever waits has linked one of them behind another CPU's.

Mirrors kernel/locking/qspinlock.c and mcs_spinlock.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.locks.waiters import member_offset
from kernlab.walk.cpus import percpu, possible_cpus

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: A CPU waits in a task, a softirq, an interrupt and an NMI at most (_Q_MAX_NODES).
_NODES = 4
#: Of a lock's word (include/asm-generic/qspinlock_types.h): who has it, and that somebody waits without a node.
LOCKED, PENDING = np.uint64(0xFF), np.uint64(0x100)
#: With so many CPUs the tail's place is another one.
_MANY_CPUS = 1 << 14


@dataclass(frozen=True, slots=True)
class SpinQueues:
    """N nodes in use, ascending by address: whose `cpu` int64[n], how deep it is nested `index` int64[n], `tail`
    uint64[n]: what the word of a lock says whose queue ends with it; `ahead`, `last` int64[n]: the nodes before it (-1:
    it is the first) and at the end of its queue (-1: the queue is damaged). `tail_bits`: which of a word are its tail.
    """

    cpu: I64
    index: I64
    tail: U64
    ahead: I64
    last: I64
    tail_bits: np.uint64

    def of_cpu(self, cpu: int) -> int:
        """The node with which a CPU waits: the most deeply nested one; -1 where it has none."""
        mine = np.flatnonzero(self.cpu == cpu)
        return int(mine[np.argmax(self.index[mine])]) if len(mine) else -1

    def is_tail(self, values: U64) -> Mask:
        """Which words of locks end in a queue that is there, or have none."""
        tail = values & self.tail_bits
        known: Mask = (tail == 0) | np.isin(tail, self.tail)
        return known


@fact
def spin_queues(kernel: Kernel) -> SpinQueues:
    """All nodes that are in use; none where this kernel's spinlocks have no queues. What is damaged is told."""
    nothing = np.zeros(0, dtype=np.int64)
    bits = _tail_bits(kernel)
    none = SpinQueues(nothing, nothing, np.zeros(0, np.uint64), nothing, nothing, bits[2])
    symbol, node = kernel.symbols.get("qnodes"), kernel.type_or_none("struct qnode")
    mcs = member_offset(kernel, "struct qnode", "mcs")
    if symbol is None or node is None or mcs is None:
        return none
    numbers = possible_cpus(kernel)
    first = percpu(kernel, symbol, numbers) + np.uint64(mcs)
    depth = StructArray(kernel, "struct mcs_spinlock", first)["count"].int64.filled(0)
    if (odd := (depth < 0) | (depth > _NODES)).any():
        kernel.lost(f"queues of spinlocks: CPUs cannot wait for more than {_NODES} at once", mask=odd)
    depth = np.where(odd, 0, depth)
    of = np.repeat(np.arange(len(numbers)), depth)
    index = np.arange(len(of)) - np.repeat(np.cumsum(depth) - depth, depth)
    address = first[of] + (index * node.size).astype(np.uint64)
    order = np.argsort(address, kind="stable")
    of, index, address = of[order], index[order], address[order]
    following = StructArray(kernel, "struct mcs_spinlock", address)["next"].filled(0).astype(np.uint64)
    ahead, last, damaged = _chains(address, following)
    if damaged:
        kernel.lost(
            f"queues of spinlocks: {damaged:,} of {len(address):,} nodes lead to none, or in a circle"
        )
    shift_index, shift_cpu, _ = bits
    tail = (index.astype(np.uint64) << shift_index) | ((numbers[of] + 1).astype(np.uint64) << shift_cpu)
    return SpinQueues(numbers[of], index.astype(np.int64), tail & bits[2], ahead, last, bits[2])


def _chains(address: U64, following: U64) -> tuple[I64, I64, int]:
    """Of nodes in the order of their addresses: (the node before each, the last of its queue, how many are damaged)."""
    count = len(address)
    here = np.arange(count)
    if not count:
        return here, here, 0
    at = np.minimum(np.searchsorted(address, following), count - 1)
    known = address[at] == following
    # Two that lead to one: nobody can tell which of them it is behind.
    leads = np.bincount(at[known], minlength=count)
    step = np.where(known & (leads[at] == 1), at, here)
    broken = (following != 0) & (step == here)
    ahead = np.full(count, -1, dtype=np.int64)
    moving = step != here
    ahead[step[moving]] = here[moving]
    last = step.copy()
    for _ in range(count.bit_length() + 1):
        last = last[last]
    bad = broken[last] | (step[last] != last)
    return ahead, np.where(bad, -1, last), int((broken | (step[last] != last)).sum())


def _tail_bits(kernel: Kernel) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Where in a lock's word the tail's index and CPU are, and all of its bits (_Q_TAIL_IDX_OFFSET …)."""
    mask = kernel.type_or_none("struct cpumask")
    index = 9 if mask is not None and mask.size * 8 >= _MANY_CPUS else 16
    return np.uint64(index), np.uint64(index + 2), np.uint64((1 << 32) - (1 << index))

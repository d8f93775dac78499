"""RCU: the grace period that runs, the CPUs and tasks that it waits for, and the callbacks that wait for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import PointerType
from kernlab.errors import KernlabError
from kernlab.linux.scheduling.optional import optional
from kernlab.linux.timekeeping import tick
from kernlab.util.addresses import wrapped
from kernlab.walk.bitmaps import bitmap_bits
from kernlab.walk.cpus import percpu, possible_cpus
from kernlab.walk.lists import list_entries

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: The state of a grace period stands in the low bits of its number (kernel/rcu/rcu.h, RCU_SEQ_CTR_SHIFT).
SEQ_BITS, SEQ_STATE = 2, 3
#: The timeout of stalls is kept within these, in seconds (kernel/rcu/tree_stall.h).
_LEAST_STALL, _MOST_STALL = 3, 300


@dataclass(frozen=True, slots=True)
class Rcu:
    """The one struct rcu_state, and by possible CPU its number, its struct rcu_data and the struct rcu_node above."""

    state: StructArray
    cpu: I64
    data: StructArray
    leaf: StructArray


#: The variables of RCU. Up to v4.19 each flavour had its own: the one is call_rcu()'s with CONFIG_PREEMPT_RCU, the
#: other without (kernel/rcu/tree_plugin.h, rcu_state_p).
_FLAVOURS = ("rcu", "rcu_preempt", "rcu_sched")


@fact
def rcu(kernel: Kernel) -> Rcu | None:
    """What there is of RCU, where there are several flavours of that of call_rcu(); None of a kernel whose RCU is for
    a single CPU (CONFIG_TINY_RCU)."""
    if kernel.types.get("struct rcu_state") is None:
        return None
    for flavour in _FLAVOURS:
        state, data = kernel.find_symbol(f"{flavour}_state"), kernel.find_symbol(f"{flavour}_data")
        if state is not None and data is not None:
            break
    else:
        return None
    cpus = possible_cpus(kernel)
    each = StructArray(kernel, "struct rcu_data", percpu(kernel, data, cpus))
    return Rcu(StructArray(kernel, "struct rcu_state", [state]), cpus, each, each.follow("mynode"))


def number_of_period(sequence: Column) -> Column:
    """The number of the grace period in a sequence, which begins below zero (kernel/rcu/tree.c, RCU_INIT_GP_SEQ)."""
    values = sequence.values.astype(np.uint64).view(np.int64) >> SEQ_BITS
    return Column(values, sequence.valid, "int")


def waited_for(found: Rcu, mask: str) -> Column:
    """Which CPUs a grace period waits for: `mask` "qsmask" is the normal one's, "expmask" the expedited one's."""
    return (found.leaf[mask] & found.data["grpmask"]) != 0


def blocking_tasks(kernel: Kernel, found: Rcu, first: str) -> StructArray:
    """Tasks that left their CPU while they read, and that a grace period waits for: "gp_tasks" or "exp_tasks".

    Each leaf has a list of all such tasks; those from the one on that `first` points to block it (kernel/rcu/tree.h).
    """
    every = np.unique(found.leaf.addresses[found.leaf.valid])
    leaf = StructArray(kernel, found.leaf.type, every)
    if not _preemptible(kernel):
        return StructArray(kernel, "struct task_struct", [])
    heads = leaf.follow("blkd_tasks")
    owner, task = list_entries(
        kernel, heads.addresses, "struct task_struct", "rcu_node_entry", what="tasks that block RCU"
    )
    node = task.follow("rcu_node_entry").addresses
    start = leaf[first].filled(0)[owner]
    from_here = np.zeros(len(leaf), dtype=bool)
    mine = np.zeros(len(owner), dtype=bool)
    for row, (which, here, begin) in enumerate(
        zip(owner.tolist(), node.tolist(), start.tolist(), strict=True)
    ):
        from_here[which] |= here == begin
        mine[row] = from_here[which]
    return task[mine]


def _preemptible(kernel: Kernel) -> bool:
    """Can readers lose their CPU (CONFIG_PREEMPT_RCU)?"""
    return StructArray(kernel, "struct task_struct", [0]).has("rcu_node_entry")


def ago(kernel: Kernel, stamps: Column) -> Column:
    """How long before the last tick these jiffies were, in ns: below zero for what is to come; missing where the tick's
    length is not known."""
    try:
        period, now = tick(kernel), kernel.word("jiffies")
    except KernlabError as error:
        kernel.lost(f"how long ago RCU did what it did is not known: {error}")
        return Column.missing(len(stamps), "int")
    passed = (np.uint64(now) - stamps.values.astype(np.uint64)).view(np.int64)
    # More than ten years is no time of jiffies that count from boot.
    good = np.abs(passed.astype(np.float64)) < (1 << 36)
    return Column(np.where(good, passed, 0) * period, stamps.valid & good, "int")


def stall_timeout(kernel: Kernel) -> int:
    """After how many ns of a grace period the kernel warns (kernel/rcu/tree_stall.h, rcu_jiffies_till_stall_check)."""
    try:
        seconds = kernel.word("rcu_cpu_stall_timeout", 4)
    except KernlabError as error:
        kernel.lost(f"after how long the kernel warns of RCU is not known: {error}")
        seconds = _MOST_STALL
    return min(max(seconds, _LEAST_STALL), _MOST_STALL) * 1_000_000_000


def offloaded(kernel: Kernel, found: Rcu) -> Column:
    """Whose callbacks threads call (rcu_nocbs, nohz_full); missing without CONFIG_RCU_NOCB_CPU.

    All CPUs may have such threads where some are offloaded (Linux commit 2cf4528d6dd6, in v5.17): the mask tells.
    """
    symbol = kernel.find_symbol("rcu_nocb_mask")
    if symbol is None:
        return Column.missing(len(found.cpu), "bool")
    where = symbol
    if isinstance(kernel.find_type("cpumask_var_t").strip(), PointerType):
        words, read = kernel.words([symbol], what="which CPUs RCU is offloaded from")
        if not read[0]:
            return Column.missing(len(found.cpu), "bool")
        where = int(words[0])
    # It is allocated where somebody asked for it.
    if where == 0:
        return Column.of(np.zeros(len(found.cpu), dtype=bool))
    _, number, read = bitmap_bits(kernel, wrapped(where).reshape(1), len(kernel.percpu_offsets))
    return Column.of(np.isin(found.cpu, number), np.full(len(found.cpu), bool(read[0])))


def callbacks(found: Rcu) -> dict[str, Column]:
    """How many callbacks wait on each CPU, in all and by what they wait for (include/linux/rcu_segcblist.h)."""
    data = found.data
    # A plain number where no CPU can be offloaded (CONFIG_RCU_NOCB_CPU is off).
    total = data.first("cblist.len.counter", "cblist.len").int64
    names = ("ready", "waiting", "next_ready", "next")
    return {"callbacks": total} | {
        # Linux commit ae5c2341ed39 ("rcu/segcblist: Add counters to segcblist datastructure") (in v5.12).
        name: optional(data, f"cblist.seglen[{number}]")
        for number, name in enumerate(names)
    }

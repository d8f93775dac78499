"""Which tasks wait for which CPU: the trees and lists of each scheduling class, groups' own among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.scheduling.optional import optional
from kernlab.linux.scheduling.run_queues import RunQueues, run_queues
from kernlab.linux.scheduling.task_groups import group_queues, task_groups
from kernlab.walk.lists import list_entries
from kernlab.walk.rbtree import rbtree_entries

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: The scheduling classes, the most urgent first (kernel/sched/sched.h, for_each_class).
CLASSES = ("stop", "deadline", "rt", "fair", "ext")
_STOP, _DEADLINE, _RT, _FAIR, _EXT = range(len(CLASSES))


@dataclass(frozen=True, slots=True)
class Queued:
    """One row per task on a queue, n in all, by CPU and class; within one in the order of its tree or list.

    `row` is the CPU's in `run_queues`, `kind` the index in CLASSES, `group` the struct task_group whose own queue it is
    on (missing where that has no groups), `throttled` whether that group, or one around it, used up its time.
    """

    row: I64
    kind: I64
    task: StructArray
    group: Column
    throttled: Column


@fact
def queued(kernel: Kernel) -> Queued:
    """All tasks that are on a queue, those that run among them (but for the idle tasks, which are on none)."""
    queues = run_queues(kernel)
    parts = [part(kernel, queues) for part in (_stop, _deadline, _rt, _fair, _ext)]
    row, kind, address, group, known, throttled, told = (
        np.concatenate(columns) for columns in zip(*parts, strict=True)
    )
    # A tree or list that is damaged may lead to a task twice, and to what is none.
    _, first = np.unique(address, return_index=True)
    order = np.sort(first)
    with kernel.quiet():
        there = StructArray(kernel, "struct task_struct", address[order])["pid"].valid
    kernel.lost("entries of the CPUs' queues are tasks that cannot be read", mask=~there)
    order = order[there]
    order = order[np.lexsort((order, kind[order], row[order]))]
    return Queued(
        row[order],
        kind[order],
        StructArray(kernel, "struct task_struct", address[order]),
        Column(group[order], known[order], "address"),
        Column(throttled[order], told[order], "bool"),
    )


_Part = tuple[I64, I64, U64, U64, Mask, Mask, Mask]


def _part(
    kind: int, row: I64, task: StructArray, group: Column | None = None, throttled: Column | None = None
) -> _Part:
    count = len(row)
    nothing = np.zeros(count, dtype=bool)
    return (
        row.astype(np.int64),
        np.full(count, kind, dtype=np.int64),
        task.addresses,
        np.zeros(count, dtype=np.uint64) if group is None else group.filled(0),
        nothing if group is None else group.true,
        nothing if throttled is None else throttled.true,
        nothing if throttled is None else throttled.valid,
    )


def _stop(kernel: Kernel, queues: RunQueues) -> _Part:
    """The task that stops a CPU, where it has something to do."""
    if not queues.queue.has("stop"):  # without CONFIG_SMP nothing stops the only CPU
        return _part(_STOP, np.zeros(0, dtype=np.int64), StructArray(kernel, "struct task_struct", []))
    stop = queues.queue.follow("stop")
    row = np.flatnonzero((stop["on_rq"] == 1).true)
    return _part(_STOP, row, stop[row])


def _deadline(kernel: Kernel, queues: RunQueues) -> _Part:
    """Tasks on each CPU's tree of deadlines (kernel/sched/deadline.c); servers of other classes stand there, too."""
    roots = queues.queue.follow("dl.root.rb_root")
    row, entity = rbtree_entries(
        kernel, roots.addresses, "struct sched_dl_entity", "rb_node", what="the queues of deadline tasks"
    )
    server = optional(entity, "dl_server")
    tasks = ~server.true
    return _part(_DEADLINE, row[tasks], entity[tasks].container("struct task_struct", "dl"))


def _rt(kernel: Kernel, queues: RunQueues) -> _Part:
    """Tasks on the lists of real-time priorities: each CPU's own, and each group's with CONFIG_RT_GROUP_SCHED."""
    row, queue, group = _own(kernel, queues, "rt", "rt_rq")
    # Groups times CPUs are many, with a hundred lists each, and nearly all of them are empty.
    some = ~(queue["rt_nr_running"] == 0).true
    some[: len(queues.cpu)] = True
    row, queue, group = row[some], queue[some], group[some]
    owner, head = queue.elements("active.queue")
    at, entity = list_entries(
        kernel, head.addresses, "struct sched_rt_entity", "run_list", what="the queues of real-time tasks"
    )
    owner = owner[at]
    tasks = (entity["my_q"] == 0).true if entity.has("my_q") else np.ones(len(at), dtype=bool)
    owner, entity = owner[tasks], entity[tasks]
    # Linux commit 5f6bd380c7bd ("sched/rt: Remove default bandwidth control") (in v6.12) left it to groups.
    throttled = queue["rt_throttled"] != 0 if queue.has("rt_throttled") else None
    return _part(
        _RT,
        row[owner],
        entity.container("struct task_struct", "rt"),
        group[owner],
        None if throttled is None else throttled[owner],
    )


def _fair(kernel: Kernel, queues: RunQueues) -> _Part:
    """Tasks on the trees of fair scheduling, each CPU's own and each group's: by vruntime, what runs first.

    Since Linux 6.6 trees are ordered by virtual deadline.
    """
    row, queue, group = _own(kernel, queues, "cfs", "cfs_rq")
    current = queue.follow("curr")
    running = np.flatnonzero(current["on_rq"].true)
    roots = queue.follow("tasks_timeline.rb_root")
    owner, entity = rbtree_entries(
        kernel, roots.addresses, "struct sched_entity", "run_node", what="the queues of fair tasks"
    )
    owner = np.concatenate([running, owner])
    address = np.concatenate([current.addresses[running], entity.addresses])
    entity = StructArray(kernel, "struct sched_entity", address)
    if entity.has("my_q"):
        # What has a queue of its own is a group, not a task.
        tasks = (entity["my_q"] == 0).true
        owner, entity = owner[tasks], entity[tasks]
    task = entity.container("struct task_struct", "se").addresses
    if queue.has("throttled_limbo_list"):
        # Linux commit e1fad12dcb66 ("sched/fair: Switch to task based throttle model") (in v6.18).
        heads = queue.follow("throttled_limbo_list").addresses
        mine, held = list_entries(
            kernel, heads, "struct task_struct", "throttle_node", what="the lists of throttled tasks"
        )
        owner, task = np.concatenate([owner, mine]), np.concatenate([task, held.addresses])
    throttled = queue["throttle_count"] > 0 if queue.has("throttle_count") else None
    order = np.argsort(owner, kind="stable")
    owner = owner[order]
    return _part(
        _FAIR,
        row[owner],
        StructArray(kernel, "struct task_struct", task[order]),
        group[owner],
        None if throttled is None else throttled[owner],
    )


def _ext(kernel: Kernel, queues: RunQueues) -> _Part:
    """Tasks of a scheduler in BPF that a CPU's own list has (CONFIG_SCHED_CLASS_EXT, Linux 6.12), after what runs.

    What runs is taken off the list (kernel/sched/ext.c, set_next_task_scx).
    """
    if not queues.queue.has("scx.runnable_list"):
        return _part(_EXT, np.zeros(0, dtype=np.int64), StructArray(kernel, "struct task_struct", []))
    heads = queues.queue.follow("scx.runnable_list")
    row, entity = list_entries(
        kernel, heads.addresses, "struct sched_ext_entity", "runnable_node", what="the queues of sched_ext"
    )
    current = queues.queue.follow("curr")
    mine = kernel.symbols.get("ext_sched_class") or 1
    running = np.flatnonzero(((current["sched_class"] == np.uint64(mine)) & (current["on_rq"] == 1)).true)
    task = np.concatenate(
        [current.addresses[running], entity.container("struct task_struct", "scx").addresses]
    )
    return _part(_EXT, np.concatenate([running, row]), StructArray(kernel, "struct task_struct", task))


def _own(kernel: Kernel, queues: RunQueues, member: str, of_group: str) -> tuple[I64, StructArray, Column]:
    """The queues of one class, those of CPUs before those of groups: (row of the CPU, queues, struct task_group)."""
    own = queues.queue.follow(member)
    row = np.arange(len(queues.cpu))
    groups = task_groups(kernel)
    has = len(groups) > 0 and groups.has(of_group)
    address, owner = own.addresses, np.zeros(len(own), dtype=np.uint64)
    if has:
        owner = np.full(len(own), groups.addresses[0], dtype=np.uint64)
        more = group_queues(kernel, groups, queues.cpu, of_group)
        fresh = (more != 0) & ~np.isin(more, address)
        address = np.concatenate([address, more[fresh]])
        owner = np.concatenate([owner, np.repeat(groups.addresses, len(queues.cpu))[fresh]])
        row = np.concatenate([row, np.tile(row, len(groups))[fresh]])
    return row, StructArray(kernel, own.type, address), Column(owner, np.full(len(owner), has), "address")

"""Groups of tasks that share CPU time (struct task_group): control groups and sessions (autogroups), with names."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import PointerType
from kernlab.errors import BudgetError
from kernlab.linux.kernfs import kernfs_paths
from kernlab.walk.cpus import percpu_many
from kernlab.walk.lists import list_entries

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


@fact
def task_groups(kernel: Kernel) -> StructArray:
    """All groups, the root first; none of a kernel without CONFIG_CGROUP_SCHED (kernel/sched/core.c, task_groups)."""
    head = kernel.find_symbol("task_groups")
    if head is None or kernel.type_or_none("struct task_group") is None:
        return StructArray(kernel, "struct rq", [])
    _, group = list_entries(kernel, [head], "struct task_group", "list", what="the groups of tasks")
    root = np.array([kernel.symbol("root_task_group")], dtype=np.uint64)
    others = group.addresses[group.addresses != root[0]]
    return StructArray(kernel, "struct task_group", np.concatenate([root, others]))


def group_names(kernel: Kernel, group: U64, valid: Mask) -> Column:
    """What each group is called, as in the kernel's sched/debug: the path of its control group, "/" for the root,
    "/autogroup-12" for a session's.

    Mirrors kernel/sched/debug.c, task_group_path, and kernel/sched/autogroup.c, autogroup_path.
    """
    every, of = np.unique(np.where(valid, group, np.uint64(0)), return_inverse=True)
    if kernel.type_or_none("struct task_group") is None:
        return Column.missing(len(group))
    groups = StructArray(kernel, "struct task_group", every)
    path = kernfs_paths(kernel, groups["css.cgroup->kn"])
    names, known = path.values.copy(), path.valid.copy()
    root = every == np.uint64(kernel.symbol("root_task_group"))
    names[root], known[root] = "/", True
    if groups.has("autogroup"):
        number = groups.follow("autogroup")["id"]
        for row in np.flatnonzero(number.valid & ~root).tolist():
            names[row], known[row] = f"/autogroup-{number[row]}", True
    return Column.of(names, known, "text")[of]


def group_queues(kernel: Kernel, group: StructArray, cpus: npt.NDArray[np.int64], member: str) -> U64:
    """Where the queue of each group on each CPU lies: addresses uint64[n * len(cpus)], the CPUs of a group together.

    `member` is "cfs_rq" or "rt_rq"; 0 where it is not known. Raises BudgetError for more than the file has room for.
    """
    kind = resolve(group.type, member).type.strip()
    assert isinstance(kind, PointerType)
    if not kernel.budget.holds(len(group) * len(cpus), 8):
        raise BudgetError(
            f"queues of {len(group):,} groups on {len(cpus):,} CPUs are refused: the file does not hold so much memory"
        )
    pointer = group[member]
    first, known = pointer.filled(0), np.repeat(pointer.true, len(cpus))
    # Linux commit b8fea7af0e40 (after v7.0) made a per-CPU pointer of the array of pointers.
    if not isinstance(kind.target.strip(), PointerType):
        return np.where(known, percpu_many(kernel, first, cpus).reshape(-1), np.uint64(0))
    place = first[:, None] + np.uint64(8) * cpus.astype(np.uint64)[None, :]
    place = np.where(known, place.reshape(-1), np.uint64(0))
    found = np.zeros(len(place), dtype=np.uint64)
    found[known], _ = kernel.words(place[known], what="queues of groups of tasks")
    return found

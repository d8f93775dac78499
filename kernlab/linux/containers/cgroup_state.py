"""Whose control groups are: their tasks and processes, whether they are frozen, and the CPUs and nodes they may use."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import ArrayType
from kernlab.linux.containers.cgroups import Cgroups, controllers, named
from kernlab.linux.tasks import find_tasks
from kernlab.walk.bitmaps import bitmap_bits
from kernlab.walk.lists import list_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


def controllers_of(kernel: Kernel, cgroups: Cgroups) -> Column:
    """What may be controlled in each, in words: cgroup.controllers (kernel/cgroup/cgroup.c, cgroup_control).

    In version 1 what its hierarchy controls.
    """
    group = cgroups.group
    above = cgroups.parent[~cgroups.is_root]
    mask = group["root->subsys_mask"].int64
    handed = group["subtree_control"].int64
    values, valid = mask.values.copy(), mask.valid.copy()
    size = int(group["subtree_control"].values.dtype.itemsize)
    threaded = _mask(kernel, "cgrp_dfl_threaded_ss_mask", size)
    hidden = _mask(kernel, "cgrp_dfl_inhibit_ss_mask", size) | _mask(
        kernel, "cgrp_dfl_implicit_ss_mask", size
    )
    below = np.flatnonzero(~cgroups.is_root)
    given, known = handed.values[above], handed.valid[above]
    # A cgroup whose domain is another one's is threaded (cgroup_is_threaded).
    domain = group["dom_cgrp"]
    is_threaded = (domain != group.addresses).true[below]
    given = np.where(is_threaded, given & threaded, given)
    unified = cgroups.unified[below]
    values[below] = np.where(unified, given, values[below])
    valid[below] = np.where(unified, known, valid[below])
    top = cgroups.unified & cgroups.is_root
    values[top] &= ~hidden
    names = controllers(kernel)
    new, old = (named(Column.of(values, valid), own, " ") for own in (names.names, names.old_names))
    return Column(np.where(cgroups.unified, new.values, old.values), valid, "text")


def _mask(kernel: Kernel, symbol: str, size: int) -> int:
    return 0 if kernel.find_symbol(symbol) is None else kernel.word(symbol, size)


def populated(cgroups: Cgroups) -> Column:
    """Does each, or one below it, have tasks (cgroup_is_populated)?"""
    group = cgroups.group
    # Seen in 7.2, not in 6.12: each controller's part counts, too, and the cgroup's own count lies with those.
    total = (
        group.first("self.nr_populated_csets", "nr_populated_csets").int64
        + group["nr_populated_domain_children"].int64
        + group["nr_populated_threaded_children"].int64
    )
    return total != 0


def members(kernel: Kernel, cgroups: Cgroups) -> tuple[Column, Column]:
    """How many tasks and how many processes are in each itself: as many as cgroup.threads and cgroup.procs have lines.

    Tasks as the kernel counts them; processes are counted: those of which a thread lives.
    """
    owner, link = list_entries(
        kernel,
        cgroups.group.follow("cset_links").addresses,
        "struct cgrp_cset_link",
        "cset_link",
        what="the tasks of cgroups",
    )
    sets = link["cset"]
    css_set = StructArray(kernel, "struct css_set", sets.filled(0))
    tasks = css_set["nr_tasks"].added_by(owner, len(cgroups))
    task = find_tasks(kernel)
    pid, tgid = task["pid"], task["tgid"]
    # Those whose leader ended are in the file as long as another thread lives (css_task_iter_advance).
    alive = (task["signal->live.counter"] > 0) | (task["exit_state"] == 0)
    leader = ((pid == tgid) & (pid > 0)).true & alive.true
    used, number = np.unique(task[leader]["cgroups"].filled(0), return_counts=True)
    place = np.searchsorted(used, sets.filled(0)).clip(max=max(len(used) - 1, 0))
    hit = used[place] == sets.filled(0) if len(used) else np.zeros(len(sets), dtype=bool)
    count = np.where(hit, number[place] if len(used) else 0, 0)
    return tasks, Column.of(count.astype(np.int64), sets.valid).added_by(owner, len(cgroups))


def frozen(kernel: Kernel, cgroups: Cgroups) -> Column:
    """Are all tasks of each frozen: cgroup.events says it of version 2, freezer.state of version 1's controller.

    Missing where nothing can freeze it.
    """
    bit = kernel.types.enumerator_or_none("CGRP_FROZEN")
    new = Column.missing(len(cgroups), "bool")
    if bit is not None:
        flags = cgroups.group["flags"]
        new = flags.has(1 << bit).where(cgroups.unified)
    freezer = cgroups.part("freezer", "struct freezer")
    state = kernel.types.enumerator_or_none("CGROUP_FROZEN")
    if state is None or not freezer.valid.any():
        return new
    old = freezer["state"].has(state)
    return Column(
        np.where(cgroups.unified, new.values, old.values), new.valid | (old.valid & ~cgroups.unified), "bool"
    )


def cpus_and_nodes(kernel: Kernel, cgroups: Cgroups) -> tuple[Column, Column]:
    """The CPUs and the memory nodes that tasks of each may use ("0-3,7"): cpuset.cpus.effective, cpuset.mems.effective.

    Missing where cpusets are not on (kernel/cgroup/cpuset.c).
    """
    cpuset = cgroups.part("cpuset", "struct cpuset")
    if not cpuset.valid.any():
        return Column.missing(len(cgroups)), Column.missing(len(cgroups))
    # Without CONFIG_CPUMASK_OFFSTACK a mask of CPUs lies in the struct itself, as an array of one.
    kind = resolve(cpuset.type, "effective_cpus").type
    cpus = cpuset.follow("effective_cpus[0]" if isinstance(kind, ArrayType) else "effective_cpus")
    nodes = cpuset.follow("effective_mems")
    return _listed(kernel, cpus, len(kernel.percpu_offsets)), _listed(kernel, nodes, nodes.type.size * 8)


def _listed(kernel: Kernel, bitmap: StructArray, count: int) -> Column:
    owner, bit, valid = bitmap_bits(kernel, bitmap.addresses[bitmap.valid], count)
    rows = np.flatnonzero(bitmap.valid)
    starts = np.searchsorted(owner, np.arange(len(rows) + 1))
    texts: list[str | None] = [None] * len(bitmap)
    for index, row in enumerate(rows.tolist()):
        if valid[index]:
            texts[row] = _ranges(bit[starts[index] : starts[index + 1]])
    return Column.texts(texts)


def _ranges(numbers: I64) -> str:
    """Ascending numbers as the kernel prints lists of CPUs: "0-3,7"."""
    if not len(numbers):
        return ""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)

"""What tells tasks of one name apart: the control group that each belongs to, and the program that it runs."""

from __future__ import annotations

import numpy as np

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.kernfs import kernfs_paths
from kernlab.linux.paths import paths, root_of_init


def cgroup_of(kernel: Kernel, task: StructArray) -> Column:
    """The path of each task's control group, as /proc/PID/cgroup shows it to pid 1: in the unified hierarchy, or where
    that is not in use, in the memory controller's; " (deleted)" follows that of one that was removed.

    Missing where it cannot be read, and without CONFIG_CGROUPS. Mirrors kernel/cgroup/cgroup.c, proc_cgroup_show.
    """
    if not task.has("cgroups"):
        return Column.missing(len(task))
    pointer = task["cgroups"]
    sets, of = np.unique(pointer.filled(0), return_inverse=True)
    groups = StructArray(kernel, "struct css_set", sets)
    memory = kernel.types.enumerator_or_none("memory_cgrp_id")
    unified = not kernel.find_symbol("cgrp_dfl_visible") or kernel.word("cgrp_dfl_visible", 1)
    group = groups.follow(
        "dfl_cgrp" if unified or memory is None else f"subsys[{memory}]->cgroup", to="struct cgroup"
    )
    node, flags = group["kn"], group["self.flags"]
    path = kernfs_paths(kernel, node)
    online = kernel.types.enumerator_or_none("CSS_ONLINE")
    dead = ~flags.has(2 if online is None else online)
    text = np.where(dead.true & path.valid, path.values + " (deleted)", path.values)
    return Column.of(text, path.valid)[of].where(pointer.valid)


def program_of(kernel: Kernel, task: StructArray, mm: Column) -> Column:
    """The path of the program that each task's mm was made for, as readlink /proc/PID/exe gives it to pid 1.

    Missing for kernel threads and what has no mm any more. Mirrors fs/proc/base.c, proc_exe_link.
    """
    spaces, of = np.unique(mm.filled(0), return_inverse=True)
    space = StructArray(kernel, "struct mm_struct", spaces)
    pointer = space["exe_file"]
    files, file_of = np.unique(pointer.filled(0), return_inverse=True)
    file = StructArray(kernel, "struct file", files)
    path = paths(kernel, file.follow("f_path"), root_of_init(kernel))
    return path[file_of[of]]

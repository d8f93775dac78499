"""Which container each task is in, by the names of its cgroups in all hierarchies."""

from __future__ import annotations

import numpy as np

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.containers.container_names import container_name
from kernlab.linux.kernfs import kernfs_paths
from kernlab.walk.lists import list_entries


def container_of(kernel: Kernel, task: StructArray) -> Column:
    """The container, or else the systemd unit, of each task (`container_name`): text, missing where no name tells.

    A task has a cgroup in each hierarchy (struct css_set). A container's name counts before a unit's, and version 2's
    hierarchy before those of version 1. Without CONFIG_CGROUPS all are missing.
    """
    if not task.has("cgroups"):
        return Column.missing(len(task))
    pointer = task["cgroups"]
    sets, of = np.unique(pointer.filled(0), return_inverse=True)
    real = sets[sets != 0]
    owner, link = list_entries(
        kernel,
        StructArray(kernel, "struct css_set", real).follow("cgrp_links").addresses,
        "struct cgrp_cset_link",
        "cgrp_link",
        what="the cgroups of tasks",
    )
    groups, place = np.unique(link["cgrp"].filled(0), return_inverse=True)
    group = StructArray(kernel, "struct cgroup", groups)
    unified = (group["root"] == kernel.symbol("cgrp_dfl_root")).true[place]
    found = [
        None if path is None else container_name(path) for path in kernfs_paths(kernel, group["kn"]).tolist()
    ]
    best: dict[int, tuple[int, str]] = {}
    for row, which, first in zip(owner.tolist(), place.tolist(), unified.tolist(), strict=True):
        named = found[which]
        if named is not None:
            rank = (0 if named[1] else 2) + (0 if first else 1)
            if row not in best or rank < best[row][0]:
                best[row] = rank, named[0]
    names: list[str | None] = [None] * (len(sets) - len(real))
    names += [best[row][1] if row in best else None for row in range(len(real))]
    return Column.texts(names)[of]

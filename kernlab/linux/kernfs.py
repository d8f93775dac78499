"""kernfs, the tree behind cgroups and sysfs: nodes in, their paths from its root out."""

from __future__ import annotations

import numpy as np

from kernlab.core.budget import Allowance
from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.rbtree import rbtree_entries
from kernlab.walk.strings import c_strings

#: Nodes nest no deeper, whatever a damaged tree says; no name is longer (NAME_MAX).
_MOST_LEVELS, _LONGEST_NAME = 1 << 10, 256


def kernfs_paths(kernel: Kernel, nodes: Column) -> Column:
    """The path of each `struct kernfs_node` that these point to, from its tree's root, which is "/".

    All of them go up together, a level a round. Not valid where a name or a parent on the way cannot be read. Mirrors
    fs/kernfs/dir.c, kernfs_path.
    """
    kind = kernel.find_type("struct kernfs_node")
    above: dict[int, tuple[int, str] | None] = {0: (0, "")}
    every = nodes.filled(0)
    fresh = np.unique(every)
    for _ in range(_MOST_LEVELS):
        fresh = fresh[fresh != 0]
        if not len(fresh):
            break
        node = StructArray(kernel, kind, fresh)
        # Linux commit 633488947ef6 ("kernfs: Use RCU to access kernfs_node::parent.") (in v6.15) renamed it.
        parent, pointer = node.first("__parent", "parent"), node["name"]
        name = c_strings(kernel, pointer, _LONGEST_NAME)
        rows = zip(fresh.tolist(), parent, name, strict=True)
        above |= {address: None if up is None or text is None else (up, text) for address, up, text in rows}
        up = np.unique(parent.values[parent.valid & name.valid])
        fresh = up[[address not in above for address in up.tolist()]]
    whole: dict[int, str | None] = {}
    room = kernel.budget.allowance("paths in sysfs or of cgroups")
    paths = [_path(address, above, whole, room) for address in every.tolist()]
    return Column.texts([path if path is None else path or "/" for path in paths])


def names_within(kernel: Kernel, folder: StructArray, *, what: str) -> list[list[str]]:
    """The names of what lies in each `struct kernfs_node` of a folder, [] where that is not valid; those lost are told.

    `what` says what is walked. Mirrors fs/kernfs/dir.c, kernfs_fop_readdir.
    """
    rows = np.flatnonzero(folder.valid)
    owner, child = rbtree_entries(
        kernel, folder[rows].follow("dir.children").addresses, "struct kernfs_node", "rb", what=what
    )
    found: list[list[str]] = [[] for _ in range(len(folder))]
    names = c_strings(kernel, child["name"], _LONGEST_NAME).tolist()
    for row, name in zip(rows[owner].tolist(), names, strict=True):
        if name is not None:
            found[row].append(name)
    return found


def _path(
    address: int, above: dict[int, tuple[int, str] | None], whole: dict[int, str | None], room: Allowance
) -> str | None:
    """One node's path, '' of a root; None where a part is lost. `whole` keeps those that are known."""
    passed: list[int] = []
    found: str | None = None
    while address not in whole:
        here = above.get(address)
        if here is None or not address or len(passed) > _MOST_LEVELS:
            break
        if not here[0]:
            found = whole[address] = ""
            break
        passed.append(address)
        address = here[0]
    else:
        found = whole[address]
    for node in reversed(passed):
        here = above[node]
        found = None if found is None or here is None else f"{found}/{here[1]}"
        found = found if found is not None and room.take(len(found)) else None
        whole[node] = found
    return found

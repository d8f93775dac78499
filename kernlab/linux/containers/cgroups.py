"""Control groups of all hierarchies: their tree, their paths, and each controller's part of them.

Mirrors kernel/cgroup/cgroup.c (cgroup_roots, cgroup_create) and kernel/cgroup/cgroup-v1.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.linux.kernfs import kernfs_paths
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: What the hierarchy of version 2 is called here.
UNIFIED = "unified"
#: Cgroups nest no deeper, whatever a damaged tree says.
_MOST_LEVELS = 1 << 10
#: Longest name of a controller (include/linux/cgroup-defs.h, MAX_CGROUP_TYPE_NAMELEN).
_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True)
class Controllers:
    """What is in `cgroup_subsys`, by number: names in version 2 and 1, and the parts that all cgroups have."""

    names: Column
    old_names: Column


@dataclass(frozen=True, slots=True, eq=False)
class Cgroups:
    """All cgroups, hierarchy by hierarchy (version 2's first), each with what is below it behind it: n rows.

    `parent` is each one's parent's row, -1 for a hierarchy's root, `level` its depth; `hierarchy` is "unified" for
    version 2, else as in /proc/PID/cgroup ("cpu,cpuacct", "name=…"), missing where that is not known; `dying` are
    those that were removed. `css` holds the controllers' parts, the oldest first: m structs cgroup_subsys_state,
    `css_row` whose they are, `css_number` of which controller (of `controllers`).
    """

    group: StructArray
    parent: I64
    level: I64
    path: Column
    hierarchy: Column
    unified: Mask
    dying: Column
    css: StructArray
    css_row: I64
    css_number: I64
    css_online: Mask

    def __len__(self) -> int:
        return len(self.group)

    @property
    def is_root(self) -> Mask:
        """bool[n]: which are the roots of their hierarchies."""
        return self.parent < 0

    def part(self, controller: str, type_name: str) -> StructArray:
        """Each cgroup's part of a controller ("memory"), as the struct that it lies in: `struct mem_cgroup`.

        Not valid where the controller is not on in it; of a kernel without the controller none is, nor has members.
        """
        kernel = self.group.kernel
        number = kernel.types.enumerator_or_none(f"{controller}_cgrp_id")
        found = np.zeros(len(self), dtype=np.uint64)
        if number is None or kernel.types.get(type_name) is None:
            return StructArray(kernel, self.css.type, found)
        # A part that was switched off stays while something is charged to it, also beside a newer one (kill_css).
        mine = (self.css_number == np.int64(number)) & (
            self.css_online | self.dying.filled(True)[self.css_row]
        )
        found[self.css_row[mine]] = self.css.addresses[mine]
        return container(kernel, type_name, "css", found)

    def summed(self, own: I64, known: Mask) -> tuple[I64, Mask]:
        """What each has by itself and all below it together: int64[n] or [n, m], and bool[n]: which are whole."""
        total, whole = own.copy(), known.copy()
        for level in range(int(self.level.max(initial=0)), 0, -1):
            rows = np.flatnonzero((self.level == level) & (self.parent >= 0))
            np.add.at(total, self.parent[rows], total[rows])
            whole[self.parent[rows[~whole[rows]]]] = False
        return total, whole


def has_cgroups(kernel: Kernel) -> bool:
    """Was the kernel built with control groups (CONFIG_CGROUPS)?"""
    return kernel.find_symbol("cgrp_dfl_root") is not None and kernel.types.get("struct cgroup") is not None


@fact
def controllers(kernel: Kernel) -> Controllers:
    """The controllers that this kernel has, by their numbers (enum cgroup_subsys_id)."""
    count = kernel.types.enumerator_or_none("CGROUP_SUBSYS_COUNT") or 0
    where = kernel.symbol("cgroup_subsys") + 8 * np.arange(count, dtype=np.uint64)
    pointer, read = kernel.words(where, what="pointers to controllers of cgroups")
    subsystem = StructArray(kernel, "struct cgroup_subsys", pointer, read)
    return Controllers(
        c_strings(kernel, subsystem["name"], _LONGEST_NAME),
        c_strings(kernel, subsystem["legacy_name"], _LONGEST_NAME),
    )


def named(mask: Column, names: Column, separator: str) -> Column:
    """Masks of controllers in words: uint[n] in, text out. As cgroup.controllers shows one (cgroup_print_ss_mask)."""
    known = mask.filled(0).astype(np.uint64)
    text = {
        value: separator.join(
            name or f"#{number}" for number, name in enumerate(names.tolist()) if value >> number & 1
        )
        for value in np.unique(known).tolist()
    }
    return Column(np.array([text[value] for value in known.tolist()], dtype=object), mask.valid, "text")


@fact
def find_cgroups(kernel: Kernel) -> Cgroups:
    """All cgroups of the machine, those that were removed and are still held among them.

    Raises SymbolNotFoundError without CONFIG_CGROUPS (`has_cgroups`).
    """
    root = hierarchies(kernel)
    group, css, of, parent, level = _walk(kernel, root)
    hierarchy = _hierarchies(kernel, root)
    # A cgroup's own pointer to its root may be damaged: it is that of the one above it.
    top = np.where(parent < 0, np.arange(len(group)), parent)
    while (further := top[top]).tolist() != top.tolist():
        top = further
    top = np.where(top < len(root), top, 0)
    path = kernfs_paths(kernel, group["kn"])
    order = in_tree(parent, level, group_ids(group).filled(0).astype(np.uint64))
    place = np.empty(len(group), dtype=np.int64)
    place[order] = np.arange(len(group))
    group, moved = group[order], parent[order]
    bit = kernel.types.enumerator_or_none("CSS_ONLINE")
    online = 2 if bit is None else bit
    age = np.argsort(css["serial_nr"].filled(0), kind="stable")
    css, of = css[age], of[age]
    return Cgroups(
        group,
        np.where(moved < 0, moved, place[moved]),
        level[order],
        path[order],
        hierarchy[top[order]],
        root.addresses[top[order]] == np.uint64(kernel.symbol("cgrp_dfl_root")),
        ~group["self.flags"].has(online),
        css,
        place[of],
        css["ss->id"].filled(-1).astype(np.int64),
        css["flags"].has(online).filled(True).astype(bool),
    )


def group_ids(group: StructArray) -> Column:
    """The number of each cgroup's folder."""
    # Linux commit 67c0496e87d1 ("kernfs: convert kernfs_node->id from union kernfs_node_id to u64") (in v5.5).
    return group.first("kn->id.ino", "kn->id")


def in_tree(parent: I64, level: I64, number: U64) -> I64:
    """Rows in this order are each followed by what is below them, the oldest first: names may be redacted."""
    size, place = np.ones(len(parent), dtype=np.int64), np.zeros(len(parent), dtype=np.int64)
    deepest = int(level.max(initial=0))
    for depth in range(deepest, 0, -1):
        rows = np.flatnonzero((level == depth) & (parent >= 0))
        np.add.at(size, parent[rows], size[rows])
    tops = np.flatnonzero(parent < 0)
    place[tops] = np.cumsum(size[tops]) - size[tops]
    for depth in range(1, deepest + 1):
        rows = np.flatnonzero((level == depth) & (parent >= 0))
        rows = rows[np.lexsort((number[rows], parent[rows]))]
        before = np.cumsum(size[rows]) - size[rows]
        first = np.searchsorted(parent[rows], parent[rows])
        place[rows] = place[parent[rows]] + 1 + before - before[first]
    return np.argsort(place, kind="stable")


def hierarchies(kernel: Kernel) -> StructArray:
    """The hierarchies: version 2's, and those of version 1 by their numbers (kernel/cgroup/cgroup.c, cgroup_roots)."""
    default = np.array([kernel.symbol("cgrp_dfl_root")], dtype=np.uint64)
    head = kernel.find_symbol("cgroup_roots")
    if head is None:
        kernel.lost("hierarchies of cgroups of version 1 are not known: there is no symbol cgroup_roots")
        return StructArray(kernel, "struct cgroup_root", default)
    _, found = list_entries(
        kernel, [head], "struct cgroup_root", "root_list", what="the hierarchies of cgroups"
    )
    others = found[~np.isin(found.addresses, default)]
    number = others["hierarchy_id"].filled(0)
    return StructArray(
        kernel,
        "struct cgroup_root",
        np.concatenate([default, others.addresses[np.argsort(number, kind="stable")]]),
    )


def _hierarchies(kernel: Kernel, root: StructArray) -> Column:
    """Each hierarchy as the middle of a line of /proc/PID/cgroup (proc_cgroup_show); version 2's is "unified"."""
    words = named(root["subsys_mask"], controllers(kernel).old_names, ",")
    name = root["name"].text
    parts = zip(words.tolist(), name.tolist(), strict=True)
    texts = [
        None
        if mask is None or own is None
        else ",".join([*filter(None, [mask]), *([f"name={own}"] if own else [])])
        for mask, own in parts
    ]
    return Column.texts([UNIFIED, *texts[1:]])


def _walk(kernel: Kernel, root: StructArray) -> tuple[StructArray, StructArray, I64, I64, I64]:
    """The trees below roots, as found: (cgroups, controllers' parts, whose each is, cgroups' parents or -1, levels).

    A removed cgroup's parts no longer hang on it, but each part hangs below its parent's: all go down together.
    """
    tops = root.follow("cgrp")
    selves = tops.follow("self").addresses
    slots = tops["subsys"].filled(0).reshape(-1)
    current = np.concatenate([selves, np.unique(slots[slots != 0])])
    seen, known = current, [current]
    most = kernel.budget.structs(kernel.find_type("struct cgroup_subsys_state").size)
    what = "the tree of cgroups"
    for _ in range(_MOST_LEVELS):
        above = StructArray(kernel, "struct cgroup_subsys_state", current)
        owner, below = list_entries(
            kernel, above.follow("children").addresses, "struct cgroup_subsys_state", "sibling", what=what
        )
        # What can be read and names another parent is no part of this tree; one that was met before neither.
        fresh = ~np.isin(below.addresses, seen) & (below["parent"] == current[owner]).filled(True)
        if not fresh.all():
            kernel.lost(f"{what}: {int((~fresh).sum()):,} links lead out of it")
        current = np.unique(below.addresses[fresh])
        if not len(current) or len(seen) > most:
            break
        seen = np.concatenate([seen, current])
        known.append(current)
    every = StructArray(kernel, "struct cgroup_subsys_state", np.concatenate(known))
    subsystem = every["ss"]
    # A cgroup's own node is of no controller.
    own = (subsystem == 0).true
    own[: len(selves)] = True
    group = every[own].container("struct cgroup", "self")
    up = every[own]["parent"].filled(0)
    order = np.argsort(every.addresses[own])
    parent = _places(every.addresses[own], order, up)
    parent[: len(root)] = -1
    part = every[~own & subsystem.valid]
    cgroup = part["cgroup"]
    by = np.argsort(group.addresses)
    row = _places(group.addresses, by, cgroup.filled(0))
    kernel.lost("parts of controllers are of no cgroup of the tree", mask=row < 0)
    level = np.repeat(np.arange(len(known)), [len(found) for found in known])[own]
    return group, part[row >= 0], row[row >= 0], parent, level


def _places(addresses: U64, order: I64, wanted: U64) -> I64:
    """Where each address stands among `addresses` (which `order` sorts); -1 for none."""
    if not len(addresses):
        return np.full(len(wanted), -1, dtype=np.int64)
    at = order[np.minimum(np.searchsorted(addresses[order], wanted), len(order) - 1)]
    return np.where(addresses[at] == wanted, at, -1)

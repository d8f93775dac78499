"""Red-black trees, many at once: every tree goes one level down a round."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.walk.shared import fan_out, unique_roots

#: A red-black tree of 2^30 nodes is no deeper than this (lib/rbtree.c keeps it at twice the logarithm).
DEEPEST = 60


def rbtree_entries(
    kernel: Kernel, roots: npt.ArrayLike, type_name: str, member: str, *, what: str
) -> tuple[npt.NDArray[np.int64], StructArray]:
    """The entries of many `struct rb_root` (include/linux/rbtree.h), each tree in order.

    Parameters: roots uint64[n], addresses of the roots; entries are `type_name`, linked by their `member`; `what`
    names the trees in what is reported as lost. A node that cannot be read costs its subtree, one met twice (a cycle)
    is not entered again; both are counted. All trees together have no more nodes than the dump's file can hold.
    Returns (owner int64[m]: index into roots, StructArray of m).
    """
    tops, shared = unique_roots(roots)
    nodes, read = kernel.words(tops, what="")
    lost = tops[~read].tolist()
    owner = np.flatnonzero(read & (nodes != 0))
    nodes = nodes[owner]
    # The middle of what is left of the key space: a node's place in its tree's order.
    place = np.full(len(nodes), 1 << 62, dtype=np.int64)
    step = 1 << 61
    node_type = kernel.find_type("struct rb_node")
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint64]]] = []
    seen = np.zeros(0, dtype=np.uint64)
    twice = 0
    most = kernel.budget.structs(kernel.find_type(type_name).size)
    with kernel.budget.walk(what):
        for _ in range(DEEPEST):
            if not len(nodes) or len(seen) > most:
                break
            unique, first = np.unique(nodes, return_index=True)
            fresh = np.sort(first[~np.isin(unique, seen)])
            twice += len(nodes) - len(fresh)
            owner, nodes, place = owner[fresh], nodes[fresh], place[fresh]
            seen = np.concatenate([seen, nodes])
            struct = StructArray(kernel, node_type, nodes)
            with kernel.quiet():
                left, right = struct["rb_left"], struct["rb_right"]
            whole = left.valid & right.valid
            lost += nodes[~whole].tolist()
            owner, nodes, place = owner[whole], nodes[whole], place[whole]
            found.append((owner, place, nodes))
            below = np.concatenate([left.values[whole], right.values[whole]])
            place = np.concatenate([place - step, place + step])
            owner = np.concatenate([owner, owner])
            going = below != 0
            owner, nodes, place = owner[going], below[going], place[going]
            step >>= 1
        twice += len(nodes)
    if lost:
        kernel.lost(f"{what}: {len(lost):,} tree nodes cannot be read (the first at {lost[0]:#018x})")
    if twice:
        kernel.lost(f"{what}: {twice:,} links lead back into their tree or too deep and were not followed")
    if not found:
        return np.zeros(0, dtype=np.int64), container(kernel, type_name, member, np.zeros(0, dtype=np.uint64))
    owners, places, all_nodes = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((places, owners))
    owner, row = fan_out(owners[order], shared)
    return owner, container(kernel, type_name, member, all_nodes[order][row])

"""Maple trees, many at once: every tree goes one level down a round (lib/maple_tree.c, since v6.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import Type
from kernlab.walk.shared import fan_out, unique_roots

U64 = npt.NDArray[np.uint64]

# include/linux/maple_tree.h: a node is aligned to 256 bytes; bits 3 to 6 of a pointer to it hold its type.
_NODE = 256
_NODE_MASK = np.uint64(_NODE - 1)
_TYPE_SHIFT = np.uint64(3)
_TYPE_MASK = np.uint64(0xF)
_LEAF, _RANGE, _ARANGE = 1, 2, 3
#: Only the root carries the mark of an internal entry (mte_mk_root).
_INTERNAL = np.uint64(2)
_LOWEST_NODE = np.uint64(4096)
_DEEPEST = 31  # MAPLE_HEIGHT_MAX
#: Nodes whose slots are looked at together.
_PIECE = 1 << 14


def maple_entries(
    kernel: Kernel, trees: npt.ArrayLike, *, what: str
) -> tuple[npt.NDArray[np.int64], U64, U64, U64]:
    """All entries of many `struct maple_tree`.

    Parameters: trees uint64[n], their addresses; `what` names them in what is reported as lost. Nodes that cannot be
    read, are of no known type or are met twice cost their subtree and are counted; all trees together have no more
    nodes than the dump's file can hold.
    Returns (owner int64[m]: index into trees, first uint64[m], last uint64[m], entry uint64[m]) by owner and index.
    """
    tops, shared = unique_roots(trees)
    roots = StructArray(kernel, "struct maple_tree", tops)
    with kernel.quiet():
        root = roots["ma_root"]
    owner = np.flatnonzero(root.true)
    slots = root.values[owner]
    is_node = ((slots & np.uint64(3)) == _INTERNAL) & (slots > _LOWEST_NODE)
    # A tree of a single entry at index 0 has it in place of a node.
    lone = ~is_node & ((slots & np.uint64(3)) != _INTERNAL)
    zero = np.zeros(int(lone.sum()), dtype=np.uint64)
    found = [(owner[lone], zero, zero, slots[lone])]
    owner, slots = owner[is_node], slots[is_node]
    first = np.zeros(len(owner), dtype=np.uint64)
    last = np.full(len(owner), np.iinfo(np.uint64).max, dtype=np.uint64)
    walk = _Walk(kernel, roots.addresses[~root.valid].tolist())
    most = kernel.budget.structs(_NODE)
    with kernel.budget.walk(what):
        for _ in range(_DEEPEST):
            if not len(owner) or len(walk.seen) > most:
                break
            leaves, owner, first, last, slots = walk.down(owner, first, last, slots)
            found += leaves
    walk.odd += len(owner)
    if walk.lost:
        kernel.lost(f"{what}: {len(walk.lost):,} nodes cannot be read (the first at {walk.lost[0]:#018x})")
    if walk.odd:
        kernel.lost(
            f"{what}: {walk.odd:,} nodes have an unknown type, are too deep or were met twice, and were skipped"
        )
    owners, firsts, lasts, entries = (np.concatenate(parts) for parts in zip(*found, strict=True))
    same, rising = owners[1:] == owners[:-1], firsts[1:] >= firsts[:-1]
    # Each level comes in the order of the one above it, so that only trees of different depths are out of order.
    if not ((owners[1:] > owners[:-1]) | (same & rising)).all():
        order = np.lexsort((firsts, owners))
        owners, firsts, lasts, entries = owners[order], firsts[order], lasts[order], entries[order]
    owner, row = fan_out(owners, shared)
    return owner, firsts[row], lasts[row], entries[row]


class _Walk:
    """One walk's types, and what went wrong on its way."""

    def __init__(self, kernel: Kernel, lost: list[int]):
        self.kernel = kernel
        self.lost = lost
        self.odd = 0
        self.seen = np.zeros(0, dtype=np.uint64)
        self.types = {
            _LEAF: kernel.find_type("struct maple_range_64"),
            _RANGE: kernel.find_type("struct maple_range_64"),
            _ARANGE: kernel.find_type("struct maple_arange_64"),
        }

    def down(
        self, owner: npt.NDArray[np.int64], first: U64, last: U64, pointers: U64
    ) -> tuple[list[tuple[Any, Any, Any, Any]], npt.NDArray[np.int64], U64, U64, U64]:
        """One level: the leaves' entries, and the next level's (owner, first, last, pointers)."""
        kinds = ((pointers >> _TYPE_SHIFT) & _TYPE_MASK).astype(np.int64)
        nodes = pointers & ~_NODE_MASK
        unique, index = np.unique(nodes, return_index=True)
        fresh = np.zeros(len(nodes), dtype=bool)
        fresh[index[~np.isin(unique, self.seen)]] = True
        known = np.isin(kinds, list(self.types)) & fresh
        self.odd += int((~known).sum())
        self.seen = np.concatenate([self.seen, nodes[known]])
        leaves, below = [], []
        for kind, type_ in self.types.items():
            rows = np.flatnonzero(known & (kinds == kind))
            if not len(rows):
                continue
            parts = self._children(type_, nodes[rows], owner[rows], first[rows], last[rows])
            if kind == _LEAF:
                leaves += parts
            else:
                below += parts
        if not below:
            empty = np.zeros(0, dtype=np.uint64)
            return leaves, np.zeros(0, dtype=np.int64), empty, empty, empty
        owners, firsts, lasts, entries = (np.concatenate(parts) for parts in zip(*below, strict=True))
        return leaves, owners, firsts, lasts, entries

    def _children(
        self, type_: Type, addresses: U64, owner: npt.NDArray[np.int64], first: U64, last: U64
    ) -> list[tuple[npt.NDArray[np.int64], U64, U64, U64]]:
        """The slots in use of nodes of one kind, with the range of indexes each stands for, in pieces."""
        nodes = StructArray(self.kernel, type_, addresses).prefetch("pivot", "slot")
        parts = [slice(start, start + _PIECE) for start in range(0, len(nodes), _PIECE)]
        found = [_slots(nodes[part], owner[part], first[part], last[part]) for part in parts]
        for lost, _ in found:
            self.lost += lost
        return [part for _, part in found]


def _slots(
    nodes: StructArray, owner: npt.NDArray[np.int64], first: U64, last: U64
) -> tuple[list[int], tuple[npt.NDArray[np.int64], U64, U64, U64]]:
    """Of some nodes: the addresses of those that cannot be read, and the slots in use (mtree_range_walk)."""
    with nodes.kernel.quiet():
        pivots, slots = nodes["pivot"], nodes["slot"]
    whole = pivots.valid & slots.valid
    pivot, slot = pivots.values[whole], slots.values[whole]
    owner, first, last = owner[whole], first[whole], last[whole]
    width = slot.shape[1]
    ends = np.empty((len(slot), width), dtype=np.uint64)
    ends[:, :-1] = pivot
    ends[:, -1] = last
    # A pivot of 0 (but for the first) was never set: that slot goes up to the node's end, and is the last.
    unset = ends == 0
    unset[:, 0] = False
    ends = np.where(unset, last[:, None], np.minimum(ends, last[:, None]))
    begins = np.empty_like(ends)
    begins[:, 0] = first
    begins[:, 1:] = ends[:, :-1] + np.uint64(1)
    used = np.ones(ends.shape, dtype=bool)
    used[:, 1:] = np.logical_and.accumulate(ends[:, :-1] < last[:, None], axis=1)
    # What is not an entry: NULL, and marks of the tree itself (XA_ZERO_ENTRY).
    real = used & (slot != 0) & ~(((slot & np.uint64(3)) == _INTERNAL) & (slot < _LOWEST_NODE))
    at = np.flatnonzero(real)
    here = np.repeat(owner, np.count_nonzero(real, axis=1))
    begins, ends, slot = (array.reshape(-1)[at] for array in (begins, ends, slot))
    return nodes.addresses[~whole].tolist(), (here, begins, ends, slot)

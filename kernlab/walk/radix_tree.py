"""Radix trees of kernels before XArrays: their entries into the form that an XArray's have.

Linux commit f8d5d0cc145c ("xarray: Add definition of struct xarray") (in v4.20) gave them the new name; the commits
before it in that series moved the marks in an entry's low bits. Distributions took them into kernels of 4.18 and 4.19,
some builds of one release and not others: the types tell (include/linux/radix-tree.h, lib/radix-tree.c).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.member_path import resolve

U64 = npt.NDArray[np.uint64]

# RADIX_TREE_ENTRY_MASK, RADIX_TREE_INTERNAL_NODE, RADIX_TREE_EXCEPTIONAL_ENTRY and its _SHIFT.
_MARKS, _INTERNAL, _EXCEPTIONAL, _SHIFT = np.uint64(3), np.uint64(1), np.uint64(2), np.uint64(2)
#: XA_RETRY_ENTRY, and the mark of an XArray's internal entries (include/linux/xarray.h).
_RETRY, _XA_INTERNAL = np.uint64(256 << 2 | 2), np.uint64(2)
_POINTER = np.uint64(8)


def has_radix_trees(kernel: Kernel) -> bool:
    """Are this kernel's trees by index radix trees, and not XArrays by that name?"""
    return kernel.types.get("struct xarray") is None and kernel.types.has_member(
        "struct radix_tree_root", "rnode"
    )


def as_xarray(entries: U64, nodes: U64, slots: int) -> U64:
    """Entries of radix trees as an XArray would have them.

    Parameters: entries uint64[n, m], the slots of nodes, or uint64[n], the heads of trees; nodes uint64[n], where the
    slots of each node begin, 0 for heads; slots: m.
    Exceptional entries become values of the same number (xa_mk_value), entries that point to another slot of their own
    node sibling entries; links to nodes get the other mark.
    """
    mark = entries & _MARKS
    internal = mark == _INTERNAL
    exceptional = (entries & _EXCEPTIONAL) != 0
    target = entries & ~_INTERNAL
    first = nodes.reshape(nodes.shape + (1,) * (entries.ndim - nodes.ndim))
    # is_sibling_entry; a difference below 0 wraps to something huge.
    slot = (target - first) // _POINTER
    sibling = internal & (first != 0) & (slot < np.uint64(slots))
    found = np.where(internal, np.where(target == 0, _RETRY, target | _XA_INTERNAL), entries)
    found = np.where(sibling, slot << np.uint64(2) | _XA_INTERNAL, found)
    return np.where(exceptional, entries >> _SHIFT << np.uint64(1) | np.uint64(1), found)


def slots_offset(kernel: Kernel) -> int:
    """Where in a node its slots begin, in bytes."""
    return resolve(kernel.find_type("struct radix_tree_node"), "slots").hops[-1]

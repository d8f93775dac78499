"""XArrays, idrs, and the radix trees before them: all entries of many trees, one level a round."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.radix_tree import as_xarray, has_radix_trees, slots_offset
from kernlab.walk.shared import fan_out, unique_roots

# include/linux/xarray.h: bit 1 marks an internal entry; above 4096 it is a node, below a sibling, retry or zero entry.
_INTERNAL = np.uint64(2)
_LOWEST_NODE = np.uint64(4096)
#: The types of a root, its member that leads to the tree, and of a node.
_XARRAY = ("struct xarray", "xa_head", "struct xa_node")
_RADIX = ("struct radix_tree_root", "rnode", "struct radix_tree_node")
_MOST_LEVELS = 16  # 64 bits of index, 6 a level, or 4 with CONFIG_BASE_SMALL


def xarray_entries(
    kernel: Kernel, xarrays: npt.ArrayLike, *, what: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """All entries of many `struct xarray`: `xarray_spans` without their lengths.

    Returns (owner int64[m], index uint64[m], entry uint64[m]), by owner and index.
    """
    owner, index, _, entry = xarray_spans(kernel, xarrays, what=what)
    return owner, index, entry


def xarray_spans(
    kernel: Kernel, xarrays: npt.ArrayLike, *, what: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """All entries of many `struct xarray` (also `struct radix_tree_root` and `idr.idr_rt`).

    Parameters: xarrays uint64[n], their addresses (of a kernel without XArrays, of its radix trees, whose entries are
    given as an XArray would have them: kernlab/walk/radix_tree.py); `what` names them in what is reported as lost when
    nodes could not be read. Value entries (bit 0 set) are given as they are stored; a multi-index entry once, at its
    first index. A node that is met again (no tree has one twice) is not entered again, and all trees together have no
    more nodes than the dump's file can hold.
    Returns (owner int64[m], index uint64[m], length uint64[m]: how many indexes the entry stands for, entry
    uint64[m]), by owner and index. Mirrors lib/xarray.c, xas_load, xas_get_order; idr's base (`idr_base`) is the
    caller's to add.
    """
    tops, shared = unique_roots(xarrays)
    is_radix = has_radix_trees(kernel)
    root_type, head_name, node_name = _RADIX if is_radix else _XARRAY
    roots = StructArray(kernel, root_type, tops)
    with kernel.quiet():
        head = roots[head_name]
    node_type = kernel.find_type(node_name)
    owner = np.flatnonzero(head.true)
    entries = head.values[owner]
    if is_radix:
        entries = as_xarray(entries, np.zeros(len(entries), dtype=np.uint64), 0)
    index = np.zeros(len(owner), dtype=np.uint64)
    length = np.ones(len(owner), dtype=np.uint64)
    # The height of each entry's subtree in bits: 64 at the root, so that any root's own shift lies below.
    above = np.full(len(owner), 64, dtype=np.int64)
    found: list[tuple[npt.NDArray[Any], ...]] = []
    lost: list[int] = tops[~head.valid].tolist()
    seen = np.zeros(0, dtype=np.uint64)
    twice, most = 0, kernel.budget.structs(node_type.size)
    with kernel.budget.walk(what):
        for _ in range(_MOST_LEVELS + 1):
            internal = (entries & np.uint64(3)) == _INTERNAL
            is_node = internal & (entries > _LOWEST_NODE)
            leaf = ~internal & (entries != 0)
            found.append((owner[leaf], index[leaf], length[leaf], entries[leaf]))
            if not is_node.any():
                break
            # Without this, ten damaged nodes full of links to one another would make 64^10 entries.
            unique, first = np.unique(entries[is_node], return_index=True)
            fresh = np.flatnonzero(is_node)[np.sort(first[~np.isin(unique, seen)])]
            twice += int(is_node.sum()) - len(fresh)
            if len(seen) + len(fresh) > most:
                kernel.lost(
                    f"{what}: more nodes than the {most:,} that what the file holds has room for; the walk was stopped"
                )
                break
            seen = np.concatenate([seen, entries[fresh]])
            owner, index, above = owner[fresh], index[fresh], above[fresh]
            nodes = StructArray(kernel, node_type, entries[fresh] - _INTERNAL)
            with kernel.quiet():
                shift, slots = nodes["shift"], nodes["slots"]
            # A node's shift is below its parent's, or the tree is damaged (and might be a cycle).
            sane = slots.valid & (shift < above).true
            lost += nodes.addresses[~sane].tolist()
            width = slots.values.shape[1]
            shifts = shift.int64.values[sane]
            owner = np.repeat(owner[sane], width)
            above = np.repeat(shifts, width)
            step = np.arange(width, dtype=np.uint64)[None, :] << shifts.astype(np.uint64)[:, None]
            index = (index[sane][:, None] | step).reshape(-1)
            values = slots.values[sane]
            if is_radix:
                values = as_xarray(values, nodes.addresses[sane] + np.uint64(slots_offset(kernel)), width)
            length = (_slots(values) << shifts.astype(np.uint64)[:, None]).reshape(-1)
            entries = values.reshape(-1)
    if lost:
        kernel.lost(f"{what}: {len(lost):,} tree nodes cannot be read (the first at {lost[0]:#018x})")
    if twice:
        kernel.lost(f"{what}: {twice:,} links lead to nodes that were met before, and were not followed")
    owners, indexes, lengths, leaves = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((indexes, owners))
    owner, row = fan_out(owners[order], shared)
    row = order[row]
    return owner, indexes[row], lengths[row], leaves[row]


def _slots(entries: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """How many slots of its node each entry takes: uint64[n, slots] of the nodes' entries."""
    count = np.ones(entries.shape, dtype=np.uint64)
    # A sibling entry names the slot of the entry that it belongs to (include/linux/xarray.h, xa_mk_sibling).
    node, slot = np.nonzero(
        ((entries & np.uint64(3)) == _INTERNAL) & (entries < np.uint64(entries.shape[1] << 2))
    )
    first = (entries[node, slot] >> np.uint64(2)).astype(np.int64)
    np.add.at(count, (node, first), np.uint64(1))
    return count


def idr_entries(
    kernel: Kernel, idrs: npt.ArrayLike, *, what: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """All entries of many `struct idr`: (owner int64[m], id uint64[m], pointer uint64[m]) (include/linux/idr.h)."""
    roots = StructArray(kernel, "struct idr", idrs)
    base = roots["idr_base"].values.astype(np.uint64)
    owner, index, entry = xarray_entries(kernel, roots.follow("idr_rt").addresses, what=what)
    return owner, index + base[owner], entry

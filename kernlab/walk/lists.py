"""Linked lists of the kernel, many at once: every list goes one entry forward a round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container

#: Bytes of `struct list_head`. The one pointer of a chain never lies in fewer: what it links has something to say.
_NODE = 16


def list_entries(
    kernel: Kernel,
    heads: npt.ArrayLike,
    type_name: str,
    member: str,
    *,
    what: str,
) -> tuple[npt.NDArray[np.int64], StructArray]:
    """The entries of many `struct list_head` lists (include/linux/list.h).

    Parameters: heads uint64[n], addresses of the heads themselves; entries are `type_name`, linked by their `member`;
    `what` names the lists in what is reported as lost, one sentence for each way in which lists broke: a pointer
    that cannot be read, a cycle that misses the head, more entries in all than the dump's file can hold.
    Returns (owner int64[m]: index into heads, entries in list order within each owner; StructArray of m).
    """
    tops = np.ascontiguousarray(heads, dtype=np.uint64)
    owner, nodes = _walk(kernel, tops, tops, what, kernel.find_type(type_name).size)
    return owner, container(kernel, type_name, member, nodes)


def list_nodes(
    kernel: Kernel, heads: npt.ArrayLike, *, what: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """As `list_entries`, but the bare addresses of the entries' `struct list_head`."""
    tops = np.ascontiguousarray(heads, dtype=np.uint64)
    return _walk(kernel, tops, tops, what)


def chain_nodes(
    kernel: Kernel, firsts: npt.ArrayLike, *, what: str, link: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Chains that end in NULL, linked by the first word of each node (hlist, llist), or by that `link` bytes into it.

    Parameters: firsts uint64[n], the first nodes. Returns (owner int64[m], node addresses uint64[m]) in chain order;
    bounded and counted as `list_entries`.
    """
    starts = np.ascontiguousarray(firsts, dtype=np.uint64)
    rows = np.flatnonzero(starts)
    ends = np.zeros(len(rows), dtype=np.uint64)
    owner, nodes = _walk(kernel, starts[rows], ends, what, include_start=True, link=link)
    return rows[owner], nodes


def hash_nodes(
    kernel: Kernel, heads: npt.ArrayLike, *, what: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """The nodes of many buckets of a hash table: `struct hlist_head`, whose chains end in NULL, or `hlist_nulls_head`,
    whose chains end in an odd number (include/linux/list_nulls.h).

    Parameters: heads uint64[n], addresses of the heads themselves. Returns (owner int64[m]: index into heads, addresses
    of the `hlist_node`s uint64[m]); bounded and counted as `list_entries`.
    """
    tops = np.ascontiguousarray(heads, dtype=np.uint64)
    firsts, read = kernel.words(tops, what=what)
    rows = np.flatnonzero(read & (firsts != 0) & (firsts & np.uint64(1) == 0))
    ends = np.zeros(len(rows), dtype=np.uint64)
    owner, nodes = _walk(kernel, firsts[rows], ends, what, include_start=True, odd_ends=True)
    return rows[owner], nodes


def _walk(
    kernel: Kernel,
    starts: npt.NDArray[np.uint64],
    ends: npt.NDArray[np.uint64],
    what: str,
    size: int = _NODE,
    include_start: bool = False,
    link: int = 0,
    odd_ends: bool = False,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Follow words `link` bytes from `starts` on until `ends`, all lists together; entries have `size` bytes.

    With `odd_ends` any odd number ends a list, too.
    """
    rows = np.arange(len(starts))
    current = starts.copy()
    # Brent: each list remembers one earlier node, moved up at every power of two, and meeting it again is a cycle.
    landmark = starts.copy()
    owners: list[npt.NDArray[np.int64]] = [rows] if include_start else []
    nodes: list[npt.NDArray[np.uint64]] = [starts.copy()] if include_start else []
    total = len(starts) if include_start else 0
    broken: list[int] = []
    cycles: list[int] = []
    length = 0
    most, step = kernel.budget.structs(max(size, _NODE)), np.uint64(link)
    with kernel.budget.walk(what):
        while len(rows) and total < most:
            following, read = kernel.words(current + step if link else current, what="")
            if kernel.journal is not None:
                kernel.journal.links(current[read] + step, following[read], link)
            broken += current[~read].tolist()
            going = read & (following != ends)
            if odd_ends:
                going &= (following & np.uint64(1)) == 0
            looped = going & (following == landmark)
            cycles += current[looped].tolist()
            going &= ~looped
            rows, current, ends, landmark = rows[going], following[going], ends[going], landmark[going]
            if include_start is False and (zero := current == 0).any():
                broken += [0] * int(zero.sum())
                rows, current, ends, landmark = rows[~zero], current[~zero], ends[~zero], landmark[~zero]
            owners.append(rows)
            nodes.append(current)
            total += len(rows)
            length += 1
            if length & (length - 1) == 0:
                landmark = current.copy()
        if len(rows):
            how = f"more entries than the {most:,} that what the file holds has room for"
            _tell(kernel, what, how, current.tolist())
    _tell(kernel, what, "a link that cannot be read", broken)
    _tell(kernel, what, "a cycle that does not lead back to its head", cycles)
    if not owners:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    owner, node = np.concatenate(owners), np.concatenate(nodes)
    order = np.argsort(owner, kind="stable")
    owner, node = owner[order], node[order]
    if cycles:
        # A cycle is noticed only some laps later; entries that came before in the same list are dropped.
        owner, node = _first_of_each(owner, node)
    return owner, node


def _first_of_each(
    owner: npt.NDArray[np.int64], node: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    order = np.lexsort((node, owner))
    same = (owner[order][1:] == owner[order][:-1]) & (node[order][1:] == node[order][:-1])
    keep = np.ones(len(owner), dtype=bool)
    keep[order[1:][same]] = False
    return owner[keep], node[keep]


def _tell(kernel: Kernel, what: str, how: str, where: Sequence[int]) -> None:
    if where:
        lists = "one list" if len(where) == 1 else f"{len(where):,} lists"
        kernel.lost(
            f"{what}: {lists} with {how} (the first at {where[0]:#018x}); what came before it is here"
        )

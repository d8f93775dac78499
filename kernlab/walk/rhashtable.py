"""Resizable hash tables (lib/rhashtable.c), many at once: every entry of each, in no order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.member_path import resolve
from kernlab.walk.lists import hash_nodes

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: A table that grows or shrinks is two for a while; a third may begin before the second is full.
_MOST_TABLES = 8
#: Pages of pointers of a table that could not be allocated in one piece: 2^31 buckets are no more levels.
_MOST_LEVELS = 4


def rhashtable_entries(
    kernel: Kernel, tables: npt.ArrayLike, type_name: str, member: str, *, what: str
) -> tuple[I64, StructArray]:
    """The entries of many `struct rhashtable`: `type_name`, linked by their `struct rhash_head` `member`.

    Parameters: tables uint64[n], addresses of the rhashtables; `what` names them in what is reported as lost. Also of
    a table that is being resized, and of one whose buckets are nested. Tables with `rhlist` give the first of each key.
    Returns (owner int64[m]: index into tables, StructArray of m).
    """
    top = StructArray(kernel, "struct rhashtable", tables)
    now = top["tbl"]
    owner, table = np.flatnonzero(now.true), now.values[now.true].astype(np.uint64)
    heads: list[U64] = [np.zeros(0, dtype=np.uint64)]
    owners: list[I64] = [np.zeros(0, dtype=np.int64)]
    seen: set[int] = set()
    for _ in range(_MOST_TABLES):
        fresh = np.array([address not in seen for address in table.tolist()], dtype=bool)
        owner, table = owner[fresh], table[fresh]
        if not len(table):
            break
        seen.update(table.tolist())
        bucket = StructArray(kernel, "struct bucket_table", table)
        of, head = _buckets(kernel, bucket, what)
        owners.append(owner[of])
        heads.append(head)
        following = bucket["future_tbl"]
        owner, table = owner[following.true], following.values[following.true].astype(np.uint64)
    whose, head = np.concatenate(owners), np.concatenate(heads)
    firsts, read = kernel.words(head, what=what)
    # Bit 0 of a bucket is its lock (include/linux/rhashtable.h, rht_ptr).
    firsts &= ~np.uint64(1)
    rows = np.flatnonzero(read & (firsts != 0))
    of_first, behind = hash_nodes(kernel, firsts[rows], what=what)
    node = np.concatenate([firsts[rows], behind])
    which = np.concatenate([whose[rows], whose[rows][of_first]])
    # While a table moves into the next one, entries may be met in both.
    node, first = np.unique(node, return_index=True)
    return which[first], container(kernel, type_name, member, node)


def _buckets(kernel: Kernel, table: StructArray, what: str) -> tuple[I64, U64]:
    """Where the pointers to the first entries lie: (index of its table, address)."""
    size, nest = table["size"], table["nest"]
    start = table.addresses + np.uint64(resolve(table.type, "buckets").hops[-1])
    whole = size.valid & nest.valid
    flat = np.flatnonzero(whole & ~nest.true)
    count = kernel.budget.counts(size.int64.values[flat], 8, f"buckets of {what}")
    owner = np.repeat(flat, count)
    inside = np.arange(int(count.sum()), dtype=np.uint64) - np.repeat(np.cumsum(count) - count, count).astype(
        np.uint64
    )
    owners, heads = [owner], [start[owner] + inside * np.uint64(8)]
    for row in np.flatnonzero(whole & nest.true).tolist():
        nested = _nested(kernel, int(start[row]), int(nest.values[row]), int(size.values[row]), what)
        owners.append(np.full(len(nested), row, dtype=np.int64))
        heads.append(nested)
    return np.concatenate(owners), np.concatenate(heads)


def _nested(kernel: Kernel, start: int, bits: int, size: int, what: str) -> U64:
    """The buckets of a table whose first word leads to a page of 2^bits pointers, and these to more."""
    page = kernel.page_size // 8
    places, _ = kernel.words(np.array([start], dtype=np.uint64), what=what)
    width, reached = 1 << min(bits, 12), 1
    for _ in range(_MOST_LEVELS):
        places = places[places != 0]
        if not len(places) or not kernel.budget.holds(len(places) * width, 8):
            break
        slots: U64 = (places[:, None] + np.arange(width, dtype=np.uint64) * np.uint64(8)).reshape(-1)
        reached *= width
        if reached >= size:
            return slots
        places, read = kernel.words(slots, what=what)
        places = places[read]
        width = min(page, size // reached) or 1
    kernel.lost(f"{what}: the nested buckets of one table could not be followed")
    return np.zeros(0, dtype=np.uint64)

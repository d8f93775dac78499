"""Resizable hash tables: those of netlink against their own counts; made ones, nested and while they grow."""

from __future__ import annotations

import numpy as np
import pytest
from support.heap import Heap

from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.walk.rhashtable import rhashtable_entries

#: Any struct with a rhash_head serves.
ENTRY = "struct netlink_sock"
MOST_LINKS = 32


def test_netlinks_tables_have_as_many_as_they_count(whole_dump, opened):
    kernel = opened(whole_dump.name).kernel
    tables, _ = kernel.words(np.array([kernel.symbol("nl_table")], dtype=np.uint64), what="")
    kind = kernel.find_type("struct netlink_table")
    step = np.arange(MOST_LINKS, dtype=np.uint64) * np.uint64(kind.size)
    hashes = tables + step + np.uint64(resolve(kind, "hash").hops[-1])
    with kernel.scope("tables") as scope:
        owner, entry = rhashtable_entries(kernel, hashes, ENTRY, "node", what="netlink")
    assert scope.losses == []
    counted = StructArray(kernel, "struct rhashtable", hashes)["nelems.counter"]
    assert np.bincount(owner, minlength=MOST_LINKS).tolist() == counted.tolist()
    assert len(entry) >= 7
    # Each says of itself whose it is: the number of its protocol is that of its table.
    assert entry["sk.sk_protocol"].tolist() == owner.tolist()


class Made:
    """Tables in memory of our own."""

    def __init__(self, below):
        self.heap = Heap(below)
        self.types = below.kernel
        self.link = resolve(below.kernel.find_type(ENTRY), "node").hops[-1]
        self.entries: list[int] = []

    def chain(self, count: int) -> int:
        """So many entries, the last of which ends in an odd number; where the first one is linked."""
        size = self.types.find_type(ENTRY).size
        made = [self.heap.alloc(size) for _ in range(count)]
        for here, following in zip(made, [*(one + self.link for one in made[1:]), 0xABCD1], strict=True):
            self.heap.word(here + self.link, following)
        self.entries += made
        return made[0] + self.link

    def bucket_table(
        self, size: int, buckets: dict[int, int], nest: int = 0, words: int | None = None
    ) -> int:
        kind = self.types.find_type("struct bucket_table")
        at = resolve(kind, "buckets").hops[-1]
        table = self.heap.alloc(at + 8 * (size if words is None else words))
        self.heap.member("struct bucket_table", table, "size", size)
        self.heap.member("struct bucket_table", table, "nest", nest)
        for number, first in buckets.items():
            self.heap.word(table + at + 8 * number, first)
        return table

    def table(self, first: int) -> int:
        table = self.heap.alloc(self.types.find_type("struct rhashtable").size)
        self.heap.member("struct rhashtable", table, "tbl", first)
        return table


@pytest.fixture
def made(opened):
    return Made(opened("debian-6.1"))


def test_a_bucket_that_is_locked_and_one_that_is_empty(made):
    # Bit 0 of a bucket is its lock; an empty one is NULL, or locked and NULL.
    table = made.table(made.bucket_table(8, {1: made.chain(3) | 1, 4: made.chain(1), 7: 1}))
    owner, entry = rhashtable_entries(made.heap.kernel(), [table], ENTRY, "node", what="made")
    assert entry.addresses.tolist() == sorted(made.entries)
    assert owner.tolist() == [0] * 4


def test_a_table_that_grows_is_two_for_a_while(made):
    old, new = made.bucket_table(4, {0: made.chain(2)}), made.bucket_table(8, {3: made.chain(2)})
    made.heap.member("struct bucket_table", old, "future_tbl", new)
    # A third that leads back to the first is damage, and no endless walk.
    made.heap.member("struct bucket_table", new, "future_tbl", old)
    _, entry = rhashtable_entries(made.heap.kernel(), [made.table(old)], ENTRY, "node", what="made")
    assert entry.addresses.tolist() == sorted(made.entries)


def test_buckets_that_had_no_room_in_one_piece_are_nested(made):
    """lib/rhashtable.c, nested_table_alloc: 2^12 buckets are 2^3 pages of 512 behind one page of pointers."""
    leaves = [made.heap.alloc(4096, 4096) for _ in range(3)]
    made.heap.word(leaves[0] + 8 * 5, made.chain(2))
    made.heap.word(leaves[2] + 8 * 511, made.chain(1))
    # Pages that nobody needed yet are not there.
    top = made.heap.words([leaves[0], 0, 0, leaves[1], 0, 0, 0, leaves[2]])
    table = made.table(made.bucket_table(1 << 12, {0: top}, nest=3, words=1))
    kernel = made.heap.kernel()
    with kernel.scope("made") as scope:
        _, entry = rhashtable_entries(kernel, [table], ENTRY, "node", what="made")
    assert scope.losses == []
    assert entry.addresses.tolist() == sorted(made.entries)

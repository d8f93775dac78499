"""Red-black trees, xarrays, idrs and maple trees against trees that the test built, whole and damaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.heap import Heap

from kernlab.util.losses import scope
from kernlab.walk.maple_tree import maple_entries
from kernlab.walk.rbtree import rbtree_entries
from kernlab.walk.xarray import idr_entries, xarray_entries, xarray_spans

WILD = 0xFFFF_F000_DEAD_0000
MAX = (1 << 64) - 1
SETTINGS = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


# Red-black trees


def rbtree(heap: Heap, nodes: list[int]) -> int:
    """A balanced tree of these nodes in order; the address of its root."""

    def link(part: list[int]) -> int:
        if not part:
            return 0
        middle = len(part) // 2
        node = part[middle]
        heap.member("struct rb_node", node, "rb_left", link(part[:middle]))
        heap.member("struct rb_node", node, "rb_right", link(part[middle + 1 :]))
        return node

    return heap.words([link(nodes)])


def in_order(kernel, roots):
    owner, found = rbtree_entries(kernel, roots, "struct rb_node", "__rb_parent_color", what="t")
    return owner, found.addresses


@SETTINGS
@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_rbtrees_come_in_order(below, sizes, seed):
    heap = Heap(below)
    shuffled = np.random.default_rng(seed)
    trees = [shuffled.permutation([heap.alloc(24) for _ in range(n)]).tolist() for n in sizes]
    roots = [rbtree(heap, nodes) for nodes in trees]
    # The last root is asked for twice, as threads share an mm.
    with scope("test") as losses:
        owner, found = in_order(heap.kernel(), [*roots, roots[-1]])
    assert losses.losses == []
    assert [found[owner == i].tolist() for i in range(len(trees) + 1)] == [*trees, trees[-1]]


def test_rbtree_steps_are_the_depth(below):
    heap = Heap(below, pages=1024)
    roots = [rbtree(heap, [heap.alloc(24) for _ in range(127)]) for _ in range(300)]
    kernel = heap.kernel()
    before = kernel.memory.gathers
    owner, _ = in_order(kernel, roots)
    assert len(owner) == 127 * 300
    assert kernel.memory.gathers - before <= 2 * 8 + 2


@pytest.mark.parametrize(("value", "says"), [(WILD, "cannot be read"), ("root", "lead back")])
def test_a_damaged_rbtree_costs_a_subtree(below, value, says):
    heap = Heap(below)
    nodes = [heap.alloc(24) for _ in range(31)]
    root = rbtree(heap, nodes)
    top = nodes[15]
    heap.member("struct rb_node", top, "rb_left", top if value == "root" else value)
    with scope("test") as losses:
        _, found = in_order(heap.kernel(), [root])
    assert found.tolist() == nodes[15:]
    assert says in losses.losses[0]


# XArrays


def xarray(heap: Heap, entries: dict[int, int]) -> int:
    """A `struct xarray` of these entries by index; its address."""
    slots = 64
    node_type = heap.overlay.kernel.find_type("struct xa_node").strip()

    def node(shift: int, part: dict[int, int]) -> int:
        address = heap.alloc(node_type.size, 64)
        heap.member("struct xa_node", address, "shift", shift)
        groups: dict[int, dict[int, int]] = {}
        for index, entry in part.items():
            groups.setdefault(index >> shift & slots - 1, {})[index & (1 << shift) - 1] = entry
        for slot, below_ in groups.items():
            value = node(shift - 6, below_) if shift else next(iter(below_.values()))
            heap.member("struct xa_node", address, f"slots[{slot}]", value)
        return address | 2

    address = heap.alloc(heap.overlay.kernel.find_type("struct xarray").size)
    if set(entries) == {0}:
        head = entries[0]
    elif entries:
        shift = (max(entries).bit_length() - 1) // 6 * 6 if max(entries) else 0
        head = node(shift, entries)
    else:
        head = 0
    heap.member("struct xarray", address, "xa_head", head)
    return address


def head_of(heap: Heap, xarray: int) -> int:
    where, size = heap.overlay.where("struct xarray", xarray, "xa_head")
    return int.from_bytes(heap.bytes[where - heap.base :][:size], "little")


INDEXES = st.one_of(st.integers(0, 200), st.integers(0, MAX))
ENTRIES = st.dictionaries(INDEXES, st.integers(1, 1 << 40).map(lambda n: n << 3), max_size=25)


@SETTINGS
@given(trees=st.lists(ENTRIES, min_size=1, max_size=4))
def test_xarrays_give_each_entry_at_its_index(below, trees):
    heap = Heap(below, pages=2048)
    tops = [xarray(heap, entries) for entries in trees]
    with scope("test") as losses:
        owner, index, entry = xarray_entries(heap.kernel(), [*tops, tops[0]], what="x")
    assert losses.losses == []
    for number, entries in enumerate([*trees, trees[0]]):
        mine = owner == number
        assert list(zip(index[mine].tolist(), entry[mine].tolist(), strict=True)) == sorted(entries.items())


def test_xarray_values_siblings_and_reserved_entries(below):
    heap = Heap(below)
    top = xarray(heap, {3: 0x1001, 8: 0x5000, 20: 0x6000})
    node = head_of(heap, top) & ~3
    for slot in (9, 10, 11):  # a multi-index entry's siblings point back at slot 8
        heap.member("struct xa_node", node, f"slots[{slot}]", 8 << 2 | 2)
    heap.member("struct xa_node", node, "slots[30]", 257 << 2 | 2)  # XA_ZERO_ENTRY: reserved, reads as NULL
    _, index, entry = xarray_entries(heap.kernel(), [top], what="x")
    assert index.tolist() == [3, 8, 20]
    assert entry.tolist() == [0x1001, 0x5000, 0x6000]
    owner, index, length, entry = xarray_spans(heap.kernel(), [top, top], what="x")
    assert owner.tolist() == [0] * 3 + [1] * 3
    assert index.tolist() == [3, 8, 20] * 2
    assert length.tolist() == [1, 4, 1] * 2
    assert entry.tolist() == [0x1001, 0x5000, 0x6000] * 2


def test_an_entry_above_the_lowest_level_stands_for_all_below_it(below):
    """Order 7 is two slots of a node whose slots are 64 indexes each."""
    heap = Heap(below)
    top = xarray(heap, {0: 0x1001, 64: 0x2001})
    root = head_of(heap, top) & ~3
    heap.member("struct xa_node", root, "slots[2]", 0x7001)
    heap.member("struct xa_node", root, "slots[3]", 2 << 2 | 2)
    _, index, length, entry = xarray_spans(heap.kernel(), [top], what="x")
    assert index.tolist() == [0, 64, 128]
    assert length.tolist() == [1, 1, 128]
    assert entry.tolist() == [0x1001, 0x2001, 0x7001]


def test_damaged_xarrays_are_bounded(below):
    heap = Heap(below)
    entries = {index: 0x8000 + 8 * index for index in range(0, 64 * 64, 7)}
    top = xarray(heap, entries)
    root = head_of(heap, top)
    heap.member("struct xa_node", root & ~3, "slots[5]", WILD | 2)
    heap.member("struct xa_node", root & ~3, "slots[6]", root)
    with scope("test") as losses:
        _, index, _ = xarray_entries(heap.kernel(), [top], what="x")
    assert index.tolist() == [i for i in sorted(entries) if i // 64 not in (5, 6)]
    assert len(losses.losses) == 2


def test_idrs_add_their_base(below):
    heap = Heap(below)
    inner = xarray(heap, {0: 0x8000, 4: 0x9000})
    idr = heap.alloc(below.kernel.find_type("struct idr").size)
    heap.member("struct idr", idr, "idr_rt.xa_head", head_of(heap, inner))
    heap.member("struct idr", idr, "idr_base", 100)
    _, number, entry = idr_entries(heap.kernel(), [idr], what="x")
    assert number.tolist() == [100, 104]
    assert entry.tolist() == [0x8000, 0x9000]


# Maple trees

LEAF, RANGE, ARANGE = 1, 2, 3
Range = tuple[int, int, int]  # first, last, entry (0: a gap)


def filled(ranges: list[Range]) -> list[Range]:
    """The ranges with the gaps between them, from 0 to the largest index."""
    whole, at = [], 0
    for first, last, entry in ranges:
        if first > at:
            whole.append((at, first - 1, 0))
        whole.append((first, last, entry))
        at = last + 1
    if at <= MAX:
        whole.append((at, MAX, 0))
    return whole


def maple(heap: Heap, ranges: list[Range], fanout: int) -> int:
    """A `struct maple_tree` of these ascending ranges, with up to `fanout` slots a node; its address."""
    address = heap.alloc(heap.overlay.kernel.find_type("struct maple_tree").size)
    if not ranges:
        return address

    def node(kind: int, slots: list[Range]) -> int:
        name = "struct maple_arange_64" if kind == ARANGE else "struct maple_range_64"
        here = heap.alloc(256, 256)
        room = 10 if kind == ARANGE else 16
        assert len(slots) <= room
        for number, (_, last, value) in enumerate(slots):
            heap.member(name, here, f"slot[{number}]", value)
            # The last slot's pivot may be left out, unless it is the first too: it goes up to the node's own end.
            if number < room - 1 and (number < len(slots) - 1 or last != MAX or not number):
                heap.member(name, here, f"pivot[{number}]", last)
        return here | kind << 3 | 4

    level, kind = filled(ranges), LEAF
    while True:
        parts = [level[i : i + fanout] for i in range(0, len(level), fanout)]
        level = [(part[0][0], part[-1][1], node(kind, part)) for part in parts]
        if len(level) == 1:
            break
        kind = ARANGE if heap.bytes[0] % 2 == 0 else RANGE
    heap.member("struct maple_tree", address, "ma_root", level[0][2] | 2)
    return address


@st.composite
def disjoint(draw) -> list[Range]:
    edges = sorted(draw(st.sets(st.integers(1, 1 << 47), max_size=60)))
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    return [(first, last, 0x1000 + 8 * number) for number, (first, last) in enumerate(pairs)]


@SETTINGS
@given(trees=st.lists(disjoint(), min_size=1, max_size=4), fanout=st.integers(3, 10))
def test_maple_trees_give_each_range(below, trees, fanout):
    heap = Heap(below)
    tops = [maple(heap, ranges, fanout) for ranges in trees]
    with scope("test") as losses:
        owner, first, last, entry = maple_entries(heap.kernel(), [*tops, tops[0]], what="m")
    assert losses.losses == []
    for number, ranges in enumerate([*trees, trees[0]]):
        mine = owner == number
        found = list(zip(first[mine].tolist(), last[mine].tolist(), entry[mine].tolist(), strict=True))
        assert found == ranges


def test_maple_steps_are_the_depth(below):
    heap = Heap(below, pages=4096)
    ranges = [(10 * n + 10, 10 * n + 15, 0x1000 + 8 * n) for n in range(80)]
    tops = [maple(heap, ranges, 10) for _ in range(500)]
    kernel = heap.kernel()
    before = kernel.memory.gathers
    owner, *_ = maple_entries(kernel, tops, what="m")
    assert len(owner) == 80 * 500
    assert kernel.memory.gathers - before <= 1 + 3 * 4


def test_a_damaged_maple_tree_costs_a_subtree(below):
    heap = Heap(below)
    ranges = [(10 * n + 10, 10 * n + 15, 0x1000 + 8 * n) for n in range(40)]
    top = maple(heap, ranges, 10)
    other = maple(heap, ranges, 10)
    where, size = heap.overlay.where("struct maple_tree", top, "ma_root")
    root = int.from_bytes(heap.bytes[where - heap.base :][:size], "little")
    name = "struct maple_arange_64"
    heap.member(name, root & ~0xFF, "slot[0]", root)
    heap.member(name, root & ~0xFF, "slot[2]", WILD | LEAF << 3)
    with scope("test") as losses:
        owner, first, _, _ = maple_entries(heap.kernel(), [top, other], what="m")
    assert first[owner == 1].tolist() == [r[0] for r in ranges]
    mine = first[owner == 0].tolist()
    assert 0 < len(mine) < len(ranges)
    assert set(mine) < {r[0] for r in ranges}
    assert len(losses.losses) == 2

"""Lists and chains against lists that the test made: order, owners, bounds, and what damage costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.heap import Heap

from kernlab.util.losses import scope
from kernlab.walk.lists import chain_nodes, list_entries, list_nodes

WILD = 0xFFFF_F000_DEAD_0000
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


def nodes_of(heap: Heap, count: int, size: int = 16) -> list[int]:
    return [heap.alloc(size) for _ in range(count)]


@SETTINGS
@given(lengths=st.lists(st.integers(0, 40), max_size=12), seed=st.integers(0, 99))
def test_every_list_in_its_order(below, lengths, seed):
    heap = Heap(below)
    shuffled = np.random.default_rng(seed)
    lists = [shuffled.permutation(nodes_of(heap, n)).tolist() for n in lengths]
    heads = [heap.list(nodes) for nodes in lists]
    with scope("test") as losses:
        owner, nodes = list_nodes(heap.kernel(), np.array(heads, dtype=np.uint64), what="lists")
    assert losses.losses == []
    assert owner.tolist() == [i for i, nodes in enumerate(lists) for _ in nodes]
    assert nodes.tolist() == [node for nodes in lists for node in nodes]


def test_entries_are_what_the_nodes_are_part_of(below):
    heap = Heap(below)
    kind = below.kernel.find_type("struct kmem_cache").strip()
    offset = kind.member("list").offset
    caches = [heap.alloc(256) for _ in range(5)]
    for number, cache in enumerate(caches):
        heap.member("struct kmem_cache", cache, "size", 100 + number)
    head = heap.list([cache + offset for cache in caches])
    owner, found = list_entries(heap.kernel(), [head], "struct kmem_cache", "list", what="caches")
    assert owner.tolist() == [0] * 5
    assert found.addresses.tolist() == caches
    assert found["size"].values.tolist() == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_steps_are_the_longest_list_and_not_their_number(below, count):
    heap = Heap(below)
    heads = [heap.list(nodes_of(heap, 7)) for _ in range(count)]
    kernel = heap.kernel()
    before = kernel.memory.gathers
    owner, _ = list_nodes(kernel, heads, what="lists")
    assert len(owner) == 7 * count
    assert kernel.memory.gathers - before <= 8


@pytest.mark.parametrize(
    ("value", "how"),
    [
        (WILD, "cannot be read"),
        (0, "cannot be read"),
        ("cycle", "cycle"),
        ("self", "cycle"),
    ],
)
def test_a_broken_list_keeps_what_came_before_and_costs_no_other(below, value, how):
    heap = Heap(below)
    good = nodes_of(heap, 9)
    bad = nodes_of(heap, 9)
    heads = [heap.list(good), heap.list(bad), heap.list(good_too := nodes_of(heap, 3))]
    heap.word(bad[5], {"cycle": bad[2], "self": bad[5]}.get(value, value))
    with scope("test") as losses:
        owner, nodes = list_nodes(heap.kernel(), heads, what="the lists")
    assert nodes[owner == 0].tolist() == good
    assert nodes[owner == 2].tolist() == good_too
    kept = nodes[owner == 1].tolist()
    # The wild pointer itself is no entry that anybody could tell from a good one until it is read.
    assert [node for node in kept if node != WILD] == bad[:6]
    assert len(losses.losses) == 1
    assert losses.losses[0].startswith("the lists: one list with")
    assert how in losses.losses[0]


def test_lists_end_where_their_entries_would_be_more_than_the_file_holds(below):
    """3,000 heads that lead into one list, as copies of a head do, would make of its 50 entries 150,000."""
    heap = Heap(below)
    nodes = nodes_of(heap, 50)
    heap.list(nodes)
    heads = heap.words(nodes[:1] * 3000)
    kernel = heap.kernel()
    every = np.uint64(heads) + np.uint64(8) * np.arange(3000, dtype=np.uint64)
    with scope("test") as losses:
        owner, _ = list_entries(kernel, every, "struct task_struct", "tasks", what="the tasks")
    assert len(owner) < kernel.budget.structs(kernel.find_type("struct task_struct").size) + 3000
    assert "the tasks: 3,000 lists with more entries than" in losses.losses[0]


@SETTINGS
@given(lengths=st.lists(st.integers(0, 30), max_size=10))
def test_chains_end_in_null(below, lengths):
    heap = Heap(below)
    chains = []
    for length in lengths:
        nodes = nodes_of(heap, length)
        for here, following in zip(nodes, [*nodes[1:], 0], strict=False):
            heap.word(here, following)
        chains.append(nodes)
    with scope("test") as losses:
        owner, nodes = chain_nodes(
            heap.kernel(),
            np.array([c[0] if c else 0 for c in chains], dtype=np.uint64),
            what="x",
        )
    assert losses.losses == []
    assert [nodes[owner == i].tolist() for i in range(len(chains))] == chains


def test_a_chain_that_loops_is_cut_where_it_meets_itself(below):
    heap = Heap(below)
    nodes = nodes_of(heap, 6)
    for here, following in zip(nodes, [*nodes[1:], nodes[1]], strict=True):
        heap.word(here, following)
    with scope("test") as losses:
        _, found = chain_nodes(heap.kernel(), [nodes[0]], what="x")
    assert found.tolist() == nodes
    assert "cycle" in losses.losses[0]

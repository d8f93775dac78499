"""Paths of kernfs nodes made up in memory: cgroups' and sysfs' trees, whole and damaged."""

from __future__ import annotations

import numpy as np
import pytest
from support.heap import Heap

from kernlab.core.column import Column
from kernlab.linux.kernfs import kernfs_paths
from kernlab.util.losses import scope

WILD = 0xFFFF_8000_DEAD_0000


class Tree:
    """Nodes by name, each under its parent."""

    def __init__(self, dump):
        self.heap = Heap(dump)
        kind = dump.kernel.find_type("struct kernfs_node").strip()
        self.size = kind.size
        self.parent = "__parent" if "__parent" in kind.member_names() else "parent"

    def node(self, name: str, parent: int) -> int:
        address = self.heap.alloc(self.size)
        raw = name.encode() + b"\0"
        where = self.heap.alloc(len(raw))
        self.heap.put(where, raw)
        self.heap.member("struct kernfs_node", address, "name", where)
        self.link(address, parent)
        return address

    def link(self, address: int, parent: int) -> None:
        self.heap.member("struct kernfs_node", address, self.parent, parent)

    def paths(self, *nodes: int) -> list[str | None]:
        column = kernfs_paths(self.heap.kernel(), Column.of(np.array(nodes, dtype=np.uint64), kind="address"))
        return [
            path if valid else None
            for path, valid in zip(column.values.tolist(), column.valid.tolist(), strict=True)
        ]


@pytest.fixture(params=["debian-6.1", "debian-7.2"])
def tree(request, opened) -> Tree:
    """The member `parent` of before 6.15, and `__parent`."""
    return Tree(opened(request.param))


def test_paths_go_down_from_the_root(tree):
    root = tree.node("", 0)
    slice_ = tree.node("system.slice", root)
    service = tree.node("a b\\x2d.service", slice_)
    assert tree.paths(service, root, slice_, service, 0) == [
        "/system.slice/a b\\x2d.service",
        "/",
        "/system.slice",
        "/system.slice/a b\\x2d.service",
        None,
    ]


def test_what_is_lost_or_goes_in_circles_has_no_path(tree):
    root = tree.node("", 0)
    lost = tree.node("lost", WILD)
    first = tree.node("first", root)
    second = tree.node("second", first)
    below = tree.node("below", second)
    tree.link(first, second)
    itself = tree.node("itself", root)
    tree.link(itself, itself)
    whole = tree.node("whole", root)
    nameless = tree.node("x", root)
    tree.heap.member("struct kernfs_node", nameless, "name", WILD)
    nodes = (lost, below, second, itself, nameless, tree.node("child", nameless), WILD, whole)
    assert tree.paths(*nodes) == [None] * 7 + ["/whole"]


def test_a_tree_deeper_than_any_has_no_paths_but_ends(tree):
    node = tree.node("", 0)
    for _ in range(1100):
        node = tree.node("d", node)
    assert tree.paths(node) == [None]


def test_all_paths_together_are_no_larger_than_what_the_file_holds(opened):
    """Of a chain as deep as any each node's path is as long as all names above it: 1,000 of these make 125 MB."""
    tree = Tree(opened("debian-6.1"))
    chain = [tree.node("", 0)]
    for _ in range(1000):
        chain.append(tree.node("x" * 250, chain[-1]))
    with scope("test") as losses:
        found = tree.paths(*chain)
    budget = tree.heap.kernel().budget
    whole = [path for path in found if path is not None]
    assert sum(map(len, whole)) <= budget.bytes
    assert sum(map(len, whole)) + 251 * (len(whole) + 1) > budget.bytes
    assert found[len(whole) :] == [None] * (len(found) - len(whole))
    assert losses.losses == [
        "paths in sysfs or of cgroups: all together are larger than what the file holds; the rest is missing"
    ]

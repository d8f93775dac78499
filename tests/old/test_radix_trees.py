"""Trees by index of kernels before XArrays, and of those that have them by backport: against trees built here."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.machine import Machine
from support.old_trees import Trees, radix_types
from support.old_types import NAMES, types

from kernlab.struct_browser.list_heads import entries as browsed
from kernlab.util.losses import scope
from kernlab.walk.radix_tree import has_radix_trees
from kernlab.walk.xarray import idr_entries, xarray_entries, xarray_spans

made = cache(radix_types)
INDEXES = st.one_of(st.integers(0, 200), st.integers(0, (1 << 64) - 1))
ENTRIES = st.dictionaries(INDEXES, st.integers(1, 1 << 40).map(lambda n: n << 3), max_size=20)


@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_each_entry_at_its_index(trees):
    machine = Machine(made(), pages=256)
    writer = Trees(machine)
    tops = [writer.tree(entries) for entries in trees]
    with scope("test") as losses:
        owner, index, entry = xarray_entries(machine.dump().kernel, tops, what="x")
    assert losses.losses == []
    for number, entries in enumerate(trees):
        mine = owner == number
        assert list(zip(index[mine].tolist(), entry[mine].tolist(), strict=True)) == sorted(entries.items())


@pytest.fixture(params=["made", *NAMES])
def machine(request):
    return Machine(made() if request.param == "made" else types(request.param), pages=512)


def test_values_siblings_and_entries_to_try_again(machine):
    """Whatever marks a kernel's entries have, a value is given as an XArray has it: its number and bit 0."""
    trees = Trees(machine)
    top = machine.new(trees.root_type)
    lowest = trees.fill(top, {3: trees.value(0x55), 8: 0x5000, 20: 0x6000, 70: trees.value((1 << 61) + 1)})
    for slot in (9, 10, 11):
        machine.member(trees.node_type, lowest[0], f"slots[{slot}]", trees.sibling(lowest[0], 8))
    machine.member(trees.node_type, lowest[0], "slots[30]", 1 if trees.is_radix else 256 << 2 | 2)
    kernel = machine.dump().kernel
    assert has_radix_trees(kernel) == trees.is_radix
    with scope("test") as losses:
        owner, index, length, entry = xarray_spans(kernel, [top, top], what="x")
    assert losses.losses == []
    assert owner.tolist() == [0] * 4 + [1] * 4
    assert index.tolist() == [3, 8, 20, 70] * 2
    assert length.tolist() == [1, 4, 1, 1] * 2
    assert entry.tolist() == [0x55 << 1 | 1, 0x5000, 0x6000, (1 << 61) + 1 << 1 | 1] * 2


def test_a_tree_may_be_a_single_entry_or_none(machine):
    trees = Trees(machine)
    tops = [trees.tree({}), trees.tree({0: 0x5000}), trees.tree({0: trees.value(7)})]
    owner, index, entry = xarray_entries(machine.dump().kernel, tops, what="x")
    assert (owner.tolist(), index.tolist(), entry.tolist()) == ([1, 2], [0, 0], [0x5000, 15])


def test_idrs_add_their_base(machine):
    idr = machine.new("struct idr")
    Trees(machine).idr(idr, {100: 0x8000, 104: 0x9000, 5000: 0xA000}, base=100)
    _, number, entry = idr_entries(machine.dump().kernel, [idr], what="x")
    assert (number.tolist(), entry.tolist()) == ([100, 104, 5000], [0x8000, 0x9000, 0xA000])


def test_damaged_trees_are_bounded(machine):
    trees = Trees(machine)
    entries = {index: 0x8000 + 8 * index for index in range(0, 64 * 64, 7)}
    top = trees.tree(entries)
    where, size = machine.where(trees.root_type, top, trees.head)
    root = int.from_bytes(machine.read(where, size), "little")
    machine.member(trees.node_type, root & ~3, "slots[5]", 0xDEAD_BEEF_0000 | trees.mark)
    machine.member(trees.node_type, root & ~3, "slots[6]", root)
    with scope("test") as losses:
        _, index, _ = xarray_entries(machine.dump().kernel, [top], what="x")
    assert index.tolist() == [i for i in sorted(entries) if i // 64 not in (5, 6)]
    assert len(losses.losses) == 2


def test_the_browser_walks_them():
    machine = Machine(made(), pages=128)
    trees = Trees(machine)
    top = trees.tree({1: 0xFFFF888000050000, 2: trees.value(9)})
    dump = machine.dump()
    listed = browsed(dump.kernel, dump.kernel.find_type(trees.root_type), top).upto(10)
    assert listed == [("[1]", 0xFFFF888000050000), ("[2]", 19)]

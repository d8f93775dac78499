"""Structs whose members were prefetched give what the same structs give when they are read member by member."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import PAGE, Overlay

from kernlab.core.struct_array import StructArray
from kernlab.memory import AddressSpace

MEMBERS = ("vm_start", "vm_end", "vm_mm", "vm_flags", "vm_pgoff", "vm_file", "no_such_member")


@pytest.fixture(params=["gathered", "page by page"], autouse=True)
def way(request, monkeypatch) -> str:
    """Both ways that structs are read in; which of them is a question of how many pages they lie on."""
    monkeypatch.setattr(AddressSpace, "is_large", lambda self, size: request.param == "page by page")
    return str(request.param)


@pytest.fixture(scope="module")
def plain(dump):
    return dump.maps.kern.structs


def same(ours: StructArray, theirs: StructArray, *paths: str) -> None:
    for path in paths:
        mine, other = ours[path], theirs[path]
        assert mine.values.tolist() == other.values.tolist(), path
        assert mine.valid.tolist() == other.valid.tolist(), path


def test_members_within_and_behind_what_was_prefetched(plain):
    ours = plain.prefetch(*MEMBERS)
    assert ours._prefetched is not None
    same(ours, plain, "vm_start", "vm_end", "vm_file", "vm_pgoff", "vm_mm->pgd", "vm_ops", "vm_private_data")
    picked = np.arange(len(plain))[::-3]
    same(ours[picked], plain[picked], "vm_start", "vm_file")
    assert ours.follow("vm_mm").addresses.tolist() == plain.follow("vm_mm").addresses.tolist()


def test_a_column_that_is_written_into_changes_no_other(plain):
    ours = plain.prefetch(*MEMBERS)
    ours["vm_start"].values[:] = 0
    assert ours["vm_start"].values.tolist() == plain["vm_start"].values.tolist()


def test_it_reads_once(plain, dump, way):
    on_two_pages = (plain.addresses % np.uint64(PAGE) + np.uint64(plain.type.size) > PAGE).any()
    before = dump.kernel.memory.gathers
    ours = plain.prefetch(*MEMBERS)
    for path in ("vm_start", "vm_end", "vm_mm", "vm_pgoff", "vm_file"):
        assert len(ours[path]) == len(plain)
    assert dump.kernel.memory.gathers <= before + 1 + (way == "page by page" and on_two_pages)


def test_only_what_is_gathered_fills_the_arena(opened, way):
    dump = opened("debian-6.1")
    plain = dump.maps.kern.structs
    cold = Overlay(dump).dump().kernel
    structs = StructArray(cold, plain.type, plain.addresses, plain.valid)
    before = cold.memory._arena._hand
    assert structs.prefetch(*MEMBERS)["vm_start"].valid.all()
    pages = len(np.unique(plain.addresses // np.uint64(PAGE)))
    filled = cold.memory._arena._hand - before
    assert filled == pages if way == "gathered" else filled <= pages // 4, (filled, pages)


def test_structs_cut_by_a_lost_page_lose_those_members_only(dump):
    """VMAs end before a page does in all dumps; so any memory that goes on behind one is taken for them."""
    kind = dump.kernel.find_type("struct vm_area_struct")
    file = Overlay(dump).where("struct vm_area_struct", 0, "vm_file")[0]
    tasks = dump.tasks["address"].to_numpy(dtype=np.uint64)
    ends = tasks[tasks % np.uint64(PAGE) < PAGE // 2] // np.uint64(PAGE) * np.uint64(PAGE) + np.uint64(PAGE)
    assert len(ends) > 3
    broken = Overlay(dump).exclude(int(ends[1])).dump()
    structs = StructArray(broken.kernel, kind, ends - np.uint64(file - 8))
    ours = structs.prefetch(*MEMBERS)
    same(ours, structs, "vm_start", "vm_end", "vm_pgoff", "vm_file")
    assert ours["vm_start"].valid.all()
    assert ours["vm_file"].valid.tolist().count(False) >= 1
    assert ours["vm_file"].valid[0]


def test_null_addresses_and_no_structs(opened):
    dump = opened("debian-6.1")
    plain = dump.maps.kern.structs
    holes = StructArray(dump.kernel, plain.type, np.append(plain.addresses[:5], np.uint64(0)))
    same(holes.prefetch(*MEMBERS), holes, "vm_start", "vm_file")
    none = holes[:0].prefetch(*MEMBERS)
    assert len(none["vm_start"]) == 0

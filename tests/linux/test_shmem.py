"""Swapped shared memory of mappings made up in memory: by what range and in which way each VMA maps the file."""

from __future__ import annotations

import numpy as np
import pytest
from support.heap import Heap

from kernlab.core.struct_array import StructArray
from kernlab.linux.shmem import SharedSwap
from kernlab.util.losses import scope

PAGE = 4096
WRITE, SHARED = 0x2, 0x8
WILD = 0xFFFF_8000_DEAD_0000


class File:
    """A file of shared memory with one node of 64 slots, and VMAs that map it."""

    def __init__(self, dump):
        self.heap = Heap(dump)
        self.types = dump.kernel.find_type
        self.file, self.mapping, self.info = (
            self.alloc(name) for name in ("struct file", "struct address_space", "struct shmem_inode_info")
        )
        self.inode = self.heap.overlay.where("struct shmem_inode_info", self.info, "vfs_inode.i_mode")[0]
        self.inode -= self.types("struct inode").strip().member("i_mode").offset
        self.node = self.alloc("struct xa_node", 64)
        self.heap.member("struct file", self.file, "f_mapping", self.mapping)
        self.heap.member("struct address_space", self.mapping, "a_ops", dump.symbol("shmem_aops"))
        self.heap.member("struct address_space", self.mapping, "host", self.inode)
        self.heap.member("struct address_space", self.mapping, "i_pages.xa_head", self.node | 2)
        self.vmas: list[int] = []

    def alloc(self, name: str, align: int = 8) -> int:
        return self.heap.alloc(self.types(name).strip().size, align)

    def swap_out(self, *slots: int) -> None:
        for slot in slots:
            self.heap.member("struct xa_node", self.node, f"slots[{slot}]", slot << 9 | 1)
        self.heap.member("struct shmem_inode_info", self.info, "swapped", len(slots))

    def map(self, start: int, pages: int, offset: int, flags: int, file: int | None = None) -> None:
        vma = self.alloc("struct vm_area_struct")
        values = {
            "vm_start": start,
            "vm_end": start + pages * PAGE,
            "vm_pgoff": offset,
            "vm_flags": flags,
            "vm_file": self.file if file is None else file,
        }
        for name, value in values.items():
            self.heap.member("struct vm_area_struct", vma, name, value)
        self.vmas.append(vma)

    def swap(self) -> SharedSwap:
        kernel = self.heap.kernel()
        return SharedSwap(kernel, StructArray(kernel, "struct vm_area_struct", self.vmas))


@pytest.fixture
def file(opened) -> File:
    return File(opened("debian-6.1"))


def test_each_mapping_has_what_is_swapped_out_of_its_part_of_the_file(file):
    file.swap_out(0, 1, 5, 63)
    file.map(0x10000, 64, 0, SHARED | WRITE)
    file.map(0x90000, 5, 1, SHARED)
    file.map(0xA0000, 4, 6, SHARED)
    file.map(0xB0000, 100, 63, 0)  # private, read only, and beyond the file's end
    file.map(0xC0000, 4, 0, WRITE, file=0)  # anonymous
    with scope("test") as losses:
        swap = file.swap()
    assert swap.pages.tolist() == [4, 2, 0, 1, 0]
    assert swap.known.all()
    assert losses.losses == []


def test_an_entry_of_several_pages_counts_for_those_in_the_range(file):
    """A large folio that was swapped out is one entry, its siblings point back at it."""
    file.swap_out(8)
    for slot in range(9, 16):
        file.heap.member("struct xa_node", file.node, f"slots[{slot}]", 8 << 2 | 2)
    file.map(0x10000, 64, 0, SHARED)
    file.map(0x90000, 3, 10, SHARED)
    file.map(0xA0000, 12, 0, SHARED)
    assert file.swap().pages.tolist() == [8, 3, 4]


def test_a_page_of_ones_own_hides_the_files(file):
    """In private writable mappings only holes of the page tables show the file's pages (smaps_pte_hole)."""
    file.swap_out(0, 1, 5, 63)
    file.map(0x10000, 64, 0, WRITE)
    file.map(0x90000, 64, 0, WRITE | SHARED)
    swap = file.swap()
    assert swap.pages.tolist() == [4, 4]
    rows = np.array([0, 0, 1])
    swap.hide(rows, np.array([0x11000, 0x12000, 0x91000], dtype=np.uint64), np.full(3, PAGE))
    assert swap.pages.tolist() == [3, 4]
    swap.hide(rows[:1], np.array([0x14000], dtype=np.uint64), np.array([60 * PAGE]))
    assert swap.pages.tolist() == [1, 4]


def test_what_is_not_shared_memory_has_none(file):
    file.swap_out(0)
    file.heap.member("struct address_space", file.mapping, "a_ops", file.heap.base)
    file.map(0x10000, 64, 0, SHARED)
    swap = file.swap()
    assert swap.pages.tolist() == [0]
    assert swap.known.all()


def test_without_the_symbol_nobody_knows_what_is_shared_memory(file, monkeypatch):
    """CONFIG_KALLSYMS_ALL=n: the symbols are of functions only."""
    file.swap_out(0)
    file.map(0x10000, 64, 0, SHARED)
    file.map(0x90000, 1, 0, WRITE, file=0)
    kernel = file.heap.kernel()
    lookup = kernel.symbols.get
    monkeypatch.setattr(
        kernel.symbols, "get", lambda name, *rest: None if name == "shmem_aops" else lookup(name, *rest)
    )
    monkeypatch.setattr(type(kernel.symbols), "__contains__", lambda _, name: name != "shmem_aops")
    vmas = StructArray(kernel, "struct vm_area_struct", file.vmas)
    with scope("test") as losses:
        assert SharedSwap(kernel, vmas).known.tolist() == [False, True]
    assert any("CONFIG_KALLSYMS_ALL" in problem for problem in losses.losses)


@pytest.mark.parametrize("broken", ["node", "inode", "mapping", "file"])
def test_what_cannot_be_read_is_not_zero(file, broken):
    file.swap_out(0, 1)
    if broken == "node":
        file.heap.member("struct address_space", file.mapping, "i_pages.xa_head", WILD | 2)
    elif broken == "inode":
        file.heap.member("struct address_space", file.mapping, "host", WILD)
    elif broken == "mapping":
        file.heap.member("struct file", file.file, "f_mapping", WILD)
    file.map(0x10000, 64, 0, SHARED, file=WILD if broken == "file" else None)
    file.map(0x90000, 1, 0, WRITE, file=0)
    with scope("test") as losses:
        assert file.swap().known.tolist() == [False, True]
    assert losses.losses

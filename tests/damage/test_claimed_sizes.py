"""What a word of memory claims costs no more than what the file holds: sizes of memory, of arrays, of tables."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.heap import Heap
from support.overlay import PAGE, Overlay

from kernlab.core.struct_array import StructArray
from kernlab.dump import Dump
from kernlab.errors import BudgetError, FaultError, KernlabError
from kernlab.linux.kernel_modules import module_types
from kernlab.linux.page.network import each_once
from kernlab.linux.slab_pages import SlabPages, slab_heads
from kernlab.linux.super_blocks import mounts_of_each
from kernlab.linux.zones import node_ids
from kernlab.traces.relay.open_files import open_files
from kernlab.util.losses import scope
from kernlab.walk.lists import list_entries

SECTION = 1 << 15
#: 3 TiB.
SECTIONS = 3 << 13


@pytest.fixture(scope="module")
def sample(opened):
    return opened("debian-6.1")


def bounded(make: Callable[[], Any], mib: int = 256) -> Any:
    """What `make` gives; it must not have more than `mib` MiB at any time."""
    tracemalloc.start()
    try:
        made = make()
        assert tracemalloc.get_traced_memory()[1] < mib << 20
    finally:
        tracemalloc.stop()
    return made


def frames(table: Any) -> int:
    return int(table["bytes"].sum()) // PAGE


def test_max_pfn_is_not_believed_where_the_section_table_is_gone(sample):
    overlay = Overlay(sample)
    overlay.exclude(sample.kernel.section_table).word(sample.symbol("max_pfn"), 1 << 40)
    broken = overlay.dump()
    memory = bounded(lambda: broken.memory)
    assert memory["bytes"].tolist() == sample.memory["bytes"].tolist()
    assert any(
        "the table of memory sections cannot be read: memory is where page structs are mapped" in problem
        for problem in memory.attrs["problems"]
    )
    assert bounded(lambda: broken.pages)["kind"].equals(sample.pages["kind"])


def test_vmcoreinfo_says_where_the_section_table_lies_if_the_kernels_pointer_is_damaged(sample):
    for wrong in (0, 0xDEAD, sample.symbol("init_task")):
        broken = Overlay(sample).word(sample.symbol("mem_section"), wrong).dump()
        assert broken.memory["bytes"].tolist() == sample.memory["bytes"].tolist()
        assert any("SYMBOL(mem_section)" in problem for problem in broken.problems)


def test_nor_where_nothing_else_says_what_is_memory(sample):
    """Without the tree of resources all frames that have a page struct count, but no more."""
    overlay = Overlay(sample)
    overlay.exclude(sample.kernel.section_table).word(sample.symbol("max_pfn"), 1 << 40)
    overlay.set("struct resource", sample.symbol("iomem_resource"), "child", 0xDEAD)
    broken = overlay.dump()
    assert frames(bounded(lambda: broken.memory)) == 5 * SECTION
    assert len(bounded(lambda: broken.pages)) == 5 * SECTION


def with_sections(sample: Dump, count: int) -> Overlay:
    """The section table of a machine with `count` sections, one behind the other, all with page structs and online."""
    size = sample.kernel.find_type("struct mem_section").size
    per_page = PAGE // size
    roots = -(-count // per_page)
    tables = -(-roots // 512)
    overlay = Overlay(sample)
    layout = sample.kernel.layout

    def page(number: int) -> bytes:
        if number < tables:
            first = number * 512
            places = [start + (tables + first + slot) * PAGE for slot in range(min(512, roots - first))]
            return b"".join(place.to_bytes(8, "little") for place in places).ljust(PAGE, b"\0")
        return (sample.kernel.vmemmap | 7).to_bytes(8, "little").ljust(size, b"\0") * per_page

    start = layout.direct_start + (sample.kernel.file.max_pfn + 16) * PAGE
    assert overlay.make(tables + roots, page) == start
    overlay.word(sample.symbol("mem_section"), start).word(sample.symbol("max_pfn"), count * SECTION)
    return overlay


def test_sections_without_page_structs_are_none(sample):
    overlay = with_sections(sample, SECTIONS)
    overlay.set("struct resource", sample.symbol("iomem_resource"), "child", 0xDEAD)
    broken = overlay.dump()
    memory = bounded(lambda: broken.memory)
    assert frames(memory) == 5 * SECTION
    assert any(
        problem.startswith(f"{SECTIONS - 5:,} of {SECTIONS:,} sections of memory are left out")
        for problem in memory.attrs["problems"]
    )
    assert len(bounded(lambda: broken.pages)) == 5 * SECTION
    assert len(bounded(lambda: broken.slabs)) == len(sample.slabs)


def map_page_structs(overlay: Overlay, start: int, sections: int) -> None:
    """Map the array of page structs, 2 MiB a section, from the machine's own on to frames that there are not."""
    kernel, absent = overlay.kernel, 1 << 40
    free = (kernel.file.max_pfn + (1 << 20)) * PAGE
    made: dict[tuple[int, int], int] = {}

    def below(table: int, index: int) -> int:
        """The table that an entry leads to, which is made where there is none."""
        nonlocal free
        if (table, index) not in made:
            entry = (
                int.from_bytes(overlay.below.read(table + 8 * index, 8, physical=True), "little")
                if table < kernel.file.max_pfn * PAGE
                else 0
            )
            if not entry:
                free += PAGE
                entry = free | 0x63
                overlay.word(table + 8 * index, entry, physical=True)
            made[table, index] = entry & 0xF_FFFF_FFFF_F000
        return made[table, index]

    *upper, last = (level.shift for level in kernel.arch.levels if level.shift > 12)
    for section in range(5, sections):
        address, table = start + (section << 21), kernel.layout.page_table
        for shift in upper:
            table = below(table, address >> shift & 511)
        overlay.word(table + 8 * (address >> last & 511), absent + (section << 21) | 0xE3, physical=True)


def test_a_machine_of_3_tib_of_which_the_file_holds_little(sample):
    """Its page structs are mapped, but hardly any is in the file: `memory` says so, `pages` says what it would take."""
    kernel = sample.kernel
    overlay = with_sections(sample, SECTIONS)
    map_page_structs(overlay, kernel.vmemmap, SECTIONS)
    # The last range of memory reaches up to the end.
    ranges = sample.iomem
    last = ranges[ranges["name"] == "System RAM"].iloc[-1]
    overlay.set("struct resource", int(last["address"]), "end", SECTIONS * SECTION * PAGE - 1)
    broken = overlay.dump()
    memory = bounded(lambda: broken.memory)
    own_memory = sample.memory
    more = SECTIONS * SECTION - int(last["end"] + 1) // PAGE
    assert frames(memory) == frames(own_memory) + more
    of_kind = memory.groupby("kind", observed=True)["bytes"].sum()
    before = own_memory.groupby("kind", observed=True)["bytes"].sum()
    # What lies behind the machine's memory in its last section has page structs of a zone that does not reach there.
    assert of_kind["excluded"] == before["excluded"] + more * PAGE
    assert of_kind.drop("excluded").equals(before.drop("excluded"))
    with pytest.raises(
        BudgetError, match=r"pages would take \d\d\.\d GiB \(805,\d\d\d,\d\d\d × \d\d bytes\)"
    ):
        _ = broken.pages
    assert len(bounded(lambda: broken.slabs)) == len(sample.slabs)


def told(losses: Any, start: str) -> bool:
    return any(sentence.startswith(start) for sentence in losses.losses)


@pytest.mark.parametrize("claimed", [0, 40, 1000, 1 << 31])
def test_the_number_of_node_ids_is_held_against_the_nodes_that_there_can_be(sample, claimed):
    broken = Overlay(sample).word(sample.symbol("nr_node_ids"), claimed, 4).dump()
    with scope("test") as losses:
        assert node_ids(broken.kernel) == node_ids(sample.kernel)
    assert told(losses, f"there should be {claimed:,} or ")
    assert broken.slabs.equals(sample.slabs)


def test_a_log_larger_than_the_file_is_not_read(sample):
    ring = sample.kernel.word("prb")
    overlay = Overlay(sample).set("struct printk_ringbuffer", ring, "text_data_ring.size_bits", 30)
    with pytest.raises(KernlabError, match=r"claims 2\^\d+ records and 2\^30 bytes of text"):
        bounded(lambda: overlay.dump().log)


def test_slabs_that_claim_more_objects_than_the_file_holds(sample):
    """All of them claim 2^15 - 1: what was 8 bytes an object for each of these would be a GB."""
    kernel, overlay = sample.kernel, Overlay(sample)
    slabs = SlabPages.read(kernel, slab_heads(kernel))
    for page in slabs.page.tolist():
        where, _ = overlay.where("struct slab", page, "counters")
        overlay.word(where, 0x7FFF_0000 | int.from_bytes(sample.read(where, 2), "little"), 4)
    broken = overlay.dump().kernel
    with scope("test") as losses:
        found = bounded(lambda: SlabPages.read(broken, slab_heads(broken)).addresses())
    assert 0 < len(found) <= broken.budget.structs(8)
    assert told(losses, "objects of slabs: there should be 32,767")


@pytest.mark.parametrize("claimed", [(1 << 20) + 64, 1 << 23, 1 << 28])
def test_file_tables_that_claim_more_descriptors_than_a_process_may_have(sample, claimed):
    task = sample.tasks.query("pid == 1")["address"].iloc[0]
    table = sample.structs("task_struct", [int(task)])["files->fdt"].values[0]
    broken = Overlay(sample).set("struct fdtable", int(table), "max_fds", claimed).dump().kernel
    with scope("test") as losses:
        found = bounded(lambda: open_files(broken))
    assert 0 < len(found) < len(open_files(sample.kernel))
    assert told(losses, "relay: the open files of some processes are not known: their tables are damaged")


def test_a_machine_whose_owner_lets_processes_have_more_descriptors(sample):
    """The kernel's own limit is believed: what the file holds then bounds the tables."""
    task = sample.tasks.query("pid == 1")["address"].iloc[0]
    table = sample.structs("task_struct", [int(task)])["files->fdt"].values[0]
    overlay = Overlay(sample).set("struct fdtable", int(table), "max_fds", 1 << 28)
    overlay.word(sample.kernel.symbol("sysctl_nr_open"), 1 << 30, 4)
    with scope("test") as losses:
        found = bounded(lambda: open_files(overlay.dump().kernel))
    assert 0 < len(found) < len(open_files(sample.kernel))
    assert told(losses, f"descriptors of open files: there should be {1 << 28:,}")


def test_types_of_modules_that_are_larger_than_the_file(sample):
    overlay, kernel = Overlay(sample), sample.kernel
    _, entry = list_entries(kernel, [kernel.symbol("btf_modules")], "struct btf_module", "list", what="it")
    for btf in entry["btf"].values.tolist():
        overlay.set("struct btf", btf, "data_size", 200 << 20)
    broken = overlay.dump().kernel
    with scope("test") as losses:
        assert bounded(lambda: module_types(broken)) == []
    assert told(losses, f"bytes of the modules' types: there should be {200 << 20:,}")


def test_no_read_is_larger_than_what_the_file_holds(sample):
    memory = sample.kernel.memory
    held = memory.file.frame_count * PAGE
    with pytest.raises(FaultError, match="as the file does not hold more"):
        memory.read_partial(sample.kernel.layout.direct_start, max(held, 1 << 28) + 1)
    with pytest.raises(KernlabError, match="it is damaged there"):
        memory.gather([0] * 1025, 1 << 20)


def test_a_file_system_may_have_more_mounts_than_4096(opened):
    """Since 6.18 they are chained; a host of containers has many thousands of one file system."""
    below = opened("debian-7.2")
    heap = Heap(below, 1200)
    size = below.kernel.find_type("struct mount").size
    mounts = [heap.alloc(size) for _ in range(5000)]
    for here, following in zip(mounts, [*mounts[1:], 0], strict=True):
        heap.member("struct mount", here, "mnt_next_for_sb", following)
    block = heap.alloc(below.kernel.find_type("struct super_block").size)
    heap.member("struct super_block", block, "s_mounts", mounts[0])
    kernel = heap.kernel()
    with scope("test") as losses:
        owner, found = mounts_of_each(kernel, StructArray(kernel, "struct super_block", [block]))
    assert found.addresses.tolist() == mounts
    assert owner.tolist() == [0] * 5000
    assert losses.losses == []


@given(ranges=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=30))
def test_frames_of_ranges_that_overlap_are_given_once(sample, ranges):
    first = np.array([begin for begin, _ in ranges], dtype=np.int64)
    count = np.array([size for _, size in ranges], dtype=np.int64)
    found = each_once(sample.kernel, first, first + count)
    assert found.tolist() == sorted({frame for begin, size in ranges for frame in range(begin, begin + size)})

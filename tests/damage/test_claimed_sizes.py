"""What a word of memory claims costs no more than what the file holds: sizes of memory, of arrays, of tables."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from support.overlay import PAGE, Overlay

from kernlab.dump import Dump
from kernlab.errors import BudgetError

SECTION = 1 << 15
#: 3 TiB.
SECTIONS = 3 << 13


@pytest.fixture
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
    assert of_kind["excluded"] == before["excluded"] + (SECTIONS - 5) * SECTION * PAGE
    # What lies behind the machine's memory in its last section was reserved.
    kinds = ["excluded", "reserved"]
    assert of_kind.drop(kinds).equals(before.drop(kinds))
    with pytest.raises(
        BudgetError, match=r"pages would take \d\d\.\d GiB \(805,\d\d\d,\d\d\d × \d\d bytes\)"
    ):
        _ = broken.pages
    assert len(bounded(lambda: broken.slabs)) == len(sample.slabs)

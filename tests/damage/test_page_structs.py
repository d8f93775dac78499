"""Page structs that are not where they should be: what cannot be read is told, and never counted as something else."""

from __future__ import annotations

from random import Random

import numpy as np
import pandas as pd
import pytest
from support.overlay import PAGE, Overlay
from support.seed import SEED, every_fourth

from kernlab.errors import KernlabError
from kernlab.linux.page.classifier import KIND_NAMES
from kernlab.linux.whatis.frames import use_of_frames
from kernlab.linux.zones import nodes, zones

#: What nothing but the lists of per-CPU chunks tells, of which some lie where the section table does.
_BESIDE = {"percpu", "vmap", "vmalloc"}


@pytest.fixture(scope="module")
def sample(opened):
    return opened("debian-6.1")


def kinds(dump) -> pd.Series:
    found = dump.memory.groupby("kind", observed=True)["bytes"].sum()
    return found[found > 0]


def tables(sample) -> tuple[int, int]:
    """The pages of the section table: the one of pointers, and the first one of sections."""
    top = sample.kernel.section_table
    (root,), _ = sample.kernel.words([top])
    return top & -PAGE, int(root) & -PAGE


def damaged(sample, how: str, page: int) -> Overlay:
    overlay = Overlay(sample)
    if how == "noise":
        return overlay.write(page, Random(1).randbytes(PAGE))
    return overlay.write(page, bytes(PAGE)) if how == "zeros" else getattr(overlay, how)(page)


@pytest.mark.parametrize(("which", "how"), every_fourth([0, 1], ["lose", "exclude", "zeros", "noise"]))
def test_without_the_section_table_memory_is_where_page_structs_are_mapped(sample, which, how):
    broken = damaged(sample, how, tables(sample)[which]).dump()
    found, whole = kinds(broken), kinds(sample)
    beside = sorted(_BESIDE & set(whole.index))
    assert found.drop(beside, errors="ignore").equals(whole.drop(beside))
    assert found.sum() == whole.sum()
    told = broken.memory.attrs["problems"]
    assert any("the table of memory sections cannot be read" in each for each in told)
    assert broken.pages["pfn"].tolist() == sample.pages["pfn"].tolist()


def test_what_the_kernel_maps_behind_the_page_structs_is_none(opened):
    """With page tables of four levels its text and its modules lie behind the array, which ends where memory does."""
    whole = opened("oops")
    assert len(whole.kernel.arch.levels) == 4
    broken = Overlay(whole).lose(tables(whole)[1]).dump()
    assert (
        kinds(broken).drop([*_BESIDE], errors="ignore").equals(kinds(whole).drop([*_BESIDE], errors="ignore"))
    )
    # Without the page tables that map it nothing is left.
    top = int.from_bytes(
        whole.read(whole.kernel.layout.page_table + 8 * (whole.kernel.vmemmap >> 39 & 511), 8, physical=True),
        "little",
    )
    lost = Overlay(whole).lose(tables(whole)[1]).lose(top & 0xF_FFFF_FFFF_F000, physical=True).dump()
    assert kinds(lost).empty


def test_one_section_that_the_table_lies_about_is_where_its_page_structs_are(sample):
    (pointer,), _ = sample.kernel.words([sample.kernel.section_table])
    size = sample.kernel.find_type("struct mem_section").size
    broken = Overlay(sample).word(int(pointer) + size, 0xFFFF_8881_2345_6007).dump()
    assert kinds(broken).equals(kinds(sample))
    told = broken.memory.attrs["problems"]
    assert "1 sections of the table say of their page structs what cannot be" in told
    assert any("the table does not tell of 1 sections of memory" in each for each in told)


@pytest.mark.parametrize("lost", [True, False])
def test_where_page_structs_lie_is_settled_by_the_page_tables(sample, lost):
    """The kernel's variable and the sections of memory say it: of one that is damaged the other is believed."""
    variable, overlay = sample.symbol("vmemmap_base"), Overlay(sample)
    broken = (overlay.lose(variable) if lost else overlay.word(variable, 0xFFFF_EA12_4000_0000)).dump()
    assert broken.kernel.vmemmap == sample.kernel.vmemmap
    assert any("was believed, as the page tables map" in each for each in broken.problems) != lost
    words = np.frombuffer(Random(1).randbytes(PAGE), dtype="<u8") | np.uint64(1 << 63 | 2)
    broken = Overlay(sample).write(tables(sample)[1], words.tobytes()).dump()
    assert broken.kernel.vmemmap == sample.kernel.vmemmap


def test_other_memory_is_not_taken_for_page_structs(sample):
    """A variable that leads elsewhere, and no section table that contradicts it."""
    variable, (_, root) = sample.symbol("vmemmap_base"), tables(sample)
    nowhere = Overlay(sample).lose(root).word(variable, 0xFFFF_EA12_4000_0000).dump()
    with pytest.raises(KernlabError, match="where the page structs lie is not known: vmemmap_base says"):
        _ = nowhere.memory
    start = sample.kernel.layout.direct_start
    elsewhere = Overlay(sample).lose(root).word(variable, start).dump()
    found = kinds(elsewhere)
    assert found.get("hwpoison", 0) < 100 * PAGE
    assert found["excluded"] > 0.9 * found.sum()
    assert any("name a zone that does not reach there" in each for each in elsewhere.memory.attrs["problems"])


# One of them with each seed.
@pytest.mark.parametrize("name", [("debian-5.10", "debian-6.1", "debian-7.2")[SEED % 3]])
def test_noise_where_page_structs_should_be_is_unknown(opened, name):
    below = opened(name)
    pages = below.pages
    size = below.kernel.find_type("struct page").size
    # A page of structs of the zone that most memory is of, none of which a block's tail needs.
    plain = pages[
        (pages["kind"] == "reserved") & (pages["order"] == 0) & (pages["pfn"] % (PAGE // size) == 0)
    ]
    start = int(plain["address"].iloc[len(plain) // 2])
    overlay = Overlay(below).write(start, Random(3).randbytes(PAGE))
    # What is wrong with a node leaves it, and all zones, known; so does one that is none.
    overlay.word(below.symbol("node_data") + 8 * 700, 0xFFFF_8881_2345_6000)
    overlay.set("struct pglist_data", int(nodes(below.kernel).addresses[0]), "node_id", 9)
    broken = overlay.dump()
    first = (start - below.kernel.vmemmap) // size
    mine = broken.pages[broken.pages["pfn"].between(first, first + PAGE // size - 1)]
    assert len(mine) == PAGE // size
    unknown = int((mine["kind"] == "excluded").sum())
    # Three bits and more say the zone: by chance a few name the right one.
    assert unknown > 0.7 * len(mine)
    assert mine.loc[mine["kind"] == "excluded", ["flags", "refcount", "mapping"]].isna().all(axis=None)
    same = ~broken.pages["pfn"].between(first, first + PAGE // size - 1)
    assert broken.pages.loc[same, "kind"].equals(pages.loc[same, "kind"])
    # Page by page it is the same, and where nothing says what is a hole no hole is taken for that.
    frames = mine["pfn"].to_numpy()
    assert [KIND_NAMES[kind] for kind in use_of_frames(broken.kernel, frames).kind] == mine["kind"].tolist()
    overlay.set("struct resource", below.symbol("iomem_resource"), "child", 0xDEAD)
    (told,) = [each for each in overlay.dump().memory.attrs["problems"] if "name a zone" in each]
    assert told.startswith(f"the page structs of {unknown:,} of")
    (told,) = [each for each in broken.memory.attrs["problems"] if "name a zone" in each]
    assert told.startswith(f"the page structs of {unknown:,} of {len(pages):,} frames")


def test_a_zone_whose_numbers_cannot_be_contradicts_no_page_struct(sample):
    """What is damaged is the zone, and not all of its page structs."""
    _, zone = zones(sample.kernel, nodes(sample.kernel))
    largest = int(zone.addresses[zone["present_pages"].filled(0).argmax()])
    for path, value in (("zone_start_pfn", 1 << 60), ("spanned_pages", 3)):
        broken = Overlay(sample).set("struct zone", largest, path, value).dump()
        assert kinds(broken).equals(kinds(sample))


def test_the_rest_of_a_free_block_whose_head_is_lost_is_unknown_too(sample):
    """Of one struct, and not of a whole page of them: nothing else says that these frames are free."""
    pages = sample.pages
    blocks = pages[(pages["kind"] == "free") & (pages["order"] >= 4)]
    head = blocks[blocks["pfn"] % (2 ** blocks["order"].astype("int64")) == 0].iloc[3]
    count = 1 << int(head["order"])
    where, size = Overlay(sample).where("struct page", int(head["address"]), "flags")
    broken = Overlay(sample).word(where, (1 << 64) - 1, size).dump()
    first = int(head["pfn"])
    mine = broken.pages["pfn"].between(first, first + count - 1)
    assert set(broken.pages.loc[mine, "kind"]) == {"excluded"}
    assert broken.pages.loc[~mine, "kind"].equals(pages.loc[~mine, "kind"])

"""Kinds of pages that no dump here has, made by writing over the page structs and the section table of real ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

import kernlab

PAGE = 4096
NAMES = ("debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2")


def kernel_pages(dump, count: int) -> list[int]:
    """Page structs of single frames that the kernel allocated, and that nothing else tells of."""
    pages = dump.pages
    plain = pages[(pages["kind"] == "other kernel") & (pages["order"] == 0) & (pages["refcount"] == 1)]
    return [int(address) for address in plain["address"].iloc[:count]]


def kinds_of(dump, addresses: list[int]) -> list[str]:
    pages = dump.pages
    known = pages["address"].to_numpy(dtype=np.uint64)
    return pages["kind"].iloc[np.searchsorted(known, np.array(addresses, dtype=np.uint64))].tolist()


def same_sum(broken, dump) -> bool:
    return int(broken.memory["bytes"].sum()) == int(dump.memory["bytes"].sum())


@pytest.mark.parametrize("name", NAMES)
def test_a_balloons_pages_are_offline(opened, name):
    dump = opened(name)
    victims = kernel_pages(dump, 3)
    number = dump.kernel.types.enumerator_or_none("PGTY_offline")
    # Before v6.12 a page's type is the bit that it lacks: PG_offline, 0x100.
    stored = number << 24 if number is not None else 0xFFFFFFFF & ~0x100
    overlay = Overlay(dump)
    for page in victims:
        overlay.word(overlay.where("struct page", page, "_mapcount.counter")[0], stored, 4)
    broken = overlay.dump()
    assert kinds_of(broken, victims) == ["offline"] * 3
    assert same_sum(broken, dump)


@pytest.mark.parametrize("name", NAMES)
def test_page_structs_that_are_too_many_for_the_arena(opened, name):
    dump = opened(name)
    # As on a machine whose page structs are more than the arena's share: they are read past it.
    small = kernlab.open(dump.kernel.memory.file.path, arena_bytes=4 << 20)
    assert small.kernel.memory.is_large(len(dump.pages) * dump.kernel.find_type("struct page").size)
    # The address columns of two dumps know different dumps.
    plain = [name for name in dump.pages if not str(dump.pages[name].dtype).startswith("address")]
    assert len(plain) > 8
    assert small.pages[plain].dtypes.equals(dump.pages[plain].dtypes)
    assert small.pages[plain].equals(dump.pages[plain])
    for name in set(dump.pages) - set(plain):
        mine, theirs = small.pages[name], dump.pages[name]
        assert mine.isna().equals(theirs.isna())
        assert (mine.dropna().to_numpy(dtype=np.uint64) == theirs.dropna().to_numpy(dtype=np.uint64)).all()
    pd.testing.assert_frame_equal(small.memory, dump.memory)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_with_a_hardware_error(opened, name):
    dump = opened(name)
    bit = dump.kernel.types.enumerator_or_none("PG_hwpoison")
    if bit is None:
        pytest.skip("this kernel was built without CONFIG_MEMORY_FAILURE")
    victims = kernel_pages(dump, 3)
    overlay = Overlay(dump)
    for page in victims:
        where = overlay.where("struct page", page, "flags")[0]
        word = int.from_bytes(dump.read(where, 8), "little")
        overlay.word(where, word | 1 << bit)
    broken = overlay.dump()
    assert kinds_of(broken, victims) == ["hwpoison"] * 3
    assert same_sum(broken, dump)


@pytest.mark.parametrize("name", NAMES)
def test_a_section_that_is_plugged_in_but_not_online(opened, name):
    dump = opened(name)
    pages = dump.pages
    first = int(pages["pfn"].iloc[len(pages) // 2]) // 32768
    root = int.from_bytes(dump.read(dump.symbol("mem_section"), 8), "little")
    table = int.from_bytes(dump.read(root, 8), "little")
    size = dump.kernel.find_type("struct mem_section").size
    where = table + first * size
    word = int.from_bytes(dump.read(where, 8), "little")
    # include/linux/mmzone.h, SECTION_IS_ONLINE
    assert word & 4
    broken = Overlay(dump).word(where, word & ~4).dump()
    found = broken.pages
    offline = found["kind"] == "offline"
    assert set(found.loc[offline, "pfn"] // 32768) == {first}
    assert offline.sum() == (pages["pfn"] // 32768 == first).sum()
    assert found.loc[offline, ["flags", "refcount", "mapping"]].isna().all(axis=None)
    assert same_sum(broken, dump)


def test_a_section_that_is_not_there_has_no_frames(opened):
    """Memory that was pulled out: its page structs are gone from the section table."""
    dump = opened("debian-6.1")
    pages = dump.pages
    last = int(pages["pfn"].iloc[-1]) // 32768
    root = int.from_bytes(dump.read(dump.symbol("mem_section"), 8), "little")
    table = int.from_bytes(dump.read(root, 8), "little")
    size = dump.kernel.find_type("struct mem_section").size
    broken = Overlay(dump).word(table + last * size, 0).dump()
    found = broken.pages
    gone = pages["pfn"] // 32768 == last
    assert found["pfn"].tolist() == pages.loc[~gone, "pfn"].tolist()
    assert any("not exact" in problem for problem in broken.memory.attrs["problems"])


@pytest.mark.parametrize("name", NAMES)
def test_a_section_table_that_cannot_be_read_is_told(opened, name):
    dump = opened(name)
    root = int.from_bytes(dump.read(dump.symbol("mem_section"), 8), "little")
    broken = Overlay(dump).exclude(root).dump()
    found = broken.pages
    assert any("section" in problem for problem in found.attrs["problems"])
    assert any("not exact" in problem or "section" in problem for problem in broken.memory.attrs["problems"])

"""How arm64's entries of swapped pages are read: by what they name, in the three ways that its kernels write them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from kernlab.linux import swap_entries
from kernlab.linux.swap_entries import settle_swap_entries
from kernlab.memory.arch.arm64 import SWAP_ENTRIES, Arm64
from kernlab.memory.arch.x86_64 import X86_64

PAGES = np.array([0, 300_000, 90], dtype=np.int64)
#: arch/arm64/include/asm/pgtable.h, __swp_entry, of v6.12, v6.1 and v5.10.
WRITTEN = {
    SWAP_ENTRIES[0]: lambda kind, offset: kind << 6 | offset << 12,
    SWAP_ENTRIES[1]: lambda kind, offset: kind << 3 | offset << 8,
    SWAP_ENTRIES[2]: lambda kind, offset: kind << 2 | offset << 8,
}


def settled(monkeypatch, likely, entries, pages=PAGES, arch=None):
    arch = arch or Arm64()
    told: list[str] = []
    kernel = SimpleNamespace(arch=arch, lost=told.append, once=lambda _, make: make(kernel))
    kernel.quiet = lambda: pytest.MonkeyPatch.context()
    monkeypatch.setattr(swap_entries, "_by_types", lambda _: likely)
    monkeypatch.setattr(swap_entries, "_area_pages", lambda _: pages)
    monkeypatch.setattr(swap_entries, "_entries", lambda _: np.array(entries, dtype=np.uint64))
    return settle_swap_entries(kernel), arch.swap_entries, told


@pytest.mark.parametrize("likely", [0, 1, 2])
@pytest.mark.parametrize("way", SWAP_ENTRIES)
def test_entries_say_it_whatever_the_types_make_likely(monkeypatch, way, likely):
    random = np.random.default_rng(1)
    offsets = random.integers(0, 300_000, 200).tolist()
    entries = [WRITTEN[way](1, offset) for offset in offsets] + [WRITTEN[way](2, 89), 0x7FFF_FFFF_FFFF_FFFC]
    assert settled(monkeypatch, likely, entries) == (True, way, [])


@pytest.mark.parametrize("likely", [0, 1, 2])
def test_without_entries_the_types_count(monkeypatch, likely):
    assert settled(monkeypatch, likely, []) == (False, SWAP_ENTRIES[likely], [])
    # Nothing can be swapped: what stands there is no page's.
    assert settled(monkeypatch, likely, [1 << 40], PAGES[:0]) == (False, SWAP_ENTRIES[likely], [])


def test_entries_that_fit_several_ways_leave_it_to_the_types(monkeypatch):
    # Area 0 and a multiple of 16 reads as another page of the same area.
    entries = [WRITTEN[SWAP_ENTRIES[1]](0, 16 * offset) for offset in range(1, 9)]
    for likely in (0, 1, 2):
        told, way, _ = settled(monkeypatch, likely, entries, np.array([1000]))
        assert (told, way) == (True, SWAP_ENTRIES[likely])


def test_entries_that_fit_no_way_are_told(monkeypatch):
    told, way, lost = settled(monkeypatch, 1, [(1 << 60) | (31 << 6) | 0xF8])
    assert (told, way) == (False, SWAP_ENTRIES[1])
    assert "names no swap area" in lost[0]


def test_a_machine_with_one_way_is_not_asked(monkeypatch):
    assert settled(monkeypatch, 1, [1 << 40], arch=X86_64())[:2] == (False, None)


def test_no_dump_of_x86_looks_for_it(dump):
    assert settle_swap_entries(dump.kernel) is False

"""The heads of compound pages: as pointers and as masks, in kernels that no dump here is of as well."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab.linux.page.vmemmap import compound_heads, page_chunks

SIZE = 64


@pytest.fixture(scope="module")
def dump(opened):
    """A kernel whose tails hold masks."""
    return opened("debian-7.2")


def masked(order: int) -> int:
    """As set_compound_head of include/linux/page-flags.h (7.1) makes it for a struct of 64 bytes."""
    return (1 << 64) - (SIZE << order) | 1


@pytest.mark.parametrize("base", [0xFFD4_0000_0000_0000, 0xFFFF_EA00_0000_0000, 0xFFFF_F000_0000_0000])
@pytest.mark.parametrize("order", [1, 3, 9, 18])
def test_a_tails_word_is_a_mask_or_a_pointer_wherever_page_structs_lie(dump, base, order):
    """With four levels of page tables they lie so high that each mask looks like an address not far above."""
    head = base + (5 << order) * SIZE
    tails = np.array([head + SIZE, head + ((1 << order) - 1) * SIZE], dtype=np.uint64)
    for word in (masked(order), head | 1):
        links = np.full(2, word, dtype=np.uint64)
        assert compound_heads(dump.kernel, tails, links).tolist() == [head, head]


def test_what_is_no_tail_is_its_own_head(dump):
    addresses = np.array([0xFFFF_EA00_0000_0040, 0xFFFF_EA00_0000_0080], dtype=np.uint64)
    links = np.array([0xDEAD_0000_0000_0100, 0], dtype=np.uint64)
    assert compound_heads(dump.kernel, addresses, links).tolist() == addresses.tolist()


def test_an_older_kernels_word_is_a_pointer_whatever_it_looks_like(opened):
    kernel = opened("debian-6.1").kernel
    addresses = np.array([0xFFFF_EA00_0000_0040], dtype=np.uint64)
    assert compound_heads(kernel, addresses, np.array([masked(3)], dtype=np.uint64)) == masked(3) - 1


def test_a_kernel_that_kept_pointers_under_the_new_name(dump):
    """compound_info holds pointers where CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP is off (compound_info_has_mask)."""
    kernel = dump.kernel
    overlay = Overlay(dump)
    tails = []
    for chunk in page_chunks(kernel):
        rows, heads = chunk.tails()
        for tail, head in zip(chunk.addresses[rows].tolist(), chunk.addresses[heads].tolist(), strict=True):
            overlay.set("struct page", tail, "compound_info", head | 1)
            tails.append(tail)
    assert len(tails) > 3_000
    broken = overlay.dump()
    assert broken.memory.drop(columns="share").equals(dump.memory.drop(columns="share"))
    assert broken.pages["head"].equals(dump.pages["head"])
    assert broken.info["slab_frames_absent"] == 0

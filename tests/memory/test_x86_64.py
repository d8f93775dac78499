"""Page tables that the test built, four and five levels, with huge pages and an encryption mask."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.overlay import PAGE, MemoryFile

from kernlab.formats.base import FrameStatus
from kernlab.memory import AddressSpace
from kernlab.memory.address_space import Status
from kernlab.memory.arch import Layout
from kernlab.memory.arch.x86_64 import X86_64

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHIFTS = {4: (39, 30, 21, 12), 5: (48, 39, 30, 21, 12)}


class Tables:
    """Page tables in frames from 1,000 on; the top one is the first."""

    def __init__(self, levels: int, mask: int = 0) -> None:
        self.levels, self.mask = levels, mask
        self.frames: dict[int, bytearray] = {1000: bytearray(PAGE)}

    def map(self, address: int, physical: int, shift: int = 12, flags: int = 0x63) -> None:
        table = 1000
        for level in SHIFTS[self.levels]:
            offset = (address >> level & 511) * 8
            if level == shift:
                entry = physical | self.mask | flags | (0x80 if shift > 12 else 0)
                struct.pack_into("<Q", self.frames[table], offset, entry)
                return
            (entry,) = struct.unpack_from("<Q", self.frames[table], offset)
            if not entry & 1:
                table_below = 1000 + len(self.frames)
                self.frames[table_below] = bytearray(PAGE)
                entry = table_below << 12 | self.mask | 0x63
                struct.pack_into("<Q", self.frames[table], offset, entry)
            table = (entry & ~self.mask & 0x000FFFFFFFFFF000) >> 12

    def memory(self, gone: tuple[int, ...] = ()) -> AddressSpace:
        frames: dict[int, bytes | FrameStatus] = {pfn: bytes(data) for pfn, data in self.frames.items()}
        frames.update(dict.fromkeys(gone, FrameStatus.EXCLUDED))
        layout = Layout(X86_64(self.levels, self.mask), 1000 << 12, 0, 0, 0)
        return AddressSpace(MemoryFile(frames), layout)


def canonical(address: int, levels: int) -> int:
    top = SHIFTS[levels][0] + 9
    address &= (1 << top) - 1
    return address | ((1 << 64) - (1 << top) if address >> (top - 1) else 0)


@SETTINGS
@given(
    levels=st.sampled_from([4, 5]),
    mask=st.sampled_from([0, 1 << 47, 1 << 51]),
    pages=st.lists(
        st.tuples(
            st.integers(0, (1 << 57) - 1), st.integers(0, (1 << 46) - 1), st.sampled_from([12, 21, 30])
        ),
        max_size=12,
    ),
    inside=st.integers(0, (1 << 30) - 1),
)
def test_every_page_translates_to_its_frame(levels, mask, pages, inside):
    tables = Tables(levels, mask)
    expected: dict[int, int] = {}
    taken: set[int] = set()
    for address, physical, shift in pages:
        start = canonical(address, levels) >> shift << shift
        # One gibibyte a mapping, so that none lies within another.
        if start >> 30 in taken:
            continue
        taken.add(start >> 30)
        frame = physical >> shift << shift
        tables.map(start, frame, shift)
        within = inside & (1 << shift) - 1
        expected[start + within] = frame + within
    physical, status = tables.memory().translate(np.array(list(expected), dtype=np.uint64))
    assert not status.any()
    assert physical.tolist() == list(expected.values())


@pytest.mark.parametrize("levels", [4, 5])
def test_what_is_not_mapped_not_canonical_or_not_there(levels):
    tables = Tables(levels)
    here = canonical(0xFFFF_C900_0000_0000 if levels == 4 else 0xFFA0_0000_0000_0000, levels)
    tables.map(here, 0x5000)
    last_table = max(tables.frames)
    hole = 1 << (SHIFTS[levels][0] + 9)  # the first address that is not canonical
    ask = np.array([here + 0x123, here + PAGE, 0x1000, hole], dtype=np.uint64)
    physical, status = tables.memory().translate(ask)
    assert physical[0] == 0x5123
    assert status.tolist() == [0, Status.UNMAPPED, Status.UNMAPPED, Status.UNMAPPED]
    # Where a table itself is not in the dump, that is the answer, not "unmapped".
    _, status = tables.memory(gone=(last_table,)).translate(ask)
    assert status[0] == Status.EXCLUDED
    # And an entry that leads where the machine has no memory.
    tables.map(here + (1 << 39), 0x6000)
    tables.frames[1000][:] = b"".join(
        struct.pack("<Q", (0xFFFF_F000 << 12 | 0x63) if entry & 1 else 0)
        for (entry,) in struct.iter_unpack("<Q", tables.frames[1000])
    )
    _, status = tables.memory().translate(ask[:1])
    assert status[0] == Status.ABSENT


def test_the_pat_bit_of_a_huge_page_is_no_address_bit():
    tables = Tables(4)
    tables.map(0xFFFF_C900_0000_0000, 0x4000_0000 | 1 << 12, 21)
    physical, _ = tables.memory().translate(np.array([0xFFFF_C900_0000_1234], dtype=np.uint64))
    assert physical[0] == 0x4000_1234


def test_tables_that_are_their_own_parents_end():
    tables = Tables(4)
    for slot in range(512):
        struct.pack_into("<Q", tables.frames[1000], slot * 8, 1000 << 12 | 0x63)
    physical, status = tables.memory().translate(np.array([0xFFFF_C900_0000_0000], dtype=np.uint64))
    assert status[0] == 0
    assert physical[0] == 1000 << 12


def test_fixed_maps_need_no_tables():
    arch = X86_64()
    layout = Layout(
        arch,
        page_table=0,
        image_start=arch.image_start,
        image_end=arch.image_start + arch.image_bytes,
        image_offset=0x10_0000 - 0x100_0000 - arch.image_start,
        direct_start=0xFFFF_8880_0000_0000,
        direct_end=0xFFFF_8880_1000_0000,
    )
    memory = AddressSpace(MemoryFile({}), layout)
    physical, status = memory.translate(
        np.array([0xFFFF_8880_0000_5678, 0xFFFF_FFFF_8100_0010, 0xFFFF_8880_1000_0000], dtype=np.uint64)
    )
    assert physical[:2].tolist() == [0x5678, 0x10_0010]
    assert status.tolist() == [
        0,
        0,
        Status.ABSENT,
    ]  # behind the direct map only tables tell, and they are not here


def test_real_tables_agree_with_the_fixed_maps(dump):
    """The kernel's own page tables map the image and the direct map where the fixed maps say."""
    kernel = dump.kernel
    layout = kernel.layout
    names = ("_text", "init_task", "slab_caches", "_end")
    image = [dump.symbol(name) & ~(PAGE - 1) for name in names[:3]]
    direct = [int(a) & ~(PAGE - 1) for a in dump.tasks["address"].tolist() if int(a) < layout.image_start]
    ask = np.array(image + direct, dtype=np.uint64)
    fixed, status = kernel.memory.translate(ask)
    assert not status.any()
    walked, status = kernel.memory.lookup(np.full(len(ask), layout.page_table, dtype=np.uint64), ask)
    assert not status.any()
    assert walked.tolist() == fixed.tolist()
    assert len(direct) > 50

"""Bitmaps, SLUB's freelists, strings and per-CPU addresses against what the test laid down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.heap import Heap
from support.overlay import PAGE

from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.slub import freelist_lengths, swaps_addresses
from kernlab.walk.bitmaps import bitmap_bits
from kernlab.walk.cpus import cpus, percpu, percpu_many
from kernlab.walk.strings import c_strings, sized_strings

WILD = 0xFFFF_F000_DEAD_0000
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


@SETTINGS
@given(count=st.integers(1, 300), masks=st.lists(st.integers(0, (1 << 300) - 1), max_size=6))
def test_bitmaps_give_their_set_bits_and_none_behind_their_end(below, count, masks):
    heap = Heap(below)
    addresses = []
    for mask in masks:
        addresses.append(heap.alloc(40))
        heap.put(addresses[-1], mask.to_bytes(40, "little"))
    owner, bit, valid = bitmap_bits(heap.kernel(), np.array(addresses, dtype=np.uint64), count)
    assert valid.all()
    expected = [(i, b) for i, mask in enumerate(masks) for b in range(count) if mask >> b & 1]
    assert list(zip(owner.tolist(), bit.tolist(), strict=True)) == expected


def test_bitmaps_that_cannot_be_read_or_claim_too_much(below):
    heap = Heap(below)
    good = heap.words([5])
    owner, bit, valid = bitmap_bits(heap.kernel(), [WILD, good], 64)
    assert valid.tolist() == [False, True]
    assert owner.tolist() == [1, 1]
    assert bit.tolist() == [0, 2]
    with pytest.raises(KernlabError, match="refused"):
        bitmap_bits(heap.kernel(), [good], 1 << 40)


def a_cache(heap: Heap, random: int, offset: int, objects: int) -> int:
    cache = heap.alloc(512)
    for path, value in (("random", random), ("offset", offset), ("oo.x", objects), ("size", 64)):
        heap.member("struct kmem_cache", cache, path, value)
    return cache


@SETTINGS
@given(
    lists=st.lists(
        st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, 7), st.integers(0, 30)),
        min_size=1,
        max_size=6,
    )
)
def test_hardened_freelists_are_as_long_as_they_were_made(below, lists):
    heap = Heap(below)
    caches, heads = [], []
    for random, slot, length in lists:
        offset = 8 * slot
        caches.append(a_cache(heap, random, offset, 30))
        objects = [heap.alloc(64) for _ in range(length)]
        for here, following in zip(objects, [*objects[1:], 0], strict=False):
            where = here + offset
            heap.word(where, following ^ random ^ int.from_bytes(where.to_bytes(8, "little"), "big"))
        heads.append(objects[0] if objects else 0)
    kernel = heap.kernel()
    array = StructArray(kernel, "struct kmem_cache", caches)
    lengths, good = freelist_lengths(kernel, array, np.arange(len(caches)), np.array(heads, dtype=np.uint64))
    assert good.all()
    assert lengths.tolist() == [length for _, _, length in lists]


def test_a_circular_freelist_ends_at_a_slabs_room(below):
    heap = Heap(below)
    cache = a_cache(heap, 0, 0, 16)
    first, second = heap.alloc(64), heap.alloc(64)
    for here, following in ((first, second), (second, first)):
        heap.word(here, following ^ int.from_bytes(here.to_bytes(8, "little"), "big"))
    kernel = heap.kernel()
    swaps_addresses(kernel)  # found out once
    before = kernel.memory.gathers
    array = StructArray(kernel, "struct kmem_cache", [cache])
    _, good = freelist_lengths(kernel, array, np.array([0]), np.array([first], dtype=np.uint64))
    assert not good[0]
    assert kernel.memory.gathers - before < 16 + 10


TEXT = st.binary(max_size=200).filter(lambda raw: b"\0" not in raw)


@SETTINGS
@given(strings=st.lists(TEXT, max_size=8), gap=st.integers(0, 100))
def test_strings_end_at_their_nul_or_length(below, strings, gap):
    heap = Heap(below)
    addresses = []
    for raw in strings:
        heap.alloc(gap + 1, 1)
        addresses.append(heap.alloc(len(raw) + 1, 1))
        heap.put(addresses[-1], raw + b"\0")
    where = np.array(addresses, dtype=np.uint64)
    kernel = heap.kernel()
    expected = [raw.decode("utf-8", "backslashreplace") for raw in strings]
    found = c_strings(kernel, where)
    assert found.valid.all()
    assert found.values.tolist() == expected
    sized = sized_strings(kernel, where, np.array([len(raw) for raw in strings]), 4096)
    assert sized.valid.all()
    assert sized.values.tolist() == expected


def test_strings_at_the_end_of_memory_null_and_beyond_their_limit(below):
    heap = Heap(below, pages=2)
    last = heap.base + 2 * PAGE - 4
    heap.put(last, b"end\0")
    open_end = heap.base + 100
    heap.put(open_end, b"x" * 300)
    found = c_strings(heap.kernel(), np.array([last, 0, WILD, open_end], dtype=np.uint64), limit=128)
    assert found.valid.tolist() == [True, False, False, True]
    assert found.values[0] == "end"
    assert found.values[3] == "x" * 128
    too_long = sized_strings(heap.kernel(), np.array([open_end], dtype=np.uint64), np.array([300]), 255)
    assert not too_long.valid[0]


def test_cpus_and_their_areas(dump, whole_dump):
    kernel = dump.kernel
    possible = cpus(kernel)
    assert possible.tolist() == list(range(len(possible)))
    assert set(cpus(kernel, "online").tolist()) <= set(possible.tolist())
    areas = percpu(kernel, 0, possible)
    assert len(set(areas.tolist())) == len(possible)
    both = percpu_many(kernel, np.array([0, 16], dtype=np.uint64), possible)
    assert both[0].tolist() == areas.tolist()
    assert (both[1] - both[0] == 16).all()
    # What lies there is that CPU's own: its number.
    numbers = dump.percpu("cpu_number", "int") if "cpu_number" in kernel.symbols else None
    if numbers is not None:
        assert numbers.values.tolist() == possible.tolist()

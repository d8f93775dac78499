"""The frame arena and gathers over frames that the test made: what is read is what lies there, at any bound."""

from __future__ import annotations

import errno
import mmap
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.overlay import PAGE, MemoryFile

from kernlab.errors import FaultError, KernlabError, PageExcluded
from kernlab.formats.base import FrameStatus
from kernlab.memory import AddressSpace
from kernlab.memory.address_space import LARGEST_READ, Status
from kernlab.memory.arch import Layout
from kernlab.memory.arch.x86_64 import X86_64
from kernlab.memory.arena import FrameArena

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FRAMES = 300
#: A direct map of all frames.
DIRECT = 0xFFFF888000000000
LAYOUT = Layout(X86_64(), 0, 0, 0, 0, direct_start=DIRECT, direct_end=DIRECT + (FRAMES + 2) * PAGE)


def content(pfn: int) -> bytes:
    return np.random.default_rng(pfn).bytes(PAGE)


@pytest.fixture(scope="module")
def frames() -> dict[int, bytes | FrameStatus]:
    made: dict[int, bytes | FrameStatus] = {pfn: content(pfn) for pfn in range(FRAMES)}
    made[100], made[101], made[102] = FrameStatus.EXCLUDED, FrameStatus.LOST, FrameStatus.ABSENT
    return made


def expected(frames, address: int, size: int) -> tuple[bytes, int]:
    """Byte by byte: what lies at a physical address, and the first status that is not PRESENT."""
    out = b""
    while len(out) < size:
        pfn, offset = divmod(address + len(out), PAGE)
        frame = frames.get(pfn, FrameStatus.ABSENT)
        if not isinstance(frame, bytes):
            return bytes(size), int(frame)
        out += frame[offset : offset + size - len(out)]
    return out, 0


REQUESTS = st.lists(st.integers(0, (FRAMES + 2) * PAGE - 1), max_size=400)


@SETTINGS
@given(addresses=REQUESTS, size=st.one_of(st.integers(1, 40), st.integers(1, 3 * PAGE)), small=st.booleans())
def test_gathers_are_what_lies_there(frames, addresses, size, small):
    memory = AddressSpace(MemoryFile(frames), bound=64 * PAGE if small else 1 << 30)
    for _ in range(2):  # cold, then from the arena
        rows, status = memory.gather(np.array(addresses, dtype=np.uint64), size, physical=True)
        for row, state, address in zip(rows, status, addresses, strict=True):
            assert (row.tobytes(), state) == expected(frames, address, size)


def test_three_answers_and_a_real_zero():
    memory = AddressSpace(MemoryFile({0: bytes(PAGE), 1: FrameStatus.EXCLUDED, 2: FrameStatus.LOST}))
    assert memory.read(16, 8, physical=True) == bytes(8)
    with pytest.raises(PageExcluded, match="left out"):
        memory.read(PAGE, 8, physical=True)
    with pytest.raises(PageExcluded, match="cut off or damaged"):
        memory.read(2 * PAGE, 8, physical=True)
    with pytest.raises(FaultError, match="no memory"):
        memory.read(3 * PAGE, 8, physical=True)
    rows, status = memory.gather(np.arange(4, dtype=np.uint64) * np.uint64(PAGE), 8, physical=True)
    assert status.tolist() == [Status.PRESENT, Status.EXCLUDED, Status.LOST, Status.ABSENT]
    assert not rows.any()


def test_partial_reads_say_which_bytes_are_there(frames):
    memory = AddressSpace(MemoryFile(frames))
    data, there = memory.read_partial(99 * PAGE + 100, 5 * PAGE, physical=True)
    assert there.tolist() == [True] * (PAGE - 100) + [False] * 3 * PAGE + [True] * (PAGE + 100)
    assert data[: PAGE - 100].tobytes() == content(99)[100:]
    assert data[4 * PAGE - 100 :].tobytes() == (content(103) + content(104))[: PAGE + 100]
    assert not data[~there].any()


@SETTINGS
@given(
    pages=st.lists(st.integers(0, FRAMES + 1), min_size=1, max_size=200),
    resident=st.integers(0, FRAMES - 1),
    cut=st.integers(0, 200),
    keep=st.booleans(),
)
def test_pages_read_by_their_places_are_what_lies_there(frames, pages, resident, cut, keep):
    memory = AddressSpace(MemoryFile(frames), LAYOUT, bound=64 * PAGE)
    memory.gather(np.arange(resident, dtype=np.uint64) * np.uint64(PAGE), 8, physical=True)
    located = memory.locate(np.uint64(DIRECT) + np.array(pages, dtype=np.uint64) * np.uint64(PAGE))
    assert len(located) == len(pages)
    out = np.full((len(pages), PAGE), 0xAA, dtype=np.uint8)
    status = np.concatenate(
        [memory.read_pages(located[part], out[part], keep=keep) for part in (slice(0, cut), slice(cut, None))]
    )
    for row, state, page in zip(out, status, pages, strict=True):
        assert (row.tobytes(), state) == expected(frames, page * PAGE, PAGE)


def test_only_pages_that_are_kept_fill_the_arena(frames):
    file = MemoryFile({pfn: content(pfn) for pfn in range(FRAMES)})
    memory = AddressSpace(file, LAYOUT, bound=64 * PAGE)
    located = memory.locate(np.uint64(DIRECT) + np.arange(32, dtype=np.uint64) * np.uint64(PAGE))
    out = np.empty((32, PAGE), dtype=np.uint8)
    reads = []
    for keep in (False, False, True, True, False):
        memory.read_pages(located, out, keep=keep)
        reads.append(file.reads)
    assert reads == [32, 64, 96, 96, 96], "what is there is not read again, by neither way"


def test_the_arena_holds_no_more_than_its_bound(frames):
    file = MemoryFile({pfn: content(pfn) for pfn in range(FRAMES)})
    arena = FrameArena(file, bound=64 * PAGE)
    assert arena.capacity == 64
    every = np.arange(FRAMES, dtype=np.int64)
    out = np.empty((FRAMES, PAGE), dtype=np.uint8)
    arena.copy_rows(every, np.zeros(FRAMES, dtype=np.int64), PAGE, out)
    assert [row.tobytes() for row in out] == [content(pfn) for pfn in range(FRAMES)]
    before = file.reads
    arena.copy_rows(every[-20:], np.zeros(20, dtype=np.int64), 8, np.empty((20, 8), dtype=np.uint8))
    assert file.reads == before, "what was read last is still there"
    arena.copy_rows(every[:20], np.zeros(20, dtype=np.int64), 8, np.empty((20, 8), dtype=np.uint8))
    assert file.reads == before + 20, "what was read first has made room"


def test_a_system_that_grants_little_memory_gets_a_small_arena(frames, monkeypatch):
    """As a crash kernel does, where a /proc/vmcore is larger than all of its memory."""
    asked: list[int] = []
    real = mmap.mmap

    def grant(descriptor: int, size: int, **how: int) -> mmap.mmap:
        asked.append(size)
        if size > 100 * PAGE:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return real(descriptor, size, **how)

    monkeypatch.setattr("kernlab.memory.arena.mmap.mmap", grant)
    arena = FrameArena(MemoryFile({pfn: content(pfn) for pfn in range(FRAMES)}))
    assert asked == [FRAMES * PAGE, FRAMES // 4 * PAGE]
    every = np.arange(FRAMES, dtype=np.int64)
    out = np.empty((FRAMES, PAGE), dtype=np.uint8)
    arena.copy_rows(every, np.zeros(FRAMES, dtype=np.int64), PAGE, out)
    assert [row.tobytes() for row in out] == [content(pfn) for pfn in range(FRAMES)]


def test_frames_are_read_once_while_there_is_room(frames):
    file = MemoryFile(frames)
    memory = AddressSpace(file)
    addresses = np.repeat(np.arange(90, dtype=np.uint64) * np.uint64(PAGE), 3)
    memory.gather(addresses, 8, physical=True)
    memory.gather(addresses[::-1], 16, physical=True)
    assert file.reads == 90


def test_an_interrupt_leaves_nothing_half_cached(frames):
    file = MemoryFile({pfn: content(pfn) for pfn in range(FRAMES)})
    memory = AddressSpace(file)
    addresses = np.arange(90, dtype=np.uint64) * np.uint64(PAGE)
    file.fail_at = 1
    with pytest.raises(KeyboardInterrupt):
        memory.gather(addresses, PAGE, physical=True)
    rows, status = memory.gather(addresses, PAGE, physical=True)
    assert not status.any()
    assert [row.tobytes() for row in rows] == [content(pfn) for pfn in range(90)]


def test_what_is_too_large_is_refused_before_it_is_allocated(frames):
    memory = AddressSpace(MemoryFile(frames))
    with pytest.raises(KernlabError, match="refused"):
        memory.gather(np.zeros(2, dtype=np.uint64), LARGEST_READ, physical=True)
    with pytest.raises(FaultError, match="refused"):
        memory.read(0, LARGEST_READ + 1, physical=True)
    with pytest.raises(FaultError, match="past the end of the address space"):
        memory.read((1 << 64) - 8, 16, physical=True)
    with pytest.raises(FaultError):
        memory.read(0, -1, physical=True)
    assert memory.read(0, 0, physical=True) == b""


def test_threads_that_push_one_another_out_read_what_lies_there(frames):
    memory = AddressSpace(MemoryFile({pfn: content(pfn) for pfn in range(FRAMES)}), bound=64 * PAGE)
    wrong: list[int] = []

    def read(seed: int) -> None:
        pfns = np.random.default_rng(seed).permutation(FRAMES)[:100]
        for _ in range(10):
            rows, _ = memory.gather(pfns.astype(np.uint64) * np.uint64(PAGE), 32, physical=True)
            wrong.extend(
                p for p, row in zip(pfns.tolist(), rows, strict=True) if row.tobytes() != content(p)[:32]
            )

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_memory_says_so(frames):
    memory = AddressSpace(MemoryFile(frames))
    memory.close()
    with pytest.raises(KernlabError, match="was closed"):
        memory.read(0, 8, physical=True)


def test_what_was_not_read_of_a_large_machines_dump_takes_no_memory():
    """1 TiB of frames that the file has, of which one is read: what the arena notes of the others would be 1.25 GiB."""
    file = MemoryFile({7: content(7)})
    file.frame_count = 1 << 28
    before = resident_bytes()
    arena = FrameArena(file, bound=64 * PAGE)
    out = np.zeros((1, PAGE), dtype=np.uint8)
    arena.copy_rows(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), PAGE, out)
    assert out.tobytes() == content(7)
    assert not arena.holds(np.array([1, 1 << 27]))
    assert resident_bytes() - before < 64 << 20


def resident_bytes() -> int:
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * mmap.PAGESIZE

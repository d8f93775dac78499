"""What a file claims costs nothing: work and memory go with what it holds. Memory is measured, and never time."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from formats.make_dump import PAGE, Segment, elf, image_header, kdump
from formats.reading import check_present, frame, open_quietly, write
from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.errors import DumpFormatError
from kernlab.formats import FrameStatus, open_dump_file
from kernlab.formats.elf_headers import MOST_SEGMENTS
from kernlab.formats.kdump import bitmap as bitmap_module
from kernlab.formats.kdump.bitmap import Bitmap, Part
from kernlab.formats.recognise import _source
from kernlab.formats.source import PlainFile
from kernlab.memory import AddressSpace
from kernlab.memory.arena import SlotTable

TIB = 1 << 40
#: Beyond what Python, NumPy and kernlab's own modules take.
MOST = 256 << 20


def page(number: int) -> bytes:
    return struct.pack("<Q", number) * (PAGE // 8)


def sparse(path: Path, size: int, pieces: dict[int, bytes]) -> Path:
    """A file of holes, with some bytes."""
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in pieces.items():
            file.seek(at)
            file.write(data)
    if os.stat(path).st_blocks * 512 > sum(map(len, pieces.values())) + (1 << 20):
        pytest.skip("this file system keeps no holes")
    return path


def sparse_kdump(path: Path, frames: dict[int, bytes], max_pfn: int) -> Path:
    """A kdump of `max_pfn` frames whose bitmaps are holes but for those of a few frames."""
    made = kdump({0: page(0)}, max_pfn=1)
    half = -(-max_pfn // (8 * PAGE)) * PAGE
    front = bytearray(made.data[: made.bitmap])
    struct.pack_into("<I", front, 436, 2 * half // PAGE)
    struct.pack_into("<Q", front, PAGE + 96, max_pfn)
    table = made.bitmap + 2 * half
    pieces, at = {0: bytes(front)}, table + 24 * len(frames)
    bits: dict[int, int] = {}
    descriptors = b""
    for pfn in sorted(frames):
        bits[pfn // 8] = bits.get(pfn // 8, 0) | 1 << pfn % 8
        descriptors += struct.pack("<QIIQ", at, PAGE, 0, 0)
        pieces[at] = frames[pfn]
        at += PAGE
    for byte, value in bits.items():
        pieces[made.bitmap + byte] = pieces[made.bitmap + half + byte] = bytes([value])
    pieces[table] = descriptors
    return sparse(path, at, pieces)


def peak(what: str, *arguments: object, limit: int | None = None) -> int:
    """Bytes that a process of its own takes for `what` at most, beyond what it takes for nothing."""
    code = f"""
import resource, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, kernlab
from kernlab.formats import open_dump_file
from kernlab.memory import AddressSpace
import kernlab.formats.kdump.file, kernlab.formats.elf, kernlab.formats.split, elftools.elf.elffile
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
{what}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1]) * 1024


class TestBitmaps:
    """Against a list of numbers."""

    @settings(deadline=None, max_examples=60)
    @given(
        st.sets(st.one_of(st.integers(0, 3000), st.integers(0, 1 << 20)), max_size=40),
        st.integers(1, 1 << 20),
        st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20)),
        st.booleans(),
        st.booleans(),
    )
    def test_any_bits(self, tmp_path_factory, numbers, bits, part, full, few):
        numbers = {number for number in numbers if number < bits}
        raw = np.zeros((bits + 7) // 8, dtype=np.uint8)
        for number in numbers:
            raw[number // 8] |= 1 << number % 8
        if full:
            # A whole block of bits that are all set.
            numbers |= set(range(min(1 << 18, bits)))
            raw[: min(1 << 15, len(raw))] = 0xFF
        path = tmp_path_factory.mktemp("bits") / "bits"
        path.write_bytes(b"x" * 5 + raw.tobytes())
        source = PlainFile(path, os.open(path, os.O_RDONLY), 5 + len(raw))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bitmap_module, "_FEW_BLOCKS", 128 if few else 0)
            whole = Bitmap(source, 5, bits, digest=True)
        assert whole.digest
        for bitmap, known in (
            (whole, sorted(numbers)),
            (Part(whole, *part), [number for number in sorted(numbers) if part[0] <= number < part[1]]),
        ):
            assert (bitmap.bits, bitmap.count) == (bits, len(known))
            asked = np.array([*known[:300], 0, bits - 1, bits, bits + 99, 1 << 50, *part], dtype=np.uint64)
            ranks = {number: rank for rank, number in enumerate(known)}
            assert bitmap.test(asked).tolist() == [number in ranks for number in asked.tolist()]
            assert bitmap.find(asked).tolist() == [ranks.get(number, -1) for number in asked.tolist()]
            there = np.array(known, dtype=np.uint64)
            assert bitmap.find(there).tolist() == list(range(len(known)))
            assert bitmap.numbers(0, len(known)).tolist() == known
            assert (
                bitmap.numbers(len(known) // 3, len(known) // 2).tolist()
                == known[len(known) // 3 : len(known) // 2]
            )

    def test_what_is_all_alike_costs_nothing(self, tmp_path):
        size = (12 * TIB) // PAGE // 8
        path = sparse(tmp_path / "bits", size, {size // 2: b"\1"})
        tracemalloc.start()
        bitmap = Bitmap(PlainFile(path, os.open(path, os.O_RDONLY), size), 0, size * 8)
        assert bitmap.numbers(0, 1).tolist() == [size * 4]
        every = np.arange(0, size * 8, 1 << 16, dtype=np.uint64)
        assert bitmap.test(every).sum() == 1
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 16 << 20


class TestKdump:
    @pytest.mark.parametrize("frames", [1 << 33, 1 << 34, 1 << 40])
    def test_a_header_of_any_number_of_frames(self, tmp_path, frames):
        """2^33 frames took 5 GiB to open."""
        path = sparse_kdump(tmp_path / "vmcore", {5: page(5), 1 << 30: page(6), frames - 1: page(7)}, frames)
        with open_quietly(path) as dump:
            assert (dump.frame_count, dump.max_pfn) == (3, frames)
            assert [block.tolist() for block in dump.present(2)] == [[5, 1 << 30], [frames - 1]]
            assert dump.filled_count == 3
            assert (frame(dump, 5), frame(dump, 1 << 30), frame(dump, frames - 1)) == (
                page(5),
                page(6),
                page(7),
            )
            assert frame(dump, 6) == FrameStatus.ABSENT
            assert frame(dump, frames) == FrameStatus.ABSENT
        assert peak("f = open_dump_file(path[0]); list(f.present(256)); AddressSpace(f)", path) < MOST

    def test_more_than_there_are_addresses(self, tmp_path):
        made = kdump({1: page(1)})
        struct.pack_into("<I", made.data, 436, 2**32 - 1)
        struct.pack_into("<Q", made.data, PAGE + 96, (1 << 40) + 1)
        with pytest.raises(DumpFormatError, match="more than a machine has physical addresses"):
            open_dump_file(write(tmp_path, made.data))

    def test_of_a_machine_of_12_tib(self, tmp_path):
        """Bitmaps of 400 MB each with something in every page of them: a real large machine, in bounded memory."""
        frames = 12 * TIB // PAGE
        half = frames // 8
        made = kdump({0: page(0)}, max_pfn=1)
        front = bytearray(made.data[: made.bitmap])
        struct.pack_into("<I", front, 436, 2 * half // PAGE)
        struct.pack_into("<Q", front, PAGE + 96, frames)
        path = tmp_path / "vmcore"
        chunk = bytearray(1 << 20)
        chunk[::4096] = b"\x10" * 256
        count = half // 4096
        table = made.bitmap + 2 * half
        with path.open("wb") as file:
            file.write(front)
            for byte in (b"\xff" * (1 << 20), chunk):
                for _ in range(half >> 20):
                    file.write(byte)
            at = table + 24 * count
            row = np.zeros(
                count, dtype=[("offset", "<u8"), ("size", "<u4"), ("flags", "<u4"), ("rest", "<u8")]
            )
            row["offset"], row["size"] = at, PAGE
            file.write(row.tobytes() + page(7))
        code = """
f = open_dump_file(path[0])
m = AddressSpace(f)
some = np.arange(4, f.max_pfn, 32768 * 64, dtype=np.uint64)
data, status = m.gather(some << np.uint64(12), 8, physical=True)
assert not status.any() and (data.view("<u8") == 7).all(), (status, data)
assert (f.find(some + np.uint64(1)) == -1).all()
"""
        assert peak(code, path) < 3 * MOST

    def test_descriptors_in_a_hole(self, tmp_path):
        """Bits are real, the descriptors claimed: nothing is read for them, and they are not there."""
        frames = 1 << 27
        half = frames // 8
        made = kdump({0: page(0)}, max_pfn=1)
        front = bytearray(made.data[: made.bitmap])
        struct.pack_into("<I", front, 436, 2 * half // PAGE)
        struct.pack_into("<Q", front, PAGE + 96, frames)
        table = made.bitmap + 2 * half
        end = table + 24 * frames
        ones = b"\xff" * half
        first = struct.pack("<QIIQ", end, PAGE, 0, 0)
        path = sparse(
            tmp_path / "vmcore",
            end + PAGE,
            {0: bytes(front), made.bitmap: ones, made.bitmap + half: ones, table: first, end: page(9)},
        )
        with open_quietly(path) as dump:
            assert frame(dump, 0) == page(9)
            assert frame(dump, frames - 1) == FrameStatus.LOST
            assert sum(map(len, dump.present(1 << 20))) < 1000
            assert any("empty page descriptors" in problem for problem in dump.problems)
        assert peak("f = open_dump_file(path[0]); list(f.present(256)); AddressSpace(f)", path) < 3 * MOST

    @pytest.mark.parametrize(
        ("offset", "size"), [(1 << 63, 100), (100, 1 << 40), ((1 << 64) - 1, (1 << 64) - 1)]
    )
    @pytest.mark.parametrize("what", ["VMCOREINFO", "notes"])
    def test_places_of_notes_that_cannot_be(self, tmp_path, what, offset, size):
        """They are lost, not the dump."""
        made = kdump({1: page(1)})
        at = PAGE + {"VMCOREINFO": 32, "notes": 48}[what]
        struct.pack_into("<QQ", made.data, at, offset, size)
        with open_quietly(write(tmp_path, made.data)) as dump:
            assert frame(dump, 1) == page(1)
            assert any(what in problem and f"{size:,}" in problem for problem in dump.problems)


class TestSegments:
    def test_memory_of_46_bits(self, tmp_path):
        """A segment that claims 2^46 bytes of memory and has two pages in the file."""
        data = elf([Segment(0x100000, page(1) + page(2), size=1 << 46)])
        with open_quietly(write(tmp_path, data)) as dump:
            assert dump.frame_count == 2
            assert [block.tolist() for block in dump.present(256)] == [[0x100, 0x101]]
            assert frame(dump, (1 << 34) - 1) == FrameStatus.EXCLUDED
            assert frame(dump, 0x101) == page(2)

    def test_a_file_of_holes(self, tmp_path):
        """An ELF core of 1 TiB that keeps three pages of it: it reads as zeros, and a pass over all is short."""
        head = elf([Segment(0x100000, b"", size=TIB, file_size=TIB, offset=1 << 20)])
        where = {0: bytes(head), (1 << 20) + 5 * PAGE: page(5), (1 << 20) + TIB // 2: page(6), TIB: page(7)}
        path = sparse(tmp_path / "vmcore", (1 << 20) + TIB, where)
        with open_quietly(path) as dump:
            assert frame(dump, 0x105) == page(5)
            assert frame(dump, 0x106) == bytes(PAGE)
            there = np.concatenate(list(dump.present(256)))
            assert len(there) == dump.filled_count < 1000 < dump.frame_count
            assert {0x105, 0x100 + TIB // 2 // PAGE, TIB // PAGE} <= set(there.tolist())
        code = """
f = open_dump_file(path[0])
m = AddressSpace(f)
data, status = m.gather(np.arange(0x100000, 1 << 40, 1 << 27, dtype=np.uint64), 8, physical=True)
assert not status.any()
list(f.present(256))
from kernlab.debuginfo.vmcoreinfo_in_memory import find_vmcoreinfo
try:
    find_vmcoreinfo(f)
except kernlab.errors.DumpFormatError:
    pass
"""
        assert peak(code, path) < MOST

    @pytest.mark.parametrize("kind", ["raw", "lime"])
    def test_images_of_holes(self, tmp_path, kind):
        head = image_header(b"EMiL", 1, 0, TIB) if kind == "lime" else b""
        path = sparse(tmp_path / "image", len(head) + TIB, {0: head, len(head) + 7 * PAGE: page(7)})
        with open_quietly(path, format=kind) as dump:
            assert frame(dump, 7) == page(7)
            assert frame(dump, 1 << 20) == bytes(PAGE)
            assert len(np.concatenate(list(dump.present(256)))) < 100

    @pytest.mark.parametrize("count", [MOST_SEGMENTS, (1 << 32) - 1])
    def test_program_headers_in_a_hole(self, tmp_path, count):
        """Their number is a word of 32 bits: 240 GB of them in a file of holes."""
        data = elf([Segment(0x100000, page(1))], many=True)
        struct.pack_into("<I", data, 64 + 44, count)
        path = sparse(tmp_path / "vmcore", len(data) + 56 * count, {0: bytes(data)})
        with open_quietly(path) as dump:
            assert frame(dump, 0x100) == page(1)
        assert peak("open_dump_file(path[0])", path) < MOST


def test_records_of_a_flattened_file_that_all_overlap(tmp_path):
    """Each record of 3 bytes lies over two before: their index takes no more than a few numbers for each."""
    count = 100_000
    head = struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")
    rows = np.zeros(count, dtype=[("start", ">i8"), ("size", ">i8"), ("data", "S3")])
    rows["start"], rows["size"], rows["data"] = np.arange(count)[::-1], 3, b"abc"
    path = write(tmp_path, head + rows.tobytes() + struct.pack(">qq", -1, -1))
    tracemalloc.start()
    source = _source(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.read(0, count + 10) == b"ab" + b"c" * count
    assert most < 40 << 20


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 1 << 30), unique=True, max_size=30), st.booleans()), max_size=20
    )
)
def test_slots_of_any_frames(steps):
    """A table of slots against a dict."""
    table, known = SlotTable(1 << 31), {}
    for number, (frames, gone) in enumerate(steps):
        array = np.array(frames, dtype=np.int64)
        if gone:
            table[array] = 0
            known.update(dict.fromkeys(frames, 0))
        else:
            first = 1 + number * 100
            table[array] = np.arange(first, first + len(frames), dtype=np.int32)
            known.update(zip(frames, range(first, first + len(frames)), strict=True))
    asked = np.array([*known, 3, 1 << 30], dtype=np.int64)
    assert table[asked].tolist() == [known.get(frame, 0) for frame in asked.tolist()]
    assert len(table._pages) <= 3 * (len({frame >> 10 for frame, slot in known.items() if slot}) + 31)


def test_an_arena_with_a_table_of_slots_reads_the_same(real, tmp_path, monkeypatch):
    from kernlab.memory import arena

    path = write(tmp_path, real.kdump())
    some = np.array(sorted(real.frames)[::7], dtype=np.uint64) << np.uint64(12)
    with open_dump_file(path) as file:
        plain = AddressSpace(file, bound=1 << 20).gather(some, PAGE, physical=True)
        monkeypatch.setattr(arena, "_MOST_SLOTS", 0)
        other = AddressSpace(file, bound=1 << 20)
        for _ in range(2):
            table = other.gather(some, PAGE, physical=True)
            assert (plain[0] == table[0]).all()
            assert (plain[1] == table[1]).all()
        check_present(file)

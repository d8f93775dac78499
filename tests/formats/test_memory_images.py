"""LiME, AVML and raw images whose every byte is known; what AVML itself wrote; two machines' memory in each."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from formats.make_dump import PAGE, Segment, avml, elf, image_header, kdump, lime, page, raw
from formats.make_saved import block, state_file, stream
from formats.reading import check_present, frame, frames, open_quietly, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memory_runs import memory_runs, write_raw
from support.plain import plain
from support.seed import in_turn

import kernlab
from kernlab.errors import KernlabError, TruncatedDumpWarning
from kernlab.formats import DumpFile, FrameStatus, open_dump_file, snappy_file
from kernlab.formats.recognise import formats

EXCLUDED, ABSENT, LOST = FrameStatus.EXCLUDED, FrameStatus.ABSENT, FrameStatus.LOST
WRITERS: dict[str, Callable[[list[Segment]], bytes]] = {"lime": lime, "avml": avml, "raw": raw}
IMAGES = ["lime", "avml"]
#: What the tool's own code (its src/image.rs at version 0.20.0) made of `recorded_memory`.
RECORDED = Path(__file__).with_name("recorded") / "avml-0.20.0.avml"
BLOCK = 16 << 20


def content(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def opened_as(folder: Path, kind: str, segments: list[Segment], **how: bool) -> DumpFile:
    path = write(folder, WRITERS[kind](segments))
    return open_dump_file(path, format="raw" if kind == "raw" else None, **how)


class TestFrames:
    @pytest.mark.parametrize("kind", WRITERS)
    def test_what_the_file_says_of_itself(self, tmp_path, kind):
        with opened_as(tmp_path, kind, [Segment(0, content(2 * PAGE))]) as dump:
            assert (dump.format, dump.machine, dump.page_size) == (kind, "x86_64", PAGE)
            assert (dump.vmcoreinfo, dump.notes, dump.problems) == (None, [], [])
            assert (dump.frame_count, dump.max_pfn) == (2, 2)
            assert dump.header["file_bytes"] == (tmp_path / "vmcore").stat().st_size

    @pytest.mark.parametrize("kind", IMAGES)
    def test_edges_of_ram(self, tmp_path, kind):
        low, high = content(0x9EC00, 1), content(40 * PAGE, 2)
        with opened_as(tmp_path, kind, [Segment(0x1000, low), Segment(0x100000, high)]) as dump:
            assert frame(dump, 0) is ABSENT
            assert frame(dump, 1) == low[:PAGE]
            assert frame(dump, 0x9F) == low[0x9E000:] + bytes(0x400)
            assert [frame(dump, pfn) for pfn in (0xA0, 0xFF, 0x128, 2**52)] == [ABSENT] * 4
            assert frame(dump, 0x127) == high[39 * PAGE :]
            check_present(dump)

    def test_raw_has_every_frame(self, tmp_path):
        """Holes too, and the last one although it is not whole."""
        with opened_as(tmp_path, "raw", [Segment(PAGE, content(100)), Segment(5 * PAGE, b"end")]) as dump:
            assert frames(dump, [0, 1, 3, 5]) == {
                0: bytes(PAGE),
                1: content(100) + bytes(PAGE - 100),
                3: bytes(PAGE),
                5: b"end" + bytes(PAGE - 3),
            }
            assert frame(dump, 6) is ABSENT
            check_present(dump)

    @pytest.mark.parametrize("kind", IMAGES)
    def test_overlapping_ranges(self, tmp_path, kind):
        memory = content(40 * PAGE)
        inner = Segment(2 * PAGE + 8, memory[2 * PAGE + 8 : 5 * PAGE])
        with opened_as(tmp_path, kind, [Segment(0, memory), inner]) as dump:
            assert frames(dump, list(range(40))) == {i: memory[i * PAGE : (i + 1) * PAGE] for i in range(40)}
            check_present(dump)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        kind=st.sampled_from(list(WRITERS)),
        pieces=st.lists(
            st.tuples(
                st.integers(1, 40 * PAGE), st.integers(0, 2 * PAGE), st.sampled_from(["text", "random"])
            ),
            min_size=1,
            max_size=5,
        ),
        order=st.randoms(use_true_random=False),
    )
    def test_any_layout(self, tmp_path, kind, pieces, order):
        """(bytes, hole before them, how well they compress) … against a plain array of physical memory."""
        memory, known = bytearray(1 << 20), bytearray(1 << 20)
        segments, at = [], 0
        for number, (size, hole, what) in enumerate(pieces):
            at += hole
            data = content(size, number) if what == "random" else (page(number) * (size // PAGE + 1))[:size]
            memory[at : at + size], known[at : at + size] = data, b"\1" * size
            segments.append(Segment(at, data))
            at += size
        order.shuffle(segments)
        pfns = list(range(-(-at // PAGE) + 2))
        with opened_as(tmp_path, kind, segments) as dump:
            found = frames(dump, order.sample(pfns, len(pfns)))
            check_present(dump)
        for pfn in pfns:
            there = 1 in known[pfn * PAGE : (pfn + 1) * PAGE] or (kind == "raw" and pfn * PAGE < at)
            assert found[pfn] == (bytes(memory[pfn * PAGE : (pfn + 1) * PAGE]) if there else ABSENT)

    @pytest.mark.parametrize("kind", IMAGES)
    def test_blocks_of_zeros_that_avml_left_out_are_memory(self, tmp_path, kind):
        """Not so what lies behind a shorter block, or what is no multiple of a block."""
        data = page(1) * (BLOCK // PAGE)
        segments = [Segment(0, data), Segment(3 * BLOCK, data), Segment(4 * BLOCK + PAGE, data[:PAGE])]
        segments.append(Segment(6 * BLOCK + PAGE, data[:PAGE]))
        there, holes = BLOCK // PAGE, [4 * BLOCK // PAGE, 5 * BLOCK // PAGE, 7 * BLOCK // PAGE]
        with opened_as(tmp_path, kind, segments) as dump:
            assert [frame(dump, pfn) for pfn in (there - 1, there, 3 * there - 1, 3 * there)] == [
                page(1),
                EXCLUDED,
                EXCLUDED,
                page(1),
            ]
            assert [frame(dump, pfn) for pfn in holes] == [ABSENT] * 3
        with opened_as(tmp_path, kind, segments, zero_excluded=True) as dump:
            assert frame(dump, there) == bytes(PAGE)
            assert frame(dump, holes[0]) is ABSENT


class TestRecorded:
    """A file of AVML's own."""

    @staticmethod
    def memory() -> list[Segment]:
        text = b"".join(page(pfn) for pfn in range(1, 5))
        noise = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(64))
        return [Segment(0x1000, text), Segment(0x9000, noise)]

    def test_frames(self):
        text, noise = (segment.data for segment in self.memory())
        with open_dump_file(RECORDED) as dump:
            assert (dump.format, dump.problems) == ("avml", [])
            found = frames(dump, [0, 1, 2, 3, 4, 5, 9, 10])
        assert found == {
            **{pfn: text[(pfn - 1) * PAGE : pfn * PAGE] for pfn in range(1, 5)},
            9: noise + bytes(PAGE - len(noise)),
            **dict.fromkeys((0, 5, 10), ABSENT),
        }

    def test_the_writer_of_these_tests_lays_it_out_alike(self):
        """All but the compressed bytes, which each version of a compressor may choose."""
        ours, theirs = avml(self.memory()), RECORDED.read_bytes()
        assert ours[:42] == theirs[:42]
        assert theirs[-8:] == struct.pack("<Q", 10 + 4 + 4 + 2048)
        assert ours[-8:] == theirs[-8:]


class TestCut:
    @pytest.mark.parametrize("kind", IMAGES)
    def test_at_any_byte(self, tmp_path, kind):
        low, high = content(2 * PAGE, 1), content(33 * PAGE, 2)
        data = WRITERS[kind]([Segment(0, low), Segment(64 * PAGE, high)])
        whole = {0: low[:PAGE], 1: low[PAGE:]} | {64 + i: high[i * PAGE : (i + 1) * PAGE] for i in range(33)}
        seen = set()
        for end in sorted({*range(1, len(data), 497), *range(1, 50), *range(len(data) - 9, len(data))}):
            path = write(tmp_path, data[:end])
            try:
                dump = open_quietly(path)
            except KernlabError as error:
                assert str(path) in str(error)  # noqa: PT017 - some cuts open, some do not
                assert end < 33 + (0 if kind == "lime" else 2 * PAGE + 20)
                continue
            with dump:
                found = frames(dump, list(whole))
                # Between two ranges nothing says that there was another; AVML's last 8 bytes say nothing.
                assert dump.problems or all(isinstance(found[pfn], bytes) for pfn in (0, 1))
            for pfn, expected in whole.items():
                assert found[pfn] in (expected, LOST, ABSENT)
            seen.add(sum(isinstance(value, bytes) for value in found.values()))
        assert seen >= ({0, 1, 2, 3, 20, 34} if kind == "lime" else {2, 2 + 16, 2 + 32, 35})

    @pytest.mark.parametrize("kind", IMAGES)
    def test_the_warning_says_where_and_how_many(self, tmp_path, kind):
        data = WRITERS[kind]([Segment(0x100000, content(48 * PAGE))])
        path = write(tmp_path, data[:-5000])
        with pytest.warns(TruncatedDumpWarning, match=r"Reading on with \d\d of 48 pages") as warned:
            dump = open_dump_file(path)
        with dump:
            text = str(warned[0].message)
            assert f"{path} ends at byte {len(data) - 5000:,}" in text
            assert f"with {dump.frame_count:,} of" in text
            assert len(dump.problems) == 1
            assert frame(dump, 0x12F) is LOST


class TestDamage:
    def test_a_chunk_that_is_damaged_costs_its_pages_alone(self, tmp_path):
        memory = content(80 * PAGE)
        data = bytearray(avml([Segment(0, memory)]))
        place = len(data) // 2
        data[place] ^= 0xFF
        with open_dump_file(write(tmp_path, data)) as dump:
            assert dump.problems == []
            found = frames(dump, list(range(80)))
            lost = [pfn for pfn, value in found.items() if value is LOST]
            assert len(lost) == 16
            assert all(found[pfn] == memory[pfn * PAGE : (pfn + 1) * PAGE] for pfn in set(found) - set(lost))
            (problem,) = dump.problems
            assert "1 of those read so far" in problem
            chunk = int(problem.rsplit("byte ")[1].replace(",", ""))
            assert chunk <= place < chunk + (1 << 16) + 8

    @pytest.mark.parametrize("what", [b"\x42", b"\xff", b"\0\xff\xff\xff", b"\1\x09\0\0"])
    def test_a_damaged_chunk_header_costs_the_rest_of_its_block(self, tmp_path, what):
        first, second = content(80 * PAGE, 1), content(40 * PAGE, 2)
        data = bytearray(avml([Segment(0, first), Segment(1 << 20, second)]))
        # The third chunk; random data is stored as it is.
        place = 32 + 10 + 2 * (8 + (1 << 16))
        assert data[place] == 1
        data[place : place + len(what)] = what
        with pytest.warns(TruncatedDumpWarning, match="of 120 pages"):
            dump = open_dump_file(write(tmp_path, data))
        with dump:
            found = frames(dump, [*range(80), *range(256, 296)])
        for pfn in range(32):
            assert found[pfn] == first[pfn * PAGE : (pfn + 1) * PAGE]
        assert {found[pfn] for pfn in range(48, 80)} == {LOST}
        for pfn in range(256, 296):
            assert found[pfn] == second[(pfn - 256) * PAGE : (pfn - 255) * PAGE]

    def test_a_page_of_two_blocks_is_lost_with_either(self, tmp_path):
        """What follows the damaged block's bytes in the index is the next block's: not to be taken for its own."""
        first, second = content(32 * PAGE + 2048, 1), content(4 * PAGE, 2)
        data = bytearray(avml([Segment(0, first), Segment(len(first), second)]))
        data[32 + 10 + 2 * (8 + (1 << 16))] = 0x42
        with open_quietly(write(tmp_path, data)) as dump:
            assert frame(dump, 31) == first[31 * PAGE : 32 * PAGE]
            assert frame(dump, 32) is LOST
            assert frame(dump, 33) == second[2048 : 2048 + PAGE]

    def test_a_damaged_block_header_costs_its_block(self, tmp_path):
        """And what a block of zeros was left out for is not told from what is lost."""
        data = page(1) * (BLOCK // PAGE)
        parts = [avml([Segment(start, data)]) for start in (0, BLOCK, 2 * BLOCK)]
        damaged = parts[0] + b"LMVA" + parts[1][4:] + parts[2]
        with pytest.warns(
            TruncatedDumpWarning, match=f"no header of a range of memory at byte {len(parts[0]):,}"
        ):
            dump = open_dump_file(write(tmp_path, damaged), zero_excluded=True)
        with dump:
            assert [frame(dump, start // PAGE) for start in (0, BLOCK, 2 * BLOCK)] == [
                page(1),
                ABSENT,
                page(1),
            ]

    def test_damage_between_ranges_of_lime(self, tmp_path):
        data = lime([Segment(0, content(PAGE))]) + b"EMi!" + bytes(5000)
        with pytest.warns(TruncatedDumpWarning, match=r"at byte 4,128, where one should be, but 45 4d 69 21"):
            dump = open_dump_file(write(tmp_path, data))
        with dump:
            assert frame(dump, 0) == content(PAGE)


class TestHostile:
    @pytest.mark.parametrize("size", [2**40, 2**51, 2**52])
    @pytest.mark.parametrize("kind", IMAGES)
    def test_sizes_are_bounded_by_the_file(self, tmp_path, kind, size):
        data = bytearray(WRITERS[kind]([Segment(0, content(PAGE))]))
        data[16:24] = struct.pack("<Q", size - 1)
        with open_quietly(write(tmp_path, data)) as dump:
            assert dump.frame_count <= 1
            assert frame(dump, 0) == content(PAGE)
            assert frame(dump, 2**38) is (LOST if size > 2**50 else ABSENT)

    @pytest.mark.parametrize(("first", "last"), [(5, 4), (0, 2**52), (2**63, 2**63 + 5), (0, 2**64 - 1)])
    @pytest.mark.parametrize("kind", IMAGES)
    def test_addresses_that_cannot_be(self, tmp_path, kind, first, last):
        data = bytearray(WRITERS[kind]([Segment(0, content(PAGE))]))
        data[8:24] = struct.pack("<QQ", first, last)
        with pytest.raises(
            KernlabError, match=f"range of memory at byte 0 goes from {first:#x} to {last:#x}"
        ):
            open_dump_file(write(tmp_path, data))

    def test_a_bomb_says_more_than_snappy_can_pack(self, tmp_path):
        """Chunks of a few bytes that claim 64 KiB each: refused before any is unpacked."""
        chunk = b"\0\x0c\0\0" + bytes(4) + b"\x80\x80\x04" + bytes(5)
        stream = snappy_file.STREAM_START + chunk * 10_000
        with pytest.raises(KernlabError, match="a chunk of 16 bytes holds 65,536"):
            open_dump_file(write(tmp_path, image_header(b"AVML", 2, 0, 1 << 30) + stream))

    def test_a_bomb_that_unpacks_to_more_than_it_says(self, tmp_path):
        data = bytearray(avml([Segment(0, bytes((1 << 16) - 1) + b"\1")]))
        # The varint of the unpacked length: 300 bytes instead.
        assert data[42] == 0
        assert data[50:53] == b"\x80\x80\x04"
        data[50:53] = b"\xac\x82\x00"
        with open_quietly(write(tmp_path, data)) as dump:
            assert all(value in (LOST, ABSENT) for value in frames(dump, list(range(16))).values())

    @pytest.mark.parametrize("kind", [0x01, 0xFE])
    def test_a_million_small_chunks_end(self, tmp_path, kind):
        """Chunks of one byte, or to be skipped: the walk ends long before the file does."""
        chunk = bytes([kind]) + (b"\5\0\0" + bytes(4) + b"x" if kind == 1 else b"\0\0\0")
        stream = snappy_file.STREAM_START + chunk * (12_000_000 // len(chunk))
        path = write(tmp_path, image_header(b"AVML", 2, 0, 1 << 30) + stream)
        index = snappy_file.ChunkIndex(opened_source(path))
        place, wrong = index.add_stream(32, 1 << 30)
        assert wrong is not None
        assert "all but empty" in wrong
        assert place < path.stat().st_size / 2

    def test_block_starts_over_and_over_end(self, tmp_path):
        """Each looks like a block, none is one: looked at a bounded number of times."""
        false = image_header(b"AVML", 2, 1 << 30, 4096) + snappy_file.STREAM_START + b"\x42"
        good = avml([Segment(0, content(PAGE))])
        with open_quietly(write(tmp_path, good + false * 20_000)) as dump:
            assert frame(dump, 0) == content(PAGE)
            (problem,) = dump.problems
            assert "(and at 1,000 more places)" in problem

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        kind=st.sampled_from(IMAGES),
        changes=st.lists(
            st.tuples(st.integers(4, 9000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=5
        ),
    )
    def test_any_bytes_changed(self, tmp_path, kind, changes):
        memory = {0: page(0), 1: page(1, "random"), 8: page(8)}
        data = bytearray(WRITERS[kind]([Segment(0, memory[0] + memory[1]), Segment(8 * PAGE, memory[8])]))
        for at, what in changes:
            at %= len(data)
            data[at : at + len(what)] = what[: len(data) - at]
        path = write(tmp_path, data)
        try:
            dump = open_quietly(path)
        except KernlabError as error:
            assert str(path) in str(error)  # noqa: PT017 - either outcome is right
            return
        with dump:
            assert dump.frame_count < 30
            found = frames(dump, [*range(12), 2**38])
            assert all(isinstance(value, FrameStatus) or len(value) == PAGE for value in found.values())

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        kind=st.sampled_from(["lime", "avml"]), data=st.binary(max_size=2000), size=st.integers(1, 1 << 53)
    )
    def test_any_bytes_behind_a_header(self, tmp_path, kind, data, size):
        magic, version = (b"EMiL", 1) if kind == "lime" else (b"AVML", 2)
        stream = data if kind == "lime" else snappy_file.STREAM_START + data
        path = write(tmp_path, image_header(magic, version, 0, size) + stream)
        try:
            dump = open_quietly(path)
        except KernlabError as error:
            assert str(path) in str(error)  # noqa: PT017 - either outcome is right
            return
        with dump:
            frames(dump, [*range(4), 2**38])
            assert dump.frame_count <= 1 + (len(data) * 22 if kind == "avml" else len(data)) // PAGE + 1


def opened_source(path: Path):
    from kernlab.formats.source import open_source

    return open_source(path, os.open(path, os.O_RDONLY), path.stat().st_size)


class TestFormat:
    """`format=`, and the list that it chooses from."""

    #: A file of each format that is recognised.
    FILES: ClassVar[dict[str, Callable[[], bytes]]] = {
        "kdump": lambda: bytes(kdump({1: page(1)}).data),
        "elf": lambda: bytes(elf([Segment(0, page(1))])),
        "lime": lambda: lime([Segment(0, page(1))]),
        "avml": lambda: avml([Segment(0, page(1))]),
        "vmware": lambda: state_file({"memory": [block("Memory", page(1))]}),
        "qemu-saved": lambda: stream({"pc.ram": {0: page(1)}}, {"pc.ram": PAGE}),
    }

    def test_names(self):
        assert list(formats()) == ["kdump", "elf", "lime", "avml", "vmware", "qemu-saved", "raw"]
        assert all(name == entry.name for name, entry in formats().items())

    @pytest.mark.parametrize("name", FILES)
    def test_one_format_alone_recognises_a_file(self, tmp_path, name):
        data = self.FILES[name]()
        assert [entry.name for entry in formats().values() if entry.recognises(data[:4160])] == [name]
        for given_name in (None, name):
            with open_dump_file(write(tmp_path, data), format=given_name) as dump:
                assert dump.format.removesuffix("-zlib") == name

    @settings(max_examples=300, deadline=None)
    @given(start=st.binary(max_size=64))
    def test_never_two(self, start):
        for magic in (b"", b"KDUMP   ", b"\x7fELF", b"EMiL", b"AVML", b"QEVM", bytes.fromhex("d2bed2be")):
            assert sum(entry.recognises(magic + start) for entry in formats().values()) <= 1

    @pytest.mark.parametrize("name", FILES)
    def test_nothing_is_opened_as_what_it_is_not(self, tmp_path, name):
        path = write(tmp_path, self.FILES[name]())
        for other in set(formats()) - {name}:
            with pytest.raises(KernlabError, match=f"leave out format='{other}'") as caught:
                open_dump_file(path, format=other)
            assert formats()[name].title in str(caught.value)
            assert formats()[other].title in str(caught.value)

    @pytest.mark.parametrize("name", FILES)
    def test_what_is_no_such_file_says_so(self, tmp_path, name):
        path = write(tmp_path, b"\xde\xad\xbe\xef" * 2000)
        with pytest.raises(KernlabError) as caught:
            open_dump_file(path, format=name)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("name", ["limes", "RAW", "", 5])
    def test_a_name_that_is_none(self, tmp_path, name):
        with pytest.raises(
            KernlabError, match="the formats are kdump, elf, lime, avml, vmware, qemu-saved, raw"
        ) as caught:
            kernlab.open(write(tmp_path, lime([Segment(0, page(1))])), format=name)
        assert repr(name) in str(caught.value)

    def test_what_nothing_recognises_lists_the_formats(self, tmp_path):
        with pytest.raises(KernlabError) as caught:
            open_dump_file(write(tmp_path, b"\x53\xff\x00\xf0" * 2000))
        for entry in formats().values():
            assert entry.title in str(caught.value)
        assert "53 ff 00 f0" in str(caught.value)
        assert "format='raw'" in str(caught.value)

    def test_raw_without_a_kernel_says_what_was_looked_for(self, tmp_path):
        with pytest.raises(
            KernlabError, match=r"this raw dump carries no VMCOREINFO.*none was found in its 3 pages"
        ):
            kernlab.open(write(tmp_path, content(3 * PAGE)), format="raw")


#: Of kernel memory alone: what the dump was saved without is zeros or a hole in the images.
TABLES = ("tasks", "maps", "log", "modules", "slabs", "slab_objects")


@pytest.mark.parametrize(
    ("name", "kind"), in_turn(("debian-6.1", "debian-7.2"), [*WRITERS, "vmware", "qemu-saved"])
)
def test_the_tables_of_a_real_machine(tmp_path, opened, name, kind):
    """The memory of a dump in another format, which has no VMCOREINFO: it is found in memory, and all is as it was."""
    original = opened(name)
    path = tmp_path / "memory.vmss"
    write_image(original.kernel.file, kind, path)
    with kernlab.open(path, format="raw" if kind == "raw" else None) as dump:
        assert dump.info["format"] == kind
        assert dump.info["release"] == original.info["release"]
        for table in TABLES:
            got, expected = getattr(dump, table), getattr(original, table)
            if callable(got):
                got, expected = got("task_struct"), expected("task_struct")
            assert len(expected) > 5
            pd.testing.assert_frame_equal(plain(got), plain(expected))


def write_image(file: DumpFile, kind: str, path: Path) -> None:
    """The memory of a dump, each run of frames a range."""
    if kind == "raw":
        write_raw(file, path)
        return
    if kind == "vmware":
        write_raw(file, path.with_suffix(".vmem"))
        path.write_bytes(state_file({"memory": []}))
        return
    if kind == "qemu-saved":
        pages = {
            start // PAGE + number: data[number * PAGE : (number + 1) * PAGE]
            for start, data in memory_runs(file)
            for number in range(len(data) // PAGE)
        }
        path.write_bytes(stream({"pc.ram": pages}, {"pc.ram": (max(pages) + 1) * PAGE}))
        return
    with path.open("wb") as image:
        for start, data in memory_runs(file):
            image.write(WRITERS[kind]([Segment(start, data)]))

"""Flattened dumps (makedumpfile -F, QEMU's kdump-*): whatever the records look like, the dump in them counts."""

from __future__ import annotations

import random
import re
import struct
from contextlib import nullcontext

import numpy as np
import pytest
from formats.make_dump import KINDS, PAGE, Segment, elf, flatten, kdump, page, some
from formats.reading import frame, frames, open_quietly, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernlab.errors import KernlabError, TruncatedDumpWarning
from kernlab.formats import FrameStatus, open_dump_file
from kernlab.formats import flattened as flattened_module
from kernlab.formats.flattened import FlattenedFile
from kernlab.formats.recognise import _source

HEADER = 4096


def source(folder, data: bytes) -> FlattenedFile:
    found = _source(write(folder, data))
    assert isinstance(found, FlattenedFile)
    return found


def model(data: bytes, records: list[tuple[int, int]]) -> tuple[bytes, list[bool]]:
    """The file that makedumpfile -R would write of these records, and which of its bytes they hold."""
    size = max((at + length for at, length in records), default=0)
    whole, held = bytearray(size), [False] * size
    for at, length in records:
        whole[at : at + length] = data[at : at + length]
        held[at : at + length] = [True] * length
    return bytes(whole), held


class TestSource:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        records=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 400)), min_size=1, max_size=40),
        asked=st.lists(st.tuples(st.integers(0, 3600), st.integers(0, 500)), min_size=1, max_size=30),
        whole=st.booleans(),
    )
    def test_any_records(self, tmp_path, records, asked, whole):
        """Overlaps, holes, any order: read, array, pieces and copy give what the reassembled file has."""
        data = random.Random(5).randbytes(4000)
        with pytest.warns(TruncatedDumpWarning) if not whole else nullcontext():
            found = source(tmp_path, flatten(data, records, end=whole))
        expected, held = model(data, records)
        assert found.size == len(expected)
        assert found.stored == sum(held)
        offsets = np.array([at for at, _ in asked], dtype=np.uint64)
        sizes = np.array([size for _, size in asked], dtype=np.uint64)
        pieces = [bytes(piece) for piece in found.pieces(offsets, sizes)]
        for (at, size), piece in zip(asked, pieces, strict=True):
            there = expected[at : at + size]
            assert found.read(at, size) == there
            # A hole of a whole stream is zeros; of one that was cut it is a loss.
            reach = 0
            while reach < len(there) and (whole or held[at + reach]):
                reach += 1
            assert found.array("u1", at, size).tobytes() == there[:reach]
            assert found.array("<u4", at, size // 4).tobytes() == there[: min(reach, size) // 4 * 4]
            target = bytearray(b"\xaa" * size)
            if reach == size:
                assert piece == there
                assert found.copy(at, memoryview(target))
                assert target == there
            else:
                assert len(piece) < size
                assert not found.copy(at, memoryview(target))
        found.close()

    def test_a_later_record_counts(self, tmp_path):
        """makedumpfile writes headers again when it knows more."""
        parts = [struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(HEADER, b"\0")]
        for at, text in ((0, b"aaaaaaaa"), (8, b"bbbb"), (2, b"cccc"), (4, b"d"), (0, b"e"), (-1, b"")):
            parts.append(struct.pack(">qq", at, len(text) or -1) + text)
        with pytest.raises(KernlabError, match="eaccdcaabbbb"):
            open_dump_file(write(tmp_path, b"".join(parts)))
        found = _source(tmp_path / "vmcore")
        assert found.read(0, 100) == b"eaccdcaabbbb"

    def test_far_away_records_do_not_size_anything(self, tmp_path):
        data = flatten(b"x" * 5000)[:-16] + struct.pack(">qq", 1 << 61, 1) + b"y" + struct.pack(">qq", -1, -1)
        found = source(tmp_path, data)
        assert found.size == (1 << 61) + 1
        assert len(found.array("u1", 0, 1 << 60)) == 5000
        assert not found.copy(4000, memoryview(bytearray(2000)))

    def test_closed(self, tmp_path):
        found = source(tmp_path, flatten(b"x" * 5000))
        found.close()
        found.close()
        with pytest.raises(KernlabError, match="was closed"):
            found.read(0, 1)


class TestDumps:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        seed=st.integers(0, 1 << 30),
        step=st.integers(50, 20_000),
        kind=st.sampled_from(KINDS),
        shuffled=st.booleans(),
    )
    def test_kdump(self, tmp_path, seed, step, kind, shuffled):
        pages = some(30)
        data = bytes(kdump(pages, excluded=[2, 3], kind=kind).data)
        records = [(at, min(step, len(data) - at)) for at in range(0, len(data), step)]
        if shuffled:
            random.Random(seed).shuffle(records)
        with open_dump_file(write(tmp_path, flatten(data, records))) as dump:
            assert dump.format == f"kdump-{kind} (flattened)"
            assert frames(dump, [*pages, 2, 3, 5]) == pages | {
                2: FrameStatus.EXCLUDED,
                3: FrameStatus.EXCLUDED,
                5: FrameStatus.ABSENT,
            }
            assert dump.problems == []

    def test_elf(self, tmp_path):
        content = random.Random(1).randbytes(5 * PAGE)
        data = bytes(elf([Segment(0x10000, content, size=8 * PAGE), Segment(0x40F00, b"end of RAM")]))
        with open_dump_file(write(tmp_path, flatten(data, step=777))) as dump:
            assert dump.format == "elf (flattened)"
            assert dump.vmcoreinfo is not None
            for i in range(5):
                assert frame(dump, 0x10 + i) == content[i * PAGE : (i + 1) * PAGE]
            assert frame(dump, 0x16) is FrameStatus.EXCLUDED
            assert frame(dump, 0x40) == bytes(0xF00) + b"end of RAM" + bytes(246)
            assert frame(dump, 0x41) is FrameStatus.ABSENT

    def test_elf_with_a_record_lost(self, tmp_path):
        """A hole in a stream without its end costs the frames that lie there, and no others."""
        content = random.Random(1).randbytes(8 * PAGE)
        data = bytes(elf([Segment(0x10000, content)]))
        first = len(data) - len(content)
        records = [(0, first + PAGE), (first + 2 * PAGE, 3 * PAGE), (first + 5 * PAGE + 100, 3 * PAGE - 100)]
        with open_quietly(write(tmp_path, flatten(data, records, end=False))) as dump:
            found = frames(dump, [0x10 + i for i in range(8)])
        for i in range(8):
            expected = FrameStatus.LOST if i in (1, 5) else content[i * PAGE : (i + 1) * PAGE]
            assert found[0x10 + i] == expected

    def test_bitmaps_with_a_hole_behind_them(self, tmp_path):
        """makedumpfile writes no more of a bitmap than there are frames; the next record begins at the next block."""
        pages = some()
        made = kdump(pages)
        used = (max(pages) + 8) // 8
        second = made.bitmap + made.bitmap_bytes // 2
        records = [
            (0, made.bitmap + used),
            (second, used),
            (made.table, len(made.data) - made.table),
        ]
        for end in (True, False):
            with open_quietly(write(tmp_path, flatten(made.data, records, end=end))) as dump:
                assert frames(dump, list(pages)) == pages
                assert bool(dump.problems) != end


class TestDamage:
    @pytest.mark.parametrize("kind", ["zlib", "raw"])
    def test_cut_at_any_byte(self, tmp_path, kind):
        """Each frame is right, or LOST, or not known to be there; and there are words for it."""
        pages = some(40)
        data = flatten(kdump(pages, kind=kind, excluded=[2]).data, step=1000)
        opened = 0
        for end in [*range(1, len(data), 487), len(data) - 1, len(data) - 16, len(data) - 17]:
            path = write(tmp_path, data[:end])
            try:
                dump = open_quietly(path)
            except KernlabError as error:
                assert str(path) in str(error)  # noqa: PT017 - some cuts open, some do not
                continue
            opened += 1
            with dump:
                assert "flattened" in dump.problems[0]
                found = frames(dump, [*pages, 2])
            for pfn, content in pages.items():
                assert found[pfn] in (content, FrameStatus.LOST), end
            assert found[2] in (FrameStatus.EXCLUDED, FrameStatus.LOST)
        assert opened > 5

    def test_descriptors_of_a_cut_stream(self, tmp_path):
        """Their block comes last from makedumpfile, after the pages: without it no page can be told."""
        pages = some(40)
        made = kdump(pages)
        records = [(0, made.descriptor(10)), (made.pages, len(made.data) - made.pages)]
        with open_quietly(write(tmp_path, flatten(made.data, records, end=False))) as dump:
            found = frames(dump, list(pages))
            assert [found[pfn] is FrameStatus.LOST for pfn in pages] == [False] * 10 + [True] * 30
            assert any("lacks its page descriptors from number 10 on" in problem for problem in dump.problems)

    def test_bitmaps_of_a_cut_stream(self, tmp_path):
        pages = some(40)
        made = kdump(pages)
        records = [(0, made.bitmap + 5), (made.table, len(made.data) - made.table)]
        with open_quietly(write(tmp_path, flatten(made.data, records, end=False))) as dump:
            assert set(frames(dump, list(pages)).values()) == {FrameStatus.LOST}
            assert any("lacks its bitmaps" in problem for problem in dump.problems)

    @pytest.mark.parametrize(
        ("head", "what"),
        [
            ((-5, 100), "record at byte"),
            ((0, 0), "record at byte"),
            ((0, -7), "record at byte"),
            ((1 << 62, 8), "record at byte"),
            ((0, 1 << 62), "record at byte"),
        ],
    )
    def test_damaged_record(self, tmp_path, head, what):
        data = flatten(kdump(some()).data, step=5000)
        at = HEADER + 3 * (16 + 5000)
        damaged = data[:at] + struct.pack(">qq", *head) + data[at + 16 :]
        with pytest.warns(TruncatedDumpWarning) as warned:
            dump = open_dump_file(write(tmp_path, damaged))
        with dump:
            assert re.search(f"{what}.*{at:,}", str(warned[0].message))
            assert "3 records before that" in dump.problems[0]

    @pytest.mark.parametrize(("kind", "version"), [(2, 1), (1, 2), (-1, -1), (0, 0)])
    def test_other_versions(self, tmp_path, kind, version):
        data = struct.pack(">16sqq", b"makedumpfile", kind, version) + flatten(kdump(some()).data)[32:]
        with pytest.raises(KernlabError, match="type 1, version 1"):
            open_dump_file(write(tmp_path, data))

    @pytest.mark.parametrize("records", [[], [(0, 10)]])
    def test_nearly_nothing_in_it(self, tmp_path, records):
        with pytest.raises(KernlabError, match="without a record" if not records else "is text"):
            open_dump_file(write(tmp_path, flatten(b"K" * 10, records)))

    def test_what_is_no_dump_inside(self, tmp_path):
        with pytest.raises(KernlabError, match="JPEG"):
            open_dump_file(write(tmp_path, flatten(b"\xff\xd8\xff\xe0" + bytes(5000))))

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=30)), max_size=6))
    def test_any_bytes_changed(self, tmp_path, changes):
        """A KernlabError, or frames that can be read or are missing; never anything else, never for long."""
        data = bytearray(flatten(kdump(some(20), excluded=[2]).data, step=500))
        for where, what in changes:
            at = int(where * (len(data) - 1))
            data[at : at + len(what)] = what
        try:
            with open_quietly(write(tmp_path, data)) as dump:
                frames(dump, list(range(70)))
        except KernlabError:
            return


def test_many_records_show_progress(tmp_path, monkeypatch):
    """The bar is told of every byte of the file."""
    told: list[int] = []

    class Bar:
        def __init__(self, what: str, total: int, unit: str):
            told.append(-total)

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            return

        def advance(self, amount: int) -> None:
            told.append(amount)

    monkeypatch.setattr(flattened_module, "progress", Bar)
    pages = {i: page(i) for i in range(100)}
    data = flatten(kdump(pages).data, step=100)
    with open_dump_file(write(tmp_path, data)) as dump:
        assert frames(dump, list(pages)) == pages
    assert sum(told) == -(HEADER + 16)

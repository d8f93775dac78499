"""ELF vmcores whose every byte is known."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from formats.make_dump import PAGE, VMCOREINFO, Segment, elf, note, notes
from formats.reading import check_present, frame, frames, open_quietly, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernlab.errors import KernlabError, TruncatedDumpWarning
from kernlab.formats import FrameStatus, open_dump_file

EXCLUDED, ABSENT, LOST = FrameStatus.EXCLUDED, FrameStatus.ABSENT, FrameStatus.LOST


def content(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def opened(folder, segments, *, zero_excluded=False, **how):
    return open_dump_file(write(folder, elf(segments, **how)), zero_excluded=zero_excluded)


class TestFrames:
    def test_what_the_file_says_of_itself(self, tmp_path):
        with opened(tmp_path, [Segment(0x1000, content(2 * PAGE))]) as dump:
            assert (dump.format, dump.machine, dump.page_size) == ("elf", "x86_64", PAGE)
            assert dump.vmcoreinfo == VMCOREINFO
            assert dump.header["cpus"] == 2
            assert (dump.frame_count, dump.max_pfn, dump.problems) == (2, 3, [])

    def test_a_note_says_where_it_lies(self, tmp_path):
        data = elf([Segment(0, content(PAGE))])
        with open_dump_file(write(tmp_path, data)) as dump:
            for entry in dump.notes:
                assert data[entry.offset : entry.offset + len(entry.desc)] == entry.desc

    def test_no_vmcoreinfo_is_no_error(self, tmp_path):
        with opened(tmp_path, [Segment(0, content(PAGE))], note_bytes=notes(None)) as dump:
            assert dump.vmcoreinfo is None

    @pytest.mark.parametrize("align", [1, PAGE])
    def test_edges_of_ram(self, tmp_path, align):
        """The low 640 KiB end inside a frame: what no segment has of it is zero."""
        low, high = content(0x9FC00, 1), content(3 * PAGE, 2)
        with opened(tmp_path, [Segment(0, low), Segment(0x100000, high)], align=align) as dump:
            assert frame(dump, 0) == low[:PAGE]
            assert frame(dump, 0x9F) == low[0x9F000:] + bytes(0x400)
            assert [frame(dump, pfn) for pfn in (0xA0, 0xFF)] == [ABSENT, ABSENT]
            assert frame(dump, 0x102) == high[2 * PAGE :]
            assert frame(dump, 0x103) is ABSENT
            assert frame(dump, 2**52) is ABSENT
            check_present(dump)

    def test_a_frame_of_two_segments(self, tmp_path):
        first, second = content(PAGE + 100, 1), content(PAGE, 2)
        with opened(tmp_path, [Segment(0, first), Segment(PAGE + 200, second)], align=1) as dump:
            assert frame(dump, 1) == first[PAGE:] + bytes(100) + second[: PAGE - 200]
            assert frame(dump, 2) == second[PAGE - 200 :] + bytes(PAGE - 200)
            assert dump.frame_count == 3

    def test_overlapping_segments(self, tmp_path):
        """The kernel's text has a segment of its own inside the direct map's, as in a /proc/vmcore."""
        memory = content(8 * PAGE)
        inner = Segment(2 * PAGE + 8, memory[2 * PAGE + 8 : 5 * PAGE], virtual=0xFFFFFFFF81000000)
        with opened(tmp_path, [Segment(0, memory), inner]) as dump:
            assert frames(dump, list(range(8))) == {i: memory[i * PAGE : (i + 1) * PAGE] for i in range(8)}
            assert dump.frame_count == 8
            check_present(dump)

    def test_tails_without_bytes(self, tmp_path):
        segments = [Segment(0, content(2 * PAGE), size=5 * PAGE), Segment(8 * PAGE, b"", size=PAGE)]
        with opened(tmp_path, segments) as dump:
            assert [frame(dump, pfn) for pfn in range(2, 10)] == [EXCLUDED] * 3 + [ABSENT] * 3 + [
                EXCLUDED,
                ABSENT,
            ]
            assert dump.frame_count == 2
        with opened(tmp_path, segments, zero_excluded=True) as dump:
            assert frame(dump, 1) == content(2 * PAGE)[PAGE:]
            assert [frame(dump, pfn) for pfn in (2, 4, 8)] == [bytes(PAGE)] * 3
            assert frame(dump, 5) is ABSENT
            got = frames(dump, [4, 0, 3, 1, 2])
            assert got[0] == content(2 * PAGE)[:PAGE]
            assert got[3] == bytes(PAGE)

    def test_a_tail_that_begins_inside_a_frame(self, tmp_path):
        """A segment of which the file has nothing: its first, partial frame is RAM that was left out, too."""
        segments = [Segment(0, content(PAGE)), Segment(4 * PAGE + 0xC00, b"", size=0x400 + PAGE)]
        with opened(tmp_path, segments) as dump:
            assert [frame(dump, pfn) for pfn in (3, 4, 5, 6)] == [ABSENT, EXCLUDED, EXCLUDED, ABSENT]

    def test_virtual_only_segments_are_skipped(self, tmp_path):
        """/proc/kcore's modules and vmalloc areas: p_paddr is -1, or 0 in old kernels."""
        direct = 0xFFFF888000000000
        memory = content(2 * PAGE, 1)
        segments = [
            Segment(2**64 - 1, content(PAGE, 2), virtual=0xFFFFFFFFC0000000),
            Segment(0, content(PAGE, 3), virtual=0xFFFFC90000000000),
            Segment(0, content(PAGE, 4), virtual=direct),
            Segment(0x100000, memory, virtual=direct + 0x100000),
        ]
        with opened(tmp_path, segments) as dump:
            assert frame(dump, 0) == content(PAGE, 4)
            assert frame(dump, 0x101) == memory[PAGE:]
            assert dump.frame_count == 3
            assert len(dump.problems) == 1

    def test_more_segments_than_a_header_can_count(self, tmp_path):
        count = 70_000
        memory = content(count * 64)
        segments = [Segment(2 * PAGE * i, memory[64 * i : 64 * i + 64]) for i in range(count)]
        path = write(tmp_path, elf(segments, align=1, many=True))
        started = time.perf_counter()
        with open_dump_file(path) as dump:
            assert dump.frame_count == count
            got = frames(dump, [0, 2, 2 * 65_535, 2 * (count - 1), 3])
            assert time.perf_counter() - started < 5
        assert got[2 * (count - 1)] == memory[-64:] + bytes(PAGE - 64)
        assert got[2 * 65_535] == memory[64 * 65_535 : 64 * 65_536] + bytes(PAGE - 64)
        assert got[3] is ABSENT

    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        pieces=st.lists(
            st.tuples(st.integers(1, 3 * PAGE), st.integers(0, 2 * PAGE), st.integers(0, 2 * PAGE)),
            min_size=1,
            max_size=6,
        ),
        align=st.sampled_from([1, 8, PAGE]),
        order=st.randoms(),
    )
    def test_any_layout(self, tmp_path, pieces, align, order):
        """(bytes in the file, tail without bytes, hole before it) … against a plain array of physical memory."""
        memory, known = bytearray(1 << 18), bytearray(1 << 18)
        segments, at = [], 0
        for number, (size, tail, hole) in enumerate(pieces):
            at += hole
            data = content(size, number)
            memory[at : at + size] = data
            known[at : at + size] = b"\1" * size
            known[at + size : at + size + tail] = b"\2" * tail
            segments.append(Segment(at, data, size=size + tail))
            at += size + tail
        order.shuffle(segments)
        with opened(tmp_path, segments, align=align) as dump:
            found = frames(dump, list(range(-(-at // PAGE) + 2)))
        for pfn, got in found.items():
            part = known[pfn * PAGE : (pfn + 1) * PAGE]
            if 1 in part:
                assert got == bytes(memory[pfn * PAGE : (pfn + 1) * PAGE])
            else:
                assert got is (EXCLUDED if 2 in part else ABSENT)


class TestRefused:
    @pytest.mark.parametrize(("kind", "what"), [(2, "vmlinux"), (3, "shared object"), (1, "kernel module")])
    def test_no_core(self, tmp_path, kind, what):
        with pytest.raises(KernlabError, match=f"{what}.*not a core dump"):
            opened(tmp_path, [Segment(0, content(PAGE))], kind=kind)

    @pytest.mark.parametrize(("machine", "name"), [(40, "arm"), (22, "s390"), (21, "ppc64"), (243, "riscv")])
    def test_other_machines(self, tmp_path, machine, name):
        with pytest.raises(KernlabError, match=f"(?i)another machine .{name}"):
            opened(tmp_path, [Segment(0, content(PAGE))], machine=machine)

    def test_arm64_is_read(self, tmp_path):
        with opened(tmp_path, [Segment(0, content(PAGE))], machine=183) as dump:
            assert (dump.machine, dump.names_machine) == ("aarch64", True)

    def test_32_bits_and_big_endian(self, tmp_path):
        for at, value in ((4, 1), (5, 2)):
            data = elf([Segment(0, content(PAGE))])
            data[at] = value
            with pytest.raises(KernlabError):
                open_dump_file(write(tmp_path, data))

    def test_a_process(self, tmp_path):
        auxv = note(b"CORE", 6, bytes(320))
        with pytest.raises(KernlabError, match=r"core of a process.*gdb"):
            opened(tmp_path, [Segment(0, content(PAGE))], note_bytes=notes(None) + auxv)

    def test_xen(self, tmp_path):
        with pytest.raises(KernlabError, match="Xen"):
            opened(
                tmp_path, [Segment(0, content(PAGE))], note_bytes=notes() + note(b"Xen", 0x1000001, bytes(80))
            )

    def test_no_memory(self, tmp_path):
        with pytest.raises(KernlabError, match="without a segment of physical memory"):
            opened(tmp_path, [])


class TestCut:
    def test_at_any_byte(self, tmp_path):
        low, high = content(2 * PAGE, 1), content(3 * PAGE, 2)
        data = elf([Segment(0, low), Segment(8 * PAGE, high)])
        whole = {0: low[:PAGE], 1: low[PAGE:], **{8 + i: high[i * PAGE : (i + 1) * PAGE] for i in range(3)}}
        seen = set()
        for end in sorted({*range(0, len(data), 97), *range(len(data) - 3, len(data))}):
            path = write(tmp_path, data[:end])
            try:
                dump = open_quietly(path)
            except KernlabError as error:
                assert str(path) in str(error)  # noqa: PT017 - some cuts open, some do not
                assert end < 64 + 56 * 3
                continue
            with dump:
                assert dump.problems
                found = frames(dump, list(whole))
            for pfn, expected in whole.items():
                assert found[pfn] in (expected, LOST, ABSENT)
            # Without a segment's header, nothing says that there was anything.
            assert end < 64 + 56 * 3 or ABSENT not in found.values()
            seen.add(sum(isinstance(value, bytes) for value in found.values()))
        assert seen == {0, 1, 2, 3, 4}

    def test_the_warning_says_where_and_how_many(self, tmp_path):
        data = elf([Segment(0x100000, content(5 * PAGE))])
        with pytest.warns(TruncatedDumpWarning, match=r"Reading on with 4 of 5 pages") as warned:
            open_dump_file(write(tmp_path, data[:-PAGE]))
        assert f"ends at byte {len(data) - PAGE:,}" in str(warned[0].message)
        assert "0x100000" in str(warned[0].message)

    def test_the_page_that_the_file_ends_in_counts_once(self, tmp_path):
        data = elf([Segment(0x100000, content(5 * PAGE))])
        with pytest.warns(TruncatedDumpWarning, match=r"Reading on with 3 of 5 pages"):
            dump = open_dump_file(write(tmp_path, data[: -PAGE - 1]))
        with dump:
            assert [frame(dump, 0x100 + i) is LOST for i in range(5)] == [False] * 3 + [True] * 2
            check_present(dump)


class TestHostile:
    @pytest.mark.parametrize("size", [2**40, 2**51, 2**62, 2**64 - 1])
    def test_sizes_are_bounded_by_the_file(self, tmp_path, size):
        segments = [Segment(0, content(PAGE), size=size, file_size=size), Segment(0x5000, content(PAGE))]
        path = write(tmp_path, elf(segments))
        for zero_excluded in (False, True):
            with open_quietly(path, zero_excluded=zero_excluded) as dump:
                assert dump.frame_count < 10
                assert frame(dump, 2**38) in FrameStatus

    def test_the_same_bytes_over_and_over(self, tmp_path):
        data = content(64 * PAGE)
        first = Segment(0, data)
        more = [
            Segment((i + 1) << 20, b"", size=len(data), file_size=len(data), offset=PAGE) for i in range(200)
        ]
        with pytest.raises(KernlabError, match="more than its"):
            opened(tmp_path, [first, *more])

    def test_offsets_that_overflow(self, tmp_path):
        memory = content(4 * PAGE)
        wrong = Segment(PAGE, b"", size=2 * PAGE, file_size=2 * PAGE, offset=2**64 - PAGE)
        with open_quietly(write(tmp_path, elf([Segment(0, memory), wrong]))) as dump:
            for pfn in range(4):
                assert frame(dump, pfn) in (memory[pfn * PAGE : (pfn + 1) * PAGE], LOST)

    def test_a_million_note_segments_end(self, tmp_path):
        """Every program header a note segment over the same bytes: bounded in time and memory."""
        count = 60_000
        body = note(b"CORE", 1, bytes(8)) * 50_000
        table = 64
        rows = struct.pack("<IIQQQQQQ", 4, 0, table + 56 * count, 0, 0, len(body), len(body), 4) * count
        header = struct.pack(
            "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1" + bytes(9), 4, 62, 1, 0, table, 0, 0, 64, 56, count, 0, 0, 0
        )
        started = time.perf_counter()
        with pytest.raises(KernlabError):
            open_dump_file(write(tmp_path, header + rows + body))
        assert time.perf_counter() - started < 10

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        changes=st.lists(
            st.tuples(st.integers(4, 700), st.binary(min_size=1, max_size=8)), min_size=1, max_size=5
        )
    )
    def test_any_bytes_changed(self, tmp_path, changes):
        data = elf([Segment(0, content(2 * PAGE)), Segment(8 * PAGE, content(PAGE), size=3 * PAGE)])
        for at, what in changes:
            data[at : at + len(what)] = what
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

"""kdump files whose every byte is known."""

from __future__ import annotations

import struct
import threading
import zlib

import numpy as np
import pytest
import zstandard
from formats.make_dump import INCOMPLETE, KINDS, PAGE, VMCOREINFO, Kdump, compress, flatten, kdump, page, some
from formats.reading import check_present, frame, frames, open_quietly, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernlab.errors import KernlabError, TruncatedDumpWarning
from kernlab.formats import FrameStatus, open_dump_file
from kernlab.formats import page_codecs as compression_module
from kernlab.formats.kdump import file as kdump_module
from kernlab.formats.kdump import pages as pages_module

_STATUS = {FrameStatus.EXCLUDED, FrameStatus.ABSENT, FrameStatus.LOST}


class TestRoundTrip:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        chosen=st.dictionaries(
            st.integers(0, 70_000),
            st.tuples(st.integers(0, 9), st.sampled_from(["zero", "random", "text"])),
            min_size=1,
        ),
        excluded=st.sets(st.integers(0, 70_000)),
        kind=st.sampled_from(KINDS),
        version=st.integers(1, 6),
        share=st.booleans(),
        more=st.integers(0, 200),
    )
    def test_every_frame(self, tmp_path, chosen, excluded, kind, version, share, more):
        pages = {pfn: page(*what) for pfn, what in chosen.items()}
        top = max([*pages, *excluded]) + 1 + more
        made = kdump(pages, excluded=excluded, kind=kind, version=version, share_zeros=share, max_pfn=top)
        asked = sorted(
            {*pages, *excluded, *(pfn + 1 for pfn in pages), top - 1, top, top + 5, 2**52, 2**64 - 1}
        )
        with open_dump_file(write(tmp_path, made.data)) as dump:
            assert dump.frame_count == len(pages)
            assert dump.max_pfn == top
            assert dump.problems == []
            check_present(dump)
            found = frames(dump, asked)
        for pfn in asked:
            expected = pages.get(pfn, FrameStatus.EXCLUDED if pfn in excluded else FrameStatus.ABSENT)
            assert found[pfn] == expected, pfn

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_the_file_says_of_itself(self, tmp_path, kind):
        with open_dump_file(write(tmp_path, kdump(some(), kind=kind).data)) as dump:
            assert (dump.format, dump.page_size, dump.machine) == (f"kdump-{kind}", PAGE, "x86_64")
            assert dump.vmcoreinfo == VMCOREINFO
            assert [(note.name, note.type) for note in dump.notes] == [
                ("CORE", 1),
                ("CORE", 1),
                ("VMCOREINFO", 0),
            ]
            assert dump.notes[1].desc == b"\1" * 336
            header = dump.header
            assert (header["release"], header["nodename"]) == ("6.1.0-test", "node")
            assert (header["dump_level"], header["cpus"], header["timestamp"]) == (31, 2, 1_700_000_000)

    @pytest.mark.parametrize("version", range(1, 7))
    def test_header_versions(self, tmp_path, version):
        made = kdump(some(), version=version)
        with open_dump_file(write(tmp_path, made.data)) as dump:
            assert dump.vmcoreinfo == (VMCOREINFO if version >= 3 else None)
            assert len(dump.notes) == (3 if version >= 4 else 0)
            assert dump.header["header_version"] == version

    @pytest.mark.parametrize("kind", KINDS)
    def test_qemu_fills_in_the_machine_only(self, tmp_path, kind):
        """dump-guest-memory: no names, no time, header version 6, dump level 1; -z, -l and -s flattened, raw- not."""
        pages = some()
        made = kdump(pages, kind=kind, qemu=True, dump_level=1, vmcoreinfo=None)
        for data in (made.data, flatten(made.data)):
            with open_dump_file(write(tmp_path, data)) as dump:
                assert dump.machine == "x86_64"
                assert "release" not in dump.header
                assert dump.header["timestamp"] is None
                assert dump.problems == []
                assert frames(dump, list(pages)) == pages

    def test_qemu_10_does_not_know_its_machine(self, tmp_path):
        """It names "Unknown"; then the CPUs' notes have to be as long as x86-64's."""
        pages = some()
        made = kdump(pages, qemu=True, dump_level=1, vmcoreinfo=None, machine=b"Unknown")
        for data in (made.data, flatten(made.data)):
            with open_dump_file(write(tmp_path, data)) as dump:
                assert dump.machine == "x86_64"
                assert frames(dump, list(pages)) == pages
        with pytest.raises(
            KernlabError, match=r"does not say which machine it is of .* 'Unknown'"
        ) as refused:
            open_dump_file(write(tmp_path, kdump(pages, version=3, machine=b"Unknown").data))
        assert "damaged" not in str(refused.value)

    def test_arm64_is_known_by_its_name_or_its_registers(self, tmp_path):
        pages = some()
        told = kdump(pages, machine=b"aarch64").data
        made = kdump(pages, qemu=True, dump_level=1, vmcoreinfo=None, machine=b"Unknown")
        untold = bytes(made.data).replace(struct.pack("<II", 336, 1), struct.pack("<II", 392, 1))
        for data in (told, untold, flatten(untold)):
            with open_dump_file(write(tmp_path, data)) as dump:
                assert dump.machine == "aarch64"
                assert frames(dump, list(pages)) == pages

    @pytest.mark.parametrize(
        ("machine", "size"),
        [("riscv64", 376), ("loongarch64", 480), ("ppc64le", 504)],
    )
    def test_qemu_guests_of_other_machines_are_known_by_their_registers(self, tmp_path, machine, size):
        made = kdump(some(), qemu=True, dump_level=1, vmcoreinfo=None, machine=b"Unknown")
        data = bytes(made.data).replace(struct.pack("<II", 336, 1), struct.pack("<II", size, 1))
        for each in (data, flatten(data)):
            with pytest.raises(KernlabError, match=f"is a kdump of a {machine} machine"):
                open_dump_file(write(tmp_path, each))

    @pytest.mark.parametrize(
        ("order", "bits", "named", "size", "machine"),
        [
            (">", 64, b"S390X", 336, "s390x"),
            (">", 64, b"Unknown", 336, "s390x"),
            (">", 64, b"Unknown", 504, "ppc64"),
            ("<", 32, b"x86_64", 144, "i386"),
            ("<", 32, b"i686", 144, "i686"),
            ("<", 32, b"Unknown", 148, "32-bit"),
            (">", 32, b"Unknown", 268, "32-bit"),
        ],
    )
    def test_headers_of_other_orders_and_widths(self, tmp_path, order, bits, named, size, machine):
        """As dump-guest-memory -z of QEMU lays them out (its create_header64, create_header32)."""
        uts = bytes(4 * 65) + named.ljust(65, b"\0") + bytes(65)
        time = "6xqq" if bits == 64 else "2xii"
        header = struct.pack(f"{order}8si390s{time}IIIII", b"KDUMP   ", 6, uts, 0, 0, 1, PAGE, 1, 2, 64)
        note = struct.pack(f"{order}III8s", 5, size, 1, b"CORE") + bytes(size)
        sub = struct.pack(f"{order}QIIQQQQQQ", 0, 1, 0, 0, 0, 0, 0, PAGE + 256, len(note))
        data = header.ljust(PAGE, b"\0") + (sub.ljust(256, b"\0") + note).ljust(3 * PAGE, b"\0")
        with pytest.raises(KernlabError, match=f"is a kdump of a {machine} machine"):
            open_dump_file(write(tmp_path, data))

    @pytest.mark.parametrize("block", [8192, 16384, 65536])
    @pytest.mark.parametrize("kind", KINDS)
    def test_page_sizes(self, tmp_path, kind, block):
        pages = {3 * i + 1: (page(i, "text" if i % 3 else "random") * 16)[:block] for i in range(20)}
        pages[100] = bytes(block)
        with open_dump_file(write(tmp_path, kdump(pages, kind=kind, block=block, excluded=[2]).data)) as dump:
            assert dump.page_size == block
            assert frames(dump, [*pages, 2]) == pages | {2: FrameStatus.EXCLUDED}

    def test_no_vmcoreinfo_is_no_error(self, tmp_path):
        with open_dump_file(write(tmp_path, kdump(some(), vmcoreinfo=None).data)) as dump:
            assert dump.vmcoreinfo is None
            assert dump.problems == []

    def test_notes_vmcoreinfo_where_the_sub_header_points_elsewhere(self, tmp_path):
        data = kdump(some()).data
        struct.pack_into("<Q", data, PAGE + 32, 8 * PAGE)
        with open_dump_file(write(tmp_path, data)) as dump:
            assert dump.vmcoreinfo == VMCOREINFO

    def test_any_order_repeats_and_nothing_at_all(self, tmp_path):
        pages = some()
        with open_dump_file(write(tmp_path, kdump(pages).data)) as dump:
            asked = np.array([*sorted(pages, reverse=True), *sorted(pages)] * 3, dtype=np.uint64)
            out = np.empty((len(asked), PAGE), dtype=np.uint8)
            assert not dump.read_into(dump.find(asked), out).any()
            assert all(out[i].tobytes() == pages[pfn] for i, pfn in enumerate(asked.tolist()))
            none = np.zeros(0, dtype=np.int64)
            assert len(dump.read_into(none, np.zeros((0, PAGE), dtype=np.uint8))) == 0
            assert len(dump.find(none.astype(np.uint64))) == 0

    def test_table_with_room_to_spare(self, tmp_path):
        """A dump of a live system: makedumpfile counted more pages than it wrote."""
        pages = some()
        with open_dump_file(write(tmp_path, kdump(pages, room_for=5).data)) as dump:
            assert frames(dump, list(pages)) == pages

    def test_a_table_too_long_to_look_at_whole(self, tmp_path, monkeypatch):
        monkeypatch.setattr(pages_module, "_LOOKED_AT", 8)
        monkeypatch.setattr(pages_module, "_CHUNK", 4)
        pages = some()
        made = kdump(pages)
        with open_dump_file(write(tmp_path, made.data)) as dump:
            assert frames(dump, list(pages)) == pages
            assert dump._pages.survey.looked_at == 8
        made = kdump(pages, share_zeros=False)
        cut = made.data[: made.pages + 1500]
        with pytest.warns(TruncatedDumpWarning, match="page descriptor"):
            dump = open_dump_file(write(tmp_path, cut))
        assert dump._pages.survey.looked_at == len(pages)

    def test_wrong_out_is_refused(self, tmp_path):
        with open_dump_file(write(tmp_path, kdump(some()).data)) as dump:
            for out in (np.zeros((3, PAGE), np.uint8), np.zeros((2, 2 * PAGE), np.uint8)[:, ::2]):
                with pytest.raises(ValueError, match="contiguous"):
                    dump.read_into(np.array([0, 1]), out)

    def test_closed(self, tmp_path):
        dump = open_dump_file(write(tmp_path, kdump(some()).data))
        dump.close()
        dump.close()
        with pytest.raises(KernlabError, match="closed"):
            frame(dump, 1)

    def test_standard_zlib_instead_of_libdeflate(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "deflate", None)
        assert compression_module.zlib_decompressor().call is compression_module._standard_zlib
        pages = some()
        with open_dump_file(write(tmp_path, kdump(pages).data)) as dump:
            assert frames(dump, list(pages)) == pages

    @pytest.mark.parametrize(("flag", "library"), [(2, "lzallright"), (4, "cramjam"), (0x20, "zstandard")])
    def test_without_its_library(self, tmp_path, monkeypatch, flag, library):
        monkeypatch.setitem(__import__("sys").modules, library, None)
        made = kdump(some(), kind="raw")
        # Flags of the first descriptors, as of pages compressed so.
        for i in range(20):
            struct.pack_into("<I", made.data, made.descriptor(i) + 12, flag)
        with pytest.raises(KernlabError, match=f"pip install {library}"):
            open_dump_file(write(tmp_path, made.data))


class TestThreads:
    @pytest.fixture
    def many(self) -> dict[int, bytes]:
        return some(3000)

    def test_four_threads_read_what_one_reads(self, tmp_path, many, monkeypatch):
        monkeypatch.setattr(kdump_module, "_workers", lambda: 3)
        with open_dump_file(write(tmp_path, kdump(many).data)) as dump:
            indices = np.random.default_rng(1).permutation(dump.frame_count)
            serial = np.empty((len(indices), PAGE), dtype=np.uint8)
            dump._pages.read(indices, serial)
            outs = [np.empty_like(serial) for _ in range(4)]
            threads = [threading.Thread(target=dump.read_into, args=(indices, out)) for out in outs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert all((out == serial).all() for out in outs)
        assert serial[np.flatnonzero(indices == 0)[0]].tobytes() == many[1]

    def test_damage_is_counted_once_whoever_reads_it(self, tmp_path, many, monkeypatch):
        monkeypatch.setattr(kdump_module, "_workers", lambda: 3)
        made = kdump(many)
        for number in (5, 700, 2500):
            struct.pack_into("<I", made.data, made.descriptor(number) + 8, 11)
        with open_dump_file(write(tmp_path, made.data)) as dump:
            out = np.empty((dump.frame_count, PAGE), dtype=np.uint8)
            for _ in range(3):
                status = dump.read_into(np.arange(dump.frame_count), out)
                assert np.flatnonzero(status).tolist() == [5, 700, 2500]
            (problem,) = dump.problems
            assert "3 of those read" in problem
            assert f"{3 * 5 + 1:#x}" in problem

    def test_an_interrupt_leaves_no_thread_writing(self, tmp_path, many, monkeypatch):
        monkeypatch.setattr(kdump_module, "_workers", lambda: 3)
        with open_dump_file(write(tmp_path, kdump(many).data)) as dump:
            inner, main, done = dump._pages.read, threading.get_ident(), []
            interrupted = threading.Event()

            def read(indices, out):
                if threading.get_ident() == main:
                    interrupted.set()
                    raise KeyboardInterrupt
                assert interrupted.wait(10)
                result = inner(indices, out)
                done.append(len(indices))
                return result

            monkeypatch.setattr(dump._pages, "read", read)
            out = np.zeros((dump.frame_count, PAGE), dtype=np.uint8)
            with pytest.raises(KeyboardInterrupt):
                dump.read_into(np.arange(dump.frame_count), out)
            assert not [t for t in threading.enumerate() if t.name.startswith("kernlab-pages")]
            assert len(done) <= 2, "the threads finish what they have in hand, and take no more"


def damaged_kinds(made: Kdump, pfn: int, number: int) -> dict[str, tuple[int, bytes]]:
    """How the page of a frame can be damaged: (offset, bytes written there)."""
    at = made.descriptor(number)
    return {
        "data": (made.offsets[pfn], b"\xff" * 12),
        "offset far away": (at, struct.pack("<Q", 2**63)),
        "offset that overflows": (at, struct.pack("<Q", 2**64 - 1)),
        "offset in the header": (at, struct.pack("<Q", 16)),
        "size too small": (at + 8, struct.pack("<I", 9)),
        "size larger than a page": (at + 8, struct.pack("<I", PAGE + 1)),
        "size of gigabytes": (at + 8, struct.pack("<I", 2**32 - 1)),
        "unknown compression": (at + 12, struct.pack("<I", 0x40)),
        "two compressions": (at + 12, struct.pack("<I", 3)),
        "another compression": (at + 12, struct.pack("<I", 0)),
    }


DAMAGES = list(damaged_kinds(Kdump(bytearray(), 0, 0, 0, 0, 0, {0: 0}), 0, 0))


class TestDamage:
    @pytest.mark.parametrize("kind", ["zlib", "lzo", "snappy", "zstd"])
    @pytest.mark.parametrize("number", [0, 10, 39])
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_one_bad_page_costs_one_page(self, tmp_path, kind, number, damage):
        pages = {3 * i + 1: page(i) for i in range(400)}
        pfn = 3 * number + 1
        made = kdump(pages, kind=kind)
        at, what = damaged_kinds(made, pfn, number)[damage]
        made.data[at : at + len(what)] = what
        with open_quietly(write(tmp_path, made.data)) as dump:
            found = frames(dump, list(pages))
            assert found.pop(pfn) is FrameStatus.LOST
            del pages[pfn]
            assert found == pages
            assert len(dump.problems) == 1, "one sentence for one kind of damage"

    def test_damaged_data_of_many_pages(self, tmp_path):
        """What one of the pages that share their data lost, all of them lost."""
        pages = {i: page(i) for i in range(400)}
        made = kdump(pages)
        for number in (20, 30, 40):
            made.data[made.descriptor(number) : made.descriptor(number + 1)] = made.data[
                made.descriptor(10) : made.descriptor(11)
            ]
        made.data[made.offsets[10] : made.offsets[10] + 12] = b"\xff" * 12
        with open_dump_file(write(tmp_path, made.data)) as dump:
            found = frames(dump, list(pages))
            assert [pfn for pfn in pages if found[pfn] is FrameStatus.LOST] == [10, 20, 30, 40]
            assert "4 of those read" in dump.problems[0]

    def test_bits_behind_the_last_frame_are_no_frames(self, tmp_path):
        pages = {3 * i + 1: page(i) for i in range(400)}
        made = kdump(pages)
        top = max(pages) + 1
        assert top % 8, "the last byte of the bitmaps is used in part"
        for start in (made.bitmap, made.bitmap + made.bitmap_bytes // 2):
            made.data[start + top // 8] |= 0xFF << top % 8 & 0xFF
        with open_dump_file(write(tmp_path, made.data)) as dump:
            assert dump.frame_count == 400
            assert frames(dump, [*pages, top]) == pages | {top: FrameStatus.ABSENT}

    def test_bombs(self, tmp_path):
        """A page that would unpack to more than a page is damaged, and so is one that unpacks to less."""
        pages = {i: page(i) for i in range(30)}
        made = kdump(pages)
        checksum = 4
        for number, length, cut in ((3, 1 << 20, 0), (4, PAGE + 1, 0), (5, 0, 0), (6, PAGE, checksum)):
            packed = zlib.compress(bytes(length), 9)
            packed = packed[: len(packed) - cut]
            struct.pack_into("<QI", made.data, made.descriptor(number), len(made.data), len(packed))
            made.data += packed
        with open_quietly(write(tmp_path, made.data)) as dump:
            found = frames(dump, list(pages))
        assert [pfn for pfn in pages if found[pfn] is FrameStatus.LOST] == [3, 4, 5, 6]

    @pytest.mark.parametrize("kind", ["snappy", "zstd"])
    def test_bombs_that_say_how_long_they_are(self, tmp_path, kind):
        pages = {i: page(i) for i in range(30)}
        made = kdump(pages, kind=kind)
        bombs = [compress(bytes(length), kind)[0] for length in (1 << 20, PAGE + 1, PAGE - 1, 1)]
        # A header that claims exabytes, or nothing; and no length at all (zstd may leave it out).
        bombs += [b"\xff\xff\xff\xff\x0f" + bombs[0][3:], bombs[0][:2], b"\0"]
        if kind == "zstd":
            bombs[4] = b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x0f" + bytes(20)
            silent = zstandard.ZstdCompressor(write_content_size=False)
            bombs += [silent.compress(bytes(length)) for length in (1 << 20, PAGE - 1)]
        for number, packed in enumerate(bombs, 10):
            struct.pack_into("<QI", made.data, made.descriptor(number), len(made.data), len(packed))
            made.data += packed
        with open_quietly(write(tmp_path, made.data)) as dump:
            found = frames(dump, list(pages))
        lost = [pfn for pfn in pages if found[pfn] is FrameStatus.LOST]
        assert lost == list(range(10, 10 + len(bombs)))

    def test_zstd_pages_that_do_not_say_how_long_they_are(self, tmp_path):
        pages = {i: page(i) for i in range(30)}
        made = kdump(pages, kind="zstd")
        packed = zstandard.ZstdCompressor(write_content_size=False).compress(pages[7])
        struct.pack_into("<QI", made.data, made.descriptor(7), len(made.data), len(packed))
        made.data += packed
        with open_dump_file(write(tmp_path, made.data)) as dump:
            assert frames(dump, list(pages)) == pages

    def test_bombs_with_the_standard_library(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "deflate", None)
        self.test_bombs(tmp_path)

    @pytest.mark.parametrize("room", [0, 5])
    @pytest.mark.parametrize("zeros", ["needed", "not needed", "not shared"])
    @pytest.mark.parametrize("change", ["one bit too many", "one bit too few", "zeroed", "all ones"])
    def test_bitmap_is_not_believed_when_damaged(self, tmp_path, change, zeros, room):
        pages = {3 * i + 1: page(i, "zero" if zeros == "needed" and i == 9 else "text") for i in range(400)}
        made = kdump(pages, share_zeros=zeros != "not shared", room_for=room)
        with open_dump_file(write(tmp_path, made.data)) as dump:
            assert frames(dump, list(pages)) == pages
        second = made.bitmap + made.bitmap_bytes // 2
        if change == "one bit too many":
            made.data[second] |= 1
        elif change == "one bit too few":
            made.data[second] &= ~2
        else:
            made.data[second : second + 150] = (b"\0" if change == "zeroed" else b"\xff") * 150
        with pytest.raises(KernlabError, match="bitmap"):
            open_dump_file(write(tmp_path, made.data))

    def test_zeroed_descriptors_in_the_middle(self, tmp_path):
        pages = {3 * i + 1: page(i) for i in range(400)}
        made = kdump(pages)
        made.data[made.descriptor(100) : made.descriptor(150)] = bytes(50 * 24)
        with open_dump_file(write(tmp_path, made.data)) as dump:
            found = frames(dump, list(pages))
            assert sum(value is FrameStatus.LOST for value in found.values()) == 50
            assert "50 empty page descriptors among 400" in dump.problems[0]

    def test_all_descriptors_damaged(self, tmp_path):
        made = kdump(some())
        made.data[made.table : made.pages] = b"\x11" * (made.pages - made.table)
        path = write(tmp_path, made.data)
        try:
            with open_quietly(path) as dump:
                assert set(frames(dump, list(some())).values()) == {FrameStatus.LOST}
                assert dump.problems
        except KernlabError as error:
            assert str(path) in str(error)  # noqa: PT017 - either outcome is right

    def test_incomplete(self, tmp_path):
        pages = {3 * i + 1: page(i) for i in range(40)}
        made = kdump(pages, status=1 | INCOMPLETE)
        made.data[made.descriptor(30) : made.descriptor(40)] = bytes(240)
        with open_dump_file(write(tmp_path, made.data)) as dump:
            found = frames(dump, list(pages))
            assert [found[3 * i + 1] is FrameStatus.LOST for i in range(40)] == [False] * 30 + [True] * 10
            (problem,) = dump.problems
            assert "incomplete" in problem
            assert "10 of 40" in problem

    @pytest.mark.parametrize("machine", ["s390x", "ppc64le", "i686", "riscv64"])
    def test_other_machines_are_named(self, tmp_path, machine):
        with pytest.raises(KernlabError, match=f"{machine} machine"):
            open_dump_file(write(tmp_path, kdump(some(), machine=machine.encode()).data))

    @pytest.mark.parametrize("machine", ["s390x", "ppc64"])
    def test_big_endian_machines_are_named(self, tmp_path, machine):
        names = (b"Linux", b"node", b"6.1.0-test", b"#1 SMP", machine.encode(), b"(none)")
        uts = b"".join(name.ljust(65, b"\0") for name in names)
        header = struct.pack(">8si390s6xqqIiiI", b"KDUMP   ", 6, uts, 1_700_000_000, 0, 1, PAGE, 1, 2)
        with pytest.raises(KernlabError, match=f"{machine} machine"):
            open_dump_file(write(tmp_path, header.ljust(3 * PAGE, b"\0")))

    def test_zeroed_sub_header(self, tmp_path):
        """The pages are all there; that the rest is not known must not pass for a dump level of 0."""
        pages = some()
        made = kdump(pages)
        made.data[PAGE : 2 * PAGE] = bytes(PAGE)
        with open_dump_file(write(tmp_path, made.data)) as dump:
            assert frames(dump, list(pages)) == pages
            assert dump.header["dump_level"] is None
            assert "sub-header" in dump.problems[0]

    def test_incomplete_whose_bitmap_lost_its_last_bits(self, tmp_path):
        """makedumpfile 1.7.2 left it so where it tried again with another dump level in a full file system."""
        pages = {i: page(i) for i in range(47)}
        made = kdump(pages, status=1 | INCOMPLETE)
        made.data[made.descriptor(30) : made.descriptor(47)] = bytes(24 * 17)
        made.data[made.bitmap + made.bitmap_bytes // 2 + 5] = 0
        with open_quietly(write(tmp_path, made.data)) as dump:
            found = frames(dump, list(pages))
            for pfn, content in pages.items():
                expected = FrameStatus.EXCLUDED if pfn >= 40 else FrameStatus.LOST if pfn >= 30 else content
                assert found[pfn] == expected


class TestCut:
    @pytest.mark.parametrize("kind", KINDS)
    def test_at_any_byte(self, tmp_path, kind):
        """Whatever is left of the file, each frame is right, or LOST; or the file is refused in words."""
        pages = some(12)
        made = kdump(pages, kind=kind, excluded=[2, 3, 5])
        ends = {
            *range(0, len(made.data), 331),
            *(made.bitmap + i for i in (-1, 0, 1)),
            made.table,
            made.pages,
        }
        ends |= {made.descriptor(i) + j for i in (0, 1, 11, 12) for j in (-1, 0, 1)}
        opened = 0
        for end in sorted(ends):
            path = write(tmp_path, made.data[:end])
            try:
                dump = open_quietly(path)
            except KernlabError as error:
                assert str(path) in str(error)  # noqa: PT017 - some cuts open, some do not
                assert end < made.bitmap
                continue
            opened += 1
            with dump:
                found = frames(dump, [*pages, 2, 3, 5])
                assert dump.problems
                for pfn, content in pages.items():
                    assert found[pfn] in (content, FrameStatus.LOST)
                    size = 1 if end <= made.pages else 0
                    assert not size or found[pfn] is FrameStatus.LOST
                for pfn in (2, 3, 5):
                    assert found[pfn] in ({FrameStatus.EXCLUDED} if end >= made.table else _STATUS)
        assert opened > 20

    def test_the_warning_says_where_and_how_many(self, tmp_path):
        pages = {i: page(i, "random") for i in range(20)}
        made = kdump(pages, share_zeros=False)
        end = made.pages + 5 * PAGE + 100
        with pytest.warns(TruncatedDumpWarning) as warned:
            dump = open_dump_file(write(tmp_path, made.data[:end]))
        text = str(warned[0].message)
        assert f"ends at byte {end:,}, but page descriptor 5 points to {made.pages + 6 * PAGE:,}" in text
        assert "Reading on with 5 of 20 pages" in text
        assert "Copy the dump again" in text
        assert len(dump.problems) == 1
        assert [frame(dump, i) is FrameStatus.LOST for i in range(20)] == [False] * 5 + [True] * 15
        assert len(dump.problems) == 1, "reading a page that was told lost tells nothing new"

    def test_absent_stays_absent_when_the_bitmap_is_cut(self, tmp_path):
        made = kdump({1: page(1), 90_000: page(2)}, excluded=[7])
        half = made.bitmap + made.bitmap_bytes // 2
        with open_quietly(write(tmp_path, made.data[: half + 10])) as dump:
            assert dump.frame_count == 0
            assert frame(dump, 1) is FrameStatus.LOST
            assert frame(dump, 90_000) is FrameStatus.LOST
            assert frame(dump, 7) is FrameStatus.EXCLUDED
            assert frame(dump, 2) is FrameStatus.ABSENT
            assert frame(dump, 89_999) is FrameStatus.ABSENT
            assert dump.vmcoreinfo == VMCOREINFO


class TestHostile:
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_bytes_changed(self, tmp_path, data):
        """Bytes changed anywhere before the pages: refused in words, or readable; never anything else."""
        made = kdump(some(12), excluded=[2, 3])
        places = st.one_of(
            st.integers(0, 500), st.integers(PAGE, PAGE + 140), st.integers(made.bitmap, made.pages + 200)
        )
        for at, what in data.draw(
            st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)
        ):
            made.data[at : at + len(what)] = what
        path = write(tmp_path, made.data)
        try:
            dump = open_quietly(path)
        except KernlabError as error:
            assert str(path) in str(error)  # noqa: PT017 - either outcome is right
            return
        with dump:
            assert dump.frame_count <= len(made.data)
            found = frames(dump, [*range(40), 2**40])
            assert all(isinstance(value, FrameStatus) or len(value) == PAGE for value in found.values())
            assert all(isinstance(problem, str) for problem in dump.problems)
            check_present(dump)

    @pytest.mark.parametrize("claimed", [2**60, 2**64 - 1, 2**40, 0])
    def test_page_counts_beyond_the_bitmaps(self, tmp_path, claimed):
        made = kdump(some())
        struct.pack_into("<Q", made.data, PAGE + 96, claimed)
        struct.pack_into("<I", made.data, 440, min(claimed, 2**32 - 1))
        with pytest.raises(KernlabError, match="page frames"):
            open_dump_file(write(tmp_path, made.data))

    def test_bitmaps_larger_than_the_file(self, tmp_path):
        made = kdump(some())
        struct.pack_into("<I", made.data, 436, 2**32 - 1)
        struct.pack_into("<Q", made.data, PAGE + 96, 2**39)
        with open_quietly(write(tmp_path, made.data)) as dump:
            assert dump.frame_count == 0
            assert dump.problems
        struct.pack_into("<Q", made.data, PAGE + 96, 2**45)
        with pytest.raises(KernlabError, match="more than a machine has physical addresses"):
            open_dump_file(write(tmp_path, made.data))

    def test_zeroed_header(self, tmp_path):
        made = kdump(some())
        made.data[8:PAGE] = bytes(PAGE - 8)
        with pytest.raises(KernlabError, match="damaged"):
            open_dump_file(write(tmp_path, made.data))
        made.data[:8] = bytes(8)
        with pytest.raises(KernlabError, match="zeros"):
            open_dump_file(write(tmp_path, made.data))

"""Compressed dumps: unpacked once into the cache; what is cut gives what comes before the cut, and says so."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from formats.make_dump import KINDS, Segment, elf, flatten, kdump, page, some, split
from formats.reading import frames, open_quietly, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernlab.errors import CacheFullError, KernlabError, MissingDependencyError, TruncatedDumpWarning
from kernlab.formats import FrameStatus, open_dump_file, packed_file

PACK: dict[str, Callable[[bytes], bytes]] = {
    "xz": lambda data: lzma.compress(data, preset=0),
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": lambda data: bz2.compress(data, 1),
    "zstd": zstandard.ZstdCompressor(level=1).compress,
}
PACKED = pytest.mark.parametrize("kind", PACK)


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Iterator[Path]:
    """The folder of a cache that nothing lies in yet."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("KERNLAB_CACHE_BYTES", raising=False)
    yield folder / "kernlab"
    shutil.rmtree(folder)


def entries(home: Path) -> int:
    return len(list(home.glob("*.data")))


def noise(count: int) -> dict[int, bytes]:
    """Frames that do not compress, so that cuts of the packed file fall where they should."""
    return {pfn: page(pfn, "random") for pfn in range(count)}


class TestWhole:
    @PACKED
    @pytest.mark.parametrize("pages", KINDS)
    def test_kdump(self, tmp_path, home, kind, pages):
        made = some()
        path = write(tmp_path, PACK[kind](kdump(made, kind=pages, excluded=[2]).data), "vmcore.pack")
        for _ in range(2):
            with open_dump_file(path) as dump:
                assert dump.path == path
                assert dump.format == f"kdump-{pages} ({kind})"
                assert dump.header["file_bytes"] == path.stat().st_size
                assert dump.problems == []
                assert frames(dump, [*made, 2]) == made | {2: FrameStatus.EXCLUDED}
        assert entries(home) == 1

    @PACKED
    def test_elf_and_flattened(self, tmp_path, kind):
        made = noise(6)
        core = bytes(elf([Segment(0, b"".join(made.values()))]))
        for data, name in ((core, f"elf ({kind})"), (flatten(core), f"elf (flattened, {kind})")):
            with open_dump_file(write(tmp_path, PACK[kind](data), f"{len(data)}")) as dump:
                assert dump.format == name
                assert frames(dump, list(made)) == made

    @PACKED
    def test_pieces_of_a_split_dump(self, tmp_path, kind):
        made = some(60)
        paths = [
            write(tmp_path, PACK[kind](piece), f"piece{i}") for i, piece in enumerate(split(made, [50, 90]))
        ]
        with open_dump_file(paths[::-1]) as dump:
            assert dump.format == f"kdump-zlib (split, 3 pieces, {kind})"
            assert frames(dump, list(made)) == made

    @PACKED
    @pytest.mark.parametrize("parts", [2, 7])
    def test_packed_in_several_parts(self, tmp_path, kind, parts):
        """As pigz, pbzip2, pzstd, xz with several streams, or cat of several files leave them."""
        made = some(60)
        data = bytes(kdump(made).data)
        step = -(-len(data) // parts)
        packed = b"".join(PACK[kind](data[at : at + step]) for at in range(0, len(data), step))
        with open_dump_file(write(tmp_path, packed)) as dump:
            assert frames(dump, list(made)) == made

    def test_zstd_with_frames_to_skip(self, tmp_path):
        made = some(30)
        data = bytes(kdump(made).data)
        skip = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
        packed = (
            b"".join(skip + PACK["zstd"](data[at : at + 7000]) for at in range(0, len(data), 7000)) + skip
        )
        with open_dump_file(write(tmp_path, packed)) as dump:
            assert dump.format == "kdump-zlib (zstd)"
            assert frames(dump, list(made)) == made
            assert dump.problems == []

    def test_xz_with_padding(self, tmp_path):
        made = some(30)
        packed = PACK["xz"](bytes(kdump(made).data))
        for padding in (b"\0" * 4, b"\0" * 70_000):
            with open_dump_file(write(tmp_path, packed + padding)) as dump:
                assert frames(dump, list(made)) == made
                assert dump.problems == []

    @PACKED
    def test_a_file_that_changed_is_unpacked_anew(self, tmp_path, home, kind):
        path = write(tmp_path, PACK[kind](kdump({0: page(1)}).data))
        with open_dump_file(path) as dump:
            assert frames(dump, [0]) == {0: page(1)}
        times = path.stat()
        path.write_bytes(PACK[kind](kdump({0: page(2)}).data))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with open_dump_file(path) as dump:
            assert frames(dump, [0]) == {0: page(2)}
        assert entries(home) == 2

    def test_small_reads_of_the_start(self, tmp_path, monkeypatch):
        """However few bytes come out first, what they belong to is recognised."""
        monkeypatch.setattr(packed_file, "_CHUNK", 3)
        made = some(5)
        for kind in ("xz", "gzip", "bzip2"):
            with open_dump_file(write(tmp_path, PACK[kind](kdump(made).data), kind)) as dump:
                assert frames(dump, list(made)) == made
        core = write(tmp_path, PACK["xz"](b"\1" * 4096 + b"KDUMP   " + bytes(100)))
        with pytest.raises(KernlabError, match="first block is extra"):
            open_dump_file(core)


class TestCut:
    @PACKED
    @pytest.mark.filterwarnings("ignore:.*page descriptor")
    @pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
    def test_pages_before_the_cut(self, tmp_path, home, kind, share):
        """bzip2 and xz give whole blocks only, so there is much of the dump, not all that might be."""
        made = noise(700)
        whole = PACK[kind](kdump(made, kind="raw").data)
        path = write(tmp_path, whole[: int(len(whole) * share)])
        with pytest.warns(TruncatedDumpWarning, match="cut short or damaged") as warned:
            dump = open_dump_file(path)
        assert {each.filename for each in warned} == {__file__}
        with dump:
            found = frames(dump, list(made))
            assert "Copy the file again".lower() in dump.problems[0].lower()
        right = sum(found[pfn] == content for pfn, content in made.items())
        assert all(found[pfn] in (content, FrameStatus.LOST) for pfn, content in made.items())
        assert right > len(made) * (share - 0.35)
        # And again, from the cache.
        with pytest.warns(TruncatedDumpWarning, match="cut short or damaged"), open_dump_file(path) as dump:
            assert frames(dump, list(made)) == found
        assert entries(home) == 1

    @PACKED
    def test_damaged_in_the_middle(self, tmp_path, kind):
        made = noise(300)
        packed = bytearray(PACK[kind](kdump(made, kind="raw").data))
        middle = len(packed) // 2
        packed[middle : middle + 5000] = os.urandom(5000)
        with open_quietly(write(tmp_path, packed)) as dump:
            found = frames(dump, list(made))
        # Raw pages in stored blocks carry no sum of their own: gzip finds out at its end only, others at a block's.
        wrong = [
            pfn
            for pfn, content in made.items()
            if found[pfn] != content and found[pfn] is not FrameStatus.LOST
        ]
        assert len(wrong) <= 3
        assert sum(found[pfn] == content for pfn, content in made.items()) > 50

    @PACKED
    @pytest.mark.parametrize("size", [0, 1, 3])
    def test_nothing_in_it(self, tmp_path, home, kind, size):
        path = write(tmp_path, PACK[kind](b"")[: None if not size else size + 6])
        with pytest.raises(KernlabError, match=r"empty file, compressed|nothing can be unpacked") as caught:
            open_dump_file(path)
        assert str(path) in str(caught.value)
        assert entries(home) == 0

    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        kind=st.sampled_from(list(PACK)),
        changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=30)), max_size=5),
    )
    def test_any_bytes_changed(self, tmp_path, kind, changes):
        """A KernlabError, or frames that can be read or are missing; never anything else."""
        data = bytearray(PACK[kind](kdump(some(30)).data))
        for where, what in changes:
            at = int(where * (len(data) - 1))
            data[at : at + len(what)] = what
        try:
            with open_quietly(write(tmp_path, data)) as dump:
                frames(dump, list(range(90)))
        except KernlabError:
            return


class TestRefused:
    @PACKED
    def test_what_is_no_dump_inside(self, tmp_path, home, kind):
        """It is told before gigabytes of it are unpacked, and nothing stays."""
        insides = {
            "is text": b"[    0.000000] Linux version 6.1.0\n" * 200_000,
            "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(5_000_000),
            "begins with zeros": bytes(8_000_000),
            "compressed with gzip inside another": gzip.compress(os.urandom(9000)),
            "zip archive": b"PK\3\4" + bytes(9000),
        }
        for what, inside in insides.items():
            path = write(tmp_path, PACK[kind](inside))
            with pytest.raises(KernlabError, match=f"{path}, unpacked from {kind}, .*{what}"):
                open_dump_file(path)
        assert entries(home) == 0

    def test_a_tar(self, tmp_path):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
            member = tarfile.TarInfo("var/crash/vmcore")
            member.size = 9000
            archive.addfile(member, io.BytesIO(os.urandom(9000)))
        path = write(tmp_path, buffer.getvalue(), "vmcore.tar.xz")
        with pytest.raises(KernlabError, match=f"tar archive.*tar -xf {path}"):
            open_dump_file(path)

    def test_a_zip(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "vmcore.zip", "w") as archive:
            archive.writestr("vmcore", bytes(100))
        with pytest.raises(KernlabError, match="zip archive"):
            open_dump_file(tmp_path / "vmcore.zip")

    def test_zstd_without_its_library(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "zstandard", None)
        with pytest.raises(MissingDependencyError, match=r"pip install zstandard.*zstd -d"):
            open_dump_file(write(tmp_path, PACK["zstd"](kdump(some()).data)))

    @PACKED
    def test_a_bomb_ends_at_the_bound(self, tmp_path, home, kind, monkeypatch):
        monkeypatch.setenv("KERNLAB_CACHE_BYTES", str(8 << 20))
        bomb = bytes(kdump(some()).data) + bytes(64 << 20)
        with pytest.raises(
            CacheFullError, match=rf"compressed with {kind} and must be unpacked.*8,388,608 bytes"
        ):
            open_dump_file(write(tmp_path, PACK[kind](bomb)))
        assert entries(home) == 0

    def test_xz_that_wants_too_much_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(packed_file, "_MOST_MEMORY", 1 << 20)
        packed = lzma.compress(bytes(kdump(some()).data), preset=9)
        with pytest.raises(KernlabError, match="nothing can be unpacked"):
            open_dump_file(write(tmp_path, packed))

    def test_interrupted(self, tmp_path, home, monkeypatch):
        """Control-C leaves nothing half-cached; the next one opens it."""
        made = noise(600)
        path = write(tmp_path, PACK["gzip"](kdump(made, kind="raw").data))
        real = packed_file.progress

        class Interrupt:
            def __init__(self, *_: object):
                self.left = 1

            def __enter__(self):
                return self

            def __exit__(self, *_: object) -> None:
                return

            def advance(self, _: int) -> None:
                if not self.left:
                    raise KeyboardInterrupt
                self.left -= 1

        monkeypatch.setattr(packed_file, "progress", Interrupt)
        with pytest.raises(KeyboardInterrupt):
            open_dump_file(path)
        assert [each.suffix for each in home.iterdir()] == [".lock"]
        monkeypatch.setattr(packed_file, "progress", real)
        with open_dump_file(path) as dump:
            assert frames(dump, list(made)) == made


class TestTogether:
    def test_two_threads(self, tmp_path, home):
        made = noise(300)
        path = write(tmp_path, PACK["xz"](kdump(made, kind="raw").data))
        read: list[bool] = []

        def work() -> None:
            with open_dump_file(path) as dump:
                read.append(frames(dump, list(made)) == made)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert read == [True] * 4
        assert entries(home) == 1

    def test_two_processes(self, tmp_path, home):
        made = noise(300)
        path = write(tmp_path, PACK["bzip2"](kdump(made, kind="raw").data))
        script = (
            "import sys, numpy as np\n"
            "from kernlab.formats import open_dump_file\n"
            "with open_dump_file(sys.argv[1]) as dump:\n"
            "    out = np.empty((dump.frame_count, 4096), dtype=np.uint8)\n"
            "    print(dump.read_into(np.arange(dump.frame_count), out).sum(), out.sum())\n"
        )
        running = [
            subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        told = {process.communicate(timeout=60)[0] for process in running}
        assert told == {f"0 {sum(sum(content) for content in made.values())}\n"}
        assert entries(home) == 1

    def test_no_folder_for_the_cache(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        made = some()
        with open_dump_file(write(tmp_path, PACK["gzip"](kdump(made).data))) as dump:
            assert frames(dump, list(made)) == made

    def test_an_open_dump_outlives_its_entry(self, tmp_path, home):
        made = noise(20)
        with open_dump_file(write(tmp_path, PACK["gzip"](kdump(made).data))) as dump:
            for entry in home.iterdir():
                entry.unlink()
            assert frames(dump, list(made)) == made

    def test_nothing_is_left_open(self, tmp_path):
        path = write(tmp_path, PACK["gzip"](kdump(some()).data))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with open_dump_file(path) as dump:
                    frames(dump, [1])
        assert len(os.listdir("/proc/self/fd")) == before

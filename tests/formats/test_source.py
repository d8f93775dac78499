"""Files whose size nobody tells give the same as others; those that somebody cuts or overwrites while they are open
cost what was there, and never the process.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from formats.make_dump import KINDS, PAGE, Segment, avml, elf, flatten, kdump, lime, page, some
from formats.reading import frames, open_quietly, write

from kernlab.errors import DumpFileError, KernlabError
from kernlab.formats import FrameStatus, open_dump_file, recognise
from kernlab.formats.source import PlainFile, open_source


@pytest.fixture
def sizeless(monkeypatch):
    """Files do not say how long they are, as some in /proc do not."""
    real = recognise.open_regular

    def opened(path, looked_at):
        descriptor, _, start = real(path, looked_at)
        return descriptor, 0, start

    monkeypatch.setattr(recognise, "open_regular", opened)


@pytest.mark.parametrize("how", ["sizeless"])
class TestSame:
    @pytest.mark.parametrize("kind", KINDS)
    def test_kdump(self, tmp_path, request, how, kind):
        pages = some()
        path = write(tmp_path, kdump(pages, kind=kind, excluded=[2]).data)
        request.getfixturevalue(how)
        with open_dump_file(path) as dump:
            assert frames(dump, [*pages, 2, 3]) == pages | {2: FrameStatus.EXCLUDED, 3: FrameStatus.ABSENT}
            assert dump.problems == []
            assert dump.header["file_bytes"] == path.stat().st_size
        with pytest.raises(KernlabError, match="was closed"):
            frames(dump, [1])

    def test_elf(self, tmp_path, request, how):
        content = os.urandom(3 * PAGE)
        segments = [
            Segment(0x1000, content, size=5 * PAGE),
            Segment(0x9F00, b"edge" * 64),
            Segment(0xA000, b"after it" * 10),
        ]
        path = write(tmp_path, elf(segments))
        with open_dump_file(path) as dump:
            expected = frames(dump, list(range(12)))
        request.getfixturevalue(how)
        with open_dump_file(path) as dump:
            assert frames(dump, list(range(12))) == expected

    def test_flattened(self, tmp_path, request, how):
        pages = some()
        path = write(tmp_path, flatten(kdump(pages).data, step=333))
        request.getfixturevalue(how)
        with open_dump_file(path) as dump:
            assert frames(dump, list(pages)) == pages

    def test_empty(self, tmp_path, request, how):
        request.getfixturevalue(how)
        with pytest.raises(KernlabError, match="is empty"):
            open_dump_file(write(tmp_path, b""))

    @pytest.mark.parametrize("end", [100, 5000, 9000, 13_000, 40_000])
    def test_cut(self, tmp_path, request, how, end):
        pages = {pfn: page(pfn, "random") for pfn in range(20)}
        path = write(tmp_path, kdump(pages).data[:end])
        seen = []
        for _ in range(2):
            try:
                with open_quietly(path) as dump:
                    seen.append((frames(dump, list(pages)), dump.problems))
            except KernlabError as error:
                seen.append(str(error))
            request.getfixturevalue(how)
        assert seen[0] == seen[1]


def test_nothing_is_mapped(monkeypatch):
    """Who looks at a mapping of a file that was cut gets a signal; and to map a /proc/vmcore takes page tables for the
    whole machine, which a crash kernel has no room for.
    """
    monkeypatch.setattr(mmap, "mmap", lambda *_, **__: pytest.fail("it was mapped"))
    path = "/proc/self/maps"
    descriptor = os.open(path, os.O_RDONLY)
    found = open_source(Path(path), descriptor, os.fstat(descriptor).st_size)
    assert found.size > 1000
    assert found.since_opened() == []
    found.close()


@pytest.mark.parametrize("size", [1, 2, 3, 4095, 4096, 4097, 70_001])
def test_the_end_is_found(tmp_path, size):
    path = write(tmp_path, os.urandom(size))
    found = PlainFile(path, os.open(path, os.O_RDONLY), 0)
    assert found.size == size
    assert found.read(0, 1 << 40) == path.read_bytes()
    assert found.read(size, 10) == found.read(1 << 62, 10) == b""
    found.close()


def test_sizes_that_are_damaged_size_nothing(tmp_path):
    path = write(tmp_path, bytes(10_000))
    for found in (
        PlainFile(path, os.open(path, os.O_RDONLY), 10_000),
        PlainFile(path, os.open(path, os.O_RDONLY), 1 << 60),
    ):
        assert len(found.read(0, 1 << 59)) == 10_000
        assert len(found.array("<u8", 8, 1 << 55)) == 1249
        assert len(found.array("<u8", 1 << 61, 5)) == 0
        assert not found.copy(9_000, memoryview(bytearray(1001)))
        found.close()


def test_closed_while_reading(tmp_path):
    """A thread that reads when the dump is closed gets bytes or the error, never another file's."""
    path = write(tmp_path, bytes(PAGE) * 64)
    found = PlainFile(path, os.open(path, os.O_RDONLY), 64 * PAGE)
    errors: list[str] = []

    def work() -> None:
        try:
            while True:
                assert found.read(0, 64 * PAGE) == bytes(64 * PAGE)
        except KernlabError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    found.close()
    other = [os.open(__file__, os.O_RDONLY) for _ in range(3)]
    for thread in threads:
        thread.join()
    for descriptor in other:
        os.close(descriptor)
    assert len(errors) == 3


def test_unreadable(tmp_path, monkeypatch):
    path = write(tmp_path, bytes(100))

    def refused(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", refused)
    with pytest.raises(DumpFileError, match="Input/output error"):
        open_dump_file(path)


def _formats(pages: dict[int, bytes]) -> dict[str, bytes]:
    return {
        "kdump": kdump(pages).data,
        "kdump raw": kdump(pages, kind="raw").data,
        "elf": elf([Segment(pfn * PAGE, data) for pfn, data in pages.items()]),
        "flattened": flatten(kdump(pages).data, step=333),
        "flattened elf": flatten(elf([Segment(pfn * PAGE, data) for pfn, data in pages.items()]), step=3333),
        "lime": lime([Segment(pfn * PAGE, data) for pfn, data in pages.items()]),
        "avml": avml([Segment(pfn * PAGE, data) for pfn, data in pages.items()]),
    }


@pytest.mark.parametrize("left", [0, 1, 5000, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["kdump", "kdump raw", "elf", "flattened", "flattened elf", "lime", "avml"])
def test_a_file_that_is_cut_while_it_is_open_loses_pages_and_says_so(tmp_path, kind, left):
    pages = {pfn: page(pfn, "random") for pfn in range(40)}
    path = write(tmp_path, _formats(pages)[kind])
    with open_dump_file(path) as dump:
        assert dump.problems == []
        os.truncate(path, left if isinstance(left, int) else int(path.stat().st_size * left))
        found = frames(dump, list(pages))
        assert all(found[pfn] in (pages[pfn], FrameStatus.LOST) for pfn in pages)
        assert FrameStatus.LOST in found.values()
        assert left != 0.9 or any(found[pfn] == pages[pfn] for pfn in pages)
        assert any(
            "was cut from" in problem and "after it was opened" in problem for problem in dump.problems
        )


@pytest.mark.parametrize("kind", ["kdump", "elf", "flattened", "lime", "avml"])
def test_a_file_that_is_overwritten_while_it_is_open_says_so(tmp_path, kind):
    pages = {pfn: page(pfn, "random") for pfn in range(40)}
    data = _formats(pages)[kind]
    path = write(tmp_path, data)
    with open_dump_file(path) as dump:
        with path.open("r+b") as stream:
            stream.seek(len(data) // 2)
            stream.write(os.urandom(len(data)))
        os.utime(path, ns=(1, 1))
        frames(dump, list(pages))
        assert any("was written to after it was opened" in problem for problem in dump.problems)


def test_a_file_that_is_replaced_by_its_name_is_read_on(tmp_path):
    pages = some()
    path = write(tmp_path, kdump(pages).data)
    with open_dump_file(path) as dump:
        other = tmp_path / "other"
        other.write_bytes(b"x")
        other.rename(path)
        assert frames(dump, list(pages)) == pages
        assert dump.problems == []


def test_pieces_are_what_lies_there_however_they_lie(tmp_path):
    data = os.urandom(3_000_000)
    found = PlainFile(tmp_path / "f", os.open(write(tmp_path, data), os.O_RDONLY), len(data))
    random = np.random.default_rng(1)
    orders = [
        np.arange(0, 2_900_000, 700),
        np.sort(random.integers(0, 2_990_000, 500)),
        random.integers(0, 3_000_000, 500),
        np.array([5, 5, 5, 2_999_990, 3_100_000, 0]),
        np.zeros(0),
    ]
    for offsets in orders:
        sizes = random.integers(0, 9000, len(offsets))
        pieces = found.pieces(offsets.astype(np.uint64), sizes.astype(np.uint64))
        wanted = [data[o : o + n] for o, n in zip(offsets.astype(int).tolist(), sizes.tolist(), strict=True)]
        assert [bytes(piece) for piece in pieces] == wanted


@pytest.mark.parametrize("left", [0, 3_000_000, 8_000_000])
def test_a_real_dump_that_is_cut_under_an_analysis(dump_files, tmp_path, left):
    copy = tmp_path / "vmcore"
    shutil.copy(dump_files("debian-6.1").vmcore, copy)
    code = (
        "import os, sys, kernlab\n"
        "dump = kernlab.open(sys.argv[1])\n"
        "os.truncate(sys.argv[1], int(sys.argv[2]))\n"
        "for name in ('tasks', 'slabs', 'maps', 'log', 'pages'):\n"
        "    try:\n"
        "        print(name, 'cut from' in ' '.join(getattr(dump, name).attrs['problems']))\n"
        "    except kernlab.KernlabError as error:\n"
        "        print(name, bool(str(error)))\n"
    )
    command = [sys.executable, "-c", code, str(copy), str(left)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        w for name in ("tasks", "slabs", "maps", "log", "pages") for w in (name, "True")
    ]

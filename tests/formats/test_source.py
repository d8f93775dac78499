"""Files that cannot be mapped, such as a /proc/vmcore, give the same as those that can."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

import pytest
from formats.make_dump import KINDS, PAGE, Segment, elf, flatten, kdump, page, some
from formats.reading import frames, open_quietly, write

from kernlab.errors import DumpFileError, KernlabError
from kernlab.formats import FrameStatus, open_dump_file, recognise
from kernlab.formats.source import MappedFile, UnmappedFile, open_source


@pytest.fixture
def unmapped(monkeypatch):
    """No file can be mapped."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr("kernlab.formats.source.mmap.mmap", refused)


@pytest.fixture
def sizeless(monkeypatch):
    """Files do not say how long they are, as some in /proc do not."""
    real = recognise._open

    def opened(path):
        descriptor, _, start = real(path)
        return descriptor, 0, start

    monkeypatch.setattr(recognise, "_open", opened)


@pytest.mark.parametrize("how", ["unmapped", "sizeless"])
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


def test_proc_is_not_mapped(monkeypatch):
    """To map a /proc/vmcore takes page tables for the whole machine, which a crash kernel has no room for."""
    monkeypatch.setattr(mmap, "mmap", lambda *_, **__: pytest.fail("it was mapped"))
    path = "/proc/self/maps"
    descriptor = os.open(path, os.O_RDONLY)
    found = open_source(Path(path), descriptor, os.fstat(descriptor).st_size)
    assert isinstance(found, UnmappedFile)
    assert found.size > 1000
    found.close()


@pytest.mark.parametrize("size", [1, 2, 3, 4095, 4096, 4097, 70_001])
def test_the_end_is_found(tmp_path, size):
    path = write(tmp_path, os.urandom(size))
    found = UnmappedFile(path, os.open(path, os.O_RDONLY), 0)
    assert found.size == size
    assert found.read(0, 1 << 40) == path.read_bytes()
    assert found.read(size, 10) == found.read(1 << 62, 10) == b""
    found.close()


def test_sizes_that_are_damaged_size_nothing(tmp_path):
    path = write(tmp_path, bytes(10_000))
    for found in (
        MappedFile(path, mmap.mmap(os.open(path, os.O_RDONLY), 0, access=mmap.ACCESS_READ)),
        UnmappedFile(path, os.open(path, os.O_RDONLY), 1 << 60),
    ):
        assert len(found.read(0, 1 << 59)) == 10_000
        assert len(found.array("<u8", 8, 1 << 55)) == 1249
        assert len(found.array("<u8", 1 << 61, 5)) == 0
        assert not found.copy(9_000, memoryview(bytearray(1001)))
        found.close()


def test_closed_while_reading(tmp_path):
    """A thread that reads when the dump is closed gets bytes or the error, never another file's."""
    path = write(tmp_path, bytes(PAGE) * 64)
    found = UnmappedFile(path, os.open(path, os.O_RDONLY), 64 * PAGE)
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

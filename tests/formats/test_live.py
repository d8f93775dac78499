"""The running kernel's memory as a file: a made /proc/kcore, what is refused, and what changes while it is open."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from formats.make_dump import PAGE, VMCOREINFO, Segment, elf, notes

from kernlab.errors import DumpFileError, DumpFormatError
from kernlab.formats import FrameStatus, live, open_dump_file
from kernlab.formats.live import LiveFile

NONE = 2**64 - 1


def content(pages: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(pages * PAGE)


def made(folder: Path, segments: list[Segment], **how) -> Path:
    path = folder / "kcore"
    path.write_bytes(bytes(elf(segments, **how)))
    return path


def frame(file: LiveFile, pfn: int) -> bytes | int:
    index = file.find(np.array([pfn], dtype=np.uint64))
    if index[0] < 0:
        return FrameStatus(-index[0])
    out = np.empty((1, PAGE), dtype=np.uint8)
    status = file.read_into(index, out)
    return out.tobytes() if not status[0] else FrameStatus(status[0])


class TestFrames:
    def test_ram_only(self, tmp_path):
        """Segments without a physical address (vmalloc, vmemmap) are never read."""
        ram, other = content(3, 1), content(2, 2)
        path = made(tmp_path, [Segment(NONE, other, virtual=0xFFFFC900 << 32), Segment(0x4000, ram)])
        with LiveFile(path) as file:
            assert (file.format, file.changes, file.frame_count, file.max_pfn) == ("live", True, 3, 7)
            assert [frame(file, pfn) for pfn in (3, 4, 6, 7)] == [2, ram[:PAGE], ram[2 * PAGE :], 2]

    def test_notes_of_the_reader_are_none_of_the_machine(self, tmp_path):
        """Its NT_PRSTATUS is of zeros, and would pass for a CPU's registers."""
        with LiveFile(made(tmp_path, [Segment(0, content(1, 1))])) as file:
            assert [note.name for note in file.notes] == ["VMCOREINFO"]
            assert file.vmcoreinfo == VMCOREINFO

    def test_bytes_change(self, tmp_path):
        path = made(tmp_path, [Segment(0, bytes(2 * PAGE))])
        with LiveFile(path) as file:
            assert frame(file, 1) == bytes(PAGE)
            data = bytearray(path.read_bytes())
            data[-PAGE:] = content(1, 5)
            path.write_bytes(data)
            assert frame(file, 1) == content(1, 5)
            assert file.problems == []

    def test_a_note_that_sysfs_names(self, tmp_path, monkeypatch):
        """Before 4.19 the file has no VMCOREINFO: the kernel says where it lies in memory."""
        text = notes(VMCOREINFO, cpus=0)
        ram = bytearray(content(2, 1))
        ram[PAGE - 20 : PAGE - 20 + len(text)] = text
        place = tmp_path / "vmcoreinfo"
        place.write_text(f"{PAGE - 20:#x} {len(text):x}\n")
        monkeypatch.setattr(live, "_NOTE_PLACE", place)
        with LiveFile(made(tmp_path, [Segment(0, bytes(ram))], note_bytes=b"")) as file:
            assert file.vmcoreinfo == VMCOREINFO
        place.write_text("nonsense")
        with LiveFile(tmp_path / "kcore") as file:
            assert file.vmcoreinfo is None

    def test_memory_is_plugged(self, tmp_path):
        """Places move: the headers grew."""
        path = made(tmp_path, [Segment(0, content(1, 1))])
        with LiveFile(path) as file:
            file.refresh()
            assert file.generation == 0
            made(tmp_path, [Segment(0, content(1, 1)), Segment(0x8000, content(2, 2))])
            file.refresh()
            assert (file.generation, file.frame_count) == (1, 3)
            assert [frame(file, pfn) for pfn in (0, 9)] == [content(1, 1), content(2, 2)[PAGE:]]


class TestRefused:
    def test_what_is_hidden(self, tmp_path):
        """A container puts an empty file over it."""
        (tmp_path / "kcore").write_bytes(b"")
        with pytest.raises(DumpFormatError, match=r"hidden, as in a container"):
            LiveFile(tmp_path / "kcore")

    def test_no_such_file(self, tmp_path):
        with pytest.raises(DumpFileError, match=r"CONFIG_PROC_KCORE") as raised:
            LiveFile(tmp_path / "kcore")
        assert raised.value.errno == errno.ENOENT

    @pytest.mark.parametrize(
        ("user", "lockdown", "said"),
        [
            (1000, "none [integrity] confidentiality", "use sudo"),
            (0, "[none] integrity confidentiality", "CAP_SYS_RAWIO, which containers lack"),
            (0, "none integrity [confidentiality]", "locked down"),
        ],
    )
    def test_who_may_not(self, tmp_path, monkeypatch, user, lockdown, said):
        def refuse(*_):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        (tmp_path / "lockdown").write_text(lockdown)
        monkeypatch.setattr(live, "_LOCKDOWN", tmp_path / "lockdown")
        monkeypatch.setattr(os, "geteuid", lambda: user)
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(DumpFileError, match=said):
            LiveFile(tmp_path / "kcore")

    def test_its_path_is_not_its_name(self, tmp_path, monkeypatch):
        """Whoever names the file gets one moment of it at best: asked for by its name it is read anew."""
        path = made(tmp_path, [Segment(0, content(1, 1))])
        monkeypatch.setattr("kernlab.formats.regular_file.KCORE", path)
        with pytest.raises(DumpFileError, match=r"kernlab\.open\('live'\)"):
            open_dump_file(path)

    def test_another_file_called_kcore(self, tmp_path):
        with open_dump_file(made(tmp_path, [Segment(0, content(1, 1))])) as file:
            assert file.format == "elf"

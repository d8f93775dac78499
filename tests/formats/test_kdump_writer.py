"""The writer of kdump files: whatever the first file was in, the second has its frames, notes and facts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from formats.make_dump import (
    PAGE,
    VMCOREINFO,
    Segment,
    avml,
    elf,
    flatten,
    kdump,
    lime,
    notes,
    raw,
    some,
    split,
)
from formats.reading import check_present, frame, open_quietly, write

from kernlab.errors import DumpFormatError
from kernlab.formats import DumpFile, FrameStatus, open_dump_file
from kernlab.formats.kdump.writer import write_kdump

FRAMES = some()
EXCLUDED = [2, 5, 200]


def segments() -> list[Segment]:
    """The frames of `some`, one segment each."""
    return [Segment(pfn * PAGE, data) for pfn, data in sorted(FRAMES.items())]


FORMS: dict[str, Callable[[], bytes | list[bytes]]] = {
    **{
        kind: lambda kind=kind: bytes(kdump(FRAMES, excluded=EXCLUDED, kind=kind).data)  # type: ignore[misc]
        for kind in ("zlib", "lzo", "snappy", "zstd", "raw")
    },
    "version 5": lambda: bytes(kdump(FRAMES, excluded=EXCLUDED, version=5).data),
    "qemu": lambda: bytes(kdump(FRAMES, qemu=True).data),
    "split": lambda: split(FRAMES, [20, 77], excluded=EXCLUDED),
    "flattened": lambda: flatten(bytes(kdump(FRAMES, excluded=EXCLUDED).data)),
    "elf": lambda: bytes(elf(segments())),
    "lime": lambda: lime(segments()),
    "avml": lambda: avml(segments()),
    "raw": lambda: raw(segments()),
}


def opened(folder: Path, form: str) -> DumpFile:
    data = FORMS[form]()
    if isinstance(data, list):
        return open_dump_file([write(folder, part, f"piece{i}") for i, part in enumerate(data)])
    return open_dump_file(write(folder, data), format="raw" if form == "raw" else None)


def same_frames(one: DumpFile, other: DumpFile) -> None:
    assert other.max_pfn == one.max_pfn
    for pfn in range(one.max_pfn + 8):
        assert frame(one, pfn) == frame(other, pfn), f"frame {pfn:#x}"


@pytest.mark.parametrize("form", FORMS)
def test_every_format_becomes_the_same_dump(form: str, tmp_path: Path) -> None:
    with opened(tmp_path, form) as first:
        written = write_kdump(first, tmp_path / "written", vmcoreinfo=first.vmcoreinfo or VMCOREINFO)
        with open_dump_file(tmp_path / "written") as second:
            assert second.problems == []
            assert second.format == "kdump-zlib"
            assert second.header["header_version"] == 6
            same_frames(first, second)
            check_present(second)
            assert written.frames == second.frame_count == first.frame_count
            assert not written.lost_frames
            assert second.vmcoreinfo == VMCOREINFO.rstrip(b"\0")
            mine, theirs = (
                [(note.name, note.type, note.desc) for note in dump.notes if note.name != "VMCOREINFO"]
                for dump in (first, second)
            )
            assert mine == theirs
            for name in ("nodename", "release", "machine", "timestamp", "cpus", "phys_base"):
                if first.header.get(name) is not None:
                    assert second.header[name] == first.header[name], name
            assert second.header["file_bytes"] == written.file_bytes


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    sums = []
    for form in ("zlib", "lzo", "split", "flattened"):
        with opened(tmp_path, form) as file:
            sums.append(write_kdump(file, tmp_path / form).sha256)
    assert len(set(sums)) == 1
    assert subprocess.check_output(["sha256sum", tmp_path / "zlib"], text=True).split()[0] == sums[0]


def test_pages_of_zeros_are_stored_once(tmp_path: Path) -> None:
    frames = {pfn: bytes(PAGE) for pfn in range(1000)} | {1000: b"x" * PAGE}
    with open_dump_file(write(tmp_path, bytes(kdump(frames, share_zeros=False).data))) as file:
        written = write_kdump(file, tmp_path / "written")
    assert (written.frames, written.zero_frames) == (1001, 1000)
    assert written.file_bytes < 12 * PAGE  # headers, bitmaps, descriptors of 24 bytes, two pages


def test_lost_frames_stay_lost(tmp_path: Path) -> None:
    made = kdump(FRAMES, excluded=EXCLUDED)
    pfn = 10  # neither of zeros nor stored as it is
    at = made.offsets[pfn]
    made.data[at : at + 16] = b"\xff" * 16
    with open_quietly(write(tmp_path, bytes(made.data))) as first:
        written = write_kdump(first, tmp_path / "written")
        assert written.lost_frames == 1
        with open_quietly(tmp_path / "written") as second:
            assert frame(second, pfn) is FrameStatus.LOST
            assert "1 empty page descriptors" in second.problems[0]
            same_frames(first, second)


def test_what_is_given_replaces_what_the_file_says(tmp_path: Path) -> None:
    with opened(tmp_path, "zlib") as first:
        info = b"OSRELEASE=6.1.0-test\nMORE=1\n"
        write_kdump(first, tmp_path / "written", vmcoreinfo=info, notes=first.notes[:1], dump_level=30)
    with open_dump_file(tmp_path / "written") as second:
        assert second.vmcoreinfo == info
        assert [note.name for note in second.notes] == ["CORE", "VMCOREINFO"]
        assert second.notes[-1].desc == info
        assert second.header["dump_level"] == 30


class Failing:
    """A dump file whose pages cannot be read from some frame on."""

    def __init__(self, file: DumpFile):
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read_into(self, *_: Any) -> Any:
        raise KeyboardInterrupt


def test_nothing_stays_of_a_file_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with opened(tmp_path, "zlib") as file, pytest.raises(KeyboardInterrupt):
        write_kdump(Failing(file), folder / "written")  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []


def test_a_file_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, "zlib") as file:
        file.max_pfn = 1 << 35
        with pytest.raises(DumpFormatError, match="cannot be written"):
            write_kdump(file, tmp_path / "written")
    assert not (tmp_path / "written").exists()


def test_a_full_disk_names_the_file() -> None:
    with open_dump_file(write_to_full()) as file, pytest.raises(OSError, match="/dev/full"):
        write_kdump(file, Path("/dev/full"))


def write_to_full() -> Path:
    """A dump in the tests' own samples, for a device that takes nothing."""
    return Path(__file__).resolve().parents[2] / "samples" / "debian-6.1" / "vmcore"


def test_a_real_dump_is_what_it_was(dump_files: Any, tmp_path: Path) -> None:
    path = tmp_path / "written"
    with open_dump_file(dump_files("debian-6.1").vmcore) as first:
        write_kdump(first, path)
        with open_dump_file(path) as second:
            numbers = np.arange(first.max_pfn, dtype=np.uint64)
            one, two = first.find(numbers), second.find(numbers)
            assert (one == two).all()
            pages = [np.empty((first.frame_count, PAGE), dtype=np.uint8) for _ in range(2)]
            for file, out in zip((first, second), pages, strict=True):
                assert not file.read_into(np.arange(first.frame_count), out).any()
            assert (pages[0] == pages[1]).all()
            assert second.notes[0].desc == first.notes[0].desc


def test_makedumpfile_reads_the_log_of_it(dump_files: Any, tmp_path: Path) -> None:
    if shutil.which("makedumpfile") is None:
        pytest.skip("makedumpfile is not installed (scripts/install-system-packages.sh lab)")
    with open_dump_file(dump_files("debian-6.1").vmcore) as first:
        write_kdump(first, tmp_path / "written")
    command = ["makedumpfile", "--dump-dmesg", tmp_path / "written", tmp_path / "log"]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "log").read_bytes() == dump_files("debian-6.1").dmesg.read_bytes()


def test_drgn_reads_it(dump_files: Any, tmp_path: Path) -> None:
    drgn = pytest.importorskip("drgn", reason="drgn is not installed (pip install 'kernlab[oracle]')")
    with open_dump_file(dump_files("debian-6.1").vmcore) as first:
        write_kdump(first, tmp_path / "written")
        program = drgn.Program()
        program.set_core_dump(str(tmp_path / "written"))
        every = np.flatnonzero(first.find(np.arange(first.max_pfn, dtype=np.uint64)) >= 0)
        for pfn in np.random.default_rng(6).choice(every, 200, replace=False).tolist():
            assert program.read(pfn * PAGE, PAGE, physical=True) == frame(first, pfn)


def test_the_notes_are_those_of_the_kernel(tmp_path: Path) -> None:
    with open_dump_file(write(tmp_path, bytes(kdump(FRAMES).data))) as first:
        write_kdump(first, tmp_path / "written")
    with open_dump_file(tmp_path / "written") as second:
        start = second.notes[0].offset - 20
        assert (tmp_path / "written").read_bytes()[start : start + len(notes())] == notes()

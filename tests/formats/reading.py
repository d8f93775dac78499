"""What the tests of formats have in common: open bytes as a dump, and read frames of it one by one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from kernlab.errors import TruncatedDumpWarning
from kernlab.formats import DumpFile, FrameStatus, open_dump_file


def write(folder: Path, data: bytes, name: str = "vmcore") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def open_quietly(path: Path, *, format: str | None = None, zero_excluded: bool = False) -> DumpFile:  # noqa: A002
    """Open a dump that may be cut short, without the warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncatedDumpWarning)
        return open_dump_file(path, format=format, zero_excluded=zero_excluded)


def frame(dump: DumpFile, pfn: int) -> bytes | FrameStatus:
    """The bytes of one frame, or why there are none."""
    index = dump.find(np.array([pfn], dtype=np.uint64))
    if index[0] < 0:
        return FrameStatus(-int(index[0]))
    assert index[0] < dump.frame_count
    out = np.full((1, dump.page_size), 0xAA, dtype=np.uint8)
    status = dump.read_into(index, out)
    if status[0]:
        assert not out.any(), "rows without data are zeroed"
        return FrameStatus(int(status[0]))
    return out.tobytes()


def frames(dump: DumpFile, pfns: list[int]) -> dict[int, bytes | FrameStatus]:
    """Many frames, read in one request."""
    index = dump.find(np.array(pfns, dtype=np.uint64))
    there = np.flatnonzero(index >= 0)
    out = np.full((len(there), dump.page_size), 0xAA, dtype=np.uint8)
    status = dump.read_into(index[there], out)
    assert not out[status != 0].any(), "rows without data are zeroed"
    found: dict[int, bytes | FrameStatus] = {
        pfns[i]: FrameStatus(-int(index[i])) for i in np.flatnonzero(index < 0)
    }
    for row, i in enumerate(there.tolist()):
        found[pfns[i]] = FrameStatus(int(status[row])) if status[row] else out[row].tobytes()
    return found


def check_present(dump: DumpFile) -> None:
    """The frames that are said to be there are those that are found by their number, in blocks and in order."""
    every = np.arange(dump.max_pfn + 100, dtype=np.uint64)
    for most in (1, 7, 1 << 20) if dump.frame_count < 1000 else (1000, 1 << 20):
        blocks = list(dump.present(most))
        assert all(0 < len(block) <= most for block in blocks)
        found = np.concatenate([np.zeros(0, dtype=np.int64), *blocks])
        assert found.tolist() == np.flatnonzero(dump.find(every) >= 0).tolist()

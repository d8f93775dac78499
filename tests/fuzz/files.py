"""Files that cases damage: each worker has its own copy of a dump, patched for a case and mended after it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from support.overlay import Overlay

from fuzz.subjects import Subject, frames_of, prefix
from kernlab.formats.base import DumpFile, FrameStatus

#: Where copies lie: in memory where the system has a place for that.
FOLDER = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())

DESCRIPTOR = np.dtype([("offset", "<u8"), ("size", "<u4"), ("flags", "<u4"), ("page_flags", "<u8")])


class Copy:
    """A worker's copy of a file; `patch` mends what the last case did first."""

    def __init__(self, subject: Subject, slot: int):
        self._source = source = subject.path
        self.path = FOLDER / f"{subject.prefix}-{slot}-{subject.name}"
        if not self.path.exists():
            shutil.copyfile(source, self.path)

    @property
    def _journal(self) -> Path:
        return self.path.with_name(f"{self.path.name}-undo")

    def patch(self, writes: Mapping[int, bytes], size: int | None = None) -> Path:
        """Overwrite bytes by their offsets, then cut or lengthen the file; the copy's path."""
        self._mend()
        # Written down before it is done: the process may be killed, and the next one mends.
        ranges = [f"{offset} {len(data)}" for offset, data in writes.items()]
        self._journal.write_text("\n".join([*ranges, f"{size if size is not None else -1} cut"]))
        with self.path.open("r+b") as stream:
            for offset, data in writes.items():
                stream.seek(offset)
                stream.write(data)
            if size is not None:
                stream.truncate(size)
        return self.path

    def _mend(self) -> None:
        if not self._journal.exists():
            return
        whole = self._source.stat().st_size
        with self._source.open("rb") as source, self.path.open("r+b") as stream:
            for line in self._journal.read_text().splitlines():
                offset, _, length = line.partition(" ")
                start, count = int(offset), whole
                if length == "cut":
                    count = whole - start
                    if start < 0:
                        continue
                else:
                    count = int(length)
                source.seek(min(start, whole))
                stream.seek(min(start, whole))
                stream.write(source.read(max(count, 0)))
            stream.truncate(whole)
        self._journal.unlink()


def remove_copies() -> None:
    """Remove the files that this process's cases used."""
    for path in FOLDER.glob(f"{prefix()}-*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


class FileOverlay(Overlay):
    """A dump of known symbols and types over another file of the same machine."""

    def __init__(self, subject: Subject, file: DumpFile):
        super().__init__(subject.dump)
        self._file = file

    def file(self) -> DumpFile:  # type: ignore[override]
        return self._file


def changed_frames(subject: Subject, file: DumpFile, suspected: np.ndarray | None) -> tuple[list[int], bool]:
    """Frames that the whole dump has and `file` has not, and whether any other has other bytes now.

    Only `suspected` frames are read, where those are known.
    """
    every = frames_of(subject)
    index = file.find(every.astype(np.uint64))
    gone = every[index < 0].tolist()
    looked_at = np.flatnonzero(index >= 0) if suspected is None else suspected
    looked_at = looked_at[index[looked_at] >= 0]
    other = False
    for first in range(0, len(looked_at), 4096):
        rows = looked_at[first : first + 4096]
        out = np.empty((len(rows), file.page_size), dtype=np.uint8)
        status = file.read_into(index[rows], out)
        gone += every[rows[status == FrameStatus.LOST]].tolist()
        good = status == 0
        other |= bool((out[good] != subject.file.rows[rows[good]]).any())
    return sorted(set(gone)), other

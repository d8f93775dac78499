"""Split dumps (makedumpfile --split): pieces in any order in, one dump out; what does not belong together is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError, MissingPiecesWarning
from kernlab.formats.base import DumpFile, FrameStatus, named, warn_lost
from kernlab.formats.kdump.file import KdumpFile
from kernlab.util.text import few

_REMEDY = "Name all pieces: kernlab.open([PIECE, PIECE, …])"


class SplitDump(DumpFile):
    """The pieces of one split dump as one; frames whose piece is not among them are LOST.

    `path` is the first of the paths as they were given. Raises DumpFormatError where they are not pieces of one dump;
    the files are the caller's until the constructor returns.
    """

    def __init__(self, files: Sequence[DumpFile]):
        pieces = sorted((_piece(file, len(files)) for file in files), key=_range)
        _check_one_dump(pieces)
        _check_apart(pieces)
        first = pieces[0]
        self.path = files[0].path
        self.page_size, self.machine, self.max_pfn = first.page_size, first.machine, first.max_pfn
        self.notes, self.vmcoreinfo = first.notes, first.vmcoreinfo
        self._pieces = pieces
        self._bases = np.cumsum([0, *(piece.frame_count for piece in pieces)])
        self.frame_count = int(self._bases[-1])
        self.format = named(
            f"kdump-{first.compression}",
            f"split, {len(pieces):,} piece{'s' if len(pieces) > 1 else ''}",
            first.wrapping,
        )
        self.header = first.header | {
            "file_bytes": sum(int(str(piece.header["file_bytes"])) for piece in pieces),
            "pieces": [str(piece.path) for piece in pieces],
        }
        self._problems: list[str] = []
        self._check_whole()

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        """What was found lost so far in any piece."""
        return [*self._problems, *(problem for piece in self._pieces for problem in piece.problems)]

    def _check_whole(self) -> None:
        """Say so where pieces are missing."""
        end, gaps = 0, []
        for piece in self._pieces:
            start, after = _range(piece)
            if start > end:
                gaps.append((end, start))
            end = max(end, after)
        if end < self.max_pfn:
            gaps.append((end, self.max_pfn))
        lost = sum(self._pieces[0].dumped_elsewhere(start, after) for start, after in gaps)
        if not lost:
            return
        which = few([f"{start:#x} to {after:#x}" for start, after in gaps])
        names = ", ".join(str(piece.path) for piece in self._pieces)
        what = "is one piece of a split dump" if len(self._pieces) == 1 else "are some pieces of a split dump"
        warn_lost(
            self._problems,
            f"{names} {what}: {lost:,} pages of page frames {which} lie in pieces that were not named. Reading on with "
            f"{self.frame_count:,} of {self.frame_count + lost:,} pages",
            _REMEDY,
            MissingPiecesWarning,
        )

    def find(self, pfns: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """See DumpFile.find."""
        indices = self._pieces[0].find(pfns)
        for piece, base in zip(self._pieces[1:], self._bases[1:].tolist(), strict=False):
            start, end = _range(piece)
            mine = (pfns >= np.uint64(start)) & (pfns < np.uint64(end))
            if mine.any():
                index = piece.find(pfns[mine])
                indices[mine] = np.where(index >= 0, index + base, index)
        return indices

    def present(self, most: int) -> Iterator[npt.NDArray[np.int64]]:
        """See DumpFile.present; the pieces are in order and apart."""
        for piece in self._pieces:
            yield from piece.present(most)

    @property
    def filled_count(self) -> int:
        """See DumpFile.filled_count."""
        return sum(piece.filled_count for piece in self._pieces)

    def read_into(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """See DumpFile.read_into."""
        owner = np.searchsorted(self._bases, indices, side="right") - 1
        owners = np.unique(owner).tolist()
        if len(owners) == 1:
            only: npt.NDArray[np.uint8] = self._pieces[owners[0]].read_into(
                indices - self._bases[owners[0]], out
            )
            return only
        status = np.full(len(indices), FrameStatus.LOST, dtype=np.uint8)
        for number in owners:
            rows = np.flatnonzero(owner == number)
            inner = indices[rows] - self._bases[number]
            if len(rows) == rows[-1] - rows[0] + 1:
                part = slice(int(rows[0]), int(rows[-1]) + 1)
                status[part] = self._pieces[number].read_into(inner, out[part])
            else:
                pages = np.empty((len(rows), self.page_size), dtype=np.uint8)
                status[rows] = self._pieces[number].read_into(inner, pages)
                out[rows] = pages
        return status

    def close(self) -> None:
        """See DumpFile.close."""
        for piece in self._pieces:
            piece.close()


def _range(piece: KdumpFile) -> tuple[int, int]:
    assert piece.piece is not None
    return piece.piece


def _piece(file: DumpFile, count: int) -> KdumpFile:
    if isinstance(file, KdumpFile) and file.piece is not None:
        return file
    raise DumpFormatError(
        f"{file.path} is not a piece of a split dump but a whole one ({file.format}), and {count:,} files were named. "
        "Open it alone: only the pieces that makedumpfile --split writes belong together"
    )


def _check_one_dump(pieces: Sequence[KdumpFile]) -> None:
    """Raise DumpFormatError unless all say the same of the machine and of its memory."""
    first = pieces[0]
    for other in pieces[1:]:
        differing = first.differs_from(other)
        if differing is not None:
            raise DumpFormatError(
                f"{first.path} and {other.path} are pieces of two different dumps: {differing}. Name the pieces of one "
                "dump only"
            )


def _check_apart(pieces: Sequence[KdumpFile]) -> None:
    """Raise DumpFormatError where two pieces have pages of the same frames."""
    furthest = pieces[0]
    for piece in pieces[1:]:
        start, end = _range(piece)
        if start < min(end, _range(furthest)[1]):
            same = Path(piece.path).resolve() == Path(furthest.path).resolve()
            why = "it was named twice" if same else "one is a copy of the other, or the dump was split twice"
            raise DumpFormatError(
                f"{furthest.path} and {piece.path} both have page frame {start:#x}: {why}. Name each piece of one set "
                "once"
            )
        if end > _range(furthest)[1]:
            furthest = piece

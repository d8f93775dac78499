"""Flattened dumps (makedumpfile -F, QEMU's kdump-*): a stream of records in, the file that they make up out.

Each record says where its bytes belong, so that a dump can be written into a pipe. Nothing is rearranged on disk: an
index of the records is as good.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.base import warn_lost
from kernlab.formats.source import Offsets, Piece, Source
from kernlab.util.progress import progress

# struct makedumpfile_header and makedumpfile_data_header (makedumpfile.h): big endian on every machine.
_HEADER = struct.Struct(">16sqq")
_HEADER_SIZE = 4096
_RECORD = struct.Struct(">qq")
_END = -1
Numbers = npt.NDArray[np.int64]

#: A stream skips little (the ends of bitmaps); what sizes an array is bounded by the file's length and this.
_MOST_ZEROS = 64 << 20
#: Offsets from here on are damage: no file system has such files.
_FURTHEST = 1 << 62


class FlattenedFile(Source):
    """The dump that the records of a flattened file make up. Where records overlap the later one counts."""

    def __init__(self, base: Source):
        self.path, self.file_bytes = base.path, base.file_bytes
        self.wrapping = ", ".join(filter(None, ("flattened", base.wrapping)))
        self._base = base
        self.problems = list(base.problems)
        _check(base)
        self._whole = False
        starts, sizes, places = self._read_records()
        if not len(starts):
            raise DumpFormatError(
                f"{base.path} is a flattened dump without a record: its {base.size:,} bytes hold nothing that can be "
                "read behind its header. Copy the dump again"
            )
        self._starts, self._ends, self._places = _without_overlaps(starts, sizes, places)
        self.stored = int((self._ends - self._starts).sum())
        self.size = int(self._ends[-1]) if len(self._ends) else 0
        # Where each run of bytes without a hole ends.
        breaks = np.flatnonzero(self._ends[:-1] != self._starts[1:])
        self._runs = np.append(self._ends[breaks], self._ends[-1:])
        # What a whole stream skips is zeros, as in the file that makedumpfile -R writes; a cut one may have had it.
        self._holes_are_zeros = self._whole and self.size - self.stored <= self.stored + _MOST_ZEROS

    def _read_records(self) -> tuple[Offsets, Offsets, Offsets]:
        """Where each record's bytes belong, how many there are, and where they lie in the file."""
        starts, sizes, places = array("Q"), array("Q"), array("Q")
        base, at = self._base, _HEADER_SIZE
        with progress(f"Reading the records of {base.path.name}", base.size, "B") as bar:
            while True:
                head = base.read(at, _RECORD.size)
                if len(head) < _RECORD.size:
                    self._cut(f"ends at byte {base.size:,} without a mark of its end", len(starts))
                    break
                start, size = _RECORD.unpack(head)
                if start == _END:
                    self._whole = True
                    break
                if not 0 <= start < _FURTHEST or not 0 < size < _FURTHEST:
                    self._cut(
                        f"is damaged: the record at byte {at:,} is of {size:,} bytes at {start:,}",
                        len(starts),
                    )
                    break
                at += _RECORD.size
                there = min(size, base.size - at)
                if there > 0:
                    starts.append(start)
                    sizes.append(there)
                    places.append(at)
                at += size
                bar.advance(_RECORD.size + size)
        return tuple(np.array(column, dtype=np.uint64) for column in (starts, sizes, places))  # type: ignore[return-value]

    def _cut(self, what: str, records: int) -> None:
        sentence = (
            f"{self.path}, a flattened dump, {what}. Reading on with the {records:,} records before that"
        )
        warn_lost(self.problems, sentence)

    def read(self, offset: int, size: int) -> bytes:
        """See Source.read."""
        size = max(min(size, self.size - offset), 0)
        raw = bytearray(size)
        for start, length, piece in self._parts(offset, size):
            raw[start : start + len(piece)] = piece
            if len(piece) < length:
                # The file was cut since it was opened.
                return bytes(raw[: start + len(piece)])
        return bytes(raw)

    def _parts(self, offset: int, size: int) -> Iterator[tuple[int, int, Piece]]:
        """What there is of `size` bytes, record by record: (position among them, how many there should be, bytes)."""
        first = int(np.searchsorted(self._ends, np.uint64(offset), side="right"))
        last = int(np.searchsorted(self._starts, np.uint64(offset + size), side="left"))
        starts: Offsets = np.maximum(self._starts[first:last], np.uint64(offset))
        ends: Offsets = np.minimum(self._ends[first:last], np.uint64(offset + size))
        places: Offsets = self._places[first:last] + (starts - self._starts[first:last])
        sizes = ends - starts
        return zip(
            (starts - np.uint64(offset)).tolist(),
            sizes.tolist(),
            self._base.pieces(places, sizes),
            strict=True,
        )

    def reach(self, offset: int) -> int:
        """See Source.reach."""
        if self._holes_are_zeros:
            return max(self.size, offset)
        record = int(np.searchsorted(self._starts, np.uint64(offset), side="right")) - 1
        if record < 0 or offset >= int(self._ends[record]):
            return offset
        return int(self._runs[np.searchsorted(self._runs, np.uint64(offset), side="right")])

    def pieces(self, offsets: Offsets, sizes: Offsets) -> Iterable[Piece]:
        """See Source.pieces."""
        if not len(self._starts):
            return [b""] * len(offsets)
        record = np.searchsorted(self._starts, offsets, side="right") - 1
        inner = offsets - self._starts[record]
        room = self._ends[record] - self._starts[record]
        whole = (record >= 0) & (inner < room) & (sizes <= room - np.minimum(inner, room))
        places: Offsets = np.where(whole, self._places[record] + inner, np.uint64(0))
        pieces = self._base.pieces(places, np.where(whole, sizes, np.uint64(0)))
        return pieces if whole.all() else self._mixed(pieces, whole, offsets, sizes)

    def _mixed(
        self, pieces: Iterable[Piece], whole: npt.NDArray[np.bool_], offsets: Offsets, sizes: Offsets
    ) -> Iterator[Piece]:
        for piece, is_whole, offset, size in zip(
            pieces, whole.tolist(), offsets.tolist(), sizes.tolist(), strict=True
        ):
            if is_whole:
                yield piece
            else:
                yield self.read(offset, size) if self.reach(offset) >= offset + size else b""

    def copy(self, offset: int, target: memoryview) -> bool:
        """See Source.copy."""
        if self.reach(offset) < offset + len(target):
            return False
        done = 0
        for start, length, piece in self._parts(offset, len(target)):
            if len(piece) < length:
                return False
            # Holes lie between the parts.
            target[done:start] = bytes(start - done)
            target[start : start + len(piece)] = piece
            done = start + len(piece)
        target[done:] = bytes(len(target) - done)
        return True

    def since_opened(self) -> list[str]:
        """See Source.since_opened."""
        return self._base.since_opened()

    def close(self) -> None:
        """See Source.close."""
        self._base.close()


def _check(base: Source) -> None:
    head = base.read(0, _HEADER.size)
    if len(head) < _HEADER.size or base.size <= _HEADER_SIZE:
        raise DumpFormatError(
            f"{base.path} is a flattened dump that is cut short: it ends at byte {base.size:,}, inside its header "
            f"({_HEADER_SIZE:,} bytes). Copy the dump again"
        )
    _, kind, version = _HEADER.unpack(head)
    if (kind, version) != (1, 1):
        raise DumpFormatError(
            f"{base.path} is a flattened dump of type {kind:,}, version {version:,}; kernlab knows type 1, version 1. "
            "If its header is not damaged, turn it into a plain dump: makedumpfile -R vmcore < FILE"
        )


def _without_overlaps(starts: Offsets, sizes: Offsets, places: Offsets) -> tuple[Offsets, Offsets, Offsets]:
    """Records in the stream's order to disjoint ranges in the dump's: (starts, ends, places in the file)."""
    order = np.argsort(starts, kind="stable")
    first, last = starts[order], (starts + sizes)[order]
    if not len(first) or (first[1:] >= np.maximum.accumulate(last)[:-1]).all():
        return first, last, places[order]
    # makedumpfile writes its headers again when it knows more: the latest record that has a byte counts.
    bounds = np.unique(np.concatenate([first, last]))
    record = _latest(
        np.searchsorted(bounds, starts), np.searchsorted(bounds, starts + sizes), len(bounds) - 1
    )
    begins = np.flatnonzero((record >= 0) & (record != np.append(-1, record[:-1])))
    ends = np.flatnonzero((record >= 0) & (record != np.append(record[1:], -1)))
    record = record[begins]
    start: Offsets = bounds[begins]
    return start, bounds[ends + 1], places[record] + (start - starts[record])


def _latest(low: Numbers, high: Numbers, count: int) -> Numbers:
    """Of ranges [low, high) of `count` places the last one that covers each place, -1 where none does.

    A range is two of the largest power of two that fits, which may overlap; those of each power are put in, and then
    each is halved, from the largest down: as much work as there are ranges, times the powers.
    """
    power = np.frexp((high - low).astype(np.float64))[1] - 1
    number = np.arange(len(low))
    latest = np.full(count, -1, dtype=np.int64)
    for step in range(int(power.max()), -1, -1):
        mine = power == step
        np.maximum.at(latest, low[mine], number[mine])
        np.maximum.at(latest, high[mine] - (1 << step), number[mine])
        if step:
            half = 1 << step - 1
            halved = latest.copy()
            np.maximum(halved[half:], latest[:-half], out=halved[half:])
            latest = halved
    return latest

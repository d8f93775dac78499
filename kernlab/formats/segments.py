"""Dump files made of segments of physical memory, stored as it was: segments in, page frames out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.base import DumpFile, FrameStatus, Note, named, warn_lost
from kernlab.formats.notes import vmcoreinfo_of
from kernlab.formats.source import Source

U64 = npt.NDArray[np.uint64]

#: What a format says of each segment: where it begins in physical memory, where its bytes begin in the source, how many
#: of them should be there, and how large it is in memory; all in bytes.
SEGMENT = np.dtype([("physical", "<u8"), ("offset", "<u8"), ("file_size", "<u8"), ("size", "<u8")])

#: Frames that a file is cut into until its kernel says how large its pages are.
_PAGE = 4096


class SegmentedFile(DumpFile):
    """An image of a machine's physical memory in segments, which may overlap, in any order.

    A frame has data if any segment has bytes of it in the file; what no segment has of it (at the edges of RAM) reads
    as zeros. With `zero_excluded` the tails of segments that the file has no bytes for share one frame of zeros.

    `segments` has the fields of SEGMENT, and ends before PHYSICAL_END. `stored` says how many bytes of each the source
    really has, where that is not what lies before its end; `damage` what the format found wrong, to follow the path in
    a sentence; `machine` which machine it says that it is of. Raises DumpFormatError where the segments claim more page
    frames than the source can hold.
    """

    def __init__(
        self,
        kind: str,
        source: Source,
        segments: npt.NDArray[np.void],
        *,
        stored: U64 | None = None,
        notes: Sequence[Note] = (),
        header: Mapping[str, object] | None = None,
        problems: Sequence[str] = (),
        damage: str | None = None,
        zero_excluded: bool = False,
        machine: str | None = None,
    ):
        self.page_size = _PAGE
        self.machine, self.names_machine = machine or "x86_64", machine is not None
        self.path, self.format = source.path, named(kind, source.wrapping)
        self.notes, self.vmcoreinfo = list(notes), vmcoreinfo_of(list(notes))
        self._source = source
        self._problems = [*source.problems, *problems]
        self._zero_excluded = zero_excluded
        if stored is None:
            end = np.uint64(source.size)
            stored = np.minimum(segments["file_size"], end - np.minimum(segments["offset"], end))
        order = np.lexsort((segments["file_size"], segments["physical"]))
        segments, self._stored = segments[order], stored[order]
        self._starts, self._sizes = segments["physical"].copy(), segments["file_size"].copy()
        self._offsets = segments["offset"].copy()
        # Segments may overlap, so the ends so far, not each one's own, tell where to stop looking back.
        self._reach = np.maximum.accumulate(self._starts + self._sizes)
        self._whole = segments["size"].copy()
        self._lay_out(self._whole)
        self.header = {
            "file_bytes": source.file_bytes,
            "timestamp": None,
            "dump_level": None,
            "max_pfn": self.max_pfn,
            **(header or {}),
        }
        self._tell_lost(damage)

    def _lay_out(self, whole: U64) -> None:
        """Runs of frames: with bytes in the file, with bytes that the file lacks, and with none."""
        self._shift = np.uint64(self.page_size.bit_length() - 1)
        start, size, there = self._starts, self._sizes, self._stored
        first = start >> self._shift
        held, cut = there > 0, size > there
        # The frame that the file ends in is lost with what is missing of it.
        end = np.where(cut, start + there >> self._shift, self._up(start + there))
        # One page may belong to two segments (a hole inside it); in a list of runs it stands once.
        self._held = _merged(first[held], end[held])
        self._cut = _merged(end[cut], self._up(start + size)[cut])
        empty = whole > size
        after = np.where(size > 0, self._up(start + size), first)
        self._empty = _merged(after[empty], self._up(start + whole)[empty])
        frames = (self._held[1] - self._held[0]).astype(np.int64)
        self._index = np.concatenate([[0], np.cumsum(frames)])
        self._held_count = int(self._index[-1])
        # Damaged headers may lay one byte of the file over and over into memory; what reads on sizes arrays by frames.
        if self._held_count > self._source.stored // self.page_size + 2 * len(start):
            raise DumpFormatError(
                f"{self.path} is damaged: its {len(start):,} segments claim {self._held_count:,} page frames, more "
                f"than its {self._source.size:,} bytes can hold. Copy the dump again"
            )
        self.frame_count = self._held_count + self._zero_excluded
        self.max_pfn = int(self._up(start + whole).max())

    def repaged(self, page_size: int) -> SegmentedFile:
        """This file, its memory cut into frames of another size from now on. Raises DumpFormatError as when opened."""
        if page_size != self.page_size:
            self.page_size = page_size
            self.__dict__.pop("_filled", None)
            self._lay_out(self._whole)
            self.header["max_pfn"] = self.max_pfn
        return self

    def _up(self, addresses: U64) -> U64:
        """Addresses to page frame numbers, rounded up."""
        answer: U64 = (addresses + np.uint64(self.page_size - 1)) >> self._shift
        return answer

    def _tell_lost(self, damage: str | None) -> None:
        """Say so where the file is damaged, or ends before its segments do."""
        lost = int((self._cut[1] - self._cut[0]).astype(np.int64).sum())
        if damage is None and lost:
            cut = self._sizes > self._stored
            segment = int(np.flatnonzero(cut)[self._offsets[cut].argmin()])
            end = int(self._offsets[segment]) + int(self._sizes[segment])
            damage = (
                f"ends at byte {self._source.size:,}, but the segment at physical address "
                f"{int(self._starts[segment]):#x} goes to byte {end:,}"
            )
        if damage is not None:
            of_all = f" of {self._held_count + lost:,}" if lost else ""
            warn_lost(
                self._problems, f"{self.path} {damage}. Reading on with {self._held_count:,}{of_all} pages"
            )

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        """What was found lost so far."""
        return [*self._problems, *self._source.since_opened()]

    def find(self, pfns: U64) -> npt.NDArray[np.int64]:
        """See DumpFile.find."""
        run, inside = _within(self._held, pfns)
        if inside.all():
            return self._index[run] + (pfns - self._held[0][run]).astype(np.int64)
        indices = np.full(len(pfns), -int(FrameStatus.ABSENT), dtype=np.int64)
        indices[_within(self._empty, pfns)[1]] = (
            self._held_count if self._zero_excluded else -int(FrameStatus.EXCLUDED)
        )
        indices[_within(self._cut, pfns)[1]] = -int(FrameStatus.LOST)
        run, within = run[inside], pfns[inside]
        indices[inside] = self._index[run] + (within - self._held[0][run]).astype(np.int64)
        return indices

    def present(self, most: int) -> Iterator[npt.NDArray[np.int64]]:
        """See DumpFile.present; what shares one frame of zeros has no data of its own, nor has a hole of the file."""
        starts, ends = self._filled
        index = np.concatenate([[0], np.cumsum((ends - starts).astype(np.int64))])
        count = int(index[-1])
        for first in range(0, count, most):
            number = np.arange(first, min(first + most, count))
            run = np.searchsorted(index, number, side="right") - 1
            yield starts[run].astype(np.int64) + number - index[run]

    @property
    def filled_count(self) -> int:
        """See DumpFile.filled_count."""
        starts, ends = self._filled
        return int((ends - starts).sum())

    @cached_property
    def _filled(self) -> _Runs:
        """Runs of frames that the source keeps bytes of: a file of holes claims any number of frames of zeros."""
        if next(self._source.filled(0, self._source.size), None) == (0, self._source.size):
            return self._held
        starts, ends = array("Q"), array("Q")
        for start, offset, size in zip(
            self._starts.tolist(), self._offsets.tolist(), self._stored.tolist(), strict=True
        ):
            for begin, end in self._source.filled(offset, offset + size):
                starts.append(start + begin - offset >> int(self._shift))
                ends.append(start + end - offset + self.page_size - 1 >> int(self._shift))
        return _merged(np.array(starts, dtype=np.uint64), np.array(ends, dtype=np.uint64))

    def read_into(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """See DumpFile.read_into; bytes of a frame that no segment has (at the edges of RAM) are zero."""
        if out.shape != (len(indices), self.page_size) or not out.flags.c_contiguous:
            raise ValueError(
                f"out must be contiguous uint8[{len(indices)}, {self.page_size}], not {out.shape}"
            )
        status = np.zeros(len(indices), dtype=np.uint8)
        zero = indices == self._held_count
        if zero.any():
            out[zero] = 0
        rows = np.flatnonzero(~zero)
        if not len(rows):
            return status
        index = indices[rows]
        run = np.searchsorted(self._index, index, side="right") - 1
        physical = (self._held[0][run] + (index - self._index[run]).astype(np.uint64)) << self._shift
        segment = np.searchsorted(self._starts, physical, side="right") - 1
        inner = physical - self._starts[segment]
        offset = self._offsets[segment] + inner
        # One segment has all of the frame.
        simple = (
            (segment >= 0)
            & (inner < self._stored[segment])
            & (self._stored[segment] - inner >= self.page_size)
        )
        target = out.reshape(-1).data
        # Frames that follow each other here and in the file are one copy.
        follows = (np.diff(rows) == 1) & (np.diff(offset) == self.page_size) & simple[1:] & simple[:-1]
        begins = np.flatnonzero(np.concatenate([[True], ~follows]))
        lengths = np.diff(np.append(begins, len(rows))) * self.page_size
        for at, length in zip(begins.tolist(), lengths.tolist(), strict=True):
            row = int(rows[at])
            if not simple[at]:
                status[row] = self._compose(
                    int(physical[at]), target[row * self.page_size : (row + 1) * self.page_size]
                )
            elif not self._source.copy(
                int(offset[at]), target[row * self.page_size : row * self.page_size + length]
            ):
                # Somewhere among them is a hole of a flattened file, or a place that cannot be read.
                for frame in range(length // self.page_size):
                    page = target[(row + frame) * self.page_size : (row + frame + 1) * self.page_size]
                    if not self._source.copy(int(offset[at]) + frame * self.page_size, page):
                        page[:] = bytes(self.page_size)
                        status[row + frame] = FrameStatus.LOST
        return status

    def _compose(self, physical: int, page: memoryview) -> int:
        """Put a frame together from the segments that have a part of it."""
        page[:] = bytes(self.page_size)
        last = int(np.searchsorted(self._starts, np.uint64(physical + self.page_size), side="left"))
        first = int(np.searchsorted(self._reach, np.uint64(physical), side="right"))
        near = (
            np.flatnonzero(self._starts[first:last] + self._sizes[first:last] > np.uint64(physical)) + first
        )
        for segment in near.tolist():
            start, offset = int(self._starts[segment]), int(self._offsets[segment])
            begin = max(start, physical)
            end = min(start + int(self._sizes[segment]), physical + self.page_size)
            part = page[begin - physical : end - physical]
            there = end - start <= int(self._stored[segment])
            if not there or not self._source.copy(offset + begin - start, part):
                page[:] = bytes(self.page_size)
                return int(FrameStatus.LOST)
        return int(FrameStatus.PRESENT)

    def close(self) -> None:
        """See DumpFile.close; a thread that is reading this very moment keeps the file until it is done."""
        self._source.close()


_Runs = tuple[U64, U64]


def _merged(starts: U64, ends: U64) -> _Runs:
    """Runs in order, without overlaps and empty ones, end exclusive."""
    real = ends > starts
    starts, ends = starts[real], ends[real]
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order]) if len(order) else ends
    opens = np.ones(len(starts), dtype=bool)
    opens[1:] = starts[1:] > ends[:-1]
    closes = np.append(opens[1:], True)[: len(starts)]
    return starts[opens], ends[closes]


def _within(runs: _Runs, numbers: U64) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The run that each number could lie in, and whether it does."""
    starts, ends = runs
    if not len(starts):
        return np.zeros(len(numbers), dtype=np.int64), np.zeros(len(numbers), dtype=bool)
    run = np.searchsorted(starts, numbers, side="right") - 1
    answer: npt.NDArray[np.bool_] = (run >= 0) & (numbers < ends[run])
    return run, answer

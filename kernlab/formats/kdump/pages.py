"""The page descriptors of a kdump file: the table and what is wrong with it in, decompressed page frames out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats import page_codecs
from kernlab.formats.base import FrameStatus
from kernlab.formats.page_codecs import Decompressor
from kernlab.formats.source import Source

#: struct page_desc (makedumpfile's diskdump_mod.h)
DESCRIPTOR = np.dtype([("offset", "<u8"), ("size", "<u4"), ("flags", "<u4"), ("page_flags", "<u8")])

#: page_desc.flags: the compression of one page; no flag is a page as it was.
RAW, ZLIB, LZO, SNAPPY, ZSTD = 0x0, 0x1, 0x2, 0x4, 0x20
_OTHER = 0x40

_DECOMPRESSORS = {
    ZLIB: page_codecs.zlib_decompressor,
    LZO: page_codecs.lzo_decompressor,
    SNAPPY: page_codecs.snappy_decompressor,
    ZSTD: page_codecs.zstd_decompressor,
}

#: A table of more descriptors than this is looked at from both ends at opening, and the rest as it is read.
_LOOKED_AT = 1 << 22
_CHUNK = 1 << 20

#: So many are kept from the beginning, all of them (24 MB).
_FEW = 1 << 20

#: Descriptors that are read together, and how many such blocks are kept (400 MB).
_BLOCK = 1 << 16
_KEPT = 256

#: Room for unused descriptors behind the table, in bytes.
_LONGEST_GAP = 1 << 20


@dataclass
class Survey:
    """What the descriptors say before any page is read."""

    looked_at: int = 0
    cut: int = 0  # pages that end behind the file's end
    first_cut: tuple[int, int] | None = None  # number of the first such descriptor, and where its page ends
    unwritten: int = 0
    lowest: int | None = None  # offset of the first page's data
    flags: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_OTHER + 1, dtype=np.int64))


class _Descriptors:
    """The descriptors of `count` pages at byte `start`, as far as the file has them.

    Few are kept from the beginning. Others are read by the block when a page is read, and kept: those of a large
    machine are gigabytes, of which one table looks at few. The blocks that were used longest ago make room. One that
    the file lacks by then is of empty descriptors, as if it had never been written.
    """

    def __init__(self, source: Source, start: int, count: int):
        self._source, self._start = source, start
        size = DESCRIPTOR.itemsize
        self._count = min(count, max(source.reach(start) - start, 0) // size)
        self._blocks: OrderedDict[int, npt.NDArray[np.void]] = OrderedDict()
        self._lock = threading.Lock()
        self._every = self._read(0, self._count) if self._count <= _FEW else None

    def __len__(self) -> int:
        return self._count

    def _block(self, number: int) -> npt.NDArray[np.void]:
        with self._lock:
            block = self._blocks.get(number)
            if block is not None:
                self._blocks.move_to_end(number)
                return block
        block = self.part(number * _BLOCK, (number + 1) * _BLOCK)
        with self._lock:
            self._blocks[number] = block
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        return block

    def part(self, first: int, end: int) -> npt.NDArray[np.void]:
        """Descriptors `first` to `end` (exclusive), read for this look only."""
        return self._read(first, end) if self._every is None else self._every[first:end]

    def _read(self, first: int, end: int) -> npt.NDArray[np.void]:
        count = max(min(end, self._count) - first, 0)
        read = self._source.array(DESCRIPTOR, self._start + first * DESCRIPTOR.itemsize, count)
        if len(read) == count:
            return read
        block = np.zeros(count, dtype=DESCRIPTOR)
        block[: len(read)] = read
        return block

    def take(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """Descriptors by their numbers int64[n]."""
        if self._every is not None:
            return self._every[indices]
        block = indices // _BLOCK
        numbers = np.unique(block).tolist()
        if len(numbers) == 1:
            only: npt.NDArray[np.void] = self._block(numbers[0])[indices - numbers[0] * _BLOCK]
            return only
        descriptors = np.zeros(len(indices), dtype=DESCRIPTOR)
        for number in numbers:
            rows = np.flatnonzero(block == number)
            descriptors[rows] = self._block(number)[indices[rows] - number * _BLOCK]
        return descriptors

    def written(self) -> Iterator[tuple[int, int]]:
        """Ranges of descriptors that the file has bytes of, ascending and apart; in its holes they are empty."""
        done, size = 0, DESCRIPTOR.itemsize
        for begin, end in self._source.filled(self._start, self._start + self._count * size):
            first = max((begin - self._start) // size, done)
            done = max(-(-(end - self._start) // size), first)
            if done > first:
                yield first, done

    def chunks(self) -> Iterator[tuple[int, npt.NDArray[np.void]]]:
        """Those descriptors, some at a time, and the number of the first of them."""
        for first, end in self.written():
            for start in range(first, end, _CHUNK):
                yield start, self.part(start, min(start + _CHUNK, end))

    def any_at(self, offset: int) -> bool:
        """Does any descriptor point to a page at this byte?"""
        return any(bool((part["offset"] == offset).any()) for _, part in self.chunks())


class PageTable:
    """The descriptors of `count` pages at byte `start`, as far as the file has them, and the pages they point to.

    There is room for `reserved` descriptors (each piece of a split dump has it for those of all pieces), and for up to
    `spare` more.
    Raises DumpFormatError where they cannot belong to a bitmap of `count` pages.
    """

    def __init__(
        self, source: Source, start: int, count: int, page_size: int, reserved: int = 0, spare: int = 0
    ):
        self._path = source.path
        self._source = source
        self._page_size = page_size
        self._file_size = source.size
        self.start, self.end = start, start + count * DESCRIPTOR.itemsize
        rooms = range(max(count, reserved), max(count, reserved) + spare + 1)
        self._ends = {start + room * DESCRIPTOR.itemsize for room in rooms if room > count}
        self._entries = _Descriptors(source, start, count)
        self.count = len(self._entries)
        self._closed = False
        self._lock = threading.Lock()
        #: By block, so that it grows with what was read.
        self._damaged: dict[int, npt.NDArray[np.bool_]] = {}
        self._first_damaged: tuple[int, int] | None = None
        self._decompressors: dict[int, Decompressor] = {}
        self.survey = self._look(whole=self.count <= _LOOKED_AT)
        if count and self.end <= self._file_size and self.count == count:
            self._check_order()

    def _look(self, *, whole: bool) -> Survey:
        """Look at all descriptors, or at both ends of a long table unless something is amiss there."""
        survey = Survey()
        ends = (0, self.count - _CHUNK)
        parts = ((start, self._entries.part(start, start + _CHUNK)) for start in ends)
        for start, part in self._entries.chunks() if whole else parts:
            self._look_at(survey, start, part)
        if whole:
            # What lies in the file's holes was not looked at.
            survey.unwritten += self.count - survey.looked_at
            survey.looked_at = self.count
        elif survey.cut or survey.unwritten or survey.lowest != self.end:
            return self._look(whole=True)
        return survey

    def written(self) -> Iterator[tuple[int, int]]:
        """Ranges of the pages that may have data, ascending and apart."""
        return self._entries.written()

    def _look_at(self, survey: Survey, start: int, part: npt.NDArray[np.void]) -> None:
        offset, size = part["offset"], part["size"]
        written = size > 0
        cut = written & _beyond(part, self._file_size)
        survey.looked_at += len(part)
        survey.unwritten += int(len(part) - written.sum())
        if cut.any():
            survey.cut += int(cut.sum())
            if survey.first_cut is None:
                first = int(cut.argmax())
                survey.first_cut = start + first, int(offset[first]) + int(size[first])
        good = written & ~cut & (size <= self._page_size) & (offset >= np.uint64(self.start))
        if good.any():
            lowest = int(offset[good].min())
            survey.lowest = lowest if survey.lowest is None else min(lowest, survey.lowest)
            kinds = np.minimum(part["flags"][good], _OTHER).astype(np.int64)
            survey.flags += np.bincount(kinds, minlength=_OTHER + 1)

    def _check_order(self) -> None:
        """Does each descriptor belong to its bit of the bitmap? One bit too many or too few shifts all after it."""
        lowest = self.survey.lowest
        if lowest is None:
            if self.survey.cut or self.survey.unwritten:
                return
            raise DumpFormatError(
                f"{self._path} is damaged: none of its {self.count:,} page descriptors (bytes {self.start:,} to "
                f"{self.end:,}) points to a page. Copy the dump again"
            )
        # All writers put the first page right behind the table, so its offset tells how long the table is.
        if lowest == self.end or (lowest < self.end and self._entries.any_at(self.end)):
            return
        if lowest in self._ends or lowest - self._page_size in self._ends:
            return
        if lowest > self.end and (self._fits(lowest) or not self._good(self._entries.part(0, 1))[0]):
            return
        raise DumpFormatError(
            f"the bitmap of {self._path} is damaged, or its page descriptors are: it names {self.count:,} page frames, "
            f"whose descriptors end at byte {self.end:,}, but the first page lies at byte {lowest:,}. Which page "
            "belongs where cannot be told; copy the dump again"
        )

    def _fits(self, lowest: int) -> bool:
        """May there be a gap of zeros between the table's end and the first page that is pointed to?

        makedumpfile puts a raw page of zeros in front of all others, which no page may need; and from a live system it
        may write fewer descriptors than it made room for. Other gaps come from a damaged bitmap.
        """
        gap = lowest - self.end
        if gap > _LONGEST_GAP or any(self._source.read(self.end, gap)):
            return False
        if gap == self._page_size:
            return True
        whole = gap % DESCRIPTOR.itemsize == 0 or (
            gap > self._page_size and (gap - self._page_size) % DESCRIPTOR.itemsize == 0
        )
        return whole and bool(self._entries.part(self.count - 1, self.count)["size"][0])

    def _good(self, page: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
        """Which descriptors point to a page inside the file?"""
        offset, size = page["offset"], page["size"]
        answer: npt.NDArray[np.bool_] = (
            (size > 0) & (size <= self._page_size) & (offset >= np.uint64(self.start))
        )
        answer &= ~_beyond(page, self._file_size)
        return answer

    def need(self, flag: int) -> None:
        """Import what pages of this compression need. Raises MissingDependencyError."""
        self._decompressor(flag)

    def _decompressor(self, flag: int) -> Decompressor | None:
        decompressor = self._decompressors.get(flag)
        if decompressor is None and flag in _DECOMPRESSORS:
            decompressor = self._decompressors[flag] = _DECOMPRESSORS[flag]()
        return decompressor

    def read(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Decompress the pages of descriptors int64[n] into `out` uint8[n, page_size] (contiguous).

        Returns PRESENT or LOST per row, lost rows zeroed.
        """
        if self._closed:
            raise self._source.closed()
        all_pages = self._entries.take(indices)
        good = self._good(all_pages)
        status = np.where(good, np.uint8(FrameStatus.PRESENT), np.uint8(FrameStatus.LOST))
        rows = np.flatnonzero(good)
        # File order reads ahead, and pages that share their data (makedumpfile keeps one zero page) come together.
        rows = rows[np.argsort(all_pages["offset"][rows], kind="stable")]
        page = all_pages[rows]
        fresh = np.ones(len(rows), dtype=bool)
        if len(rows) > 1:
            fresh[1:] = (
                (np.diff(page["offset"]) != 0) | (np.diff(page["size"]) != 0) | (np.diff(page["flags"]) != 0)
            )
        flags, first = page["flags"][fresh], rows[fresh]
        for flag in np.unique(flags).tolist():
            same = flags == flag
            self._unpack(flag, page[fresh][same], first[same], out, status)
        shared = rows[~fresh]
        if len(shared):
            source = first[np.cumsum(fresh)[~fresh] - 1]
            out[shared] = out[source]
            status[shared] = status[source]
        if (status != FrameStatus.PRESENT).any():
            lost = np.flatnonzero(status)
            out[lost] = 0
            self._lose(indices[lost], all_pages[lost])
        return status

    def _unpack(
        self,
        flag: int,
        page: npt.NDArray[np.void],
        rows: npt.NDArray[np.int64],
        out: npt.NDArray[np.uint8],
        status: npt.NDArray[np.uint8],
    ) -> None:
        """Write pages of one compression to their rows; this loop is where reading a dump spends its time."""
        target, size = out.reshape(-1).data, self._page_size
        pieces = self._source.pieces(page["offset"], page["size"].astype(np.uint64))
        places = (rows * size).tolist()
        known = self._decompressor(flag)
        if known is None:
            if flag != RAW:
                status[rows] = FrameStatus.LOST
                return
            for piece, place in zip(pieces, places, strict=True):
                if len(piece) == size:
                    target[place : place + size] = piece
                else:
                    status[place // size] = FrameStatus.LOST
            return
        call, errors = known
        for piece, place in zip(pieces, places, strict=True):
            try:
                # A page of another length does not fit its row: that is a ValueError, as the libraries' own are.
                target[place : place + size] = call(piece, size)
            except errors:
                status[place // size] = FrameStatus.LOST

    def _lose(self, indices: npt.NDArray[np.int64], page: npt.NDArray[np.void]) -> None:
        """Remember which of the lost pages are damaged; the cut and the unwritten were told of at opening."""
        is_known = page["size"] == 0
        if self.survey.cut:
            is_known |= _beyond(page, self._file_size)
        if is_known.all():
            return
        indices, offset = indices[~is_known], page["offset"][~is_known]
        first = int(indices.argmin())
        with self._lock:
            for block in np.unique(indices // _BLOCK).tolist():
                marks = self._damaged.setdefault(block, np.zeros(_BLOCK, dtype=bool))
                marks[indices[indices // _BLOCK == block] - block * _BLOCK] = True
            if self._first_damaged is None or indices[first] < self._first_damaged[0]:
                self._first_damaged = int(indices[first]), int(offset[first])

    def damaged(self) -> tuple[int, int, int]:
        """How many pages were found damaged so far; the first one's number and the offset of its data."""
        with self._lock:
            if self._first_damaged is None:
                return 0, 0, 0
            return sum(int(marks.sum()) for marks in self._damaged.values()), *self._first_damaged

    def close(self) -> None:
        """Let go of the file; a thread that is reading this very moment keeps it until it is done."""
        self._closed = True
        self._source.close()


def _beyond(page: npt.NDArray[np.void], file_size: int) -> npt.NDArray[np.bool_]:
    """Which descriptors point to data that ends behind the file's end? Without overflow, whatever they say."""
    end = np.uint64(file_size)
    answer: npt.NDArray[np.bool_] = page["size"] > end - np.minimum(page["offset"], end)
    return answer

"""Where a dump's bytes come from: a path in, bytes at offsets out, whatever way the file holds them."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFileError, DumpFormatError, KernlabError

Offsets = npt.NDArray[np.uint64]
#: What decompressors take.
Piece = bytes | memoryview

#: How a flattened dump begins.
SIGNATURE = b"makedumpfile\0"
#: How a compressed file begins.
_PACKED = {b"\xfd7zXZ\0": "xz", b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}

#: One read of a file, in bytes: a size that is damaged does not size an allocation.
_AT_A_TIME = 1 << 20

#: Places of `pieces` that lie no further apart than this are read together, so many bytes at a time.
_GAP, _STRETCH = 4096, 1 << 17

#: A file whose size nobody tells is not searched for its end further than this (x86-64 has 52 physical address bits).
_LARGEST = 1 << 53


def kind_of(start: bytes) -> str | None:
    """What a file that begins so is compressed with, if it is."""
    # A frame to skip, of which there are 16 kinds (RFC 8878, 3.1.2): pzstd puts one before each other frame.
    if start[1:4] == b"\x2a\x4d\x18" and start[0] >> 4 == 5:
        start = start[8 + int.from_bytes(start[4:8], "little") :]
    return next((kind for magic, kind in _PACKED.items() if start.startswith(magic)), None)


class Source(ABC):
    """The bytes of one dump file, by the offsets that the dump's own headers use.

    `size` is where the last byte ends, `stored` how many bytes there are (fewer where the file has holes),
    `file_bytes` the length of the file itself, `wrapping` what lies around the dump ("", "flattened, xz" …),
    `problems` a sentence for each loss.
    """

    path: Path
    size: int
    stored: int
    file_bytes: int
    wrapping: str = ""
    problems: list[str]

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes, fewer at the end of the file; holes are zeros. The caller bounds `size`."""

    @abstractmethod
    def reach(self, offset: int) -> int:
        """Where the bytes that begin at `offset` end, or their first hole begins."""

    def filled(self, offset: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of [offset, end) that the file keeps bytes of, ascending; what it has a hole for is zeros.

        A file of holes claims any size, and costs nothing: passes over all of something go by these.
        """
        end = min(end, self.reach(offset))
        if offset < end:
            yield offset, end

    def array(self, dtype: npt.DTypeLike, offset: int, count: int) -> npt.NDArray[Any]:
        """Up to `count` elements, as many as there are before the file's end or a hole; not to be written to."""
        kind = np.dtype(dtype)
        there = min(count, max(self.reach(offset) - offset, 0) // kind.itemsize)
        raw = self.read(offset, there * kind.itemsize) if there > 0 else b""
        return np.frombuffer(raw, dtype=kind, count=len(raw) // kind.itemsize)

    @abstractmethod
    def pieces(self, offsets: Offsets, sizes: Offsets) -> Iterable[Piece]:
        """The bytes at many places, in turn; an empty or a short piece where the file lacks any of them."""

    @abstractmethod
    def copy(self, offset: int, target: memoryview) -> bool:
        """Fill `target` from `offset` on; False if the file lacks any of these bytes."""

    @abstractmethod
    def since_opened(self) -> list[str]:
        """What was found lost since it was opened, or somebody else did to the file, a sentence each."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; a thread that is reading this very moment keeps it until it is done."""

    def closed(self) -> KernlabError:
        """What reading on raises."""
        return KernlabError(f"{self.path} was closed; open it again to read more of it")


class _Descriptor:
    """An open file's descriptor, closed when nobody holds this any more: a dump that is dropped says no farewell."""

    def __init__(self, number: int):
        self._number = number

    def fileno(self) -> int:
        """The descriptor's number."""
        return self._number

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self._number)


class PlainFile(Source):
    """A file that is read place by place, and never mapped: the system kills who looks at a mapping whose file was cut.

    What somebody cut off or overwrote since is missing like any other loss, and `since_opened` says so.
    """

    def __init__(self, path: Path, descriptor: int, size: int = 0, *, watched: bool = True):
        self.path = path
        # The file is closed when the last thread that reads it is done: its descriptor's number is not given to another
        # file before that.
        self._file: _Descriptor | None = _Descriptor(descriptor)
        self.size = self.stored = self.file_bytes = size or self._find_end()
        self.problems = []
        self._opened = os.fstat(descriptor) if watched else None

    def _open(self) -> _Descriptor:
        file = self._file
        if file is None:
            raise self.closed()
        return file

    def read(self, offset: int, size: int) -> bytes:
        """See Source.read."""
        file = self._open()
        parts: list[bytes] = []
        left = size
        while left > 0:
            try:
                part = os.pread(file.fileno(), min(left, _AT_A_TIME), offset + size - left)
            except (OSError, OverflowError):
                # /proc/vmcore answers so for what lies in none of its segments.
                break
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _find_end(self) -> int:
        """The end of a file whose status gives no size: every byte before it can be read, none behind it."""
        if not self.read(0, 1):
            return 0
        low, high = 1, 2
        while high < _LARGEST and self.read(high - 1, 1):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.read(middle - 1, 1) else (low, middle)
        return low

    def reach(self, offset: int) -> int:
        """See Source.reach."""
        return max(self.size, offset)

    def filled(self, offset: int, end: int) -> Iterator[tuple[int, int]]:
        """See Source.filled, by the file system's own word (lseek(2), SEEK_DATA)."""
        end = min(end, self.size)
        file = self._open()
        while offset < end:
            try:
                # What is made while it is read (/proc) has no holes, and no size to end at.
                begin = os.lseek(file.fileno(), offset, os.SEEK_DATA) if self._opened is not None else offset
                hole = os.lseek(file.fileno(), begin, os.SEEK_HOLE) if self._opened is not None else end
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                begin, hole = offset, end
            if begin >= end:
                return
            # A file that is cut meanwhile has its hole before its data.
            hole = min(max(hole, begin + 1), end)
            yield begin, hole
            offset = hole

    def pieces(self, offsets: Offsets, sizes: Offsets) -> Iterator[Piece]:
        """See Source.pieces; places that lie close together are read in one step."""
        file = self._open()
        if not len(offsets):
            return
        ends = offsets + sizes
        gap = (offsets[1:] - ends[:-1]).view(np.int64)
        apart = np.concatenate([[True], (gap < 0) | (gap > _GAP)])
        begun = offsets[apart][np.cumsum(apart) - 1]
        apart[1:] |= np.diff((offsets - begun) // np.uint64(_STRETCH)) != 0
        first = np.flatnonzero(apart)
        count = np.diff(np.append(first, len(offsets)))
        start, length = offsets[first], ends[first + count - 1] - offsets[first]
        inner = offsets - np.repeat(start, count)
        slices = map(slice, inner.tolist(), (inner + sizes).tolist())
        for at, size, many in zip(start.tolist(), length.tolist(), count.tolist(), strict=True):
            try:
                stretch = os.pread(file.fileno(), min(size, _AT_A_TIME), at)
            except (OSError, OverflowError):
                stretch = b""
            if len(stretch) < size:
                # Longer than one read, or at the end of the file, or at a place that cannot be read: one by one.
                for inside in islice(slices, many):
                    yield self.read(at + inside.start, inside.stop - inside.start)
            elif many == 1:
                next(slices)
                yield stretch
            else:
                yield from map(memoryview(stretch).__getitem__, islice(slices, many))

    def copy(self, offset: int, target: memoryview) -> bool:
        """See Source.copy."""
        file, done = self._open(), 0
        while done < len(target):
            try:
                count = os.preadv(file.fileno(), [target[done : done + _AT_A_TIME]], offset + done)
            except (OSError, OverflowError):
                return False
            if not count:
                return False
            done += count
        return True

    def since_opened(self) -> list[str]:
        """See Source.since_opened."""
        file, then = self._file, self._opened
        if file is None or then is None:
            return []
        now = os.fstat(file.fileno())
        if now.st_size < then.st_size:
            return [
                f"{self.path} was cut from {then.st_size:,} to {now.st_size:,} bytes after it was opened: what lay "
                "behind that and had not been read is lost; restore the file, and open it again"
            ]
        if (now.st_mtime_ns, now.st_size) != (then.st_mtime_ns, then.st_size):
            return [
                f"{self.path} was written to after it was opened: what was read since then may belong to another "
                "dump; open it again"
            ]
        return []

    def close(self) -> None:
        """See Source.close."""
        self._file = None


def open_source(path: Path, descriptor: int, size: int) -> Source:
    """A file that was opened; the descriptor is the source's from here on.

    `size` as fstat gives it: 0 may mean that nobody says. Raises DumpFormatError for an empty file, DumpFileError.
    """
    # Sizes and times of files in /proc and of devices change by themselves.
    watched = size > 0 and not os.path.realpath(path).startswith("/proc/")
    try:
        source = PlainFile(path, descriptor, size, watched=watched)
    except OSError as error:
        raise DumpFileError(error.errno or errno.EIO, f"cannot read the dump: {error}", str(path)) from error
    if not source.size:
        source.close()
        raise DumpFormatError(f"{path} is empty: no dump was written, or the disk was full when it was")
    return source

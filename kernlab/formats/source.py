"""Where a dump's bytes come from: a path in, bytes at offsets out, whatever way the file holds them."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
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

#: One read of a file that is not mapped, in bytes: a size that is damaged does not size an allocation.
_AT_A_TIME = 1 << 20

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
    def array(self, dtype: npt.DTypeLike, offset: int, count: int) -> npt.NDArray[Any]:
        """Up to `count` elements, as many as there are before the file's end or a hole; not to be written to."""

    @abstractmethod
    def pieces(self, offsets: Offsets, sizes: Offsets) -> Iterable[Piece]:
        """The bytes at many places, in turn; an empty or a short piece where the file lacks any of them."""

    @abstractmethod
    def copy(self, offset: int, target: memoryview) -> bool:
        """Fill `target` from `offset` on; False if the file lacks any of these bytes."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; a thread that is reading this very moment keeps it until it is done."""

    def closed(self) -> KernlabError:
        """What reading on raises."""
        return KernlabError(f"{self.path} was closed; open it again to read more of it")


class MappedFile(Source):
    """A file that is mapped into memory: reading copies only what is asked for."""

    def __init__(self, path: Path, data: mmap.mmap):
        self.path = path
        self._data = data
        self._view: memoryview | None = memoryview(data)
        self.size = self.stored = self.file_bytes = len(data)
        self.problems = []

    def _open(self) -> memoryview:
        view = self._view
        if view is None:
            raise self.closed()
        return view

    def read(self, offset: int, size: int) -> bytes:
        """See Source.read."""
        return bytes(self._open()[offset : offset + size])

    def array(self, dtype: npt.DTypeLike, offset: int, count: int) -> npt.NDArray[Any]:
        """See Source.array."""
        kind = np.dtype(dtype)
        there = min(count, max(self.size - offset, 0) // kind.itemsize)
        if there <= 0:
            return np.zeros(0, dtype=kind)
        return np.frombuffer(self._open(), dtype=kind, count=there, offset=offset)

    def pieces(self, offsets: Offsets, sizes: Offsets) -> Iterable[Piece]:
        """See Source.pieces."""
        ends = (offsets + sizes).tolist()
        return map(self._open().__getitem__, map(slice, offsets.tolist(), ends))

    def copy(self, offset: int, target: memoryview) -> bool:
        """See Source.copy."""
        if offset + len(target) > self.size:
            return False
        target[:] = self._open()[offset : offset + len(target)]
        return True

    def close(self) -> None:
        """See Source.close."""
        self._view = None
        # An array over the file, or a thread that reads, keeps the mapping; it goes with the last of them.
        with suppress(BufferError):
            self._data.close()


class UnmappedFile(Source):
    """A file that cannot be mapped, such as a /proc/vmcore: each place is read when it is asked for."""

    def __init__(self, path: Path, descriptor: int, size: int):
        self.path = path
        self._descriptor: int | None = descriptor
        self._lock = threading.Lock()
        self.size = self.stored = self.file_bytes = size or self._find_end()
        self.problems = []

    def read(self, offset: int, size: int) -> bytes:
        """See Source.read."""
        parts: list[bytes] = []
        left = size
        # Closing gives the descriptor's number to the next file that anybody opens.
        with self._lock:
            if self._descriptor is None:
                raise self.closed()
            while left > 0:
                try:
                    part = os.pread(self._descriptor, min(left, _AT_A_TIME), offset + size - left)
                except (OSError, OverflowError):
                    # /proc/vmcore answers so for what lies in none of its segments.
                    break
                if not part:
                    break
                parts.append(part)
                left -= len(part)
        return b"".join(parts)

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

    def array(self, dtype: npt.DTypeLike, offset: int, count: int) -> npt.NDArray[Any]:
        """See Source.array."""
        kind = np.dtype(dtype)
        there = min(count, max(self.size - offset, 0) // kind.itemsize)
        raw = self.read(offset, max(there, 0) * kind.itemsize)
        return np.frombuffer(raw, dtype=kind, count=len(raw) // kind.itemsize)

    def pieces(self, offsets: Offsets, sizes: Offsets) -> Iterator[Piece]:
        """See Source.pieces."""
        return map(self.read, offsets.tolist(), sizes.tolist())

    def copy(self, offset: int, target: memoryview) -> bool:
        """See Source.copy."""
        piece = self.read(offset, len(target))
        if len(piece) < len(target):
            return False
        target[:] = piece
        return True

    def close(self) -> None:
        """See Source.close."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def open_source(path: Path, descriptor: int, size: int) -> Source:
    """A file that was opened, mapped where the system can; the descriptor is the source's from here on.

    `size` as fstat gives it: 0 may mean that nobody says. What lies in /proc is not mapped: to map a /proc/vmcore
    costs page tables for the whole machine, and a crash kernel has little memory. Raises DumpFormatError for an empty
    file, DumpFileError.
    """
    try:
        if size and not os.path.realpath(path).startswith("/proc/"):
            with suppress(OSError, ValueError, OverflowError):
                return MappedFile(path, mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        source = UnmappedFile(path, os.dup(descriptor), size)
    except OSError as error:
        raise DumpFileError(error.errno or errno.EIO, f"cannot read the dump: {error}", str(path)) from error
    finally:
        os.close(descriptor)
    if not source.size:
        source.close()
        raise DumpFormatError(f"{path} is empty: no dump was written, or the disk was full when it was")
    return source

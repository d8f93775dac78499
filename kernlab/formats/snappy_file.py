"""Snappy's framing format (google/snappy's framing_format.txt): streams of chunks in, their bytes by offset out.

A chunk is a type, a length of 3 bytes, and data; chunks of data have at most 64 KiB of it, unpacked, and its CRC-32C.
An index of the chunks is made in one pass over their headers; only chunks that are asked for are unpacked.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from kernlab.formats.page_codecs import snappy_stream_decompressor
from kernlab.formats.source import Offsets, Piece, Source

#: How a stream begins: a chunk of type 0xff.
STREAM_START = b"\xff\x06\0\0sNaPpY"
_PACKED, _PLAIN, _SKIPPED = 0x00, 0x01, 0x80
_LARGEST = 1 << 16
_HEAD = 4 + 4 + 3  # type and length, CRC, the unpacked length of packed data as a varint of up to 64 KiB
#: No more than this many times as long as packed data is what it unpacks to: a copy of 64 bytes takes 3.
_MOST_RATIO = 22
#: Chunks that are smaller than a page on average, but for this many, are not a dump's.
_MOST_SMALL, _SMALL = 1 << 16, 4096
#: Unpacked chunks that are kept: pages are asked for in the order of their addresses, more or less.
_KEPT = 64


class ChunkIndex:
    """Where the chunks of some streams of a file are, in the order in which they were added.

    `size` bytes are in them all, unpacked. Chunk `i` has those from `starts[i]` on, `sizes[i]` of them, and lies in the
    file at `places[i]`, `lengths[i]` bytes long with its header.
    """

    def __init__(self, source: Source):
        self._source = source
        self.size = self._seen = 0
        self.starts, self.sizes = array("Q"), array("Q")
        self.places, self.lengths = array("Q"), array("Q")

    def add_stream(self, at: int, size: int) -> tuple[int, str | None]:
        """Index the stream at byte `at`, of `size` unpacked bytes; returns where it ends and what is wrong with it.

        With what is wrong, to follow the file's name in a sentence, comes the place of the last chunk header that may
        be trusted.
        """
        read, file_size, end = self._source.read, self._source.size, self.size + size
        trusted = at
        while self.size < end:
            head = read(at, _HEAD)
            if len(head) < 4:
                return trusted, f"ends at byte {file_size:,}, inside a stream of compressed memory"
            kind, length = head[0], 4 + int.from_bytes(head[1:4], "little")
            if at + length > file_size:
                return (
                    trusted,
                    f"ends at byte {file_size:,}, but the chunk at byte {at:,} goes to {at + length:,}",
                )
            self._seen += 1
            if self._seen * _SMALL > self.size + _MOST_SMALL * _SMALL:
                return trusted, f"is damaged: its chunks before byte {at:,} are all but empty"
            if kind <= _PLAIN:
                unpacked = length - 8 if kind == _PLAIN else _unpacked_size(head[8:])
                if not 0 < unpacked <= min(_LARGEST, _MOST_RATIO * length):
                    return (
                        trusted,
                        f"is damaged at byte {at:,}: a chunk of {length:,} bytes holds {unpacked:,}",
                    )
                self.starts.append(self.size)
                self.sizes.append(unpacked)
                self.places.append(at)
                self.lengths.append(length)
                self.size += unpacked
            elif kind < _SKIPPED or (kind == STREAM_START[0] and head[: len(STREAM_START)] != STREAM_START):
                return trusted, f"is damaged at byte {at:,}: there should be a chunk of compressed memory"
            trusted, at = at, at + length
        return at, None


def _unpacked_size(data: bytes) -> int:
    """The varint that packed data begins with; 0 for one that is too large or cut."""
    size = 0
    for position, byte in enumerate(data):
        size |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return size
    return 0


class SnappyFile(Source):
    """The bytes of indexed streams, one after another. Chunks whose check sum is wrong are missing, and reported."""

    def __init__(self, base: Source, index: ChunkIndex):
        self.path, self.file_bytes = base.path, base.file_bytes
        self.wrapping, self.problems = base.wrapping, list(base.problems)
        self.size = self.stored = index.size
        self._base = base
        self._decompressor = snappy_stream_decompressor()
        self._starts, self._sizes, self._places, self._lengths = (
            np.array(column, dtype=np.uint64)
            for column in (index.starts, index.sizes, index.places, index.lengths)
        )
        self._kept: OrderedDict[int, bytearray | None] = OrderedDict()
        self._damaged: set[int] = set()
        self._lock = threading.Lock()

    def _chunk(self, number: int) -> bytearray | None:
        """One chunk unpacked; None if it is damaged, or cut off since."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        packed = self._base.read(int(self._places[number]), int(self._lengths[number]))
        unpacked: bytearray | None
        try:
            # A chunk becomes a stream by the start of one.
            unpacked = self._decompressor.call(STREAM_START + packed, int(self._sizes[number]))
        except self._decompressor.errors:
            unpacked = None
        with self._lock:
            if unpacked is None:
                self._damaged.add(number)
            self._kept[number] = unpacked
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return unpacked

    def copy(self, offset: int, target: memoryview) -> bool:
        """See Source.copy."""
        number = int(np.searchsorted(self._starts, np.uint64(offset), side="right")) - 1
        done = 0
        while done < len(target):
            if not 0 <= number < len(self._starts):
                return False
            chunk = self._chunk(number)
            if chunk is None:
                return False
            inner = offset + done - int(self._starts[number])
            part = memoryview(chunk)[inner : inner + len(target) - done]
            if not part:
                return False
            target[done : done + len(part)] = part
            done, number = done + len(part), number + 1
        return True

    def read(self, offset: int, size: int) -> bytes:
        """See Source.read; nothing where a chunk of these bytes is damaged."""
        room = bytearray(max(min(size, self.size - offset), 0))
        return bytes(room) if self.copy(offset, memoryview(room)) else b""

    def reach(self, offset: int) -> int:
        """See Source.reach."""
        return max(self.size, offset)

    def pieces(self, offsets: Offsets, sizes: Offsets) -> Iterator[Piece]:
        """See Source.pieces."""
        for offset, size in zip(offsets.tolist(), sizes.tolist(), strict=True):
            yield self.read(offset, size)

    def since_opened(self) -> list[str]:
        """See Source.since_opened."""
        with self._lock:
            damaged = sorted(self._damaged)
        changed = self._base.since_opened()
        if not damaged:
            return changed
        return [
            *changed,
            f"{self.path} has damaged chunks of compressed memory, {len(damaged):,} of those read so far: the first "
            f"lies at byte {int(self._places[damaged[0]]):,}",
        ]

    def close(self) -> None:
        """See Source.close."""
        self._base.close()
        with self._lock:
            self._kept.clear()

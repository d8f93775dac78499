"""Places of memory that are zeroed or rewritten: addresses in, bytes of page frames changed as they are read out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.redaction.frames import Frames

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Frames that are changed at a time.
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Pieces:
    """Ranges within frames, by the frames' indexes in the file, ascending: index, offset and size int64[m] in bytes."""

    index: I64
    offset: I64
    size: I64
    #: Where the bytes of each are in the blob; of what is zeroed 0.
    source: I64

    def of(self, indexes: I64) -> tuple[I64, I64]:
        """The pieces of some frames: (row of `indexes`, piece), each int64[k]."""
        low = np.searchsorted(self.index, indexes)
        count = np.searchsorted(self.index, indexes, side="right") - low
        row = np.repeat(np.arange(len(indexes)), count)
        piece = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
        return row, piece


class Edits:
    """Collects places by their kernel virtual addresses, counting them by kind; `apply` changes frames."""

    def __init__(self, kernel: Kernel, frames: Frames):
        self._kernel = kernel
        self._frames = frames
        self.counts: Counter[str] = Counter()
        self._zeroed: list[Pieces] = []
        self._written: list[Pieces] = []
        self._blob = bytearray()
        self._zero_pieces = self._write_pieces = _joined([])
        self._bytes: U8 = np.zeros(0, dtype=np.uint8)

    def zero(self, addresses: npt.ArrayLike, sizes: npt.ArrayLike, kind: str = "") -> None:
        """Zero `sizes` bytes at each address (int64[n], or one for all); counted as `kind` unless ''."""
        start = np.ascontiguousarray(addresses, dtype=np.uint64)
        size = np.broadcast_to(np.asarray(sizes, dtype=np.int64), start.shape)
        pieces, places = self._pieces(start, size, np.zeros(len(start), dtype=np.int64))
        self._zeroed.append(pieces)
        if kind and places:
            self.counts[kind] += places

    def write(self, address: int, new: bytes, kind: str = "") -> None:
        """Put bytes at an address."""
        source = np.array([len(self._blob)], dtype=np.int64)
        self._blob += new
        pieces, places = self._pieces(
            np.array([address], dtype=np.uint64), np.array([len(new)], dtype=np.int64), source
        )
        self._written.append(pieces)
        if kind and places:
            self.counts[kind] += places

    def keep(self, addresses: U64, size: int) -> None:
        """Leave `size` bytes at each address as they are, whatever is zeroed around them; what cannot be read, too."""
        rows, status = self._kernel.gather(addresses, size, "")
        good = status == 0
        source = len(self._blob) + np.arange(int(good.sum()), dtype=np.int64) * size
        self._blob += rows[good].tobytes()
        pieces, _ = self._pieces(addresses[good], np.full(len(source), size, dtype=np.int64), source)
        self._written.append(pieces)

    def _pieces(self, start: U64, size: I64, source: I64) -> tuple[Pieces, int]:
        """Cut ranges at the ends of pages, and find these in the file; and how many ranges the file has any of."""
        page = self._kernel.page_size
        good = (size > 0) & (start >= np.uint64(page))
        start, size, source = start[good], size[good], source[good]
        first = (start % np.uint64(page)).astype(np.int64)
        count = (first + size + page - 1) // page
        owner = np.repeat(np.arange(len(start)), count)
        turn = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        offset = np.where(turn == 0, first[owner], 0)
        done = np.where(turn == 0, 0, turn * page - first[owner])
        length = np.minimum(page - offset, size[owner] - done)
        physical, status = self._kernel.memory.translate(start[owner] + done.astype(np.uint64))
        row = np.where(status == 0, self._frames.rows((physical // np.uint64(page)).astype(np.int64)), -1)
        there = row >= 0
        found = Pieces(
            self._frames.index[row[there]], offset[there], length[there], source[owner[there]] + done[there]
        )
        return found, len(np.unique(owner[there]))

    def finish(self) -> None:
        """No more will come: put all in order."""
        self._zero_pieces, self._write_pieces = _joined(self._zeroed), _joined(self._written)
        self._bytes = np.frombuffer(bytes(self._blob), dtype=np.uint8)
        self._zeroed, self._written, self._blob = [], [], bytearray()

    def apply(self, indexes: I64, rows: U8) -> None:
        """Change frames uint8[n, page size] that were read of the file's frames int64[n]."""
        for begin in range(0, len(indexes), _BATCH):
            part = slice(begin, begin + _BATCH)
            self._apply(indexes[part], rows[part])

    def _apply(self, indexes: I64, rows: U8) -> None:
        row, piece = self._zero_pieces.of(indexes)
        if len(row):
            changed, mine = np.unique(row, return_inverse=True)
            edge = np.zeros((len(changed), rows.shape[1] + 1), dtype=np.int32)
            offset = self._zero_pieces.offset[piece]
            np.add.at(edge, (mine, offset), 1)
            np.add.at(edge, (mine, offset + self._zero_pieces.size[piece]), -1)
            inside = np.cumsum(edge, axis=1)[:, :-1] > 0
            rows[changed] = np.where(inside, np.uint8(0), rows[changed])
        row, piece = self._write_pieces.of(indexes)
        if len(row):
            size = self._write_pieces.size[piece]
            step = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
            to = np.repeat(row * rows.shape[1] + self._write_pieces.offset[piece], size) + step
            rows.reshape(-1)[to] = self._bytes[np.repeat(self._write_pieces.source[piece], size) + step]


def _joined(parts: list[Pieces]) -> Pieces:
    nothing = np.zeros(0, dtype=np.int64)
    columns = [
        np.concatenate([nothing, *(getattr(part, name) for part in parts)])
        for name in ("index", "offset", "size", "source")
    ]
    order = np.argsort(columns[0], kind="stable")
    return Pieces(*(column[order] for column in columns))

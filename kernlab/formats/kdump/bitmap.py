"""One bit a page frame: which frames there are, and which of the file's frames each is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.formats.source import Source

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Bytes and words of a block, and how many bits of a number say which one is meant in it.
_BLOCK = 1 << 15
_WORDS = _BLOCK // 8
_SHIFT = np.uint64(18)
_WORD_MASK = np.uint64(_WORDS - 1)
#: Blocks that are read together in the pass over all.
_AT_A_TIME = 32

#: Of a machine of up to 128 GiB all blocks are kept from the beginning, one after the other.
_FEW_BLOCKS = 128

#: The slots of all blocks without a bit, and of all whose bits are all set.
_EMPTY, _FULL, _FIRST = 0, 1, 2


class Bitmap:
    """A bitmap over page frame numbers in a file: which bits are set, and how many are set below each (its rank).

    The file may end before `bits` do: `bits` is then how many are known. One pass over what is not a hole counts the
    bits of each block, and makes `digest` (of what is set) if that is asked for. A block is read again when it is first
    looked at, and kept; those with all bits alike cost nothing, whatever the file claims.
    """

    def __init__(self, source: Source, start: int, bits: int, *, digest: bool = False):
        there = max(min(source.reach(start) - start, (bits + 7) // 8), 0)
        self.bits = min(bits, there * 8)
        self._source, self._start, self._bytes = source, start, there
        blocks = -(-there // _BLOCK)
        counts = np.zeros(blocks, dtype=np.int64)
        sha = hashlib.sha256() if digest else None
        for first, words in self._pass():
            found = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
            counts[first : first + len(words)] = found
            if sha is not None:
                for row in np.flatnonzero(found).tolist():
                    sha.update((first + row).to_bytes(8, "little") + words[row].tobytes())
        self.digest = b"" if sha is None else sha.digest()
        self._below = np.zeros(blocks + 1, dtype=np.int64)
        np.cumsum(counts, out=self._below[1:])
        self.count = int(self._below[-1])
        self._lock = threading.Lock()
        self._plain = 0 < blocks <= _FEW_BLOCKS
        if self._plain:
            self._words = self._read(0, blocks)
            every = np.cumsum(np.bitwise_count(self._words), dtype=np.int64)
            self._inner: npt.NDArray[Any] = np.append(0, every[:-1]).reshape(blocks, _WORDS)
            return
        mixed = (counts > 0) & (counts < _BLOCK * 8)
        self._slot_of = np.where(counts > 0, np.int32(_FULL), np.int32(_EMPTY))
        self._slot_of[mixed] = np.arange(_FIRST, _FIRST + int(mixed.sum()), dtype=np.int32)
        slots = _FIRST + int(mixed.sum())
        # The system gives memory to those that are written to only.
        self._words = np.empty((slots, _WORDS), dtype=np.uint64)
        self._inner = np.empty((slots, _WORDS), dtype=np.int32)
        self._words[_EMPTY], self._inner[_EMPTY] = 0, 0
        self._words[_FULL], self._inner[_FULL] = np.uint64(2**64 - 1), np.arange(_WORDS) * 64
        self._loaded = np.zeros(slots, dtype=bool)
        self._loaded[:_FIRST] = True

    def _pass(self) -> Iterator[tuple[int, U64]]:
        """The blocks that the file has bytes of, some at a time: (number of the first, words uint64[n, words])."""
        done = 0
        for begin, end in self._source.filled(self._start, self._start + self._bytes):
            first = max((begin - self._start) // _BLOCK, done)
            done = max(-(-(end - self._start) // _BLOCK), done)
            for block in range(first, done, _AT_A_TIME):
                yield block, self._read(block, min(_AT_A_TIME, done - block))

    def _read(self, first: int, count: int) -> U64:
        """Blocks as the file has them, without bits behind the last."""
        size = min(count * _BLOCK, self._bytes - first * _BLOCK)
        raw = np.frombuffer(self._source.read(self._start + first * _BLOCK, size), dtype=np.uint8)
        padded = np.zeros(count * _BLOCK, dtype=np.uint8)
        padded[: len(raw)] = raw
        last = self.bits - first * _BLOCK * 8
        if last < len(padded) * 8 and last % 8:
            padded[last // 8] &= (1 << last % 8) - 1
        return padded.view("<u8").reshape(count, _WORDS)

    def _slots(self, blocks: I64) -> npt.NDArray[np.int32]:
        """Where the words of each block are, which are read if nobody looked at them before."""
        slots: npt.NDArray[np.int32] = self._slot_of[blocks]
        if not self._loaded[slots].all():
            with self._lock:
                for block in np.unique(blocks[~self._loaded[slots]]).tolist():
                    self._load(block, int(self._slot_of[block]))
        return slots

    def _load(self, block: int, slot: int) -> None:
        words = self._read(block, 1)[0]
        inner = np.cumsum(np.bitwise_count(words), dtype=np.int32)
        self._words[slot], self._inner[slot] = words, np.append(np.int32(0), inner[:-1])
        # Last, for threads that look while this one writes.
        self._loaded[slot] = True

    def _places(self, numbers: U64) -> I64:
        """Where the word of each number is among all that are kept."""
        if self._plain:
            place: I64 = (numbers >> np.uint64(6)).view(np.int64)
            return place
        slots = self._slots((numbers >> _SHIFT).view(np.int64))
        words: I64 = (numbers >> np.uint64(6) & _WORD_MASK).view(np.int64)
        return slots * np.int64(_WORDS) + words

    def test(self, numbers: U64) -> npt.NDArray[np.bool_]:
        """Is each bit set? Numbers beyond the bitmap's end are not."""
        if not self.bits:
            return np.zeros(len(numbers), dtype=bool)
        inside = numbers < np.uint64(self.bits)
        if not inside.all():
            numbers = np.where(inside, numbers, np.uint64(0))
        bit = (self._words.reshape(-1)[self._places(numbers)] >> (numbers & np.uint64(63))) & np.uint64(1)
        answer: npt.NDArray[np.bool_] = inside & bit.astype(bool)
        return answer

    def _look(self, numbers: U64) -> tuple[I64, npt.NDArray[np.bool_]]:
        """How many bits below each number are set, and whether its own is; the numbers must lie inside the bitmap."""
        places = self._places(numbers)
        words, bit = self._words.reshape(-1)[places], np.uint64(1) << (numbers & np.uint64(63))
        below = self._inner.reshape(-1)[places] + np.bitwise_count(words & (bit - np.uint64(1)))
        # Of few blocks it counts from the first one on.
        if not self._plain:
            below = self._below[(numbers >> _SHIFT).view(np.int64)] + below
        return below, (words & bit) != 0

    def find(self, numbers: U64) -> I64:
        """The rank of each number whose bit is set, -1 for the others and for those beyond the bitmap's end."""
        if not self.bits:
            return np.full(len(numbers), -1, dtype=np.int64)
        inside = numbers < np.uint64(self.bits)
        within = bool(inside.all())
        ranks, found = self._look(numbers if within else np.where(inside, numbers, np.uint64(0)))
        if not within:
            found &= inside
        if not found.all():
            ranks[~found] = -1
        return ranks

    def count_below(self, number: int) -> int:
        """How many bits below a number are set, which may lie behind the end."""
        if number >= self.bits:
            return self.count
        return int(self._look(np.array([max(number, 0)], dtype=np.uint64))[0][0])

    def numbers(self, first: int, last: int) -> I64:
        """The numbers of the set bits from rank `first` to before `last`, ascending; blocks without any cost none."""
        parts = []
        while first < last:
            block = int(np.searchsorted(self._below, first, side="right")) - 1
            skip = first - int(self._below[block])
            count = min(last, int(self._below[block + 1])) - first
            parts.append(self._in_block(block, skip, count))
            first += count
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _in_block(self, block: int, skip: int, count: int) -> I64:
        slot = block if self._plain else int(self._slots(np.array([block], dtype=np.int64))[0])
        words, inner = self._words[slot], self._inner[slot]
        if self._plain:
            inner = inner - self._below[block]
        low, high = np.searchsorted(inner, (skip, skip + count - 1), side="right") - 1
        word = np.flatnonzero(words[low : high + 1]) + low
        places = np.flatnonzero(np.unpackbits(words[word].view(np.uint8), bitorder="little"))
        numbers: I64 = word[places // 64] * 64 + places % 64
        skip -= int(inner[low])
        return block * (_BLOCK * 8) + numbers[skip : skip + count]


class Part:
    """The bits of a bitmap from `first` to `end` (exclusive), as if it had no others."""

    def __init__(self, whole: Bitmap, first: int, end: int):
        self._whole, self._first, self._end = whole, np.uint64(first), np.uint64(max(first, end))
        self._skipped = whole.count_below(first)
        self.bits, self.count = whole.bits, whole.count_below(max(first, end)) - self._skipped

    def test(self, numbers: U64) -> npt.NDArray[np.bool_]:
        """See Bitmap.test."""
        inside: npt.NDArray[np.bool_] = (numbers >= self._first) & (numbers < self._end)
        return inside & self._whole.test(numbers)

    def find(self, numbers: U64) -> I64:
        """See Bitmap.find."""
        found = self._whole.find(numbers)
        mine = (numbers >= self._first) & (numbers < self._end) & (found >= 0)
        return np.where(mine, found - self._skipped, -1)

    def numbers(self, first: int, last: int) -> I64:
        """See Bitmap.numbers."""
        return self._whole.numbers(first + self._skipped, last + self._skipped)

"""One bit a page frame: which frames there are, and which of the file's frames each is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_WORD = 64


class Bitmap:
    """A bitmap over page frame numbers: which bits are set, and how many are set below each (its rank).

    `raw` may end before `bits` do (a file that was cut): `bits` is then how many are known. Sized by the frames of
    the machine: 1 bit and a 64th of 8 bytes each, so 64 MB a TiB of memory.
    """

    def __init__(self, raw: npt.NDArray[np.uint8], bits: int):
        size = min(len(raw), (bits + 7) // 8)
        padded = np.zeros((size + 7) // 8 * 8, dtype=np.uint8)
        padded[:size] = raw[:size]
        if bits < size * 8 and bits % 8:
            padded[bits // 8] &= (1 << bits % 8) - 1
        self._index(padded.view("<u8"), min(bits, size * 8))

    def _index(self, words: npt.NDArray[np.uint64], bits: int) -> None:
        self._words, self.bits = words, bits
        self._below = np.zeros(len(self._words) + 1, dtype=np.int64)
        np.cumsum(np.bitwise_count(self._words), out=self._below[1:], dtype=np.int64)
        self.count = int(self._below[-1])

    def within(self, first: int, end: int) -> Bitmap:
        """The same bits, but those from `first` to `end` (exclusive) only."""
        return self._masked(first, end, keep=True)

    def without(self, first: int, end: int) -> Bitmap:
        """The same bits, but none of those from `first` to `end` (exclusive)."""
        return self._masked(first, end, keep=False)

    def _masked(self, first: int, end: int, *, keep: bool) -> Bitmap:
        first, end = (min(max(bound, 0), self.bits) for bound in (first, max(first, end)))
        bits = np.full(len(self._words) * 8, 0 if keep else 0xFF, dtype=np.uint8)
        part = bits[first // 8 : (end + 7) // 8]
        if len(part):
            chosen = np.full(len(part), 0xFF, dtype=np.uint8)
            chosen[0] &= 0xFF << first % 8 & 0xFF
            if end % 8:
                chosen[-1] &= (1 << end % 8) - 1
            part[:] = chosen if keep else ~chosen
        other = Bitmap.__new__(Bitmap)
        other._index(self._words & bits.view("<u8"), self.bits)
        return other

    def test(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Is each bit set? Numbers beyond the bitmap's end are not."""
        if not len(self._words):
            return np.zeros(len(numbers), dtype=bool)
        inside = numbers < np.uint64(self.bits)
        word = np.where(inside, numbers >> np.uint64(6), np.uint64(0)).astype(np.int64)
        bit = (self._words[word] >> (numbers & np.uint64(63))) & np.uint64(1)
        answer: npt.NDArray[np.bool_] = inside & bit.astype(bool)
        return answer

    def rank(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """How many bits below each number are set; the numbers must lie inside the bitmap."""
        word = (numbers >> np.uint64(6)).astype(np.int64)
        below = (np.uint64(1) << (numbers & np.uint64(63))) - np.uint64(1)
        answer: npt.NDArray[np.int64] = self._below[word] + np.bitwise_count(self._words[word] & below)
        return answer

    def numbers(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """The numbers of the set bits from rank `first` to before `last`, ascending; words without any cost nothing."""
        low, high = np.searchsorted(self._below, (first, last - 1), side="right") - 1
        word = np.flatnonzero(self._words[low : high + 1]) + low
        bits = np.unpackbits(self._words[word].view(np.uint8), bitorder="little")
        places = np.flatnonzero(bits)
        numbers: npt.NDArray[np.int64] = word[places // _WORD] * _WORD + places % _WORD
        skip = first - int(self._below[low])
        return numbers[skip : skip + last - first]

    def select(self, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The numbers of the set bits with these ranks (0 is the first set bit)."""
        word = np.searchsorted(self._below, ranks, side="right") - 1
        left = ranks - self._below[word]
        bits = np.unpackbits(
            self._words[word].view(np.uint8).reshape(len(ranks), 8), axis=1, bitorder="little"
        )
        nth = np.cumsum(bits, axis=1) == (left + 1)[:, None]
        answer: npt.NDArray[np.int64] = word * _WORD + nth.argmax(axis=1)
        return answer

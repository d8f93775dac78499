"""IPv4 addresses as numbers in memory: those that are known are found in aligned words, in either order of bytes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from kernlab.redaction.addresses import AddressMap, names_a_machine

U8 = npt.NDArray[np.uint8]

_TABLE_BITS = 16
_SPREAD = np.uint32(2654435761)
#: As words, smaller numbers are more often counts than addresses; and no kernel pointer's upper half is an address,
#: which begins with 255 (0xff000000 is the lowest with page tables of five levels).
_SMALLEST, _POINTER = 1 << 24, np.uint32(0xFF)


class Words:
    """The words that known addresses are, and what they become."""

    def __init__(self, addresses: Iterable[int], known: AddressMap):
        pairs: dict[int, int] = {}
        for address in addresses:
            new = known.ipv4(address)
            if not names_a_machine(address) or new == address:
                continue
            pairs.setdefault(address, new)
            pairs.setdefault(_swapped(address), _swapped(new))
        kept = sorted((old, new) for old, new in pairs.items() if old >= _SMALLEST)
        self._old = np.array([old for old, _ in kept], dtype=np.uint32)
        self._new = np.array([new for _, new in kept], dtype=np.uint32)
        self._table = np.zeros(1 << _TABLE_BITS, dtype=bool)
        self._table[_hashed(self._old)] = True

    def replace(self, rows: U8) -> npt.NDArray[np.int64]:
        """Replace them in rows uint8[n, size], contiguous; how many in each, int64[n]."""
        counts = np.zeros(len(rows), dtype=np.int64)
        if not len(self._old) or not len(rows):
            return counts
        words = rows.reshape(-1).view("<u4")
        here = np.flatnonzero(self._table[_hashed(words)])
        place = np.minimum(np.searchsorted(self._old, words[here]), len(self._old) - 1)
        good = self._old[place] == words[here]
        here, place = here[good], place[good]
        # The lower half of a pointer may look like anything.
        pointer = (here % 2 == 0) & (words[np.minimum(here + 1, len(words) - 1)] >> np.uint32(24) == _POINTER)
        here, place = here[~pointer], place[~pointer]
        words[here] = self._new[place]
        np.add.at(counts, here * 4 // rows.shape[1], 1)
        return counts


def _swapped(number: int) -> int:
    return int.from_bytes(number.to_bytes(4, "little"), "big")


def _hashed(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint16]:
    return ((words * _SPREAD) >> np.uint32(32 - _TABLE_BITS)).astype(np.uint16)

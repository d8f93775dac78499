"""Strings of bytes that are looked for everywhere, many at once: a buffer in, the places of those in it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

#: The bytes by which a string is known first, and of the table that says which of those are any's.
GRAM, _TABLE_BITS = 4, 16
_SPREAD = np.uint32(2654435761)

_WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


@dataclass(frozen=True, slots=True)
class Hit:
    """Bytes [start, end) of a buffer that something of a kind (of KINDS) takes up, and what they become."""

    start: int
    end: int
    new: bytes
    kind: str


class Literals:
    """Strings to be found, of four bytes or more, with what each becomes; shorter ones say nothing and are refused."""

    def __init__(self) -> None:
        self._by_gram: dict[bytes, dict[bytes, tuple[bytes, str, bool]]] = {}
        self._table = np.zeros(1 << _TABLE_BITS, dtype=bool)
        self._keys = np.zeros(0, dtype=np.uint32)

    def __len__(self) -> int:
        return sum(map(len, self._by_gram.values()))

    def add(self, text: bytes, new: bytes, kind: str, *, word: bool = True) -> bool:
        """Look for a string, which becomes `new` of the same length; as a `word` only where none goes on around it."""
        if len(text) < GRAM or len(text) != len(new) or text == new:
            return False
        gram = text[:GRAM]
        known = self._by_gram.setdefault(gram, {})
        if text in known:
            return False
        known[text] = (new, kind, word)
        return True

    def prepare(self) -> None:
        """Put the first bytes of all strings in order; only what was added before is found."""
        self._keys = np.sort(np.frombuffer(b"".join(self._by_gram), dtype="<u4").astype(np.uint32))
        self._table[:] = False
        self._table[_hashed(self._keys)] = True

    def hits(self, data: bytes, view: U8, row: int) -> Iterator[Hit]:
        """Every place of every string in a buffer of rows of `row` bytes (`view` shows the same); none crosses two."""
        if not len(self._keys):
            return
        for at in self._candidates(view):
            end = at - at % row + row
            known = self._by_gram.get(data[at : at + GRAM], {})
            for text, (new, kind, word) in known.items():
                last = at + len(text)
                if last > end or not data.startswith(text, at):
                    continue
                if word and ((at % row and data[at - 1] in _WORD) or (last < end and data[last] in _WORD)):
                    continue
                yield Hit(at, last, new, kind)

    def _candidates(self, view: U8) -> list[int]:
        found = []
        for shift in range(GRAM):
            count = (len(view) - shift) // GRAM
            words = view[shift : shift + count * GRAM].view("<u4")
            here = np.flatnonzero(self._table[_hashed(words)])
            if len(here):
                place = np.searchsorted(self._keys, words[here])
                place[place == len(self._keys)] = 0
                here = here[self._keys[place] == words[here]]
                found.append(here * GRAM + shift)
        return np.concatenate(found).tolist() if found else []


def _hashed(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint16]:
    return ((words * _SPREAD) >> np.uint32(32 - _TABLE_BITS)).astype(np.uint16)

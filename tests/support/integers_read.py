"""Which words of memory are read as integers while something is done, so that tests need no list of them by hand.

with recording() as places:
    dump.slabs
places["unsigned int at (24,)"]          # [Word(address=0xff…, size=4), …]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest

from kernlab.core import members
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import ArrayType

#: Words of one place that are kept: a list of 100,000 structs tells no more than some of it.
_ROWS = 64
#: What reads text and pages through the same door.
_NO_INTEGERS = ("strings", "members", "prefetch")


class Word(NamedTuple):
    """An integer in memory."""

    address: int
    size: int


@contextmanager
def recording() -> Iterator[dict[str, list[Word]]]:
    """Record places (a member, a global variable, an array that a function reads) and the words of each."""
    found: dict[str, dict[int, Word]] = {}
    random = np.random.default_rng(0)

    def note(place: str, addresses: np.ndarray, size: int) -> None:
        here = found.setdefault(place, {})
        for address in random.permutation(addresses[:4096])[: _ROWS - len(here)].tolist():
            here.setdefault(address, Word(address, size))

    column, words, word, gather = members.column, Kernel.words, Kernel.word, Kernel.gather

    def my_column(read, base, valid, access, *more):
        made = column(read, base, valid, access, *more)
        if made.kind in ("int", "uint", "enum", "bool"):
            final, rows = access.type, base[made.valid]
            size = (access.bit_offset + access.bit_size + 7) // 8 or final.size
            if isinstance(final, ArrayType):
                size = final.element.size
                rows = _each(rows, final.count or 1, size)
            note(f"{final.c_name} at {access.hops}+{access.bit_offset}", rows, size)
        return made

    def my_words(self, addresses, size=8, *more, **named):
        note(f"words of {_caller()}", np.asarray(addresses, dtype=np.uint64).reshape(-1), size)
        return words(self, addresses, size, *more, **named)

    def my_word(self, name, size=8):
        note(name, np.array([self.symbol(name)], dtype=np.uint64), size)
        return word(self, name, size)

    def my_gather(self, addresses, size, *more, **named):
        who = _caller()
        if size > 8 and size % 8 == 0 and not any(part in who for part in _NO_INTEGERS):
            rows = np.asarray(addresses, dtype=np.uint64).reshape(-1)[:_ROWS]
            note(f"arrays of {who}", _each(rows, min(size // 8, 512), 8), 8)
        return gather(self, addresses, size, *more, **named)

    kept: dict[str, list[Word]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "column", my_column)
        for name, method in (("words", my_words), ("word", my_word), ("gather", my_gather)):
            patch.setattr(Kernel, name, method)
        yield kept
    kept.update({place: list(words.values()) for place, words in sorted(found.items()) if words})


def _each(rows: np.ndarray, count: int, size: int) -> np.ndarray:
    """The addresses of the elements of arrays that begin at these."""
    return (rows[:, None] + np.arange(count, dtype=np.uint64) * np.uint64(size)).reshape(-1)


def _caller() -> str:
    frame = sys._getframe(2)
    return f"{frame.f_globals['__name__']}:{frame.f_code.co_name}"

"""Strings of bytes in, every place of a dump's unpacked pages that has one of them out.

Also where a string crosses from one page into another that lies elsewhere: its beginning ends one page, and its rest
begins another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.formats.base import DumpFile
from kernlab.util.progress import progress

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]

#: Bytes by which a string is known first: shorter ones are not looked for.
SHORTEST = 4
_PAGES = 1024
#: A part of a string at a page's end and the rest at another's beginning say something from so many bytes on, each.
_PART = 4
_MOST_PLACES = 16


@dataclass
class Found:
    """How often a string was found, and the first places (physical addresses; -1 where it crosses pages)."""

    times: int = 0
    places: list[int] = field(default_factory=list)


class Search:
    """Many strings of at least SHORTEST bytes at once; `found` grows with each `look`."""

    def __init__(self, strings: Iterable[bytes]):
        self.strings = sorted({text for text in strings if len(text) >= SHORTEST})
        self.found: dict[bytes, Found] = {}
        self._by_start: dict[int, list[bytes]] = {}
        for text in self.strings:
            self._by_start.setdefault(int.from_bytes(text[:4], "little"), []).append(text)
        self._starts = np.array(sorted(self._by_start), dtype=np.uint32)
        self._pairs = np.zeros(1 << 16, dtype=bool)
        self._pairs[self._starts & np.uint32(0xFFFF)] = True
        # The last four bytes of every part that may end a page, and the first four of every rest.
        parts = [
            (text[:cut], text[cut:]) for text in self.strings for cut in range(_PART, len(text) - _PART + 1)
        ]
        self._ends = np.unique(
            np.array([int.from_bytes(a[-4:], "little") for a, _ in parts], dtype=np.uint32)
        )
        self._rests = np.unique(
            np.array([int.from_bytes(b[:4], "little") for _, b in parts], dtype=np.uint32)
        )
        self._by_end: dict[int, list[tuple[bytes, bytes]]] = {}
        self._rest_of: dict[int, set[bytes]] = {}
        for one, rest in parts:
            self._by_end.setdefault(int.from_bytes(one[-4:], "little"), []).append((one, rest))
            self._rest_of.setdefault(int.from_bytes(rest[:4], "little"), set()).add(rest)
        self._ended: dict[tuple[bytes, bytes], int] = {}
        self._begun: dict[bytes, int] = {}

    def look(self, data: bytes, physical: int, known: int = 0) -> None:
        """Look through bytes at a physical address; what lies wholly in the first `known` of them was found before."""
        view = np.frombuffer(data, dtype=np.uint8)
        starts = []
        for shift in (0, 1):
            count = (len(view) - shift) // 2
            pairs = view[shift : shift + 2 * count].view("<u2")
            here = np.flatnonzero(self._pairs[pairs]) * 2 + shift
            here = here[here + 4 <= len(view)]
            words = np.zeros(len(here), dtype=np.uint32)
            for place in range(4):
                words |= view[here + place].astype(np.uint32) << np.uint32(8 * place)
            starts.append(here[_among(words, self._starts)])
        for at in np.sort(np.concatenate(starts)).tolist():
            for text in self._by_start[int.from_bytes(data[at : at + 4], "little")]:
                if at + len(text) > known and data.startswith(text, at):
                    self._hit(text, physical + at)

    def edges(self, pages: U8) -> None:
        """Remember which pages uint8[n, page size] end with the beginning of a string, or begin with its rest."""
        if not len(self._ends):
            return
        last = np.ascontiguousarray(pages[:, -4:]).view("<u4")[:, 0]
        for row in np.flatnonzero(_among(last, self._ends)).tolist():
            page = pages[row].tobytes()
            for part in self._by_end[int(last[row])]:
                if page.endswith(part[0]):
                    self._ended[part] = self._ended.get(part, 0) + 1
        first = np.ascontiguousarray(pages[:, :4]).view("<u4")[:, 0]
        for row in np.flatnonzero(_among(first, self._rests)).tolist():
            page = pages[row].tobytes()
            for rest in self._rest_of[int(first[row])]:
                if page.startswith(rest):
                    self._begun[rest] = self._begun.get(rest, 0) + 1

    def finish(self) -> None:
        """Put the parts together that were found apart, of strings that were found nowhere else."""
        whole = set(self.found)
        for (one, rest), times in self._ended.items():
            if rest in self._begun and one + rest not in whole:
                for _ in range(min(times, self._begun[rest])):
                    self._hit(one + rest, -1)

    def _hit(self, text: bytes, physical: int) -> None:
        known = self.found.setdefault(text, Found())
        known.times += 1
        if len(known.places) < _MOST_PLACES:
            known.places.append(physical)


def _among(words: U32, known: U32) -> npt.NDArray[np.bool_]:
    place = np.minimum(np.searchsorted(known, words), max(len(known) - 1, 0))
    there: npt.NDArray[np.bool_] = known[place] == words if len(known) else np.zeros(len(words), dtype=bool)
    return there


def search(
    file: DumpFile, strings: Iterable[bytes], skip: npt.NDArray[np.int64] | None = None
) -> dict[bytes, Found]:
    """Where the pages of a dump have any of some strings, also across pages; `skip` are frames not to look at."""
    looking = Search(strings)
    longest = max(map(len, looking.strings), default=0)
    with progress("Searching pages", file.filled_count, " pages") as bar:
        behind, left = -1, b""
        for first, pages in _runs(file, skip):
            left = left if first == behind else b""
            data = left + pages.tobytes()
            looking.look(data, first * file.page_size - len(left), known=len(left))
            looking.edges(pages)
            # What may begin a string whose rest is in the next frame.
            left, behind = data[max(len(data) - longest + 1, 0) :], first + len(pages)
            bar.advance(len(pages))
    looking.finish()
    return looking.found


def _runs(file: DumpFile, skip: npt.NDArray[np.int64] | None) -> Iterator[tuple[int, U8]]:
    """Frames one behind the other with their bytes uint8[n, page size], and the number of the first."""
    for present in file.present(_PAGES):
        numbers = present if skip is None else present[~np.isin(present, skip)]
        if not len(numbers):
            continue
        pages = np.empty((len(numbers), file.page_size), dtype=np.uint8)
        file.read_into(file.find(numbers.astype(np.uint64)), pages)
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        for low, high in zip([0, *breaks.tolist()], [*breaks.tolist(), len(numbers)], strict=True):
            yield int(numbers[low]), pages[low:high]

"""Structs of which many members are wanted: their bytes are read in one go, and members are cut out of them.

Scattered structs cost a translation, a look-up and a cache miss each per gather, whatever its size.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.members import read_bytes
from kernlab.memory import Located
from kernlab.util.threads import Spare, ahead, processors

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
#: Offset and size of a member.
Place = tuple[int, int]

#: Structs that are read at a time, and pages: 1 MiB.
_PIECE, _BATCH = 1 << 14, 256


@dataclass(frozen=True, slots=True)
class Prefetched:
    """Members of n structs: `cuts`, uint8[n, size] of each place, of the structs that could be `read` in whole.

    One that could not (cut at the end of a page that the dump lacks) is asked for each member by itself.
    """

    cuts: dict[Place, npt.NDArray[np.uint8]]
    read: Mask

    def __getitem__(self, rows: slice | npt.NDArray[np.generic]) -> Prefetched:
        return Prefetched({place: cut[rows] for place, cut in self.cuts.items()}, self.read[rows])

    def bytes(
        self, kernel: Kernel, addresses: U64, valid: Mask, place: Place
    ) -> tuple[npt.NDArray[np.uint8], Mask]:
        """What `read_bytes` would give for one of the places, which lies at `addresses`."""
        # Whoever asks may write into what comes back.
        rows = self.cuts[place].copy()
        read = valid & self.read
        cut = np.flatnonzero(valid & ~self.read)
        if len(cut):
            rows[cut], read[cut] = read_bytes(kernel, addresses[cut], valid[cut], place[1])
        if not read.all():
            rows[~read] = 0
        return rows, read


def prefetch(kernel: Kernel, addresses: U64, valid: Mask, places: Collection[Place]) -> Prefetched:
    """Read the members at `places` of structs at addresses uint64[n] where `valid`."""
    size = max(offset + width for offset, width in places)
    room = _Room(len(addresses), places)
    rest = np.arange(len(addresses))
    memory = kernel.memory
    if memory.is_large(len(addresses) * memory.page_size):
        pages = _Pages.of(kernel, addresses, valid, size)
        if memory.is_large(len(pages.located) * memory.page_size):
            pages.read_into(room)
            # What is left: structs on two pages, and what the dump lacks.
            rest = np.flatnonzero(valid & ~room.read)
    # In pieces: what lies between the members is dropped while it is still in the processor's cache.
    for start in range(0, len(rest), _PIECE):
        rows = rest[start : start + _PIECE]
        found, room.read[rows] = read_bytes(kernel, addresses[rows], valid[rows], size)
        room.put(rows, found, np.arange(len(rows)) * size)
    return Prefetched(room.cuts, room.read)


class _Room:
    """Where the members of `count` structs are put: `cuts`, uint8[count, width] of each place; `read` bool[count]."""

    def __init__(self, count: int, places: Collection[Place]):
        self.cuts = {(offset, width): np.empty((count, width), dtype=np.uint8) for offset, width in places}
        self.read = np.zeros(count, dtype=bool)

    def put(self, rows: I64, memory: npt.NDArray[np.uint8], begins: I64) -> None:
        """Cut the members out of structs that begin at byte `begins[i]` of `memory`, for `rows[i]`."""
        flat = memory.reshape(-1)
        for (offset, width), cut in self.cuts.items():
            at = begins + offset
            if width in (1, 2, 4, 8) and not (int(np.bitwise_or.reduce(at)) | flat.nbytes) % width:
                cut.view(f"u{width}")[rows, 0] = flat.view(f"u{width}")[at // width]
            else:
                windows = np.lib.stride_tricks.sliding_window_view(flat, width)
                cut[rows] = windows[at]


@dataclass(frozen=True, slots=True)
class _Pages:
    """The pages on which structs lie: `rows` int64[m], those that lie on one page, in the order of their pages;
    `begins` int64[m], their offsets there; `ends` int64[p], where each page's rows end; `located` p pages."""

    kernel: Kernel
    rows: I64
    begins: I64
    ends: I64
    located: Located

    @classmethod
    def of(cls, kernel: Kernel, addresses: U64, valid: Mask, size: int) -> _Pages:
        page = np.uint64(kernel.page_size)
        offsets = addresses % page
        rows = np.flatnonzero(valid & (offsets + np.uint64(size) <= page))
        number = addresses[rows] // page
        order = np.argsort(number)
        rows, number = rows[order], number[order]
        last = np.flatnonzero(np.append(number[1:] != number[:-1], True)[: len(number)])
        located = kernel.locate(number[last] * page)
        return cls(kernel, rows, offsets[rows].astype(np.int64), last + 1, located)

    def read_into(self, room: _Room) -> None:
        """Read the pages past the arena, some at a time and in threads, and put the structs in that are on them."""
        page, count = self.kernel.page_size, len(self.located)
        buffers = Spare(lambda: np.empty((_BATCH, page), dtype=np.uint8))

        def work(start: int) -> None:
            buffer = buffers.take()
            part = slice(start, min(start + _BATCH, count))
            memory = buffer[: part.stop - start]
            status = self.kernel.memory.read_pages(self.located[part], memory, keep=False)
            first = int(self.ends[start - 1]) if start else 0
            of = slice(first, int(self.ends[part.stop - 1]))
            place = np.repeat(np.arange(part.stop - start), np.diff(self.ends[part], prepend=first))
            room.put(self.rows[of], memory, place * page + self.begins[of])
            room.read[self.rows[of]] = (status == 0)[place]
            buffers.give(buffer)

        for _ in ahead(work, range(0, count, _BATCH), processors()):
            pass

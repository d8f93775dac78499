"""Memory that changes, looked at again: addresses in, the bytes that were read there first and those of now out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.memory.address_space import AddressSpace
from kernlab.memory.arena import FrameArena

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

#: How much memory of the second look is kept, in bytes.
_BOUND = 1 << 26


class SecondLook:
    """A second look at what was read within `AddressSpace.held`: each page is read once more, whoever asks for it."""

    def __init__(self, memory: AddressSpace):
        self._memory = memory
        self._now = FrameArena(memory.file, _BOUND)

    def words(self, addresses: U64) -> tuple[U64, Mask]:
        """The words (aligned) at addresses uint64[n] as they are now (uint64[n]), and which can be read (bool[n])."""
        located = self._memory.locate(addresses)
        known = (located.status == 0) & (located.frames >= 0)
        offsets = (addresses[known] % np.uint64(self._memory.page_size)).astype(np.int64) & ~7
        found = np.zeros((int(known.sum()), 8), dtype=np.uint8)
        known[known] = self._now.copy_rows(located.frames[known], offsets, 8, found) == 0
        words = np.zeros(len(addresses), dtype=np.uint64)
        words[(located.status == 0) & (located.frames >= 0)] = found.view("<u8")[:, 0]
        return words, known

    def bytes(self, addresses: U64, size: int) -> tuple[U8, U8, Mask]:
        """`size` bytes at addresses uint64[n]: (uint8[n, size] as first read, and as now, bool[n] of those known).

        Known is what the arena still has, and what could be read again.
        """
        before, after = (np.zeros((len(addresses), size), dtype=np.uint8) for _ in range(2))
        known = np.ones(len(addresses), dtype=bool)
        page = self._memory.page_size
        offsets = (addresses % np.uint64(page)).astype(np.int64)
        inside = offsets + size <= page
        # A group of rows is cut at the same place: all that lie on one page, and the others by where they begin.
        groups = [
            np.flatnonzero(inside),
            *(np.flatnonzero(offsets == first) for first in np.unique(offsets[~inside])),
        ]
        for rows in groups:
            done = 0
            while done < size and len(rows):
                at = int(offsets[rows[0]]) + done
                count = size - done if inside[rows[0]] else min(size - done, page - at % page)
                where = addresses[rows] + np.uint64(done)
                old, new, there = self._within(where, count)
                before[rows, done : done + count], after[rows, done : done + count] = old, new
                known[rows] &= there
                done += count
        return before, after, known

    def _within(self, addresses: U64, size: int) -> tuple[U8, U8, Mask]:
        """As `bytes`, of rows none of which crosses the end of a page."""
        located = self._memory.locate(addresses)
        known = (located.status == 0) & (located.frames >= 0)
        rows = np.flatnonzero(known)
        before, after = (np.zeros((len(addresses), size), dtype=np.uint8) for _ in range(2))
        frames = located.frames[rows]
        offsets = (addresses[rows] % np.uint64(self._memory.page_size)).astype(np.int64)
        before[rows], there = self._memory.kept(frames, offsets, size)
        known[rows] = there
        rows, frames, offsets = rows[there], frames[there], offsets[there]
        found = np.empty((len(rows), size), dtype=np.uint8)
        known[rows] = self._now.copy_rows(frames, offsets, size, found) == 0
        after[rows] = found
        return before, after, known

    def close(self) -> None:
        """Let go of the memory."""
        self._now.close()

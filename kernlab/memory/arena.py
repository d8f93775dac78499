"""The frame arena: a bounded cache of decompressed page frames, filled in batches, read by NumPy indexing."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from kernlab.formats.base import DumpFile

#: What the arena may hold unless the caller says otherwise, in bytes.
DEFAULT_BOUND = 1 << 30

#: No gather needs fewer frames than this at a time, however small the bound.
_FEWEST_FRAMES = 64

#: Rows are copied out in pieces, so that the index matrix of one piece stays small (in elements).
_INDEX_ELEMENTS = 1 << 22

#: Rows of at least this many words are copied as runs.
_WINDOW_WORDS = 4


def _reserve(frames: int, page_size: int) -> tuple[int, mmap.mmap]:
    """A mapping for as many frames as the system grants.

    A crash kernel has a few hundred MiB in all: what it refuses is asked for again by the quarter, so that the rest
    stays for the tables.
    """
    while True:
        try:
            # Private: the kernel gives huge pages to shared mappings only where shmem_enabled says so.
            return frames, mmap.mmap(-1, frames * page_size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            if frames <= _FEWEST_FRAMES:
                raise
            frames = max(frames // 4, min(_FEWEST_FRAMES, frames))


class FrameArena:
    """Decompressed frames of one dump file, at most `bound` bytes of them.

    A frame's slot is its row of one big anonymous mapping, which the system backs with memory only as it is
    touched. Slots are handed out in a ring: the frame that was read longest ago makes room. Callers hold the lock
    of `AddressSpace` while they use the arena.
    """

    def __init__(self, file: DumpFile, bound: int = DEFAULT_BOUND):
        self._file = file
        self.page_size = file.page_size
        wanted = min(max(bound // self.page_size, _FEWEST_FRAMES), max(file.frame_count, 1))
        self.capacity, self._map = _reserve(int(wanted), self.page_size)
        # Faulting the arena in by 4 KiB pages costs more than decompressing into it (design.md, Decompression).
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self._bytes = np.frombuffer(self._map, dtype=np.uint8)
        self._rows = self._bytes.reshape(self.capacity, self.page_size)
        # Zeros take no memory before they are written to: of a machine with terabytes few frames are ever read. So a
        # frame that is not here has 0, and the others the number of their slot, counted from 1.
        self._slot_of = np.zeros(file.frame_count, dtype=np.int32)
        self._frame_at = np.full(self.capacity, -1, dtype=np.int64)
        self._status = np.zeros(file.frame_count, dtype=np.uint8)
        self._hand = 0

    def copy_rows(
        self,
        frames: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        size: int,
        out: npt.NDArray[np.uint8],
    ) -> npt.NDArray[np.uint8]:
        """Copy `size` bytes at `offsets[i]` of frame `frames[i]` into `out[i]`; no row may leave its frame.

        Parameters: frames int64[n] (indexes of the dump file, all valid), offsets int64[n] (bytes), out
        uint8[n, size]. Returns a FrameStatus per row; rows that are not PRESENT are zeroed.
        """
        piece = max(1, min(len(frames), _INDEX_ELEMENTS // max(1, size // 8)))
        if len(frames) > self.capacity // 2 and (self._slot_of[frames] == 0).any():
            piece = min(piece, max(1, self.capacity // 2))
        if piece >= len(frames):
            return self._copy_piece(frames, offsets, size, out)
        status = np.empty(len(frames), dtype=np.uint8)
        for start in range(0, len(frames), piece):
            part = slice(start, start + piece)
            status[part] = self._copy_piece(frames[part], offsets[part], size, out[part])
        return status

    def holds(self, frames: npt.NDArray[np.int64]) -> bool:
        """Are all these frames here already?"""
        return bool(self._slot_of[frames].all())

    def _copy_piece(
        self,
        frames: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        size: int,
        out: npt.NDArray[np.uint8],
    ) -> npt.NDArray[np.uint8]:
        slots = self._load(frames)
        if size == self.page_size:
            # Every slot is one of the arena's; "raise" would take the rows into a buffer first.
            np.take(self._rows, slots, axis=0, out=out, mode="clip")
        else:
            start = slots * self.page_size + offsets
            misaligned = int(np.bitwise_or.reduce(offsets)) | size
            # A gather of whole words needs an eighth of the index arithmetic of one of bytes.
            unit = 8 if not misaligned & 7 else 4 if not misaligned & 3 else 2 if not misaligned & 1 else 1
            words = self._bytes.view(f"u{unit}")
            count = size // unit
            start //= unit
            if count == 1:
                out[:] = words[start].view(np.uint8).reshape(len(frames), size)
            elif count >= _WINDOW_WORDS:
                # Each row is one run of words: picked as such, it needs one index, not one per word.
                windows = np.lib.stride_tricks.as_strided(
                    words, (len(words) - count + 1, count), (unit, unit), writeable=False
                )
                out.view(words.dtype)[:] = windows[start]
            else:
                picked = words[start[:, None] + np.arange(count)]
                out[:] = picked.view(np.uint8).reshape(len(frames), size)
        return self._status[frames]

    def _load(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Make every frame resident and return its slot; `frames` name at most half the arena's capacity."""
        while True:
            slots = self._slot_of[frames]
            missing = frames[slots == 0]
            if not len(missing):
                return slots.astype(np.int64) - 1
            # Loading may push out a frame that this very request found resident: look again until none is missing.
            missing = np.unique(missing)
            for start in range(0, len(missing), self.capacity):
                self._fill(missing[start : start + self.capacity])

    def _fill(self, frames: npt.NDArray[np.int64]) -> None:
        done = 0
        while done < len(frames):
            count = min(len(frames) - done, self.capacity - self._hand)
            batch = frames[done : done + count]
            rows = slice(self._hand, self._hand + count)
            pushed_out = self._frame_at[rows]
            self._slot_of[pushed_out[pushed_out >= 0]] = 0
            # Until the bytes are there, the slots belong to nobody: an interrupt leaves nothing half-cached.
            self._frame_at[rows] = -1
            self._status[batch] = self._file.read_into(batch, self._rows[rows])
            self._frame_at[rows] = batch
            self._slot_of[batch] = np.arange(self._hand + 1, self._hand + count + 1, dtype=np.int32)
            self._hand = (self._hand + count) % self.capacity
            done += count

    def close(self) -> None:
        """Let go of the memory, even if the arena itself is kept (a notebook keeps its dumps)."""
        self._slot_of = np.zeros(0, dtype=np.int32)
        # Not slices of what they were: the mapping goes with the last array that shows any of it.
        self._bytes = np.empty(0, dtype=np.uint8)
        self._rows = self._bytes.reshape(0, self.page_size)
        del self._map

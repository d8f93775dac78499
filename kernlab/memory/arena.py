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

#: Up to 64 GiB of frames have their slots in one array; frames of a page of a SlotTable, as a power of two.
_MOST_SLOTS, _PAGE_BITS = 1 << 24, 10

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


class SlotTable:
    """int32 of each frame, 0 until it is set, for more frames than an array should have: in pages that come and go.

    Its memory goes with the frames that are set, not with those that a file claims, nor with those that ever were.
    """

    def __init__(self, count: int):
        # Page 0 is of frames that are not set. The system gives memory to what is written to only.
        self._page_of = np.zeros((count >> _PAGE_BITS) + 1, dtype=np.int32)
        self._pages = np.zeros((1, 1 << _PAGE_BITS), dtype=np.int32)
        self._used = np.zeros(1, dtype=np.int32)
        self._free: list[int] = []

    def __getitem__(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        found: npt.NDArray[np.int32] = self._pages.reshape(-1)[self._places(frames)]
        return found

    def _places(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        places: npt.NDArray[np.int64] = self._page_of[frames >> _PAGE_BITS].astype(np.int64) << _PAGE_BITS
        return places | (frames & (1 << _PAGE_BITS) - 1)

    def __setitem__(
        self, frames: npt.NDArray[np.int64], slots: npt.NDArray[np.int32] | npt.NDArray[np.int64] | int
    ) -> None:
        """Set distinct frames to their slots, or to 0."""
        parts, values = frames >> _PAGE_BITS, np.broadcast_to(np.asarray(slots, dtype=np.int32), frames.shape)
        which = np.unique(parts[values != 0])
        self._make(which[self._page_of[which] == 0])
        places, flat = self._places(frames), self._pages.reshape(-1)
        change = (values != 0).astype(np.int32) - (flat[places] != 0)
        flat[places] = values
        np.add.at(self._used, self._page_of[parts], change)
        which = np.unique(parts)
        pages = self._page_of[which]
        empty = (self._used[pages] == 0) & (pages != 0)
        self._free += pages[empty].tolist()
        self._page_of[which[empty]] = 0

    def _make(self, which: npt.NDArray[np.int64]) -> None:
        """Give each of these parts of the frames a page."""
        short = len(which) - len(self._free)
        if short > 0:
            had = len(self._pages)
            more = max(short, had // 2)
            self._pages = np.concatenate([self._pages, np.zeros((more, 1 << _PAGE_BITS), dtype=np.int32)])
            self._used = np.concatenate([self._used, np.zeros(more, dtype=np.int32)])
            self._free += range(had, had + more)
        self._page_of[which] = [self._free.pop() for _ in which]


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
        self._slot_of: npt.NDArray[np.int32] | SlotTable = (
            np.zeros(file.frame_count, dtype=np.int32)
            if file.frame_count <= _MOST_SLOTS
            else SlotTable(file.frame_count)
        )
        self._frame_at = np.full(self.capacity, -1, dtype=np.int64)
        self._status = np.zeros(self.capacity, dtype=np.uint8)
        self._hand, self._wrapped = 0, False

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

    def forget(self) -> None:
        """Let go of all frames, so that each is read again when it is asked for; the memory stays."""
        held = self._frame_at[self._frame_at >= 0] if self._wrapped else self._frame_at[: self._hand]
        self._slot_of[held[held >= 0]] = 0
        self._frame_at[: self.capacity if self._wrapped else self._hand] = -1
        self._hand, self._wrapped = 0, False

    def resident(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these frames are here: bool[n]."""
        here: npt.NDArray[np.bool_] = self._slot_of[frames] != 0
        return here

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
        status: npt.NDArray[np.uint8] = self._status[slots]
        return status

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
            self._status[rows] = self._file.read_into(batch, self._rows[rows])
            self._frame_at[rows] = batch
            self._slot_of[batch] = np.arange(self._hand + 1, self._hand + count + 1, dtype=np.int32)
            self._hand += count
            if self._hand == self.capacity:
                self._hand, self._wrapped = 0, True
            done += count

    def close(self) -> None:
        """Let go of the memory, even if the arena itself is kept (a notebook keeps its dumps)."""
        self._slot_of = np.zeros(0, dtype=np.int32)
        # Not slices of what they were: the mapping goes with the last array that shows any of it.
        self._bytes = np.empty(0, dtype=np.uint8)
        self._rows = self._bytes.reshape(0, self.page_size)
        del self._map

"""The arithmetic of one relay buffer: counters in, the pieces of its sub-buffers that a reader would get out.

Mirrors kernel/relay.c: sub-buffer number s lies in slot s % n_subbufs; a completed one ends `padding[slot]` bytes
early; the current one ends at `offset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: What `pieces` can be asked for.
MODES = ("unread", "all", "salvage")

#: Counters are the kernel's size_t.
_WRAP = 1 << 64

#: No relay buffer has more sub-buffers than this, or more bytes: a bound for damaged counters.
MOST_SUBBUFS = 1 << 20
LARGEST_BUFFER = 1 << 32


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one slot, in bytes from the slot's start.

    A reader gets [start, end); [begin, start) are older bytes of the same sub-buffer, kept because records begin at
    `begin`. A `stale` piece is what an unfinished sub-buffer has not yet overwritten: it may begin inside a record.
    """

    number: int
    slot: int
    begin: int
    start: int
    end: int
    stale: bool = False

    @property
    def size(self) -> int:
        """Bytes that a reader gets."""
        return max(self.end - self.start, 0)


@dataclass(frozen=True, slots=True)
class BufferCounters:
    """The counters of one `struct rchan_buf` (include/linux/relay.h); `current` is (data - start) / subbuf_size.

    `padding` holds unused bytes of each slot, or is None where it could not be read.
    """

    subbuf_size: int
    n_subbufs: int
    produced: int
    consumed: int
    bytes_consumed: int
    offset: int
    current: int
    padding: Sequence[int] | None

    def damage(self) -> str:
        """What cannot be true of these counters, '' when all of it can."""
        size, count = self.subbuf_size, self.n_subbufs
        if not 0 < count <= MOST_SUBBUFS or not size > 0 or size * count > LARGEST_BUFFER:
            return f"{count:,} sub-buffers of {size:,} bytes cannot be a relay buffer"
        wrong = []
        if not 0 <= self.current < count:
            wrong.append(f"the current sub-buffer would be slot {self.current:,} of {count:,}")
        if self.offset > size + 1:
            wrong.append(f"{self.offset:,} bytes are written in a sub-buffer of {size:,}")
        if (self.produced - self.consumed) % _WRAP >= _WRAP >> 1:
            wrong.append(f"{self.consumed:,} sub-buffers are consumed, but {self.produced:,} were produced")
        if self.bytes_consumed > size:
            wrong.append(f"{self.bytes_consumed:,} bytes are consumed of a sub-buffer of {size:,}")
        if self.padding is None:
            wrong.append("the padding of its sub-buffers cannot be read")
        elif len(self.padding) != count or any(not 0 <= unused <= size for unused in self.padding):
            wrong.append(f"a sub-buffer of {size:,} bytes has more padding than that")
        return "; ".join(wrong)

    @property
    def full(self) -> bool:
        """Were writes being refused for want of a free sub-buffer?"""
        # relay_switch_subbuf leaves subbuf_size + 1 when the client's subbuf_start refuses to go on.
        return self.offset == self.subbuf_size + 1

    @property
    def lost_subbufs(self) -> int:
        """Completed sub-buffers that were overwritten before anybody read them."""
        return self._first() - self._consumed()

    def _consumed(self) -> int:
        return self.produced - (self.produced - self.consumed) % _WRAP

    def _oldest(self) -> int:
        """The oldest sub-buffer that is whole: the slot being written was the one before it."""
        return self.produced - self.n_subbufs + (0 if self.full else 1)

    def _first(self) -> int:
        return max(self._consumed(), self._oldest())

    def pieces(self, mode: str = "unread") -> list[Piece]:
        """What a reader would get, in produce order.

        "unread" is what read() would have given at this moment, "all" also what was read but is not yet overwritten,
        "salvage" also what is left of the sub-buffer that was being overwritten.
        """
        assert self.padding is not None
        size, count = self.subbuf_size, self.n_subbufs
        if mode == "unread":
            first = self._first()
            position = self.bytes_consumed if first == self._consumed() else 0
        else:
            # Before the first lap there is nothing older; numbers below 0 were never produced.
            first, position = max(self._oldest(), 0), 0
        found = []
        current = self.produced % count
        # Stopped inside relay_switch_subbuf, `data` is still the old sub-buffer, and the new one is empty.
        switched = not self.full and self.current == current
        if mode == "salvage" and not self.full and self.produced >= count:
            # A slot's padding is zeroed when it becomes current.
            begin = min(self.offset, size) if switched else 0
            end = size - self.padding[current]
            found.append(Piece(self.produced - count, current, begin, begin, end, stale=True))
        for number in range(first, self.produced):
            slot = number % count
            start = position if number == first else 0
            found.append(Piece(number, slot, 0, start, max(start, size - self.padding[slot])))
        if switched:
            start = position if first == self.produced else 0
            found.append(Piece(self.produced, current, 0, start, max(start, self.offset)))
        return [piece for piece in found if piece.end > piece.begin]

    def unread_bytes(self) -> int:
        """Bytes that read() would have given."""
        return sum(piece.size for piece in self.pieces("unread"))

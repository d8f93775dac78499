"""The log of kernels before 5.10, as their writer leaves it (kernel/printk/printk.c); nothing of kernlab's."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Record:
    """What was printed: the number, ns, level and facility, text, dictionary, and who (0 where it is not noted)."""

    number: int
    ns: int
    level: int
    facility: int
    text: bytes
    dictionary: bytes = b""
    caller: int = 0


@dataclass
class OldLog:
    """A writer: `header` bytes before each text (16, or 20 with the caller), `align` of records (4, or 8)."""

    size: int
    header: int = 16
    align: int = 4
    data: bytearray = field(default_factory=bytearray)
    first: int = 0
    following: int = 0
    #: Those that are still in the buffer, oldest first, and how long each one is.
    kept: list[tuple[Record, int]] = field(default_factory=list)
    first_number: int = 0
    next_number: int = 0

    def __post_init__(self) -> None:
        self.data = bytearray(self.size)

    def places(self) -> list[tuple[int, int]]:
        """Where each of the kept records begins, and ends."""
        found, at = [], self.first
        for _, length in self.kept:
            if not self._length(at):
                at = 0
            found.append((at, at + length))
            at += length
        return found

    def _length(self, at: int) -> int:
        return int.from_bytes(self.data[at + 8 : at + 10], "little")

    def _fits(self, size: int, empty: bool) -> bool:
        if self.following > self.first or empty:
            free = max(self.size - self.following, self.first)
        else:
            free = self.first - self.following
        return free >= size + self.header

    def _step(self, at: int) -> int:
        # log_next: the header of length 0 leads to the first record, and on behind that.
        length = self._length(at)
        return at + length if length else self._length(0)

    def print(
        self,
        text: bytes,
        ns: int,
        level: int = 6,
        facility: int = 0,
        dictionary: bytes = b"",
        caller: int = 0,
    ) -> bool:
        """Store a record; False where it is larger than the whole buffer."""
        used = self.header + len(text) + len(dictionary)
        size = -(-used // self.align) * self.align
        if size + 2 * self.header > self.size:
            return False
        while self.first_number < self.next_number and not self._fits(size, empty=False):
            self.first = self._step(self.first)
            self.first_number += 1
            self.kept.pop(0)
        if self.first_number == self.next_number and not self._fits(size, empty=True):
            # log_make_free_space fails with an empty log whose next place is in the middle.
            return False
        if self.following + size + self.header > self.size:
            self.data[self.following : self.following + self.header] = bytes(self.header)
            self.following = 0
        head = struct.pack("<QHHHBB", ns, size, len(text), len(dictionary), facility, level << 5 | 2)
        if self.header >= 20:
            head += struct.pack("<I", caller).ljust(self.header - 16, b"\0")
        record = (head + text + dictionary).ljust(size, b"\0")
        self.data[self.following : self.following + size] = record
        self.following += size
        self.kept.append((Record(self.next_number, ns, level, facility, text, dictionary, caller), size))
        self.next_number += 1
        return True

"""Bytes that may end too early in, numbers and strings out."""

from __future__ import annotations

import struct
from collections.abc import Callable

from kernlab.errors import DumpFormatError
from kernlab.traces.ftrace.source import Machine


class Cut(DumpFormatError):  # noqa: N818 - a part that the file does not hold whole
    """A part of a file ends before all of it was read."""


class Reader:
    """Numbers and strings, one after the other, from bytes that may end too early."""

    def __init__(
        self, machine: Machine, read: Callable[[int, int], bytes], end: int, at: int = 0, what: str = ""
    ):
        self._machine, self._read, self.end, self.at, self._what = machine, read, end, at, what

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises Cut."""
        if size > self.end - self.at:
            raise Cut(
                f"{self._what} claims {size:,} bytes at {self.at:,}, but there are {max(self.end - self.at, 0):,}"
            )
        found = self._read(self.at, size)
        if len(found) < size:
            raise Cut(f"{self._what} cannot be read at {self.at + len(found):,}")
        self.at += size
        return found

    def numbers(self, kind: str) -> tuple[int, ...]:
        """Numbers in the file's byte order. Raises Cut."""
        kind = self._machine.mark + kind
        return struct.unpack(kind, self.take(struct.calcsize(kind)))

    def number(self, kind: str) -> int:
        """One number. Raises Cut."""
        return self.numbers(kind)[0]

    def string(self) -> str:
        """Text up to a NUL. Raises Cut."""
        parts = []
        while self.at < self.end:
            piece = self._read(self.at, min(256, self.end - self.at))
            if not piece:
                break
            place = piece.find(b"\0")
            parts.append(piece if place < 0 else piece[:place])
            self.at += len(piece) if place < 0 else place + 1
            if place >= 0:
                return b"".join(parts).decode("utf-8", "backslashreplace")
        raise Cut(f"{self._what} has a string without an end")

    def sized(self, kind: str) -> bytes:
        """Bytes behind their length. Raises Cut."""
        return self.take(self.number(kind))


def inside(machine: Machine, data: bytes, what: str) -> Reader:
    """A reader of bytes in memory."""
    return Reader(machine, lambda at, size: data[at : at + size], len(data), what=what)


def text_of(raw: bytes) -> str:
    """Text up to its first NUL."""
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")

"""Memory that a test fills by itself, behind the memory of a real dump: known structs for walks and columns.

    heap = Heap(opened("debian-6.1"))
    head = heap.list([node, other])
    kernel = heap.kernel()

Its bytes lie in the direct map, so that everything reads them as it reads a kernel's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from support.overlay import PAGE, Overlay

from kernlab.core.kernel import Kernel
from kernlab.dump import Dump


class Room:
    """Memory of zeros from an address on, handed out in order, and written to by what lies there."""

    def __init__(self, base: int, pages: int):
        self.base = base
        self.bytes = bytearray(pages * PAGE)
        self._used = 0

    def where(self, type_name: str, address: int, path: str) -> tuple[int, int]:
        """Address and size of a member of a struct."""
        raise NotImplementedError

    def alloc(self, size: int, align: int = 8) -> int:
        """An address with `size` bytes behind it."""
        start = -(-self._used // align) * align
        assert start + size <= len(self.bytes), "the test needs a larger heap"
        self._used = start + size
        return self.base + start

    def put(self, address: int, data: bytes) -> None:
        start = address - self.base
        assert 0 <= start <= len(self.bytes) - len(data)
        self.bytes[start : start + len(data)] = data

    def word(self, address: int, value: int, size: int = 8) -> None:
        self.put(address, (value % (1 << 8 * size)).to_bytes(size, "little"))

    def words(self, values: Iterable[int], align: int = 8) -> int:
        """An array of 64-bit words; its address."""
        data = b"".join(struct.pack("<Q", value % (1 << 64)) for value in values)
        address = self.alloc(max(len(data), 8), align)
        self.put(address, data)
        return address

    def member(self, type_name: str, address: int, path: str, value: int) -> None:
        """Write a number at a member path."""
        where, size = self.where(type_name, address, path)
        self.word(where, value, size)

    def list(self, nodes: Sequence[int], head: int | None = None) -> int:
        """Link `struct list_head` nodes in this order behind a head; its address."""
        head = self.alloc(16) if head is None else head
        ring = [head, *nodes]
        for here, following in zip(ring, [*ring[1:], head], strict=True):
            self.word(here, following)
            self.word(following + 8, here)
        return head


class Heap(Room):
    """`pages` pages of zeros, from frame `first` on; `dump()` takes them as they are then."""

    def __init__(self, below: Dump, pages: int = 256, first: int | None = None):
        self.overlay = Overlay(below)
        super().__init__(self.overlay.make(pages, self._page, first), pages)

    def _page(self, number: int) -> bytes:
        return bytes(self.bytes[number * PAGE : (number + 1) * PAGE])

    def where(self, type_name: str, address: int, path: str) -> tuple[int, int]:
        return self.overlay.where(type_name, address, path)

    def dump(self) -> Dump:
        return self.overlay.dump()

    def kernel(self) -> Kernel:
        return self.dump().kernel

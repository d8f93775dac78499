"""Many small reads of one dump for one page of a view: each memory page is gathered once, all of them together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.errors import FaultError
from kernlab.memory.address_space import fault

#: One page of a view never needs more memory pages than this at once; what lies beyond is read singly.
_MOST_PAGES = 4096
_END = 1 << 64


class PageReader:
    """Bytes of kernel memory, kept for as long as one request lasts."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self._size = kernel.page_size
        self._pages: dict[int, tuple[bytes, int]] = {}

    def want(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Read ahead, in one gather, the pages under ranges of (address, size in bytes)."""
        wanted: set[int] = set()
        for address, size in ranges:
            if size <= 0 or address < 0 or address + size > _END:
                continue
            first, last = address // self._size, (address + size - 1) // self._size
            if last - first < _MOST_PAGES:
                wanted.update(range(first, last + 1))
            if len(wanted) > _MOST_PAGES:
                break
        self._load(sorted(wanted - self._pages.keys())[:_MOST_PAGES])

    def _load(self, numbers: list[int]) -> None:
        if not numbers:
            return
        addresses = np.array(numbers, dtype=np.uint64) * np.uint64(self._size)
        rows, status = self.kernel.gather(addresses, self._size, "")
        for number, row, state in zip(numbers, rows, status.tolist(), strict=True):
            self._pages[number] = (b"" if state else row.tobytes(), state)

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes. Raises FaultError and PageExcluded, which name the first byte that is not there."""
        if address < 0 or address + size > _END:
            raise FaultError(
                f"{size:,} bytes at {address % _END:#x} would reach beyond the end of the address space",
                address,
            )
        pieces = []
        while size > 0:
            number, offset = divmod(address, self._size)
            if number not in self._pages:
                self._load([number])
            data, state = self._pages[number]
            if state:
                raise fault(state, address)
            piece = data[offset : offset + size]
            pieces.append(piece)
            address += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def word(self, address: int) -> int:
        """The pointer-sized number at an address. Raises as `read` does."""
        return int.from_bytes(self.read(address, 8), "little")

"""Changes to the kernel's page tables of a real dump: tables that a test fills, where there were none."""

from __future__ import annotations

import numpy as np
from support.heap import Heap
from support.overlay import PAGE

# Bits of entries (arch/x86/include/asm/pgtable_types.h): a table, a page, a large page.
TABLE, SMALL, LARGE = 0x63, 0x163, 0x1E3
_ADDRESS = 0x000F_FFFF_FFFF_F000


class PageTables:
    """The kernel's page tables, some of them new ones in the heap; `write()` puts them into the dump to be taken."""

    def __init__(self, heap: Heap):
        self._heap, self._kernel = heap, heap.overlay.kernel
        self._tables: dict[int, np.ndarray] = {}

    def physical(self, address: int) -> int:
        """Of an address in the heap."""
        return address - self._kernel.layout.direct_start

    def table(self, address: int, shift: int) -> np.ndarray:
        """The table to which an address's entry leads that covers 1 << shift bytes: uint64[512], to be written to."""
        physical = self._kernel.layout.page_table
        for level in self._kernel.arch.levels:
            table = self._load(physical)
            index = address >> level.shift & 511
            entry = int(table[index])
            if entry & 1:
                physical = entry & _ADDRESS
            else:
                physical = self.physical(self._heap.alloc(PAGE, PAGE))
                self._tables[physical] = np.zeros(512, dtype="<u8")
                table[index] = physical | TABLE
            if level.shift == shift:
                break
        return self._load(physical)

    def map(self, address: int, count: int, physical: int) -> None:
        """Map `count` pages, which lie in one table, all to the same frame."""
        index = address >> 12 & 511
        self.table(address, 21)[index : index + count] = physical | SMALL

    def map_large(self, address: int, physical: np.ndarray) -> None:
        """Map pages of 2 MiB from an address on, each to its own memory."""
        done = 0
        while done < len(physical):
            index = (address >> 21) + done & 511
            count = min(512 - index, len(physical) - done)
            table = self.table(address + (done << 21), 30)
            table[index : index + count] = physical[done : done + count] | np.uint64(LARGE)
            done += count

    def write(self) -> None:
        """Put what was changed into the heap and the overlay."""
        heap, start = self._heap, self._kernel.layout.direct_start
        for physical, table in self._tables.items():
            if heap.base <= physical + start < heap.base + len(heap.bytes):
                heap.put(physical + start, table.tobytes())
            else:
                heap.overlay.write(physical, table.tobytes(), physical=True)

    def _load(self, physical: int) -> np.ndarray:
        if physical not in self._tables:
            data = self._kernel.read(physical, PAGE, physical=True)
            self._tables[physical] = np.frombuffer(data, dtype="<u8").copy()
        return self._tables[physical]

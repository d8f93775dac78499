"""The one walker of page tables, for every architecture: many addresses or whole address spaces go down together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.memory.arch.base import Architecture, Level

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Reads so many bytes at each of many physical addresses: (uint8[n, size], status uint8[n], 0 where they are there).
ReadRows = Callable[[U64, int], tuple[U8, U8]]

#: Which entries to look at, by the address and the bytes that each covers.
Touches = Callable[[U64, int], Mask]

_ENTRY = 8
#: Entries read at a time: 4 MiB of them.
_BLOCK = 1 << 19


@dataclass(frozen=True, slots=True)
class Entries:
    """K entries that are not empty: whose (`owner` int64[k], index into what was walked), of which address (uint64[k]).

    `size` (int64[k]) is how many bytes an entry covers; `value` is as stored, and means what `arch` says.
    """

    arch: Architecture
    owner: I64
    address: U64
    value: U64
    size: I64

    @property
    def walked(self) -> Mask:
        """Entries that the hardware follows."""
        return self.arch.is_walked(self.value)

    @property
    def present(self) -> Mask:
        """Entries of a process that map a page: also those without any access right."""
        return self.arch.is_present(self.value, self.size > self.arch.page_size)

    @property
    def special(self) -> Mask:
        """Entries that map no page that is counted: the zero page, device memory."""
        return self.arch.is_special(self.value)

    @property
    def pfns(self) -> U64:
        """The frame that each present entry maps (its first one), uint64[k]."""
        inside = self.size.astype(np.uint64) - np.uint64(1)
        frame: U64 = (self.arch.present_address(self.value) & ~inside) >> np.uint64(self.arch.page_shift)
        return frame

    @property
    def kept_pfns(self) -> U64:
        """The frame that each entry names which maps none for now: one that moves, or device memory."""
        return self.arch.kept_frame(self.value)

    def swapped(self, swap_files: int) -> Mask:
        """Entries whose page lies on one of `swap_files` swap areas (non_swap_entry says no)."""
        swapped: Mask = ~self.present & (self.arch.swap_type(self.value) < np.uint64(swap_files))
        return swapped

    def where(self, rows: Mask | I64) -> Entries:
        """Some of the entries."""
        return Entries(self.arch, self.owner[rows], self.address[rows], self.value[rows], self.size[rows])


class PageTableWalker:
    """Walks page tables of one architecture; `read` reads physical memory."""

    def __init__(self, arch: Architecture, read: ReadRows):
        self.arch = arch
        self._read = read

    def lookup(self, tables: U64, addresses: U64, unmapped: int) -> tuple[U64, U8]:
        """Translate `addresses[i]` by the tables whose top level lies at physical address `tables[i]`.

        Returns (physical address uint64[n], status uint8[n]): 0 where it is mapped, `unmapped` where it is not, and the
        status of the page-table page where that could not be read. All addresses go down one level a round.
        """
        physical = np.zeros(len(addresses), dtype=np.uint64)
        status = np.full(len(addresses), unmapped, dtype=np.uint8)
        rows = np.flatnonzero(self.arch.is_canonical(addresses))
        tables = tables[rows]
        for level in self.arch.levels:
            if not len(rows):
                break
            index = (addresses[rows] >> np.uint64(level.shift)) & np.uint64(level.entries - 1)
            found, read = self._read(tables + index * np.uint64(_ENTRY), _ENTRY)
            value = found.view("<u8")[:, 0]
            lost = read != 0
            status[rows[lost]] = read[lost]
            maps, down = self._split(level, value)
            maps, down = maps & ~lost, down & ~lost
            ends, inside = rows[maps], np.uint64(level.span - 1)
            physical[ends] = (self.arch.address(value[maps]) & ~inside) | (addresses[ends] & inside)
            status[ends] = 0
            rows, tables = rows[down], self.arch.address(value[down])
        return physical, status

    def first(self, table: int) -> tuple[int, int] | None:
        """The lowest address of the kernel's half that a top-level table maps, and its physical address.

        None where nothing is mapped, or where a table on the way cannot be read.
        """
        base = self.arch.kernel_start
        for level in self.arch.levels:
            part = self._part(level, kernel=True)
            rows, status = self._read(_part_of([table], part), _ENTRY * (part.stop - part.start))
            value = rows.view("<u8")[0]
            maps, down = self._split(level, value)
            used = np.flatnonzero(maps | down)
            if status[0] or not len(used):
                return None
            entry = int(used[0])
            base += entry << level.shift
            table = int(self.arch.address(value[entry : entry + 1])[0])
            if maps[entry]:
                return base, table & ~(level.span - 1)
        return None

    def walk(
        self, owner: I64, tables: U64, *, kernel: bool, most: int, touches: Touches | None = None
    ) -> Walk:
        """Every entry of one half of address spaces: their top-level tables and whose each is (int64[n]).

        `most`: how many tables may be followed, a bound for damaged ones; `touches`: what alone is of interest.
        """
        return Walk(self, owner, tables, kernel, most, touches)

    def _split(self, level: Level, value: U64) -> tuple[Mask, Mask]:
        """Which entries map memory, and which lead to a table of the next level."""
        walked = self.arch.is_walked(value)
        if level is self.arch.levels[-1]:
            return walked, np.zeros(len(value), dtype=bool)
        down = self.arch.is_table(level, value)
        return walked & ~down if level.maps else np.zeros(len(value), dtype=bool), down

    def _part(self, level: Level, *, kernel: bool) -> slice:
        """Which entries of a level's tables belong to the half."""
        return self.arch.top_entries(kernel) if level is self.arch.levels[0] else slice(0, level.entries)


@dataclass
class Walk:
    """The entries of address spaces, in blocks; what became known on the way is in the other attributes.

    `lost` are the ranges (owner, start, end) that tables which could not be read would have covered, `repeated` counts
    links to tables that were met before, `beyond` tables more than `most`, which were not followed.
    """

    walker: PageTableWalker
    owner: I64
    tables: U64
    kernel: bool
    most: int
    touches: Touches | None = None
    lost: list[tuple[int, int, int]] = field(default_factory=list)
    repeated: int = 0
    beyond: int = 0

    def __iter__(self) -> Iterator[Entries]:
        """All entries that are not empty and lead to no table, each owner's by address within one level.

        Bounded: a table is entered once for each owner, and no more than `most` are.
        """
        arch, left = self.walker.arch, self.most
        owner, table = self.owner, self.tables
        base = np.full(len(owner), arch.kernel_start if self.kernel else 0, dtype=np.uint64)
        for level in arch.levels:
            found: list[tuple[I64, U64, U64]] = []
            block = max(1, _BLOCK // level.entries)
            for start in range(0, len(owner), block):
                rows = slice(start, start + block)
                entries = self._read(level, owner[rows], table[rows], base[rows])
                if level is arch.levels[-1]:
                    yield entries
                    continue
                down = arch.is_table(level, entries.value)
                if not down.all():
                    yield entries.where(~down)
                found.append((entries.owner[down], arch.address(entries.value[down]), entries.address[down]))
            if not found:
                break
            owner, table, base = (np.concatenate(parts) for parts in zip(*found, strict=True))
            keep = _first_of_pairs(owner, table)
            self.repeated += len(owner) - len(keep)
            owner, table, base = owner[keep], table[keep], base[keep]
            if len(owner) > left:
                self.beyond += len(owner) - left
                owner, table, base = owner[:left], table[:left], base[:left]
            left -= len(owner)

    def _read(self, level: Level, owner: I64, table: U64, base: U64) -> Entries:
        """What is not empty in one half of tables of one level."""
        part = self.walker._part(level, kernel=self.kernel)
        count = part.stop - part.start
        rows, status = self.walker._read(_part_of(table, part), count * _ENTRY)
        bad = np.flatnonzero(status)
        for who, start in zip(owner[bad].tolist(), base[bad].tolist(), strict=True):
            self.lost.append((who, start, start + (count << level.shift)))
        entries = rows.view("<u8")
        row, column = np.nonzero(entries)
        address = base[row] + (column.astype(np.uint64) << np.uint64(level.shift))
        value = entries[row, column]
        if self.touches is not None:
            near = self.touches(address, level.span)
            row, address, value = row[near], address[near], value[near]
        size = np.full(len(row), level.span, dtype=np.int64)
        return Entries(self.walker.arch, owner[row], address, value, size)


def _part_of(tables: npt.ArrayLike, part: slice) -> U64:
    return np.asarray(tables, dtype=np.uint64) + np.uint64(part.start * _ENTRY)


def _first_of_pairs(owner: I64, table: U64) -> I64:
    """The rows of the distinct pairs, in their order."""
    order = np.lexsort((table, owner))
    fresh = np.ones(len(owner), dtype=bool)
    fresh[order[1:]] = (owner[order][1:] != owner[order][:-1]) | (table[order][1:] != table[order][:-1])
    return np.flatnonzero(fresh)

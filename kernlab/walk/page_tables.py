"""Page tables of many processes in, the entries that map or swap their pages out; all processes go down together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.structs import StructArray
from kernlab.memory.arch.x86_64 import HUGE, PHYSICAL_MASK, PRESENT

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# arch/x86/include/asm/pgtable_types.h: _PAGE_PROTNONE is _PAGE_GLOBAL in entries that are not present.
_PROTNONE = 0x100
_SPECIAL = 0x200  # _PAGE_SPECIAL, a bit that the hardware leaves to software
_ENTRIES = 512
_SWAP_TYPE_SHIFT = 59  # arch/x86/include/asm/pgtable_64.h, SWP_TYPE_BITS is 5

#: Tables read at a time: 4 MiB of them, half a million entries.
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Entries:
    """K entries that are not empty: whose (`owner` int64[k], index into the mms), of which address (uint64[k]).

    `size` (int64[k]) is what an entry covers: 4 KiB, 2 MiB or 1 GiB; `value` is as stored.
    """

    owner: I64
    address: U64
    value: U64
    size: I64

    @property
    def present(self) -> Mask:
        """Entries that map a page: also those without any access right (pte_present, pmd_present)."""
        small = (self.value & np.uint64(PRESENT | _PROTNONE)) != 0
        huge = (self.value & np.uint64(PRESENT | _PROTNONE | HUGE)) != 0
        present: Mask = np.where(self.size > 4096, huge, small)
        return present

    @property
    def special(self) -> Mask:
        """Entries that map no page that is counted: the zero page, device memory (pte_special)."""
        special: Mask = (self.value & np.uint64(_SPECIAL)) != 0
        return special

    def pfns(self, encryption_mask: int = 0) -> U64:
        """The frame that each present entry maps (its first one), uint64[k]."""
        keep = np.uint64(PHYSICAL_MASK & ~encryption_mask)
        # Entries that are not present hold their frame's complement (arch/x86/include/asm/pgtable-invert.h).
        inverted = (self.value & np.uint64(PRESENT)) == 0
        value = np.where(inverted, ~self.value, self.value) & keep
        # Bit 12 of a huge entry is its PAT bit, not part of the frame's number.
        frame: U64 = (value & ~(self.size.astype(np.uint64) - np.uint64(1))) >> np.uint64(12)
        return frame

    def swapped(self, swap_files: int) -> Mask:
        """Entries whose page lies on one of `swap_files` swap areas (non_swap_entry says no)."""
        swapped: Mask = ~self.present & (self.value >> np.uint64(_SWAP_TYPE_SHIFT) < np.uint64(swap_files))
        return swapped

    def kept_pfns(self, physical_bits: int) -> U64:
        """The frame that each entry names which maps none for now: one that moves, or device memory (swp_offset_pfn).

        `physical_bits` is how many bits a physical address has; above them such an entry may have marks of its own.
        """
        # arch/x86/include/asm/pgtable_64.h, __swp_offset: stored as its complement, above the type's five bits.
        offset = (~self.value << np.uint64(5)) >> np.uint64(14)
        # Linux commit 0d206b5d2e0d ("mm/swap: add swp_offset_pfn() to fetch PFN from swap entry") (in v6.1).
        frame: U64 = offset & np.uint64((1 << (physical_bits - 12)) - 1)
        return frame

    def where(self, rows: npt.NDArray[np.bool_] | I64) -> Entries:
        """Some of the entries."""
        return Entries(self.owner[rows], self.address[rows], self.value[rows], self.size[rows])


@dataclass
class PageTables:
    """The page tables of N mms, walked by `entries`; what became known on the way is in the other attributes.

    `lost` are the ranges (owner, start, end) that tables which could not be read would have covered.
    """

    kernel: Kernel
    mm: StructArray
    problems: list[str]
    lost: list[tuple[int, int, int]] = field(default_factory=list)

    def entries(self) -> Iterator[Entries]:
        """All entries that are not empty, in blocks, each mm's by address within one level.

        Bounded: a table is entered once for each mm, and all together no more often than the dump has frames (four
        times over, for tables that processes share).
        """
        layout = self.kernel.memory.layout
        assert layout is not None
        shifts = (48, 39, 30, 21, 12) if layout.levels == 5 else (39, 30, 21, 12)
        pgd = self.mm["pgd"]
        physical, status = self.kernel.memory.translate(np.where(pgd.valid, pgd.values, np.uint64(0)))
        known = pgd.valid & (status == 0)
        owner = np.flatnonzero(known)
        self._lose(np.flatnonzero(~known & self.mm.valid), np.zeros(1, dtype=np.uint64), 1 << (shifts[0] + 8))
        table, base = physical[owner], np.zeros(len(owner), dtype=np.uint64)
        visits = 4 * self.kernel.file.frame_count + (1 << 16)
        twice = beyond = 0
        for level, shift in enumerate(shifts):
            found: list[tuple[I64, U64, U64]] = []
            half = _ENTRIES // 2 if level == 0 else _ENTRIES
            for start in range(0, len(owner), _BLOCK):
                part = slice(start, start + _BLOCK)
                block = self._read(owner[part], table[part], base[part], shift, half)
                if shift == 12:
                    yield block
                    continue
                leaf = ((block.value & np.uint64(HUGE)) != 0) & (shift in (30, 21))
                down = ~leaf & ((block.value & np.uint64(PRESENT)) != 0)
                if not down.all():
                    yield block.where(~down)
                below = block.value[down] & np.uint64(PHYSICAL_MASK & ~layout.encryption_mask)
                found.append((block.owner[down], below, block.address[down]))
            if shift == 12 or not found:
                break
            owner, table, base = (np.concatenate(parts) for parts in zip(*found, strict=True))
            keep = _first_of_pairs(owner, table)
            twice += len(owner) - len(keep)
            owner, table, base = owner[keep], table[keep], base[keep]
            if len(owner) > visits:
                beyond += len(owner) - visits
                owner, table, base = owner[:visits], table[:visits], base[:visits]
            visits -= len(owner)
        if twice:
            self.problems.append(f"page tables: {twice:,} links lead to tables that were met before")
        if beyond:
            self.problems.append(
                f"page tables: there are more tables than memory; {beyond:,} were not followed"
            )
        if self.lost:
            self.problems.append(
                f"page tables: {len(self.lost):,} tables are not here or lie outside memory; what they map is not known"
            )

    def _read(self, owner: I64, table: U64, base: U64, shift: int, count: int) -> Entries:
        rows, status = self.kernel.memory.gather(table, count * 8, physical=True)
        bad = np.flatnonzero(status)
        self._lose(owner[bad], base[bad], _ENTRIES << shift)
        entries = rows.view("<u8")
        row, column = np.nonzero(entries)
        return Entries(
            owner[row],
            base[row] + (column.astype(np.uint64) << np.uint64(shift)),
            entries[row, column],
            np.full(len(row), 1 << shift, dtype=np.int64),
        )

    def _lose(self, owner: I64, base: U64, span: int) -> None:
        starts = np.broadcast_to(base, owner.shape).tolist()
        self.lost += [(who, start, start + span) for who, start in zip(owner.tolist(), starts, strict=True)]


def _first_of_pairs(owner: I64, table: U64) -> I64:
    """The rows of the distinct pairs, in their order."""
    order = np.lexsort((table, owner))
    fresh = np.ones(len(owner), dtype=bool)
    fresh[order[1:]] = (owner[order][1:] != owner[order][:-1]) | (table[order][1:] != table[order][:-1])
    return np.flatnonzero(fresh)

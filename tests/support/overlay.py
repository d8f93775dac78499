"""Damages memory, not files: lays writes and lost pages over the frames of a dump, and opens that as a dump.

    overlay = Overlay(opened("debian-6.1"))
    overlay.set("struct task_struct", address, "tasks.next", 0xDEAD)
    overlay.exclude(page)
    broken = overlay.dump()          # a Dump of its own; what is written later does not reach it

Addresses are kernel virtual ones, translated by the dump below as it was, unless `physical`. `MemoryFile` is a dump
of nothing but known frames, for tests that need no kernel at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.dump import Dump
from kernlab.formats.base import DumpFile, FrameStatus
from kernlab.memory import AddressSpace
from kernlab.memory.arena import DEFAULT_BOUND

PAGE = 4096


class Overlay:
    """What to change in a dump; the dump itself stays as it is, and open."""

    def __init__(self, dump: Dump):
        self.below = dump
        self.kernel = dump.kernel
        self._writes: dict[int, list[tuple[int, bytes]]] = {}
        self._gone: dict[int, FrameStatus] = {}
        self._made: tuple[int, int, Callable[[int], bytes]] | None = None

    def make(self, count: int, page: Callable[[int], bytes]) -> int:
        """Add `count` pages behind the machine's memory, whose bytes `page(number)` makes when they are read.

        Returns the kernel virtual address of the first, where the dump that is taken maps them.
        """
        layout = self.kernel.layout
        assert self._made is None
        first = self.kernel.file.max_pfn + 16
        self._made = (first, count, page)
        return layout.direct_start + first * PAGE

    def write(self, address: int, data: bytes, *, physical: bool = False) -> Overlay:
        """Overwrite bytes; a frame that the dump lacks comes into being, zero but for them."""
        done = 0
        while done < len(data):
            pfn, offset = divmod(self._physical(address + done, physical), PAGE)
            piece = data[done : done + PAGE - offset]
            self._writes.setdefault(pfn, []).append((offset, piece))
            self._gone.pop(pfn, None)
            done += len(piece)
        return self

    def word(self, address: int, value: int, size: int = 8, *, physical: bool = False) -> Overlay:
        """Overwrite one little-endian integer."""
        return self.write(address, (value % (1 << 8 * size)).to_bytes(size, "little"), physical=physical)

    def where(self, type_name: str, address: int, path: str) -> tuple[int, int]:
        """Address and size of a member, as the dump below has it."""
        access = resolve(self.kernel.find_type(type_name), path)
        assert not access.bit_size, f"{path} is a bitfield"
        base = address
        for hop in access.hops[:-1]:
            base = int.from_bytes(self.below.read(base + hop, 8), "little")
        return base + access.hops[-1], access.type.size

    def set(self, type_name: str, address: int, path: str, value: int) -> Overlay:
        """Overwrite the number (or pointer) at a member path of a struct."""
        where, size = self.where(type_name, address, path)
        return self.word(where, value, size)

    def exclude(self, *addresses: int, physical: bool = False) -> Overlay:
        """Leave the pages at these addresses out, as a dump level does."""
        return self._drop(FrameStatus.EXCLUDED, addresses, physical)

    def lose(self, *addresses: int, physical: bool = False) -> Overlay:
        """The pages at these addresses should be in the file, but are damaged there."""
        return self._drop(FrameStatus.LOST, addresses, physical)

    def remove(self, *addresses: int, physical: bool = False) -> Overlay:
        """The machine has no memory at these addresses."""
        return self._drop(FrameStatus.ABSENT, addresses, physical)

    def _drop(self, status: FrameStatus, addresses: Iterable[int], physical: bool) -> Overlay:
        for address in addresses:
            pfn = self._physical(address, physical) // PAGE
            self._gone[pfn] = status
            self._writes.pop(pfn, None)
        return self

    def _physical(self, address: int, physical: bool) -> int:
        return address if physical else self.below.translate(address)

    def file(self) -> OverlayFile:
        """The dump file below with these changes, as they are now."""
        return OverlayFile(self.kernel.file, self._writes, self._gone, self._made)

    def dump(self, *, fresh: bool = False, arena_bytes: int = DEFAULT_BOUND) -> Dump:
        """A new `Dump` with these changes.

        Symbols and types are the ones of the dump below, unless `fresh`: then they are read again from the damage.
        """
        file, layout = self.file(), self.kernel.layout
        if fresh:
            return Dump(Kernel.open(file, vmcoreinfo=self.kernel.file.vmcoreinfo, arena_bound=arena_bytes))
        end = max(layout.direct_end, layout.direct_start + file.max_pfn * PAGE)
        memory = AddressSpace(file, dataclasses.replace(layout, direct_end=end), arena_bytes)
        symbols = _kernels_own(self.kernel.symbols)
        return Dump(Kernel(memory, symbols, self.kernel.vmcoreinfo, types=self.kernel.types))


def _kernels_own(table: SymbolTable) -> SymbolTable:
    """The table as it was before the modules' symbols were put behind the kernel's: these are read anew."""
    count = table.modules().count("")
    end = int(table._starts[count]) if count < len(table) else len(table._blob)
    return SymbolTable(
        table._blob[:end],
        table._starts[:count],
        table.addresses[:count],
        table.types[:count],
        table.kernel_start,
    )


class OverlayFile(DumpFile):
    """A dump file with some frames changed, added or gone. Closing it leaves the file below open."""

    def __init__(
        self,
        below: DumpFile,
        writes: Mapping[int, list[tuple[int, bytes]]],
        gone: Mapping[int, FrameStatus],
        made: tuple[int, int, Callable[[int], bytes]] | None = None,
    ):
        self.below = below
        self.path, self.format, self.machine = below.path, below.format, below.machine
        self.page_size, self.vmcoreinfo = below.page_size, below.vmcoreinfo
        self.header, self.notes, self.problems = below.header, below.notes, list(below.problems)
        self.max_pfn = max([below.max_pfn, *(pfn + 1 for pfn in writes)])
        self._gone = dict(gone)
        pfns = np.array(sorted(writes), dtype=np.uint64)
        index = below.find(pfns)
        added = np.flatnonzero(index < 0)
        self._added = dict(zip(pfns[added].tolist(), range(len(added)), strict=True))
        index[added] = below.frame_count + np.arange(len(added))
        self._first_made = below.frame_count + len(added)
        self._made_pfn, made_count, self._page = made or (0, 0, lambda number: bytes(PAGE))
        self._made_end = self._made_pfn + made_count
        self.frame_count = self._first_made + made_count
        self.max_pfn = max(self.max_pfn, self._made_end)
        self._writes = {
            frame: list(writes[pfn]) for pfn, frame in zip(pfns.tolist(), index.tolist(), strict=True)
        }
        lost = np.array([pfn for pfn, why in gone.items() if why == FrameStatus.LOST], dtype=np.uint64)
        self._lost = below.find(lost)

    def find(self, pfns: np.ndarray) -> np.ndarray:
        found = self.below.find(pfns)
        for pfn, number in self._added.items():
            found[pfns == pfn] = self.below.frame_count + number
        made = (pfns >= self._made_pfn) & (pfns < self._made_end)
        found[made] = self._first_made + (pfns[made] - np.uint64(self._made_pfn)).astype(np.int64)
        for pfn, status in self._gone.items():
            # A frame that is lost is found, and fails when it is read; unless the file never had it.
            rows = (pfns == pfn) & ((found < 0) | (status != FrameStatus.LOST))
            found[rows] = -status
        return found

    def read_into(self, indices: np.ndarray, out: np.ndarray) -> np.ndarray:
        status = np.zeros(len(indices), dtype=np.uint8)
        own = indices >= self.below.frame_count
        out[own] = 0
        below = np.flatnonzero(~own)
        if len(below) == len(indices):
            status = self.below.read_into(indices, out)
        elif len(below):
            rows = np.empty((len(below), self.page_size), dtype=np.uint8)
            status[below] = self.below.read_into(indices[below], rows)
            out[below] = rows
        for row in np.flatnonzero(indices >= self._first_made).tolist():
            out[row] = np.frombuffer(self._page(int(indices[row]) - self._first_made), dtype=np.uint8)
        for row in np.flatnonzero(np.isin(indices, list(self._writes))).tolist():
            for offset, data in self._writes[int(indices[row])]:
                out[row, offset : offset + len(data)] = np.frombuffer(data, dtype=np.uint8)
            status[row] = FrameStatus.PRESENT
        lost = np.isin(indices, self._lost)
        out[lost] = 0
        status[lost] = FrameStatus.LOST
        return status

    def present(self, most: int) -> Iterator[np.ndarray]:
        return _present(self, most)

    def close(self) -> None:
        pass


class MemoryFile(DumpFile):
    """A dump file of known frames: number -> `page_size` bytes, or why there are none; the rest is absent.

    `reads` counts the frames that were read, `batches` the calls; `fail_at` makes the nth call (from 1) raise
    KeyboardInterrupt with half of its frames written, as a user's interrupt would.
    """

    def __init__(
        self,
        frames: Mapping[int, bytes | FrameStatus],
        *,
        vmcoreinfo: bytes | None = None,
        machine: str = "x86_64",
        page_size: int = PAGE,
    ):
        self.path, self.format, self.machine = Path("synthetic"), "synthetic", machine
        self.page_size, self.vmcoreinfo = page_size, vmcoreinfo
        self.header, self.notes, self.problems = {}, [], []
        # A lost frame has an index: it fails only when it is read.
        self._pfns = sorted(
            pfn for pfn, data in frames.items() if isinstance(data, bytes) or data == FrameStatus.LOST
        )
        self._index = {pfn: index for index, pfn in enumerate(self._pfns)}
        self._frames = dict(frames)
        self.frame_count = len(self._pfns)
        self.max_pfn = max(frames, default=-1) + 1
        self.reads = self.batches = 0
        self.fail_at: int | None = None

    def find(self, pfns: np.ndarray) -> np.ndarray:
        return np.array([self._find(pfn) for pfn in pfns.tolist()], dtype=np.int64).reshape(len(pfns))

    def _find(self, pfn: int) -> int:
        if pfn in self._index:
            return self._index[pfn]
        why = self._frames.get(pfn, FrameStatus.ABSENT)
        assert isinstance(why, FrameStatus)
        return -int(why)

    def read_into(self, indices: np.ndarray, out: np.ndarray) -> np.ndarray:
        self.batches += 1
        self.reads += len(indices)
        status = np.zeros(len(indices), dtype=np.uint8)
        for row, index in enumerate(indices.tolist()):
            if self.batches == self.fail_at and row >= len(indices) // 2:
                raise KeyboardInterrupt
            data = self._frames[self._pfns[index]]
            if isinstance(data, bytes):
                out[row] = np.frombuffer(data, dtype=np.uint8)
            else:
                out[row], status[row] = 0, data
        return status

    def present(self, most: int) -> Iterator[np.ndarray]:
        return _present(self, most)

    def close(self) -> None:
        pass


def _present(file: DumpFile, most: int) -> Iterator[np.ndarray]:
    pfns = np.arange(file.max_pfn, dtype=np.uint64)
    # Not file.find: a test may count what others ask of that.
    there = pfns[type(file).find(file, pfns) >= 0].astype(np.int64)
    for first in range(0, len(there), most):
        yield there[first : first + most]


def memory(frames: Mapping[int, bytes | FrameStatus], layout: Any = None, **options: Any) -> AddressSpace:
    """An `AddressSpace` over known frames; see `MemoryFile` for them."""
    return AddressSpace(MemoryFile(frames), layout, **options)

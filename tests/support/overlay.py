"""Damages memory, not files: lays writes and lost pages over the frames of a dump, and opens that as a dump.

    overlay = Overlay(opened("debian-6.1"))
    overlay.set("struct task_struct", address, "tasks.next", 0xDEAD)
    overlay.exclude(page)
    broken = overlay.dump()          # a Dump of its own; what is written later does not reach it

Addresses are kernel virtual ones, translated by the dump below as it was, unless `physical`. `MemoryFile` is a dump
of nothing but known frames, for tests that need no kernel at all. Memory that the dump below does not have is made
when it is read (`make`, `make_area`), so that a machine may be larger than the one that runs the test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

#: Fills pages by their numbers in an area: (numbers int64[n], out uint8[n, PAGE], which is zero).
Fill = Callable[[np.ndarray, np.ndarray], None]


@dataclass(frozen=True)
class Area:
    """Frames that are made when they are read: `count` from `first` on, and so again every `stride` frames."""

    first: int
    count: int
    fill: Fill
    stride: int = 0
    repeat: int = 1

    @property
    def pages(self) -> int:
        """How many there are; they are numbered through all repetitions."""
        return self.count * self.repeat

    @property
    def end(self) -> int:
        """The frame behind the last one."""
        return self.first + (self.repeat - 1) * self.stride + self.count

    def pfns(self) -> np.ndarray:
        """All of its frames, int64[pages]."""
        turn, rest = np.divmod(np.arange(self.pages, dtype=np.int64), self.count)
        return self.first + turn * self.stride + rest

    def numbers(self, pfns: np.ndarray) -> np.ndarray:
        """The number in this area of each frame, -1 for those that are not of it."""
        offset = pfns.astype(np.int64) - self.first
        turn, rest = (offset // self.stride, offset % self.stride) if self.stride else (offset * 0, offset)
        inside = (offset >= 0) & (turn < self.repeat) & (rest < self.count)
        return np.where(inside, turn * self.count + rest, -1)


class Overlay:
    """What to change in a dump; the dump itself stays as it is, and open."""

    def __init__(self, dump: Dump):
        self.below = dump
        self.kernel = dump.kernel
        self._writes: dict[int, list[tuple[int, bytes]]] = {}
        self._gone: dict[int, FrameStatus] = {}
        self._areas: list[Area] = []
        self._left_out: list[tuple[int, int]] = []

    def make(self, count: int, page: Callable[[int], bytes], first: int | None = None) -> int:
        """Add `count` pages whose bytes `page(number)` makes when they are read, behind all memory or at frame `first`.

        Returns the kernel virtual address of the first, where the dump that is taken maps them.
        """

        def fill(numbers: np.ndarray, out: np.ndarray) -> None:
            for row, number in enumerate(numbers.tolist()):
                out[row] = np.frombuffer(page(number), dtype=np.uint8)

        end = max([self.kernel.file.max_pfn, *(area.end for area in self._areas)])
        return self.make_area(Area(end + 16 if first is None else first, count, fill))

    def make_area(self, area: Area) -> int:
        """Add an area; the kernel virtual address of its first page."""
        self._areas.append(area)
        return self.kernel.layout.direct_start + area.first * PAGE

    def leave_out(self, first: int, end: int) -> Overlay:
        """Memory of the machine that the dump does not hold: frames from `first` to before `end`, but for made ones."""
        self._left_out.append((first, end))
        return self

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
        return OverlayFile(self.kernel.file, self._writes, self._gone, self._areas, self._left_out)

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
        areas: Sequence[Area] = (),
        left_out: Sequence[tuple[int, int]] = (),
    ):
        self.below = below
        self.path, self.format, self.machine = below.path, below.format, below.machine
        self.page_size, self.vmcoreinfo = below.page_size, below.vmcoreinfo
        self.header, self.notes, self.problems = below.header, below.notes, list(below.problems)
        self.max_pfn = max([below.max_pfn, *(pfn + 1 for pfn in writes)])
        self._gone = np.array(sorted(gone), dtype=np.uint64)
        self._why_gone = np.array([int(gone[pfn]) for pfn in sorted(gone)], dtype=np.int64)
        pfns = np.array(sorted(writes), dtype=np.uint64)
        index = below.find(pfns)
        added = np.flatnonzero(index < 0)
        self._added = pfns[added]
        index[added] = below.frame_count + np.arange(len(added))
        self._first_made = below.frame_count + len(added)
        self._areas, self._left_out = list(areas), list(left_out)
        # Where the frames of each area begin among those of the file.
        ends = self._first_made + np.cumsum([area.pages for area in self._areas], dtype=np.int64)
        self._starts = [self._first_made, *ends.tolist()]
        self.frame_count = self._starts[-1]
        behind = [area.end for area in self._areas] + [end for _, end in self._left_out]
        self.max_pfn = max([self.max_pfn, *behind])
        self._writes = {
            frame: list(writes[pfn]) for pfn, frame in zip(pfns.tolist(), index.tolist(), strict=True)
        }
        self._written = np.array(sorted(self._writes), dtype=np.int64)
        lost = np.array([pfn for pfn, why in gone.items() if why == FrameStatus.LOST], dtype=np.uint64)
        self._lost = below.find(lost)

    def find(self, pfns: np.ndarray) -> np.ndarray:
        found = self.below.find(pfns)
        for first, end in self._left_out:
            found[(pfns >= first) & (pfns < end)] = -FrameStatus.EXCLUDED
        low, high = (int(pfns.min()), int(pfns.max())) if len(pfns) else (0, 0)
        for area, start in zip(self._areas, self._starts, strict=False):
            if area.first <= high and low < area.end:
                number = area.numbers(pfns)
                found = np.where(number >= 0, start + number, found)
        added = np.searchsorted(self._added, pfns)
        here = added < len(self._added)
        here[here] = self._added[added[here]] == pfns[here]
        found[here] = self.below.frame_count + added[here]
        if len(self._gone):
            place = np.minimum(np.searchsorted(self._gone, pfns), len(self._gone) - 1)
            why = np.where(self._gone[place] == pfns, self._why_gone[place], 0)
            # A frame that is lost is found, and fails when it is read; unless the file never had it.
            rows = (why > 0) & ((found < 0) | (why != FrameStatus.LOST))
            found[rows] = -why[rows]
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
        for area, start in zip(self._areas, self._starts, strict=False):
            mine = np.flatnonzero((indices >= start) & (indices < start + area.pages))
            if len(mine):
                rows = np.zeros((len(mine), self.page_size), dtype=np.uint8)
                area.fill(indices[mine] - start, rows)
                out[mine] = rows
        for row in np.flatnonzero(np.isin(indices, self._written)).tolist():
            for offset, data in self._writes[int(indices[row])]:
                out[row, offset : offset + len(data)] = np.frombuffer(data, dtype=np.uint8)
            status[row] = FrameStatus.PRESENT
        lost = np.isin(indices, self._lost)
        out[lost] = 0
        status[lost] = FrameStatus.LOST
        return status

    def present(self, most: int) -> Iterator[np.ndarray]:
        made = [area.pfns() for area in self._areas]
        known = np.concatenate([*self.below.present(most), *made, self._added.astype(np.int64)])
        yield from _pieces(np.unique(known[OverlayFile.find(self, known.astype(np.uint64)) >= 0]), most)

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
        # Not self.find: a test may count what others ask of that.
        pfns = np.arange(self.max_pfn, dtype=np.uint64)
        yield from _pieces(pfns[MemoryFile.find(self, pfns) >= 0].astype(np.int64), most)

    def close(self) -> None:
        pass


def _pieces(pfns: np.ndarray, most: int) -> Iterator[np.ndarray]:
    for first in range(0, len(pfns), most):
        yield pfns[first : first + most]


def memory(frames: Mapping[int, bytes | FrameStatus], layout: Any = None, **options: Any) -> AddressSpace:
    """An `AddressSpace` over known frames; see `MemoryFile` for them."""
    return AddressSpace(MemoryFile(frames), layout, **options)

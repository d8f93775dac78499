"""`AddressSpace`: gathers over physical and kernel virtual addresses of one dump, many rows at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kernlab.errors import FaultError, KernlabError, PageExcluded
from kernlab.formats.base import DumpFile, FrameStatus
from kernlab.memory.arch import Architecture, Layout
from kernlab.memory.arena import DEFAULT_BOUND, FrameArena
from kernlab.memory.page_tables import PageTableWalker, Touches, Walk
from kernlab.memory.translations import Translations
from kernlab.util import losses
from kernlab.util.addresses import wrapped
from kernlab.util.work import Work, rows_of

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

#: A read gives no more bytes than the file holds, whatever a damaged dump says, and a gather, which may ask for one
#: place many times, no more than four times as many; but in any case so many, and never more than 4 GiB.
LARGEST_READ, _LEAST_READ, _LEAST_GATHER, _GATHERED = 1 << 32, 1 << 28, 1 << 30, 4

_NO_LAYOUT = "this dump says nothing of its address space: only physical addresses can be read"

#: What takes more than this part of the arena is not worth the room, nor the first touch of that much memory.
_LARGE_SHARE = 16


class Status(IntEnum):
    """What became of one row of a gather: FrameStatus, and an address that nothing maps."""

    PRESENT = FrameStatus.PRESENT
    EXCLUDED = FrameStatus.EXCLUDED
    ABSENT = FrameStatus.ABSENT
    LOST = FrameStatus.LOST
    UNMAPPED = 4


@dataclass(frozen=True, slots=True)
class Located:
    """Pages by their places in the dump file: `frames` int64[n] (below 0: minus their Status), `status` uint8[n] of
    the way there."""

    frames: npt.NDArray[np.int64]
    status: U8

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: slice) -> Located:
        return Located(self.frames[rows], self.status[rows])


class AddressSpace:
    """The memory of one dump.

    `gather` is what everything else is made of: the same number of bytes at each of many addresses, in one pass.
    Threads may share it: a lock is held while the arena is in use, not between calls.
    """

    def __init__(self, file: DumpFile, layout: Layout | None = None, bound: int = DEFAULT_BOUND):
        self.file = file
        self.layout = layout
        self.page_size = file.page_size
        self._shift = np.uint64(self.page_size.bit_length() - 1)
        self._mask = np.uint64(self.page_size - 1)
        self._arena, self._bound = FrameArena(file, bound), bound
        #: Does the memory change while it is read? Then no read sees what an earlier one saw, but within `held`.
        self.changes = file.changes
        self._generation = file.generation
        #: Since when it is held; None where it is not, and of memory that does not change.
        self.held_since: datetime | None = None
        self._lock = threading.RLock()
        self._translations = Translations()
        #: How many gathers were made: tests hold walks to their depth with it.
        self.gathers = 0
        held = file.frame_count * file.page_size
        self._largest_read = min(max(held, _LEAST_READ), LARGEST_READ)
        self._largest_gather = min(max(_GATHERED * held, _LEAST_GATHER), LARGEST_READ)
        #: What one table may read.
        filled = file.filled_count
        self.most_work = Work.of_frames(filled)
        #: How much memory of the machine the file has bytes of.
        self.filled_bytes = filled * file.page_size
        self._closed = False

    @property
    def arch(self) -> Architecture:
        """The architecture of the machine. Raises FaultError for a dump of which only physical addresses are known."""
        return self.walker.arch

    @property
    def walker(self) -> PageTableWalker:
        """Walks page tables in this memory, under no lock. Raises FaultError as `arch` does."""
        if self.layout is None:
            raise FaultError(_NO_LAYOUT)
        # Not kept: it refers to this memory, which would not go with its last user.
        return PageTableWalker(self.layout.arch, self._read_physical)

    def drop(self) -> None:
        """Forget what was read of memory that changes, and look again which memory there is."""
        with self._lock:
            self.check_open()
            self.file.refresh()
            if self.file.generation == self._generation:
                self._arena.forget()
            else:
                self._generation = self.file.generation
                self._arena.close()
                self._arena = FrameArena(self.file, self._bound)
            self._translations = Translations()

    @property
    def is_held(self) -> bool:
        """Does memory that changes stay as it was first read, for now?"""
        return self.held_since is not None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block memory that changes stays, page by page, as it was when it was first read in it.

        Where it is held already it stays as it was read there. Raises KernlabError once the dump is closed.
        """
        if not self.changes or self.is_held:
            yield
            return
        self.drop()
        self.held_since = datetime.now(tz=UTC)
        try:
            yield
        finally:
            self.held_since = None

    def _renew(self) -> None:
        """Of memory that changes, and is not held: see to it that the next read is of memory as it is now."""
        if self.changes and not self.is_held:
            self._arena.forget()
            self._translations = Translations()

    def kept(
        self, frames: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], size: int
    ) -> tuple[U8, npt.NDArray[np.bool_]]:
        """`size` bytes at offsets of frames, as they were read before (uint8[n, size]), and which are still here."""
        rows = np.zeros((len(frames), size), dtype=np.uint8)
        with self._lock:
            here = self._arena.resident(frames)
            found = np.empty((int(here.sum()), size), dtype=np.uint8)
            read = self._arena.copy_rows(frames[here], offsets[here], size, found) == 0
            rows[here] = found
            here[here] = read
        return rows, here

    def gather(self, addresses: npt.ArrayLike, size: int, *, physical: bool = False) -> tuple[U8, U8]:
        """Read `size` bytes at each address.

        Parameters: addresses uint64[n]; size in bytes, the same for all; physical: they are physical addresses.
        Returns (uint8[n, size], Status per row uint8[n]); rows that are not PRESENT are zero in whole.
        Raises KernlabError for more at once than what the file holds can need, and once the dump is closed.
        """
        wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
        if size < 0 or len(wanted) * size > self._largest_gather:
            raise KernlabError(
                f"a gather of {len(wanted):,} × {size:,} bytes is refused: at most {self._largest_gather:,} at once; "
                "where the size came from the dump, it is damaged there"
            )
        out = np.zeros((len(wanted), size), dtype=np.uint8)
        with self._lock:
            self._count(len(wanted), size)
            self.gathers += 1
            self._renew()
            status = self._gather(wanted, size, physical, out)
        return out, status

    def _gather(self, addresses: U64, size: int, physical: bool, out: U8) -> U8:
        if not size or not len(addresses):
            return np.zeros(len(addresses), dtype=np.uint8)
        inside = (addresses & self._mask) + np.uint64(size) <= np.uint64(self.page_size)
        if inside.all():
            return self._gather_within(addresses, size, physical, out)
        status = np.zeros(len(addresses), dtype=np.uint8)
        rows = np.flatnonzero(inside)
        if len(rows):
            found = np.zeros((len(rows), size), dtype=np.uint8)
            status[rows] = self._gather_within(addresses[rows], size, physical, found)
            out[rows] = found
        crossing = np.flatnonzero(~inside)
        offsets = (addresses[crossing] & self._mask).astype(np.int64)
        for offset in np.unique(offsets):
            rows = crossing[offsets == offset]
            done = 0
            while done < size:
                count = min(size - done, self.page_size - (int(offset) + done) % self.page_size)
                piece = np.zeros((len(rows), count), dtype=np.uint8)
                part = self._gather_within(addresses[rows] + np.uint64(done), count, physical, piece)
                out[rows, done : done + count] = piece
                status[rows] = np.where(status[rows] == 0, part, status[rows])
                done += count
        out[status != 0] = 0
        return status

    def _gather_within(self, addresses: U64, size: int, physical: bool, out: U8) -> U8:
        """Gather rows none of which crosses a page boundary."""
        if physical:
            status = np.zeros(len(addresses), dtype=np.uint8)
        else:
            addresses, status = self._translate(addresses)
        frames = self.file.find(addresses >> self._shift)
        offsets = (addresses & self._mask).astype(np.int64)
        return _fill(
            frames,
            status,
            out,
            lambda rows, into: self._arena.copy_rows(frames[rows], offsets[rows], size, into),
            zeroed=True,
        )

    def locate(self, addresses: npt.ArrayLike) -> Located:
        """Where the dump file has the pages of kernel virtual addresses uint64[n], for `read_pages`.

        Translating thousands at once costs hardly more than one; raises KernlabError once the dump is closed.
        """
        wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
        with self._lock:
            self._count(len(wanted))
            self.gathers += 1
            self._renew()
            physical, status = self._translate(wanted)
            return Located(self.file.find(physical >> self._shift), status)

    def read_pages(self, pages: Located, out: U8, *, keep: bool = True) -> U8:
        """Read whole pages into `out` uint8[n, page size], contiguous.

        With `keep` they stay in the arena; without, what is not there goes past it, for a pass over more memory than
        it should hold (`is_large`), and other threads read meanwhile. Returns Status per row uint8[n]; rows that are
        not PRESENT are zero.
        """
        frames, status = pages.frames, pages.status.copy()
        with self._lock:
            self._count(len(frames), self.page_size)
            self._renew()
            if keep or self._arena.holds(frames[frames >= 0]):
                return _fill(frames, status, out, lambda rows, into: self._kept(frames[rows], into))
        return _fill(frames, status, out, lambda rows, into: self.file.read_into(frames[rows], into))

    def _kept(self, frames: npt.NDArray[np.int64], into: U8) -> U8:
        return self._arena.copy_rows(frames, np.zeros_like(frames), self.page_size, into)

    def is_large(self, size: int) -> bool:
        """Would so many bytes push too much else out of the arena? Then they are read without `keep`."""
        return size > self._arena.capacity * self.page_size // _LARGE_SHARE

    def _translate(self, addresses: U64) -> tuple[U64, U8]:
        """By the fixed maps where they hold, and by page tables elsewhere."""
        layout = self.layout
        if layout is None:
            raise FaultError(_NO_LAYOUT)
        addresses = layout.arch.untagged(addresses)
        status = np.zeros(len(addresses), dtype=np.uint8)
        direct = layout.in_direct_map(addresses)
        if direct.all():
            return addresses - np.uint64(layout.direct_start), status
        physical = np.zeros(len(addresses), dtype=np.uint64)
        physical[direct] = addresses[direct] - np.uint64(layout.direct_start)
        image = (addresses - np.uint64(layout.image_start)) < np.uint64(layout.image_end - layout.image_start)
        physical[image] = addresses[image] + wrapped(layout.image_offset)
        walked = np.flatnonzero(~(direct | image))
        if len(walked):
            size = np.uint64(layout.arch.page_size - 1)
            pages, inverse = np.unique(addresses[walked] & ~size, return_inverse=True)
            frames, walk_status = self._translations.lookup(layout, pages, self._walk)
            physical[walked] = frames[inverse] | (addresses[walked] & size)
            status[walked] = walk_status[inverse]
        return physical, status

    def _walk(self, pages: U64) -> tuple[U64, U8]:
        """Pages by the kernel's own page tables."""
        assert self.layout is not None
        tables = np.full(len(pages), self.layout.page_table, dtype=np.uint64)
        return self._lookup(tables, pages)

    def _lookup(self, tables: U64, addresses: U64) -> tuple[U64, U8]:
        """As `lookup`. Where each half has a table of its own, the kernel's maps nothing of the other half."""
        assert self.layout is not None
        arch = self.layout.arch
        if not arch.separate_halves:
            return self.walker.lookup(tables, addresses, Status.UNMAPPED)
        rows = np.flatnonzero(arch.is_kernel(addresses) == (tables == np.uint64(self.layout.page_table)))
        physical = np.zeros(len(addresses), dtype=np.uint64)
        status = np.full(len(addresses), Status.UNMAPPED, dtype=np.uint8)
        physical[rows], status[rows] = self.walker.lookup(tables[rows], addresses[rows], Status.UNMAPPED)
        return physical, status

    def _count(self, rows: int, size: int = 0) -> None:
        """Count one call as work of the scope that is open. Raises KernlabError of a closed dump, WorkSpentError."""
        if self._closed:
            self.check_open()
        here = losses.current()
        if here is not None:
            here.meter.spend(rows_of(rows, size), self.most_work)

    def _read_physical(self, addresses: U64, size: int) -> tuple[U8, U8]:
        out = np.zeros((len(addresses), size), dtype=np.uint8)
        with self._lock:
            self.check_open()
            return out, self._gather(addresses, size, True, out)

    def translate(self, addresses: npt.ArrayLike) -> tuple[U64, U8]:
        """Kernel virtual addresses to physical ones: (physical uint64[n], Status uint8[n]).

        The status says whether the address is mapped, not whether the dump holds the page.
        """
        wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
        with self._lock:
            self._count(len(wanted))
            self._renew()
            return self._translate(wanted)

    def maps_image(self, arch: Architecture, table: int, address: int | None) -> bool:
        """Do the page tables at physical address `table` map an address of the kernel's image where it lies?

        They are read as `arch` has them. False where they cannot be read, and for an address that is not known.
        """
        assert self.layout is not None
        if address is None:
            return False
        walker = PageTableWalker(arch, self._read_physical)
        physical, status = walker.lookup(
            np.array([table], dtype=np.uint64), np.array([address], dtype=np.uint64), Status.UNMAPPED
        )
        return not status[0] and int(physical[0]) == self.layout.image_physical(address)

    def direct_map_start(self) -> int | None:
        """Where the kernel's page tables map all of memory in one piece; None where they do not say."""
        assert self.layout is not None
        first = self.walker.first(self.layout.page_table)
        return None if first is None else self.arch.direct_map_start(*first)

    def lookup(self, tables: npt.ArrayLike, addresses: npt.ArrayLike) -> tuple[U64, U8]:
        """Translate `addresses[i]` by the page tables whose top level lies at physical address `tables[i]`.

        Returns (physical uint64[n], Status uint8[n]); for user memory of any process.
        """
        wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
        with self._lock:
            self._count(len(wanted))
            self._renew()
        return self._lookup(np.ascontiguousarray(tables, dtype=np.uint64), self.walker.arch.untagged(wanted))

    def holds(self, pfns: U64) -> npt.NDArray[np.bool_]:
        """Which page frames uint64[n] the file has data of: bool[n]."""
        with self._lock:
            self._count(len(pfns))
            held: npt.NDArray[np.bool_] = self.file.find(pfns) >= 0
            return held

    def walk_tables(
        self, owner: npt.NDArray[np.int64], tables: U64, *, kernel: bool, touches: Touches | None = None
    ) -> Walk:
        """Every entry of one half of address spaces: see `PageTableWalker.walk`.

        All together follow no more tables than the dump has frames (four times over, for tables that processes share).
        """
        walker = PageTableWalker(self.arch, lambda at, size: self.gather(at, size, physical=True))
        most = 4 * self.file.frame_count + (1 << 16)
        return walker.walk(owner, tables, kernel=kernel, most=most, touches=touches)

    def read_partial(
        self, address: int, size: int, *, physical: bool = False
    ) -> tuple[U8, npt.NDArray[np.bool_]]:
        """Read a contiguous range as far as it goes: (uint8[size], bool[size] of what is there); gaps are zero."""
        data, status = self._read_pages(address, size, physical)
        first = address & (self.page_size - 1)
        if status.all():
            return data[first : first + size], np.zeros(size, dtype=bool)
        valid = np.repeat(status == 0, self.page_size)[first : first + size]
        return data[first : first + size], valid

    def read(self, address: int, size: int, *, physical: bool = False) -> bytes:
        """Read a contiguous range.

        Raises FaultError where nothing is mapped or no memory was, PageExcluded where the dump lacks the page.
        """
        data, status = self._read_pages(address, size, physical)
        if status.any():
            page = int(np.flatnonzero(status)[0])
            start = max(address, (address & ~(self.page_size - 1)) + page * self.page_size)
            raise fault(int(status[page]), start, physical)
        first = address & (self.page_size - 1)
        return data[first : first + size].tobytes()

    def _read_pages(self, address: int, size: int, physical: bool) -> tuple[U8, U8]:
        if size < 0 or not 0 <= address <= address + size <= 1 << 64:
            raise FaultError(
                f"{size:,} bytes at {address:#x} would reach past the end of the address space", None
            )
        if size > self._largest_read:
            raise FaultError(
                f"a read of {size:,} bytes at {address:#x} is refused: at most {self._largest_read:,} at once, as the "
                "file does not hold more",
                address,
            )
        start = address & ~(self.page_size - 1)
        count = (address + size - start + self.page_size - 1) // self.page_size if size else 0
        pages = np.uint64(start) + np.arange(count, dtype=np.uint64) * np.uint64(self.page_size)
        rows, status = self.gather(pages, self.page_size, physical=physical)
        return rows.reshape(-1), status

    def close(self) -> None:
        """Close the file and let go of the arena."""
        with self._lock:
            self._closed = True
            self._arena.close()
            self.file.close()

    def check_open(self) -> None:
        """Raise KernlabError once the dump is closed."""
        if self._closed:
            raise KernlabError(f"{self.file.path} was closed; open it again with kernlab.open")


def fault(status: int, address: int, physical: bool = False) -> FaultError | PageExcluded:
    """The exception for one failed row: what is wrong with this address, and what to do."""
    kind = "physical address" if physical else "address"
    if status == Status.EXCLUDED:
        return PageExcluded(
            f"the page at {kind} {address:#x} was left out of the dump (see dump.info.dump_level); "
            "capture with a lower dump level to keep it",
            address,
        )
    if status == Status.LOST:
        return PageExcluded(
            f"the page at {kind} {address:#x} should be in the file but is cut off or damaged; copy the dump again",
            address,
        )
    if status == Status.ABSENT:
        return FaultError(
            f"the machine had no memory at {kind} {address:#x}, or the dump holds none of it", address
        )
    return FaultError(f"nothing is mapped at {kind} {address:#x} in the kernel's page tables", address)


def _fill(
    frames: npt.NDArray[np.int64],
    status: U8,
    out: U8,
    read: Callable[[slice | npt.NDArray[np.int64], U8], U8],
    *,
    zeroed: bool = False,
) -> U8:
    """Read the rows whose frames the dump has with `read(rows, into)`; the Status of each, with the others zeroed.

    `zeroed`: they are already, and most of a search through a sparse dump is such.
    """
    present = (frames >= 0) & (status == 0)
    if present.all():
        status = read(slice(None), out)
    else:
        absent = (frames < 0) & (status == 0)
        status[absent] = -frames[absent]
        rows = np.flatnonzero(present)
        if len(rows):
            found = np.empty((len(rows), out.shape[1]), dtype=np.uint8)
            status[rows] = read(rows, found)
            out[rows] = found
        if zeroed:
            out[rows[status[rows] != 0]] = 0
            return status
    if status.any():
        out[status != 0] = 0
    return status

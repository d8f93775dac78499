"""Machines that QEMU saved: what `virsh dump` writes without --memory-only, `virsh save`, a migration into a file.

`virsh dump` without --memory-only writes QEMU's migration stream as it is, `virsh save` puts a header and the domain's
XML before it (libvirt's src/qemu/qemu_saveimage.h). The stream numbers bytes of RAM, not physical addresses: where a
machine's RAM has its hole for PCI follows from the machine's type (QEMU's hw/i386/pc_piix.c, pc_q35.c, hw/arm/virt.c).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.base import DumpFile, Format, FrameStatus, Note, named, warn_lost
from kernlab.formats.qemu_registers import registers_of
from kernlab.formats.qemu_stream import FILLED, MAGIC, NEVER, PAGE, Stream, read_stream
from kernlab.formats.source import Source

_LIBVIRT, _PARTIAL = b"LibvirtQemudSave", b"LibvirtQemudPart"
#: virQEMUSaveHeader: the mark, version, bytes of XML, whether it ran, how the rest is compressed, 15 words more.
_SAVE_HEADER = struct.Struct("<16sIIII60x")
_PACKED = {1: "gzip", 2: "bzip2", 3: "xz", 4: "lzop", 5: "zstd"}
_SPARSE = 6  # libvirt 11.2: memory at fixed places
#: The state of devices is some MiB behind the memory; more is not read.
_MOST_STATE = 256 << 20


class _Room(NamedTuple):
    """RAM that begins at `offset` of what the RAM blocks hold, of `size` bytes, at a physical address."""

    offset: int
    physical: int
    size: int


class _Board(NamedTuple):
    """A kind of machine: its architecture, where its RAM begins, and where the hole in it may be."""

    machine: str
    base: int
    low: int | None = None  # RAM of this size or more …
    below: int = 0  # … has so many bytes below the hole, which ends at 4 GiB


# pc_init1 and pc_q35_init, max-ram-below-4g as it comes; virt's VIRT_MEM.
_I440FX = _Board("x86_64", 0, 0xE0000000, 0xC0000000)
_Q35 = _Board("x86_64", 0, 0xB0000000, 0x80000000)
_BOARDS = {
    r"pc-q35|q35": _Q35,
    r"pc|xenfv": _I440FX,
    r"microvm": _Board("x86_64", 0, 0xC0000000, 0xC0000000),
    r"virt": _Board("aarch64", 0x40000000),
}
#: RAM blocks of other architectures' machines (a "virt" there is of each), to refuse their dumps by name.
_OTHERS = {
    "ppc_spapr.ram": "ppc64le",
    "s390.ram": "s390x",
    "riscv_virt_board.ram": "riscv64",
    "loongarch.ram": "loongarch64",
    "loongarch.lowram": "loongarch64",
}
#: The RAM block, or the parts of it by NUMA node (libvirt's names of them, too).
_MAIN = re.compile(r"(?:/objects/)?(?:pc\.ram|mach-virt\.ram|microvm\.ram|ram-node(\d+)|pc\.ram-node(\d+))$")


def _holds_memory(name: str) -> bool:
    return _MAIN.match(name) is not None


def _node(name: str) -> int:
    """The NUMA node whose memory a RAM block is; 0 for the only one."""
    match = _MAIN.match(name)
    numbers = match.groups("") if match else ()
    return next((int(number) for number in numbers if number), 0)


def _board(stream: Stream, source: Source) -> _Board:
    for name, machine in _OTHERS.items():
        if name in stream.blocks:
            raise DumpFormatError(
                f"{source.path} is a saved {machine} machine ({stream.machine}); kernlab reads those of x86_64 and "
                "aarch64"
            )
    found = next((board for pattern, board in _BOARDS.items() if re.match(pattern, stream.machine)), None)
    if found is None:
        raise DumpFormatError(
            f"{source.path} is a saved machine of the type {stream.machine!r}, of which kernlab does not know where "
            "its memory lies; dump the guest with virsh dump --memory-only"
        )
    return found


def _rooms(board: _Board, size: int) -> list[_Room]:
    """Where the RAM of a machine of so many bytes lies."""
    if board.low is None or size < board.low:
        return [_Room(0, board.base, size)]
    return [_Room(0, 0, board.below), _Room(board.below, 1 << 32, size - board.below)]


def _start(source: Source) -> int:
    """Where the stream begins. Raises DumpFormatError for one that libvirt compressed, or did not finish."""
    head = source.read(0, _SAVE_HEADER.size)
    if head.startswith(MAGIC):
        return 0
    mark, _, xml, _, packed = _SAVE_HEADER.unpack(head.ljust(_SAVE_HEADER.size, b"\0"))
    if mark == _PARTIAL:
        raise DumpFormatError(f"{source.path} was not saved to its end by libvirt; save the guest again")
    start = _SAVE_HEADER.size + int(xml)
    if packed == _SPARSE:
        raise DumpFormatError(
            f"{source.path} was saved by libvirt in its sparse form, which kernlab does not read; dump the guest with "
            "virsh dump --memory-only"
        )
    if packed:
        how = _PACKED.get(packed, f"way {packed}")
        raise DumpFormatError(
            f"{source.path} was compressed by libvirt with {how}, which kernlab does not unpack; do so first: "
            f"tail -c +{start + 1} {source.path} | {how} -dc > saved, and open that"
        )
    return start


class SavedMachine(DumpFile):
    """A saved QEMU machine; `stream` says where each page lies in `source`, `rooms` where in physical memory."""

    page_size = PAGE

    def __init__(self, source: Source, stream: Stream, board: _Board, notes: list[Note]):
        self.path, self.format = source.path, named("qemu-saved", source.wrapping)
        self.machine, self.notes, self.vmcoreinfo = board.machine, notes, None
        self._source, self._problems = source, list(source.problems)
        names = sorted(stream.pages, key=_node)
        places = [stream.pages[name] for name in names]
        self._places = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
        self._rooms = _rooms(board, len(self._places) * PAGE)
        self._whole = stream.damage is None
        there = self._places != NEVER
        #: The index of each page among those that have data.
        self._index = np.cumsum(there) - 1
        self._held = np.flatnonzero(there)
        self.frame_count = len(self._held)
        self.max_pfn = max((room.physical + room.size for room in self._rooms), default=0) // PAGE
        self.header = {
            "file_bytes": source.file_bytes,
            "timestamp": None,
            "dump_level": None,
            "max_pfn": self.max_pfn,
        }
        if not self.frame_count:
            raise DumpFormatError(f"{source.path} {stream.damage or 'holds no memory of a machine'}")
        if stream.damage is not None:
            warn_lost(
                self._problems,
                f"{source.path} {stream.damage}. Reading on with {self.frame_count:,} of {len(there):,} pages",
            )
        placed = {*stream.pages, *(name for name in stream.blocks if not _elsewhere(name))}
        others = [name for name in stream.blocks if name not in placed]
        if others:
            size = sum(stream.blocks[name] for name in others)
            self._problems.append(
                f"{source.path} has {size:,} bytes in {len(others):,} RAM blocks that were plugged in "
                f"({', '.join(sorted(others)[:3])}), and does not say at which address: they are not read"
            )

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        """What was found lost so far."""
        return [*self._problems, *self._source.since_opened()]

    def find(self, pfns: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """See DumpFile.find; a page that was never sent is one that the guest had given back (free page hints)."""
        answer = np.full(len(pfns), -int(FrameStatus.ABSENT), dtype=np.int64)
        for room in self._rooms:
            first, count = room.physical // PAGE, room.size // PAGE
            inside = np.flatnonzero((pfns >= np.uint64(first)) & (pfns < np.uint64(first + count)))
            page = (pfns[inside] - np.uint64(first)).astype(np.int64) + room.offset // PAGE
            missing = FrameStatus.EXCLUDED if self._whole else FrameStatus.LOST
            answer[inside] = np.where(self._places[page] == NEVER, -int(missing), self._index[page])
        return answer

    def present(self, most: int) -> Iterator[npt.NDArray[np.int64]]:
        """See DumpFile.present."""
        for room in self._rooms:
            first = int(np.searchsorted(self._held, room.offset // PAGE))
            last = int(np.searchsorted(self._held, (room.offset + room.size) // PAGE))
            for start in range(first, last, most):
                pages = self._held[start : min(start + most, last)]
                yield pages + (room.physical - room.offset) // PAGE

    def read_into(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """See DumpFile.read_into."""
        if out.shape != (len(indices), PAGE) or not out.flags.c_contiguous:
            raise ValueError(f"out must be contiguous uint8[{len(indices)}, {PAGE}], not {out.shape}")
        status = np.zeros(len(indices), dtype=np.uint8)
        places = self._places[self._held[indices]]
        filled = np.flatnonzero(places <= FILLED)
        out[filled] = (FILLED - places[filled]).astype(np.uint8)[:, None]
        rows = np.flatnonzero(places >= 0)
        rows = rows[np.argsort(places[rows], kind="stable")]
        offsets = places[rows].astype(np.uint64)
        sizes = np.full(len(rows), PAGE, dtype=np.uint64)
        for row, piece in zip(rows.tolist(), self._source.pieces(offsets, sizes), strict=True):
            if len(piece) == PAGE:
                out[row] = np.frombuffer(piece, dtype=np.uint8)
            else:
                out[row] = 0
                status[row] = FrameStatus.LOST
        return status

    def close(self) -> None:
        """See DumpFile.close."""
        self._source.close()


def _elsewhere(name: str) -> bool:
    """Is a block that is not the machine's RAM memory that was plugged in? (firmware and devices have such, too)"""
    return name.startswith(("/objects/", "dimm", "mem"))


def open_qemu_saved(source: Source, zero_excluded: bool = False) -> SavedMachine:
    """A saved machine; `zero_excluded` changes nothing: a page of zeros is told in the stream as such.

    Raises DumpFormatError for streams in forms that cannot be read, and for machines of which it is not known where
    their memory lies.
    """
    del zero_excluded
    stream = read_stream(source, _start(source), _holds_memory)
    if stream.damage is not None and not stream.pages:
        raise DumpFormatError(f"{source.path} {stream.damage}. Copy it again")
    board = _board(stream, source)
    state = (
        source.read(stream.rest, min(max(source.size - stream.rest, 0), _MOST_STATE)) if stream.rest else b""
    )
    notes = registers_of(state, board.machine)
    return SavedMachine(source, stream, board, notes)


FORMAT = Format(
    "qemu-saved",
    "saved QEMU machines (virsh dump, virsh save)",
    lambda start: start.startswith((MAGIC, _LIBVIRT, _PARTIAL)),
    open_qemu_saved,
)

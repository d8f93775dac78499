"""ELF vmcores (/proc/vmcore, makedumpfile -E, QEMU's dump-guest-memory): segments in, page frames out."""

from __future__ import annotations

import mmap
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError, TruncatedDumpWarning
from kernlab.formats.base import DumpFile, FrameStatus, Note
from kernlab.formats.notes import parse_notes, vmcoreinfo_of

_PAGE = 4096
_SHIFT = np.uint64(12)
_NT_AUXV = 6  # only cores of processes have it
_LARGEST_NOTES = 256 << 20
#: x86-64 has 52 physical address bits: a segment that claims to lie beyond is damaged, or none of physical memory.
_PHYSICAL_END = 1 << 52

_TYPES = {
    "ET_EXEC": "an executable, such as a vmlinux",
    "ET_DYN": "a shared object or executable",
    "ET_REL": "an object file, such as a kernel module",
    "ET_NONE": "of no type",
}


class ElfFile(DumpFile):
    """An ELF core of an x86-64 machine's physical memory."""

    format = "elf"
    page_size = _PAGE

    def __init__(self, path: Path, data: mmap.mmap, *, zero_excluded: bool = False):
        self.path = path
        self._data = data
        self._view = memoryview(data)
        self.problems = []
        self.machine = "x86_64"
        loads, self.notes = self._segments()
        self.vmcoreinfo = vmcoreinfo_of(self.notes)
        self._refuse_process()
        self._runs(loads, zero_excluded)
        self.header = {"file_bytes": len(data), "timestamp": None, "dump_level": None, "max_pfn": self.max_pfn}
        self.header["cpus"] = sum(note.type == 1 and note.name == "CORE" for note in self.notes)
        self._check_end()

    def _segments(self) -> tuple[npt.NDArray[np.uint64], list[Note]]:
        """Physical start, size in the file, size in memory and offset of each PT_LOAD; and the notes."""
        from elftools.common.exceptions import ELFError
        from elftools.construct import ConstructError
        from elftools.elf.elffile import ELFFile

        try:
            elf = ELFFile(_Stream(self._data))
            kind, machine = elf["e_type"], elf["e_machine"]
            if kind != "ET_CORE":
                raise DumpFormatError(
                    f"{self.path} is an ELF file that is {_TYPES.get(kind, f'of type {kind}')}, no core dump; "
                    "open the vmcore itself, kernlab needs no vmlinux"
                )
            if machine != "EM_X86_64" or elf.elfclass != 64 or not elf.little_endian:
                raise DumpFormatError(
                    f"{self.path} is an ELF core of another machine ({machine}, {elf.elfclass} bits); kernlab reads "
                    "dumps of x86_64 machines only so far"
                )
            loads, notes = [], []
            if elf.num_segments() * 56 > len(self._data):
                raise DumpFormatError(f"{self.path} is damaged: it claims {elf.num_segments():,} segments")
            for segment in elf.iter_segments():
                head = segment.header
                if head.p_type == "PT_LOAD":
                    loads.append((head.p_paddr, head.p_filesz, head.p_memsz, head.p_offset))
                elif head.p_type == "PT_NOTE":
                    size = min(head.p_filesz, _LARGEST_NOTES)
                    notes += parse_notes(self._data[head.p_offset : head.p_offset + size], head.p_offset)
        except (ELFError, ConstructError, struct.error, ValueError, OverflowError, KeyError, AttributeError) as error:
            raise DumpFormatError(
                f"{self.path} is an ELF file whose headers are damaged or cut off ({error or type(error).__name__}; it "
                f"ends at byte {len(self._data):,}). Copy the dump again"
            ) from error
        return np.array(loads, dtype=np.uint64).reshape(-1, 4), notes

    def _refuse_process(self) -> None:
        if self.vmcoreinfo is None and any(note.type == _NT_AUXV for note in self.notes):
            raise DumpFormatError(f"{self.path} is the core of a process, not of a kernel; open it with gdb")

    def _runs(self, loads: npt.NDArray[np.uint64], zero_excluded: bool) -> None:
        """Lay out the frames: runs of frames with bytes in the file, and those that have none."""
        usable = [row for row in loads.tolist() if row[2] and row[0] + row[2] <= _PHYSICAL_END and row[1] <= row[2]]
        if not usable:
            raise DumpFormatError(
                f"{self.path} is an ELF core without a segment of physical memory ({len(loads):,} segments in all)"
            )
        usable.sort()
        held = [(start // _PAGE, -(-(start + size) // _PAGE)) for start, size, _, _ in usable if size]
        empty = [(-(-(start + size) // _PAGE), -(-(start + whole) // _PAGE)) for start, size, whole, _ in usable]
        # One page may belong to two segments (a hole inside it); in a run list it stands once.
        self._held = _merged(held)
        self._empty = _merged([(a, b) for a, b in empty if a < b])
        self._zero = zero_excluded
        runs = _merged([*held, *((a, b) for a, b in empty if a < b)]) if zero_excluded else self._held
        self._first = np.array([a for a, _ in runs], dtype=np.uint64)
        self._end = np.array([b for _, b in runs], dtype=np.uint64)
        self._index = np.concatenate([[0], np.cumsum((self._end - self._first).astype(np.int64))])
        self.frame_count = int(self._index[-1])
        self.max_pfn = max(-(-(start + whole) // _PAGE) for start, _, whole, _ in usable)
        self._starts = np.array([row[0] for row in usable], dtype=np.uint64)
        self._sizes = np.array([row[1] for row in usable], dtype=np.uint64)
        self._offsets = np.array([row[3] for row in usable], dtype=np.uint64)
        # Segments may overlap, so the ends so far, not each one's own, tell where to stop looking back.
        self._reach = np.maximum.accumulate(self._starts + self._sizes)

    def _check_end(self) -> None:
        ends = self._offsets + self._sizes
        size = len(self._data)
        if not (ends > np.uint64(size)).any():
            return
        worst = int(ends.argmax())
        there = np.clip(size - self._offsets.astype(np.int64), 0, self._sizes.astype(np.int64)).sum()
        what = (
            f"{self.path} ends at byte {size:,}, but segment {worst:,} goes to byte {int(ends[worst]):,}. Reading on "
            f"with {int(there) // _PAGE:,} of {int(self._sizes.sum()) // _PAGE:,} pages"
        )
        self.problems.append(f"{what}; copy the dump again if the copy was cut short")
        warnings.warn(
            f"{what}; each table's attrs[\"problems\"] says what it misses.\n"
            "Copy the dump again if the copy was cut short.",
            TruncatedDumpWarning,
            stacklevel=2,
        )

    def find(self, pfns: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """See DumpFile.find."""
        run = np.searchsorted(self._first, pfns, side="right") - 1
        inside = (run >= 0) & (pfns < self._end[run])
        found = self._index[run] + (pfns - self._first[run]).astype(np.int64)
        if inside.all():
            return found
        missing = np.full(len(pfns), -int(FrameStatus.ABSENT), dtype=np.int64)
        missing[_within(self._empty, pfns)] = -int(FrameStatus.EXCLUDED)
        return np.where(inside, found, missing)

    def read_into(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """See DumpFile.read_into; bytes of a frame that no segment has (at the edges of RAM) are zero."""
        status = np.zeros(len(indices), dtype=np.uint8)
        run = np.searchsorted(self._index, indices, side="right") - 1
        physical = (self._first[run] + (indices - self._index[run]).astype(np.uint64)) << _SHIFT
        segment = np.searchsorted(self._starts, physical, side="right") - 1
        inner = physical - self._starts[segment]
        whole = (segment >= 0) & (inner + np.uint64(_PAGE) <= self._sizes[segment])
        offset = self._offsets[segment] + inner
        view = memoryview(out.reshape(-1))
        size = len(self._data)
        for row, (start, simple) in enumerate(zip(offset.tolist(), whole.tolist(), strict=True)):
            place = row * _PAGE
            if simple and start + _PAGE <= size:
                view[place : place + _PAGE] = self._view[start : start + _PAGE]
            else:
                status[row] = self._compose(int(physical[row]), view[place : place + _PAGE])
        return status

    def _compose(self, physical: int, page: memoryview) -> int:
        """Put a frame together from the segments that have a part of it."""
        page[:] = bytes(_PAGE)
        status = int(FrameStatus.PRESENT)
        last = int(np.searchsorted(self._starts, np.uint64(physical + _PAGE), side="left"))
        first = int(np.searchsorted(self._reach, np.uint64(physical), side="right"))
        for segment in range(first, last):
            start, offset = int(self._starts[segment]), int(self._offsets[segment])
            begin = max(start, physical)
            end = min(start + int(self._sizes[segment]), physical + _PAGE)
            if begin >= end:
                continue
            source = offset + begin - start
            if source + end - begin > len(self._data):
                page[:] = bytes(_PAGE)
                return int(FrameStatus.LOST)
            page[begin - physical : end - physical] = self._view[source : source + end - begin]
        return status

    def close(self) -> None:
        """See DumpFile.close."""
        self._view.release()
        self._data.close()


class _Stream:
    """The mapping as a file for pyelftools, with a position of its own."""

    def __init__(self, data: mmap.mmap):
        self._data = data
        self._position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (self._position if whence == 1 else len(self._data) if whence == 2 else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size < 0 else self._position + size
        piece = self._data[self._position : end]
        self._position += len(piece)
        return piece

    def close(self) -> None:
        """The mapping is closed by its owner."""


def _merged(ranges: list[tuple[Any, Any]]) -> list[tuple[int, int]]:
    """Ranges in order, without overlaps, end exclusive."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _within(ranges: list[tuple[int, int]], numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which numbers lie in one of the ordered ranges?"""
    if not ranges:
        return np.zeros(len(numbers), dtype=bool)
    starts = np.array([a for a, _ in ranges], dtype=np.uint64)
    ends = np.array([b for _, b in ranges], dtype=np.uint64)
    run = np.searchsorted(starts, numbers, side="right") - 1
    return (run >= 0) & (numbers < ends[run])

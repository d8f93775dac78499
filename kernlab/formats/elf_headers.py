"""The headers of an ELF core: bytes in, segments of physical memory and notes out; anything else is refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.base import PHYSICAL_END, READ_MACHINES_ONLY, Note
from kernlab.formats.notes import MOST_NOTES, NT_AUXV, parse_notes, refuse_xen, vmcoreinfo_of
from kernlab.formats.source import Source

#: Elf64_Phdr
_SEGMENT = np.dtype(
    {
        "names": ["type", "offset", "virtual", "physical", "file_size", "size"],
        "formats": ["<u4", "<u8", "<u8", "<u8", "<u8", "<u8"],
        "offsets": [0, 8, 16, 24, 32, 40],
        "itemsize": 56,
    }
)
_PT_LOAD, _PT_NOTE = 1, 4
_INCOMPLETE = 0x1  # makedumpfile's DUMP_ELF_INCOMPLETE in e_flags, which x86-64 and arm64 use for nothing
#: No machine has more ranges of memory, nor does makedumpfile -E make more runs of pages of those of today.
MOST_SEGMENTS = 1 << 23
_AT_A_TIME = 1 << 16
#: All notes together: a few KiB a CPU.
_LARGEST_NOTES = 64 << 20

#: As pyelftools names those that are read, and as uname -m does.
_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}

_TYPES = {
    "ET_EXEC": "an executable, such as a vmlinux",
    "ET_DYN": "a shared object or an executable",
    "ET_REL": "an object file, such as a kernel module",
    "ET_NONE": "of no type",
}


def read_headers(source: Source) -> tuple[npt.NDArray[np.void], list[Note], list[str], str]:
    """Segments of physical memory (fields physical, offset, file_size, size), notes, problems, and the machine.

    pyelftools reads the file header; the program headers, of which there may be more than 65,535, are one array.
    Raises DumpFormatError for what is not a core of a machine that kernlab reads.
    """
    path = source.path
    table, count, incomplete, machine = _locate(source)
    segments, there = _program_headers(source, table, count)
    problems: list[str] = []
    if incomplete:
        problems.append(
            f"{path} is incomplete: makedumpfile ran out of room while it wrote it. Make room where dumps are saved"
        )
    if len(segments) == MOST_SEGMENTS:
        raise DumpFormatError(
            f"{path} is an ELF core of {count:,} program headers, more than the {MOST_SEGMENTS:,} that kernlab reads. "
            "Copy the dump again if it is damaged, or save it as a kdump: makedumpfile -c"
        )
    if there < count:
        problems.append(
            f"{path} ends at byte {source.size:,}, inside its {count:,} program headers, or these are damaged: "
            f"{count - there:,} of them are lost"
        )
    notes = _notes(source, segments[segments["type"] == _PT_NOTE], problems)
    refuse_xen(path, notes)
    if vmcoreinfo_of(notes) is None and any(note.type == NT_AUXV for note in notes):
        raise DumpFormatError(f"{path} is the core of a process, not of a kernel; open it with gdb")
    loads = segments[segments["type"] == _PT_LOAD].copy()
    return _of_memory(path, loads, problems), notes, problems, machine


def _program_headers(source: Source, table: int, count: int) -> tuple[npt.NDArray[np.void], int]:
    """Those of the program headers that say something, MOST_SEGMENTS at most; and how many the file has room for."""
    size = _SEGMENT.itemsize
    there = min(count, max(source.reach(table) - table, 0) // size)
    parts, done, kept = [np.zeros(0, dtype=_SEGMENT)], 0, 0
    # In the holes of a file they are of no type (PT_NULL).
    for begin, end in source.filled(table, table + there * size):
        first, done = max((begin - table) // size, done), max(-(-(end - table) // size), done)
        for start in range(first, done, _AT_A_TIME):
            part = source.array(_SEGMENT, table + start * size, min(_AT_A_TIME, done - start, there - start))
            part = part[np.isin(part["type"], (_PT_LOAD, _PT_NOTE))][: MOST_SEGMENTS - kept]
            parts.append(part)
            kept += len(part)
            if kept == MOST_SEGMENTS:
                break
    return np.concatenate(parts), there


def _locate(source: Source) -> tuple[int, int, bool, str]:
    """Where the program headers are, how many, whether makedumpfile marked the file as incomplete; the machine."""
    path = source.path
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(cast(IO[bytes], _Stream(source)))
        kind, machine, table = elf["e_type"], elf["e_machine"], elf["e_phoff"]
        incomplete = bool(elf["e_flags"] & _INCOMPLETE)
        # The count of a core of more than 65,534 segments stands in the first section header.
        count, size = elf.num_segments(), elf["e_phentsize"]
    except (
        ELFError,
        ConstructError,
        struct.error,
        ValueError,
        OverflowError,
        KeyError,
        AttributeError,
    ) as error:
        raise DumpFormatError(
            f"{path} is an ELF file whose headers are damaged or cut off (it ends at byte {source.size:,}; "
            f"{error or type(error).__name__}). Copy the dump again"
        ) from error
    if kind != "ET_CORE":
        raise DumpFormatError(
            f"{path} is an ELF file that is {_TYPES.get(kind, f'of type {kind}')}, not a core dump; open the vmcore "
            "itself, kernlab needs no vmlinux"
        )
    if machine not in _MACHINES or elf.elfclass != 64 or not elf.little_endian:
        name = str(machine).removeprefix("EM_").lower()
        raise DumpFormatError(
            f"{path} is an ELF core of another machine ({name}, {elf.elfclass} bits, "
            f"{'little' if elf.little_endian else 'big'} endian); {READ_MACHINES_ONLY}"
        )
    if count and (size != _SEGMENT.itemsize or table >= 1 << 63):
        raise DumpFormatError(
            f"{path} is an ELF core whose header is damaged: it claims {count:,} program headers of {size:,} bytes at "
            f"byte {table:,}. Copy the dump again"
        )
    return table, count, incomplete, _MACHINES[machine]


def _notes(source: Source, segments: npt.NDArray[np.void], problems: list[str]) -> list[Note]:
    """The notes of all note segments, no more of them than a dump has."""
    notes: list[Note] = []
    left = _LARGEST_NOTES
    for offset, size in zip(segments["offset"].tolist(), segments["file_size"].tolist(), strict=True):
        piece = source.read(offset, min(size, left)) if offset < source.size else b""
        # A segment costs something even if it is empty, so that a million of them do not take for ever.
        left -= len(piece) + 4096
        notes += parse_notes(piece, offset)
        if left <= 0 or len(notes) >= MOST_NOTES:
            problems.append(
                f"{source.path} claims more notes than a dump has: those behind the first {len(notes):,} were not read"
            )
            break
    return notes


def _of_memory(path: Path, loads: npt.NDArray[np.void], problems: list[str]) -> npt.NDArray[np.void]:
    """The segments that say which physical memory they hold; where sizes disagree, the larger is in memory too."""
    # Far behind any file's end, but not so far that an address added to it overflows.
    loads["offset"] = np.minimum(loads["offset"], np.uint64(1 << 62))
    loads["size"] = np.maximum(loads["size"], loads["file_size"])
    physical, size = loads["physical"], loads["size"]
    end = np.uint64(PHYSICAL_END)
    none = physical == np.uint64(2**64 - 1)  # /proc/kcore's way to say: virtual only
    beyond = ~none & ((size > end) | (physical > end - np.minimum(size, end)))
    usable = ~none & ~beyond & (size > 0)
    at_zero = usable & (physical == 0)
    if at_zero.sum() > 1:
        # Several segments cannot all begin at 0 (/proc/kcore before 4.x, vmalloc segments): the one does that lies
        # in the direct map with the others, or in none at all, as QEMU writes it.
        shifts = loads["virtual"] - physical
        mapped_shifts = np.unique(shifts[usable & ~at_zero])
        real = at_zero & ((loads["virtual"] == 0) | np.isin(shifts, mapped_shifts))
        real &= np.cumsum(real) == 1
        usable &= ~at_zero | real
    dropped = int(beyond.sum()) + int((at_zero & ~usable).sum())
    if dropped:
        problems.append(f"{path} has {dropped:,} segments that name no physical memory; they were skipped")
    if not usable.any():
        raise DumpFormatError(
            f"{path} is an ELF core without a segment of physical memory ({len(loads):,} loadable segments in all); "
            "kernlab needs the physical addresses that a vmcore has"
        )
    segments: npt.NDArray[np.void] = loads[usable]
    return segments


class _Stream(io.RawIOBase):
    """A source as a file for pyelftools: with a position of its own, which may lie behind the end."""

    def __init__(self, source: Source):
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (self._position if whence == 1 else self._source.size if whence == 2 else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        most = max(self._source.size - self._position, 0)
        piece = self._source.read(self._position, most if size is None or size < 0 else min(size, most))
        self._position += len(piece)
        return piece

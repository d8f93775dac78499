"""An ELF core file of a process (ET_CORE): notes and pages of memory in, a file that debuggers open out.

Pages are written as they come: the program headers lie behind them, so that nothing has to be known beforehand and
nothing is kept but runs. What is missing has no segment: a debugger then says that it cannot be read, where it takes a
segment without bytes in the file for zeros (gdb, corelow.c).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

# include/uapi/linux/elf.h
_PT_LOAD, _PT_NOTE, _ET_CORE = 1, 4, 4
_PN_XNUM = 0xFFFF
NT_PRSTATUS, NT_FPREGSET, NT_PRPSINFO, NT_AUXV = 1, 2, 3, 6
NT_FILE, NT_X86_XSTATE = 0x46494C45, 0x202
NT_ARM_TLS, NT_ARM_PAC_MASK = 0x401, 0x406

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_START = 4096

#: As many pages of zeros as cost less as a hole in the file than a segment of their own.
_FEW_ZEROS = 64


def note(name: str, kind: int, desc: bytes) -> bytes:
    """One note, padded to four bytes."""
    text = name.encode() + b"\0"
    head = struct.pack("<III", len(text), len(desc), kind)
    return head + text + bytes(-len(text) % 4) + desc + bytes(-len(desc) % 4)


@dataclass(slots=True)
class Segment:
    """A run of pages that were written: at `address`, `offset` in the file, `size` bytes there of `memory` in all."""

    flags: int
    address: int
    offset: int
    size: int
    memory: int


class CoreWriter:
    """Writes a core file into `stream`, which can seek: notes first, then runs of pages, then `finish`.

    `machine` is the number of ELF headers (e_machine): x86-64's is 62, arm64's 183.
    """

    def __init__(self, stream: BinaryIO, notes: bytes, page_size: int = 4096, machine: int = 62):
        self._stream, self._page, self._machine = stream, page_size, machine
        stream.seek(_START)
        stream.write(notes)
        self._notes = len(notes)
        self._at = -(-(_START + len(notes)) // page_size) * page_size
        self.segments: list[Segment] = []

    def pages(self, address: int, flags: int, data: U8) -> None:
        """Pages that are here: uint8[n, page size], the first of them at `address`."""
        self._stream.seek(self._at)
        self._stream.write(np.ascontiguousarray(data).data)
        self._add(address, flags, len(data) * self._page)

    def zeros(self, address: int, flags: int, count: int) -> None:
        """`count` pages of zeros: a hole in the file, or where they are many a segment that has nothing there."""
        size, last = count * self._page, self._last(address, flags)
        if count < _FEW_ZEROS and last is not None and last.size == last.memory:
            self._add(address, flags, size)
        elif last is not None and last.size < last.memory:
            last.memory += size
        else:
            self.segments.append(Segment(flags, address, self._at, 0, size))

    def _last(self, address: int, flags: int) -> Segment | None:
        """The segment that an address goes on."""
        last = self.segments[-1] if self.segments else None
        return last if last and last.flags == flags and last.address + last.memory == address else None

    def _add(self, address: int, flags: int, size: int) -> None:
        last = self._last(address, flags)
        if last is not None and last.size == last.memory and last.offset + last.size == self._at:
            last.size += size
            last.memory += size
        else:
            self.segments.append(Segment(flags, address, self._at, size, size))
        self._at += size

    def finish(self) -> int:
        """Write what leads to all of it; the file's size."""
        count = len(self.segments) + 1
        many = count >= _PN_XNUM
        section = self._at + count * _PROGRAM.size
        self._stream.seek(self._at)
        self._stream.write(_PROGRAM.pack(_PT_NOTE, 0, _START, 0, 0, self._notes, 0, 4))
        for one in sorted(self.segments, key=lambda segment: segment.address):
            self._stream.write(
                _PROGRAM.pack(
                    _PT_LOAD, one.flags, one.offset, one.address, 0, one.size, one.memory, self._page
                )
            )
        if many:
            # The first section says how many program headers there are (include/uapi/linux/elf.h, PN_XNUM).
            self._stream.write(_SECTION.pack(0, 0, 0, 0, 0, 1, 0, count, 0, 0))
        end = self._stream.tell()
        ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
        self._stream.seek(0)
        self._stream.write(
            _HEADER.pack(
                ident,
                _ET_CORE,
                self._machine,
                1,
                0,
                self._at,
                section if many else 0,
                0,
                _HEADER.size,
                _PROGRAM.size,
                min(count, _PN_XNUM),
                _SECTION.size if many else 0,
                1 if many else 0,
                0,
            )
        )
        self._stream.seek(end)
        return end

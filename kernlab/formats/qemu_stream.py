"""QEMU's migration stream: bytes in, where each page of each RAM block lies in them out.

A stream is "QEVM", a version, and sections (migration/savevm.c); the memory is the section "ram" (migration/ram.c):
RAM blocks by name and size, then pages, each 8 bytes (its offset in the block, flags in the low bits) and its content.
A page may come several times, as the guest went on meanwhile; the last one counts. What lies behind the memory is the
state of devices, and a description of them in JSON.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.source import Source
from kernlab.util.progress import progress

I64 = npt.NDArray[np.int64]
_HoldsMemory = Callable[[str], bool]

MAGIC = b"QEVM"
PAGE = 4096
#: What `Stream.pages` says of a page that was not sent; one that is filled with one byte has FILLED less that byte.
NEVER, FILLED = -1, -2

# migration/savevm.c and migration/qemu-file.h
_START, _PART, _END, _FULL, _CONFIGURATION, _COMMAND, _FOOTER = 0x01, 0x02, 0x03, 0x04, 0x07, 0x08, 0x7E
_SUBSECTION = 0x05
_VERSION = 3
# migration/ram.c, RAM_SAVE_FLAG_…
_ZERO, _SIZES, _PAGE_FLAG, _EOS, _CONTINUE, _FLUSH = 0x02, 0x04, 0x08, 0x10, 0x20, 0x200
_KNOWN = _ZERO | _SIZES | _PAGE_FLAG | _EOS | _CONTINUE | _FLUSH
_REFUSED = {0x01: "of QEMU before 1.0", 0x40: "XBZRLE", 0x80: "of RDMA", 0x100: "compressed pages"}
_FLAGS = PAGE - 1

#: Bytes read at a time; larger than any name, and enough for thousands of pages.
_AT_A_TIME = 8 << 20
#: No machine has more RAM blocks, no block more bytes, no stream more sections before its memory.
_MOST_BLOCKS, _LARGEST, _MOST_SECTIONS = 4096, 1 << 46, 1 << 20
#: Pages that a stream may claim whatever its size: of a machine of 64 GiB.
_FREE_PAGES = 1 << 24


@dataclass
class Stream:
    """What a stream says: the machine's type ("pc-q35-9.2"), its RAM blocks, and where their pages lie.

    `blocks` has the bytes of each block by its name; `pages` int64[bytes / 4096] of those that hold memory: a page's
    place in the source, NEVER, or FILLED less the byte it is filled with. `rest` is where the state of devices begins;
    `damage` what is wrong with the stream, to follow the file's name in a sentence, None for a whole one.
    """

    machine: str = ""
    blocks: dict[str, int] = field(default_factory=dict)
    pages: dict[str, I64] = field(default_factory=dict)
    rest: int = 0
    damage: str | None = None


class _CutError(Exception):
    """The stream ends where something of it should be."""


class _Reader:
    """A source read forwards."""

    def __init__(self, source: Source, position: int):
        self.source, self.position = source, position
        #: Which block pages belong to that do not name theirs: the last that was named, in whichever section.
        self.block = ""
        self._bytes, self._start = b"", position

    def window(self) -> tuple[bytes, int]:
        """Bytes that hold the position, and where in them it is; more than any header unless the stream ends."""
        inner = self.position - self._start
        if len(self._bytes) - inner < 2 * PAGE:
            self._start, inner = self.position, 0
            self._bytes = self.source.read(self.position, _AT_A_TIME)
        return self._bytes, inner

    def take(self, size: int) -> bytes:
        """The next bytes, of no more than a page. Raises _CutError where there are fewer."""
        data, inner = self.window()
        part = data[inner : inner + size]
        if len(part) < size:
            raise _CutError
        self.position += size
        return part

    def number(self, size: int) -> int:
        """The next big-endian number of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def name(self) -> str:
        """A name with its length before it, in one byte."""
        return self.take(self.number(1)).decode("ascii", "backslashreplace")


def read_stream(source: Source, start: int, holds_memory: _HoldsMemory) -> Stream:
    """The stream that begins at byte `start`; `holds_memory` says of a block's name whether its pages are wanted.

    Raises DumpFormatError for a form of the stream that cannot be read; one that is cut is read up to there.
    """
    stream, reader = Stream(), _Reader(source, start)
    try:
        magic, version = reader.take(4), reader.number(4)
        if magic != MAGIC or version != _VERSION:
            raise DumpFormatError(
                f"{source.path} has a QEMU stream of version {version:,} at byte {start:,}; kernlab reads {_VERSION}"
            )
        with progress(f"Reading {source.path.name}", source.size, " bytes") as bar:
            for done in _sections(stream, reader, holds_memory):
                bar.advance(done)
    except _CutError:
        stream.damage = f"ends at byte {source.size:,}, inside the stream of the machine's memory"
    return stream


def _sections(stream: Stream, reader: _Reader, holds_memory: _HoldsMemory) -> Iterator[int]:
    """Read sections up to the end of the memory; yields bytes done now and then."""
    names: dict[int, str] = {}
    for _ in range(_MOST_SECTIONS):
        kind = reader.number(1)
        if kind == _CONFIGURATION:
            stream.machine = reader.take(min(reader.number(4), PAGE)).decode("ascii", "backslashreplace")
            _skip_subsections(reader)
        elif kind == _COMMAND:
            reader.take(2)
            reader.take(min(reader.number(2), PAGE))
        elif kind in (_START, _PART, _END):
            number = reader.number(4)
            if kind == _START:
                names[number] = reader.name()
                reader.take(8)
            if names.get(number) != "ram":
                # A disk that moves with the machine, dirty bitmaps: saved machines have none.
                raise DumpFormatError(
                    f"{reader.source.path} is a QEMU stream with a section {names.get(number, number)!r} among the "
                    "machine's memory, which kernlab does not read; dump the guest with virsh dump --memory-only"
                )
            yield from _memory(stream, reader, holds_memory)
            if kind == _END:
                stream.rest = reader.position
                return
        elif kind == _FOOTER:
            reader.take(4)
        else:
            stream.damage = (
                f"has no section of a QEMU stream at byte {reader.position - 1:,}, where one should be, but "
                f"{kind:#04x}: what lies behind it is lost"
            )
            return


def _skip_subsections(reader: _Reader) -> None:
    """Pass by what stands behind the machine's type: capabilities, the size of pages (vmstate_configuration).

    Their lengths stand nowhere; what follows them is the section that the memory begins with.
    """
    data, inner = reader.window()
    if data[inner : inner + 1] != bytes([_SUBSECTION]):
        return
    first = data.find(b"\x03ram" + struct.pack(">II", 0, 4), inner, inner + 2 * PAGE)
    # Before the name stand the kind of the section and its number.
    place = first - 5
    if first < 0 or data[place] != _START:
        raise DumpFormatError(
            f"{reader.source.path} is a QEMU stream whose memory does not come first, or not as version 4 of it, "
            "which kernlab does not read; dump the guest with virsh dump --memory-only"
        )
    if b"mapped-ram" in data[inner:place]:
        raise DumpFormatError(
            f"{reader.source.path} is a QEMU stream with its memory at fixed places (mapped-ram), which kernlab does "
            "not read; dump the guest with virsh dump --memory-only"
        )
    reader.position += place - inner


def _memory(stream: Stream, reader: _Reader, holds_memory: _HoldsMemory) -> Iterator[int]:
    """One section of "ram", up to the mark of its end."""
    begun = reader.position
    while True:
        word = reader.number(8)
        flags, offset = word & _FLAGS, word & ~_FLAGS
        refused = next((what for flag, what in _REFUSED.items() if flags & flag), None)
        if refused or flags & ~_KNOWN:
            raise DumpFormatError(
                f"{reader.source.path} is a QEMU stream in a form that kernlab does not read ({refused or hex(flags)}, "
                f"at byte {reader.position - 8:,}); dump the guest with virsh dump --memory-only"
            )
        if flags & _SIZES:
            _sizes(stream, reader, offset, holds_memory)
            continue
        if flags & (_EOS | _FLUSH) and not flags & (_ZERO | _PAGE_FLAG):
            if flags & _EOS:
                yield reader.position - begun
                return
            continue
        if not flags & _CONTINUE:
            reader.block = reader.name()
        pages = stream.pages.get(reader.block)
        _one_page(pages, reader, offset, flags)
        _run(pages, reader, flags)
        if reader.position - begun > _AT_A_TIME:
            yield reader.position - begun
            begun = reader.position


def _sizes(stream: Stream, reader: _Reader, total: int, holds_memory: _HoldsMemory) -> None:
    """The table of RAM blocks: names and sizes, until these make the total."""
    while total > 0:
        name, size = reader.name(), reader.number(8)
        if not 0 < size <= min(total, _LARGEST) or len(stream.blocks) == _MOST_BLOCKS:
            raise DumpFormatError(
                f"{reader.source.path} is damaged: its RAM block {name!r} has {size:,} of {total:,} bytes. "
                "Copy it again"
            )
        total -= size
        stream.blocks[name] = size
        if holds_memory(name):
            # A page takes 9 bytes of the stream at least; a stream that was cut may claim more, to a bound.
            if size // PAGE > max(reader.source.size // 9, _FREE_PAGES):
                raise DumpFormatError(
                    f"{reader.source.path} is damaged: its RAM block {name!r} of {size:,} bytes cannot lie in its "
                    f"{reader.source.size:,}. Copy it again"
                )
            stream.pages[name] = np.full(size // PAGE, NEVER, dtype=np.int64)


def _one_page(pages: I64 | None, reader: _Reader, offset: int, flags: int) -> None:
    number = offset // PAGE
    if flags & _ZERO:
        place = FILLED - reader.number(1)
    else:
        place = reader.position
        data, inner = reader.window()
        if len(data) - inner < PAGE:
            raise _CutError
        reader.position += PAGE
    if pages is not None and number < len(pages):
        pages[number] = place


def _run(pages: I64 | None, reader: _Reader, flags: int) -> None:
    """What follows of the same kind and block, as far as it is at hand: thousands of pages in one step."""
    data, inner = reader.window()
    size = 9 if flags & _ZERO else 8 + PAGE
    count = (len(data) - inner) // size
    if not count:
        return
    words = np.ndarray((count,), ">u8", data, inner, (size,))
    same = (words & np.uint64(_FLAGS)) == np.uint64((_ZERO if flags & _ZERO else _PAGE_FLAG) | _CONTINUE)
    count = count if same.all() else int(np.argmin(same))
    if pages is not None and count:
        numbers = (words[:count] >> np.uint64(12)).astype(np.int64)
        if flags & _ZERO:
            filled = np.ndarray((count,), np.uint8, data, inner + 8, (size,))
            places = FILLED - filled.astype(np.int64)
        else:
            places = reader.position + 8 + np.arange(count, dtype=np.int64) * size
        inside = numbers < len(pages)
        # Of a page that comes twice the later one counts, which an assignment of many keeps.
        pages[numbers[inside]] = places[inside]
    reader.position += count * size

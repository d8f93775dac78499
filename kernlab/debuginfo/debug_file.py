"""A file with debug information (vmlinux, *.debug, *.ko.debug): its build id, its symbols, and its DWARF as bytes.

pyelftools reads the file header; section headers and symbols are arrays. Modules are relocatable: their sections are
laid out one behind the other here, and what refers to them is relocated.
"""

from __future__ import annotations

import os
import stat
import struct
import threading
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernlab.errors import KernlabError
from kernlab.formats.notes import build_id_of, parse_notes

U64 = npt.NDArray[np.uint64]


class FileBytes:
    """A part of an open file, read as it is asked for: a mapping of a file that somebody cuts would end the process."""

    def __init__(self, descriptor: int, start: int, size: int, whole: FileBytes | None = None):
        self._descriptor, self._start, self._size = descriptor, start, size
        # The descriptor is closed when nobody has a part any more.
        self._whole = whole
        if whole is None:
            weakref.finalize(self, os.close, descriptor)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, span: slice) -> bytes:
        at, end, _ = span.indices(self._size)
        return os.pread(self._descriptor, max(end - at, 0), self._start + at)

    def part(self, offset: int, size: int) -> FileBytes:
        """`size` bytes from a place on, which lie within."""
        whole = self if self._whole is None else self._whole
        return FileBytes(self._descriptor, self._start + offset, size, whole)


Bytes = bytes | bytearray | memoryview | FileBytes

#: No file has more sections or symbols, and no section unpacks to more bytes.
_MOST_SECTIONS, _MOST_SYMBOLS, _LARGEST_SECTION = 1 << 16, 1 << 22, 4 << 30
_LARGEST_NOTES = 1 << 20
#: Where the first section of a relocatable file is laid out, and at multiples of what each: none is larger.
_FIRST, _APART = 1 << 40, 1 << 32

_SECTION = np.dtype(
    [
        ("name", "<u4"),
        ("type", "<u4"),
        ("flags", "<u8"),
        ("address", "<u8"),
        ("offset", "<u8"),
        ("size", "<u8"),
        ("link", "<u4"),
        ("info", "<u4"),
        ("align", "<u8"),
        ("entry", "<u8"),
    ]
)
_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_RELOCATION = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])
_SYMTAB, _RELA, _NOTE, _NOBITS = 2, 4, 7, 8
_WRITABLE, _ALLOCATED, _EXECUTABLE, _COMPRESSED = 1, 2, 4, 0x800
_UNTYPED, _OBJECT, _FUNCTION = range(3)
_ABSOLUTE = 0xFFF1  # SHN_ABS
_ZLIB, _ZSTD = 1, 2  # ELFCOMPRESS_*
#: No file of these sizes unpacks to more than so many times as much with zlib.
_ZLIB_MOST = 1040

#: Machines by pyelftools' name: kernlab's, and how many bytes each kind of relocation stores (S + A).
_MACHINES = {
    "EM_X86_64": ("x86_64", {0: 0, 1: 8, 10: 4, 11: 4}),
    "EM_AARCH64": ("arm64", {0: 0, 256: 0, 257: 8, 258: 4}),
}
_NEED = "kernlab needs a vmlinux, .debug or .ko.debug file with DWARF"


#: What damaged bytes lead a reader into, pyelftools' own errors aside.
_DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RecursionError),
    *(OSError, TypeError, ValueError, struct.error, zlib.error),
)


class DebugInfoError(KernlabError):
    """A debug file cannot be used: it is not one, is another kernel's, or is damaged."""


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Let out as a DebugInfoError whatever damaged bytes lead the reading into."""
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.construct import ConstructError

    try:
        yield
    except (*_DAMAGE, ConstructError, DWARFError, ELFError) as error:
        raise DebugInfoError(f"{what} is damaged ({str(error) or type(error).__name__})") from error


@dataclass(frozen=True, slots=True)
class FileSymbols:
    """Symbols of a file: names, and uint64[n] addresses in it (as laid out here)."""

    names: list[str]
    addresses: U64


class DebugFile:
    """A file with debug information, mapped: nothing of it is read before it is asked for.

    `machine` is named as dumps name theirs; `build_id` is "" where it has none. Raises DebugInfoError for what is no
    ELF file, cut off, or of a machine that kernlab does not know.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._lock = threading.Lock()
        self._read: dict[str, Bytes] = {}
        self._data, self.identity = _opened(self.path)
        with damage(f"{self.path}: its ELF header"):
            self.machine, self._kinds, self.is_relocatable = self._header()
            self._sections, self._names = self._section_headers()
        allocated = self._sections["flags"] & _ALLOCATED != 0
        number = np.arange(len(self._sections), dtype=np.uint64)
        laid_out = np.uint64(_FIRST) + number * np.uint64(_APART)
        #: Where each section lies in memory as this file has it, uint64[n]; 0 of one that does not.
        self._bases = np.where(allocated, laid_out, np.uint64(0)) if self.is_relocatable else None
        with damage(f"{self.path}: its build id"):
            self.build_id = self._find_build_id()

    def _header(self) -> tuple[str, dict[int, int], bool]:
        from elftools.elf.elffile import ELFFile

        if self._data[:4] != b"\x7fELF":
            raise DebugInfoError(f"{self.path} is not an ELF file; {_NEED}")
        elf = ELFFile(BytesIO(self._data[:4096]))
        machine, kind, bits, little = elf["e_machine"], elf["e_type"], elf.elfclass, elf.little_endian
        self._table = elf["e_shoff"], elf["e_shnum"], elf["e_shentsize"], elf["e_shstrndx"]
        known = _MACHINES.get(machine)
        if known is None or bits != 64 or not little:
            name = str(machine).removeprefix("EM_").lower()
            raise DebugInfoError(
                f"{self.path} is of another machine ({name}, {bits} bits, {'little' if little else 'big'} endian); "
                f"kernlab reads those of {' and '.join(name for name, _ in _MACHINES.values())}"
            )
        return *known, kind == "ET_REL"

    def _section_headers(self) -> tuple[npt.NDArray[np.void], list[str]]:
        offset, count, size, names = self._table
        if not offset:
            raise DebugInfoError(f"{self.path} has no sections, so no debug information; {_NEED}")
        if size != _SECTION.itemsize:
            raise ValueError(f"section headers of {size} bytes")
        first = np.frombuffer(self._cut(offset, size), _SECTION)[0]
        # Numbers that do not fit the header stand in the first section's.
        count = count or int(first["size"])
        names = int(first["link"]) if names == 0xFFFF else names
        if not 0 < count <= _MOST_SECTIONS or names >= count:
            raise ValueError(f"{count:,} sections, whose names are in section {names:,}")
        table = np.frombuffer(self._cut(offset, count * size), _SECTION)
        text = self._cut(int(table["offset"][names]), int(table["size"][names]))
        return table, [
            text[at : text.index(b"\0", at)].decode("ascii", "replace") for at in table["name"].tolist()
        ]

    def _cut(self, offset: int, size: int) -> bytes:
        self._check(offset, size)
        return self._data[offset : offset + size]

    def _check(self, offset: int, size: int) -> None:
        if offset + size > len(self._data):
            raise DebugInfoError(
                f"{self.path} ends at byte {len(self._data):,}, but something of it lies at byte {offset + size:,}. "
                "Copy the file again"
            )

    def _find_build_id(self) -> str:
        for section in self._sections[self._sections["type"] == _NOTE]:
            offset, size = int(section["offset"]), int(section["size"])
            found = build_id_of(parse_notes(self._data[offset : offset + min(size, _LARGEST_NOTES)], offset))
            if found:
                return found
        return ""

    def address_of_section(self, number: int) -> int:
        """Where a section's first byte lies, as the addresses of this file count."""
        bases = self._bases if self._bases is not None else self._sections["address"]
        return int(bases[number])

    def size_of_section(self, number: int) -> int:
        """How many bytes a section takes in memory."""
        return int(self._sections["size"][number])

    def section(self, name: str) -> Bytes:
        """The bytes of a section, unpacked and relocated; nothing where the file has none of that name.

        Raises DebugInfoError for one that is cut off or damaged.
        """
        with self._lock:
            if name not in self._read:
                with damage(f"{self.path}: section {name}"):
                    self._read[name] = self._section(name)
            return self._read[name]

    def _section(self, name: str) -> Bytes:
        old = f".z{name[1:]}"
        for number, (held, kind) in enumerate(zip(self._names, self._sections["type"].tolist(), strict=True)):
            if held not in (name, old) or kind == _NOBITS:
                continue
            offset, size = int(self._sections["offset"][number]), int(self._sections["size"][number])
            self._check(offset, size)
            part = self._data.part(offset, size)
            is_packed = int(self._sections["flags"][number]) & _COMPRESSED != 0
            if not (held == old or is_packed or self.is_relocatable):
                return part
            data = part[:]
            if held == old:
                data = self._unpacked(_ZLIB, int.from_bytes(data[4:12], "big"), data[12:])
            elif is_packed:
                method, _, claimed, _ = struct.unpack_from("<IIQQ", data)
                data = self._unpacked(method, claimed, data[24:])
            return self._relocated(number, data) if self.is_relocatable else data
        return b""

    def _unpacked(self, method: int, size: int, data: bytes) -> bytes:
        if size > _LARGEST_SECTION or (method == _ZLIB and size > (len(data) + 64) * _ZLIB_MOST):
            raise ValueError(f"it claims to unpack to {size:,} bytes")
        if method == _ZLIB:
            try:
                found = zlib.decompressobj().decompress(data, size + 1)
            except zlib.error as error:
                raise ValueError(f"it does not unpack: {error}") from error
        elif method == _ZSTD:
            found = _zstd(data, size)
        else:
            raise ValueError(f"it is packed by method {method}, which kernlab does not know")
        if len(found) != size:
            raise ValueError(f"it unpacks to {len(found):,} bytes, not {size:,}")
        return found

    def _relocated(self, number: int, data: bytes | memoryview) -> bytes | memoryview:
        """The bytes with what they refer to filled in, of a relocatable file."""
        assert self._bases is not None
        table = self._sections
        for row in np.flatnonzero((table["type"] == _RELA) & (table["info"] == number)).tolist():
            raw = self._cut(int(table["offset"][row]), int(table["size"][row]))
            entries = np.frombuffer(raw, _RELOCATION, len(raw) // _RELOCATION.itemsize)
            symbols, _ = self._symbol_table(int(table["link"][row]))
            target = symbols[entries["symbol"]]
            value = self._placed(target) + entries["addend"].astype(np.uint64)
            whole = np.frombuffer(bytearray(data), dtype=np.uint8)
            for kind in np.unique(entries["type"]).tolist():
                size = self._kinds[kind]
                chosen = entries["type"] == kind
                if size:
                    where = entries["offset"][chosen].astype(np.int64)[:, None] + np.arange(size)
                    whole[where] = value[chosen].astype("<u8").view(np.uint8).reshape(-1, 8)[:, :size]
            data = whole.data
        return data

    def _placed(self, symbols: npt.NDArray[np.void]) -> U64:
        """Addresses of symbols, uint64[n]; in a relocatable file they count from their sections."""
        value: U64 = symbols["value"].astype(np.uint64)
        if self._bases is None:
            return value
        known = symbols["section"] < len(self._bases)
        return value + np.where(known, self._bases[np.where(known, symbols["section"], 0)], np.uint64(0))

    def _symbol_table(self, number: int) -> tuple[npt.NDArray[np.void], bytes]:
        table = self._sections[number]
        raw = self._cut(int(table["offset"]), int(table["size"]))
        text = self._sections[int(table["link"])]
        count = min(len(raw) // _SYMBOL.itemsize, _MOST_SYMBOLS)
        return np.frombuffer(raw, _SYMBOL, count), self._cut(int(text["offset"]), int(text["size"]))

    def symbols(self, wanted: frozenset[str]) -> FileSymbols:
        """The file's symbols of some names that have a place in memory. Raises DebugInfoError where it has no table."""
        with damage(f"{self.path}: its symbol table"):
            numbers = np.flatnonzero(self._sections["type"] == _SYMTAB)
            if not len(numbers):
                raise DebugInfoError(
                    f"{self.path} has no symbol table, which says where the kernel would lie; {_NEED}"
                )
            entries, text = self._symbol_table(int(numbers[0]))
            has_place = (entries["section"] > 0) & (entries["section"] < len(self._sections))
            has_place &= self._sections["flags"][np.where(has_place, entries["section"], 0)] & _ALLOCATED != 0
            if not self.is_relocatable:
                has_place |= entries["section"] == _ABSOLUTE
            rows = np.flatnonzero(has_place)
            sought = {name.encode("utf-8", "surrogateescape") for name in wanted}
            longest = max(map(len, sought), default=0) + 1
            found = [
                (row, name)
                for row, at in zip(rows.tolist(), entries["name"][rows].tolist(), strict=True)
                if (name := text[at : at + longest].partition(b"\0")[0]) in sought
            ]
            chosen = np.array([row for row, _ in found], dtype=np.int64)
            names = [name.decode("utf-8", "surrogateescape") for _, name in found]
            return FileSymbols(names, self._placed(entries[chosen]))

    def all_symbols(self) -> tuple[list[str], U64, npt.NDArray[np.uint8]]:
        """All symbols that have a name and a place, as kallsyms would list them: names, addresses uint64[n], letters
        uint8[n]. Raises DebugInfoError where the file has no table of them."""
        with damage(f"{self.path}: its symbol table"):
            numbers = np.flatnonzero(self._sections["type"] == _SYMTAB)
            if not len(numbers):
                raise DebugInfoError(f"{self.path} has no symbol table; {_NEED}")
            entries, text = self._symbol_table(int(numbers[0]))
            section = entries["section"].astype(np.int64)
            is_absolute = section == _ABSOLUTE
            in_file = (section > 0) & (section < len(self._sections))
            flags = self._sections["flags"][np.where(in_file, section, 0)]
            kind = self._sections["type"][np.where(in_file, section, 0)]
            kept = entries["name"] != 0
            kept &= (in_file & (flags & _ALLOCATED != 0)) | is_absolute
            # Sections and source files have symbols, too.
            kept &= np.isin(entries["info"] & 15, (_UNTYPED, _OBJECT, _FUNCTION))
            letters = np.full(len(entries), ord("r"), dtype=np.uint8)
            letters[flags & _WRITABLE != 0] = ord("d")
            letters[(flags & _WRITABLE != 0) & (kind == _NOBITS)] = ord("b")
            letters[flags & _EXECUTABLE != 0] = ord("t")
            letters[is_absolute] = ord("a")
            letters[entries["info"] >> 4 != 0] -= ord("a") - ord("A")
            rows = np.flatnonzero(kept)
            names = [
                text[at : text.index(b"\0", at)].decode("utf-8", "backslashreplace")
                for at in entries["name"][rows].tolist()
            ]
            return names, self._placed(entries[rows]), letters[rows]

    def sections_of(self, addresses: U64) -> npt.NDArray[np.int64]:
        """The number of the section that each address of a relocatable file lies in."""
        return (addresses.astype(np.int64) - _FIRST) // _APART

    @property
    def has_lines(self) -> bool:
        """Does it have DWARF with line tables?"""
        return {".debug_info", ".debug_line", ".debug_abbrev"} <= self._there()

    @property
    def has_types(self) -> bool:
        """Does it have BTF, or DWARF that describes types?"""
        return ".BTF" in self._there() or self.has_dwarf

    @property
    def has_dwarf(self) -> bool:
        """Does it have DWARF?"""
        return {".debug_info", ".debug_abbrev"} <= self._there()

    def _there(self) -> set[str]:
        """The names of the sections that have bytes in this file."""
        return {
            name.replace(".zdebug", ".debug")
            for name, kind in zip(self._names, self._sections["type"].tolist(), strict=True)
            if kind != _NOBITS
        }


def _zstd(data: bytes, size: int) -> bytes:
    import zstandard

    parts, left = [], size + 1
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(data) as reader:
            while left and (part := reader.read(min(left, 1 << 20))):
                parts.append(part)
                left -= len(part)
    except zstandard.ZstdError as error:
        raise ValueError(f"it does not unpack: {error}") from error
    return b"".join(parts)


def _opened(path: Path) -> tuple[FileBytes, str]:
    """A regular file, and what tells this one from another of its name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(descriptor)
    except (OSError, ValueError) as error:
        raise DebugInfoError(f"{path} cannot be read: {error}; {_NEED}") from error
    data = FileBytes(descriptor, 0, status.st_size)
    if not stat.S_ISREG(status.st_mode):
        raise DebugInfoError(f"{path} is not a regular file; {_NEED}")
    if not status.st_size:
        raise DebugInfoError(f"{path} is empty; {_NEED}")
    return data, f"{status.st_size} {status.st_mtime_ns}"

"""DWARF of a debug file as pyelftools reads it: a unit at a time, and no more work than the file can give.

Which unit an address lies in comes from .debug_aranges, and from the units' own ranges for what that does not list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, cast

import numpy as np
import numpy.typing as npt
from elftools.common.utils import struct_parse
from elftools.dwarf.abbrevtable import AbbrevDecl, AbbrevTable
from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo
from elftools.dwarf.ranges import BaseAddressEntry
from elftools.dwarf.structs import DWARFStructs

from kernlab.debuginfo.debug_file import Bytes, DebugFile, DebugInfoError, damage

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Ranges = list[tuple[int, int]]

_READ = (
    *("info", "aranges", "abbrev", "str", "line", "ranges", "addr", "str_offsets", "line_str", "rnglists"),
    # pyelftools looks up where every variable lies.
    "loclists",
)
_UNREAD = (
    *("debug_frame_sec", "eh_frame_sec", "debug_loc_sec", "debug_pubtypes_sec"),
    *("debug_pubnames_sec", "debug_sup_sec", "gnu_debugaltlink_sec", "debug_types_sec"),
)
#: Units of DWARF 5 that may have code; the others hold types.
_OF_CODE = ("DW_UT_compile", "DW_UT_skeleton")
#: Steps that reading may take, by the bytes of what is read: no entry takes more of each of its bytes.
_LEAST, _PER_BYTE, _MOST = 1 << 18, 4, 1 << 24
#: So much is read of a section at once.
_AHEAD = 1 << 14
#: What is kept counts as so many steps each: pieces of code.
_KEPT = 16
#: No kernel's table of addresses is larger.
_LARGEST_ARANGES = 1 << 23


class Work:
    """The steps that reading may still take: damage can lead over the same bytes again and again."""

    def __init__(self) -> None:
        self.left = self._later = 0

    def allow(self, steps: int) -> None:
        """So many from now on, for all that is begun."""
        self.left, self._later = 0, steps

    def begin(self, most: int) -> None:
        """No more than these, of what is allowed, for what is read now."""
        whole = self.left + self._later
        self.left = min(most, whole)
        self._later = whole - self.left

    def spend(self, steps: int) -> None:
        """Raises ValueError where there are no more."""
        self.left -= steps
        if self.left < 0:
            self.left = 0
            raise ValueError("reading it takes more steps than it has bytes for")


class _Stream:
    """A section as a file for pyelftools, which counts what is asked of it."""

    def __init__(self, data: Bytes, work: Work):
        self._data, self._work, self._at = data, work, 0
        self._begin, self._block = 0, b""

    def _count(self) -> None:
        if self._work.left <= 0:
            self._work.spend(1)
        self._work.left -= 1

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._data)}[whence]
        self._at = max(begin + offset, 0)
        return self._at

    def tell(self) -> int:
        # pyelftools asks where it is before each attribute, also of those that take no bytes.
        self._count()
        return self._at

    def read(self, size: int = -1) -> bytes:
        self._count()
        at = self._at
        if size < 0:
            size = max(len(self._data) - at, 0)
        begin = at - self._begin
        piece = self._block[begin : begin + size] if begin >= 0 else b""
        if len(piece) < size:
            self._begin, self._block = at, bytes(self._data[at : at + max(size, _AHEAD)])
            piece = self._block[:size]
        self._at = at + len(piece)
        return piece


class _Abbreviations(AbbrevTable):
    """A table of abbreviations, read as far as it is asked: what a unit says of itself stands in the first one."""

    __slots__ = ("_at", "_known")

    def __init__(self, structs: DWARFStructs, stream: IO[bytes], offset: int):
        self.structs, self.stream, self.offset = structs, stream, offset
        self._at, self._known = offset, dict[int, AbbrevDecl]()

    def get_abbrev(self, code: int) -> AbbrevDecl:
        """Raises KeyError for one that the table does not have."""
        while code not in self._known:
            self.stream.seek(self._at)
            found: int = struct_parse(self.structs.Dwarf_uleb128(""), self.stream)
            if not found:
                raise KeyError(f"no abbreviation {code}")
            declared = struct_parse(self.structs.Dwarf_abbrev_declaration, self.stream)
            self._at = self.stream.tell()
            self._known.setdefault(found, AbbrevDecl(found, declared))
        return self._known[code]


class _Info(DWARFInfo):
    def get_abbrev_table(self, offset: int) -> AbbrevTable:
        if self.debug_abbrev_sec is None or offset >= self.debug_abbrev_sec.size:
            raise ValueError(f"no abbreviations at byte {offset:,}")
        return _Abbreviations(self.structs, self.debug_abbrev_sec.stream, offset)


class Dwarf:
    """The DWARF of one file, and what may be spent on reading it."""

    def __init__(self, file: DebugFile):
        self.file, self.work = file, Work()
        self.sections = {name: file.section(f".debug_{name}") for name in _READ}
        self.allow()

    def allow(self) -> None:
        """Let be spent what the whole file may take."""
        self.work.allow(_MOST + _PER_BYTE * sum(map(len, self.sections.values())))
        self.begin(0)

    def begin(self, size: int) -> None:
        """Let be spent what something of so many bytes may take."""
        self.work.begin(min(_LEAST + _PER_BYTE * size, _MOST))

    def info(self) -> DWARFInfo:
        """The file to pyelftools: it keeps all that it reads, so each unit has one of its own."""
        given: dict[str, DebugSectionDescriptor | None] = dict.fromkeys(_UNREAD)
        for name, data in self.sections.items():
            stream = cast(IO[bytes], _Stream(data, self.work))
            described = DebugSectionDescriptor(stream, f".debug_{name}", 0, len(data), 0)
            given[f"debug_{name}_sec"] = described if len(data) else None
        # The machine's name is for registers, which nothing here has.
        return _Info(DwarfConfig(little_endian=True, machine_arch="", default_address_size=8), **given)

    def check(self, unit: CompileUnit) -> CompileUnit:
        """A unit that lies within the file, and that pyelftools reads. Raises ValueError for another."""
        if unit.dwarf_format() != 32:
            raise ValueError("it is of 64-bit DWARF, which kernlab does not read")
        end, size = unit.cu_offset + unit.size, len(self.sections["info"])
        if end > size:
            raise ValueError(f"the unit at byte {unit.cu_offset:,} would end at byte {end:,} of {size:,}")
        return unit


def number(entry: DIE, name: str) -> int | None:
    """An attribute's number, None where the entry has none of that name or it is not a number."""
    attribute = entry.attributes.get(name)
    value = attribute.value if attribute is not None else None
    return value if type(value) is int else None


def text(entry: DIE, name: str) -> str:
    """An attribute's text, "" where the entry has none of that name."""
    attribute = entry.attributes.get(name)
    return decoded(attribute.value) if attribute is not None else ""


def decoded(raw: object) -> str:
    """A string of a file; "" for what is not one."""
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else ""


def code_of(dwarf: Dwarf, unit: CompileUnit, entry: DIE) -> Ranges:
    """[start, end) of an entry's code; none for what has no code, nor for pieces that are empty."""
    where = number(entry, "DW_AT_ranges")
    low, high = number(entry, "DW_AT_low_pc"), number(entry, "DW_AT_high_pc")
    found: Ranges = []
    if where is not None:
        base = number(unit.get_top_DIE(), "DW_AT_low_pc") or 0
        lists = unit.dwarfinfo.range_lists()
        if lists is None:
            raise ValueError("it names ranges, but has none")
        for piece in lists.get_range_list_at_offset(where, unit):
            if isinstance(piece, BaseAddressEntry):
                base = piece.base_address
            else:
                begin = 0 if piece.is_absolute else base
                found.append((begin + piece.begin_offset, begin + piece.end_offset))
    elif low is not None and high is not None:
        # Since DWARF 4 it may be a length.
        is_address = entry.attributes["DW_AT_high_pc"].form.startswith("DW_FORM_addr")
        found.append((low, high if is_address else low + high))
    dwarf.work.spend(_KEPT * len(found))
    return [(start, end) for start, end in found if start < end <= 1 << 64]


class UnitIndex:
    """Units of one file by address. `problems` has a sentence for each part that could not be read."""

    def __init__(self, dwarf: Dwarf):
        self._dwarf, self._info, self._file = dwarf, dwarf.info(), str(dwarf.file.path)
        self.problems: list[str] = []
        self._listed: set[int] = set()
        self._starts, self._ends, self._owner = self._from_aranges()
        self._is_whole = False

    def find(self, addresses: U64) -> I64:
        """Where the unit of each address begins in .debug_info, int64[n], -1 where there is none."""
        found = self._lookup(addresses)
        if (found < 0).any() and not self._is_whole:
            self._is_whole = True
            self._add_unlisted()
            found = self._lookup(addresses)
        return found

    def _lookup(self, addresses: U64) -> I64:
        if not len(self._starts):
            return np.full(len(addresses), -1, dtype=np.int64)
        at = np.searchsorted(self._starts, addresses, "right") - 1
        inside = (at >= 0) & (addresses < self._ends[at])
        return np.where(inside, self._owner[at], -1)

    def _from_aranges(self) -> tuple[U64, U64, I64]:
        entries = []
        try:
            with damage(f"{self._file}: section .debug_aranges"):
                size = len(self._dwarf.sections["aranges"])
                if size > _LARGEST_ARANGES:
                    raise ValueError(f"it has {size:,} bytes")
                self._dwarf.work.begin(size)
                listed = self._info.get_aranges()
                entries = listed.entries if listed is not None else []
                if any(entry.info_offset >= len(self._dwarf.sections["info"]) for entry in entries):
                    raise ValueError("it names units that there are not")
        except DebugInfoError as error:
            # The units' own ranges say it, too.
            self.problems.append(f"{error}: units are looked for one by one")
            entries = []
        self._listed.update(entry.info_offset for entry in entries)
        return _sorted([(entry.begin_addr, entry.length, entry.info_offset) for entry in entries])

    def units(self) -> Iterator[int]:
        """Where each unit begins that may have code, one after the other, as far as they can be told."""
        try:
            with damage(f"{self._file}: section .debug_info"):
                self._dwarf.begin(0)
                for unit in self._info.iter_CUs():
                    self._dwarf.begin(0)
                    self._dwarf.check(unit)
                    if unit["version"] < 5 or unit["unit_type"] in _OF_CODE:
                        yield unit.cu_offset
        except DebugInfoError as error:
            self.problems.append(f"{error}: what lies behind is not known")

    def _add_unlisted(self) -> None:
        """Add the units that .debug_aranges does not list (clang writes none), by what each says of itself."""
        more = [
            (start, end - start, offset)
            for offset in self.units()
            if offset not in self._listed
            for start, end in self._code(offset)
        ]
        lengths = (self._ends - self._starts).tolist()
        known = zip(self._starts.tolist(), lengths, self._owner.tolist(), strict=True)
        self._starts, self._ends, self._owner = _sorted([*known, *more])

    def _code(self, offset: int) -> Ranges:
        try:
            with damage(f"{self._file}: the unit at byte {offset:,}"):
                unit = self._info.get_CU_at(offset)
                return code_of(self._dwarf, unit, unit.get_top_DIE())
        except DebugInfoError as error:
            self.problems.append(str(error))
            return []


def _sorted(pieces: list[tuple[int, int, int]]) -> tuple[U64, U64, I64]:
    """(start, end, owner) of pieces by their start; of those that are not empty and end within memory."""
    kept = sorted(piece for piece in pieces if piece[1] > 0 and piece[0] + piece[1] < 1 << 64)
    start, end, owner = (
        [first for first, _, _ in kept],
        [a + n for a, n, _ in kept],
        [at for _, _, at in kept],
    )
    return np.array(start, np.uint64), np.array(end, np.uint64), np.array(owner, np.int64)

"""Line tables: which line of which file each instruction of a unit is of."""

from __future__ import annotations

import os
import posixpath
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from elftools.common.utils import struct_parse
from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.constants import DW_LNE, DW_LNS
from elftools.dwarf.enums import DW_FORM_raw2name
from elftools.dwarf.lineprogram import LineProgram

from kernlab.debuginfo.dwarf import Dwarf, decoded, number, text

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LineTable:
    """Rows by address: address uint64[n], ascending; file, line int64[n], line 0 where none is known, file -1 of a row
    that ends a sequence. `files` are paths by number."""

    address: U64
    file: I64
    line: I64
    files: list[str]

    def at(self, addresses: U64) -> tuple[I64, I64]:
        """(file, line) of each address, int64[k]; -1 and 0 where no row tells."""
        row = np.searchsorted(self.address, addresses, "right") - 1
        known = row >= 0
        if not known.any():
            return np.full(len(addresses), -1, dtype=np.int64), np.zeros(len(addresses), dtype=np.int64)
        file = np.where(known, self.file[row], -1)
        return file, np.where(file >= 0, self.line[row], 0)


def line_table(dwarf: Dwarf, unit: CompileUnit) -> LineTable | None:
    """A unit's table, None where it has none. Raises what damaged bytes lead pyelftools into (see `damage`)."""
    program = _program(unit)
    if program is None:
        return None
    begin, end = program.program_start_offset, program.program_end_offset
    dwarf.begin(end - begin)
    dwarf.work.spend(2 * (end - begin))
    address, file, line = _rows(program, bytes(dwarf.sections["line"][begin:end]))
    # Of rows at one address the last counts; a sequence that ends there does not hide the one that begins.
    order = np.lexsort((np.arange(len(address)), file >= 0, address))
    return LineTable(address[order], file[order], line[order], _files(program, unit))


def directories(unit: CompileUnit) -> list[str]:
    """The directories of a unit's files as paths, by number; none where it has no line table."""
    program = _program(unit)
    return _directories(program, unit) if program is not None else []


def _directories(program: LineProgram, unit: CompileUnit) -> list[str]:
    listed = [decoded(name) for name in program.header.get("include_directory") or ()]
    # Since DWARF 5 the first is where it was compiled.
    first = (listed.pop(0) if program.header["version"] >= 5 and listed else "") or text(
        unit.get_top_DIE(), "DW_AT_comp_dir"
    )
    return [_joined(first, name) for name in ("", *listed)]


def _files(program: LineProgram, unit: CompileUnit) -> list[str]:
    places = _directories(program, unit)
    # Before DWARF 5 the unit itself is none of those that are listed, from 1 on.
    found = (
        [] if program.header["version"] >= 5 else [_joined(places[0], text(unit.get_top_DIE(), "DW_AT_name"))]
    )
    for one in program.header.get("file_entry") or ():
        place = one.dir_index if type(one.dir_index) is int else 0
        found.append(_joined(places[place] if place < len(places) else "", decoded(one.name)))
    return found


def _joined(directory: str, name: str) -> str:
    path = posixpath.join(directory, name)
    return posixpath.normpath(path) if path else ""


def _program(unit: CompileUnit) -> LineProgram | None:
    where = number(unit.get_top_DIE(), "DW_AT_stmt_list")
    if where is None:
        return None
    _check(unit, where)
    return unit.dwarfinfo.line_program_for_CU(unit)


def _check(unit: CompileUnit, start: int) -> None:
    """Refuse a table that pyelftools would take for another or count the files of for ever. Raises ValueError."""
    section, structs = unit.dwarfinfo.debug_line_sec, unit.structs
    if section is None:
        raise ValueError("there are no line tables")
    stream = section.stream
    stream.seek(start)
    length: int = struct_parse(structs.Dwarf_initial_length(""), stream)
    end = stream.tell() + length
    version = struct_parse(structs.Dwarf_uint16(""), stream)
    if not 2 <= version <= 5:
        raise ValueError(f"the line table at byte {start:,} is of version {version}; kernlab reads 2 to 5")
    if end > section.size:
        raise ValueError(f"the line table at byte {start:,} would end at byte {end:,} of {section.size:,}")
    if version < 5:
        return
    one, leb128 = structs.Dwarf_uint8(""), structs.Dwarf_uleb128("")
    # Two sizes, the header's length, five bytes of how to step, and the operands of each step.
    stream.seek(2 + structs.Dwarf_offset("").sizeof() + 5, os.SEEK_CUR)
    stream.seek(max(struct_parse(one, stream) - 1, 0), os.SEEK_CUR)
    for what in ("directories", "files"):
        forms: list[Any] = []
        for _ in range(struct_parse(one, stream)):
            struct_parse(leb128, stream)
            forms.append(structs.Dwarf_dw_form[DW_FORM_raw2name[struct_parse(leb128, stream)]])
        count: int = struct_parse(leb128, stream)
        if count and not forms:
            raise ValueError(
                f"the line table at byte {start:,} has {count:,} {what} of which it says nothing"
            )
        for _ in range(count if what == "directories" else 0):
            for form in forms:
                struct_parse(form, stream)


def _rows(program: LineProgram, code: bytes) -> tuple[U64, I64, I64]:
    """What a line program makes, in its order: address uint64[n], file (-1 ends a sequence) and line int64[n].

    pyelftools carries programs out too, but makes objects of every step: of large units that takes longest.
    """
    header = program.header
    smallest, line_base, line_range = (
        header[name] for name in ("minimum_instruction_length", "line_base", "line_range")
    )
    first_special, lengths = header["opcode_base"], [0, *header["standard_opcode_lengths"]]
    if not line_range:
        raise ValueError("a line table has no instructions to step with")
    advance = [(step - first_special) // line_range * smallest for step in range(256)]
    jump = [line_base + (step - first_special) % line_range for step in range(256)]
    addresses, files, lines = array("Q"), array("q"), array("q")

    def add() -> None:
        addresses.append(address)
        files.append(file)
        lines.append(line)

    at, end = 0, len(code)
    address, file, line = 0, 1, 1
    while at < end:
        step = code[at]
        at += 1
        if step >= first_special:
            address += advance[step]
            line += jump[step]
            add()
        elif step == DW_LNS.copy:
            add()
        elif step == DW_LNS.advance_line:
            value, at = _leb128(code, at, signed=True)
            line += value
        elif step == DW_LNS.advance_pc:
            value, at = _leb128(code, at)
            address += value * smallest
        elif step == DW_LNS.set_file:
            file, at = _leb128(code, at)
        elif step == DW_LNS.const_add_pc:
            address += advance[255]
        elif step == DW_LNS.fixed_advance_pc:
            address += int.from_bytes(code[at : at + 2], "little")
            at += 2
        elif step:
            # What only says more of a row (a column, a statement), or came later than this.
            for _ in range(lengths[step]):
                _, at = _leb128(code, at)
        else:
            size, at = _leb128(code, at)
            kind, after = code[at], at + size
            if not size or after > end:
                raise ValueError("an instruction of a line table does not end")
            if kind == DW_LNE.end_sequence:
                file, line = -1, 0
                add()
                address, file, line = 0, 1, 1
            elif kind == DW_LNE.set_address:
                address = int.from_bytes(code[at + 1 : min(after, at + 9)], "little")
            at = after
    found = np.frombuffer(lines, np.int64)
    if (found < 0).any():
        raise ValueError("a line table leads to lines that cannot be")
    return np.frombuffer(addresses, np.uint64), np.frombuffer(files, np.int64), found


def _leb128(code: bytes, at: int, signed: bool = False) -> tuple[int, int]:
    """A number of up to 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = code[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value - (1 << shift + 7) if signed and byte & 0x40 else value), at
    raise ValueError("a number of a line table does not end")

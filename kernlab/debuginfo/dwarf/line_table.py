"""Line tables (.debug_line of DWARF 2 to 5): which line of which file each instruction is of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.dwarf.reading import (
    Bytes,
    cut,
    fixed_size,
    form_names,
    skip_form,
    sleb,
    text,
    text_end,
    uleb,
    unsigned,
)
from kernlab.debuginfo.dwarf.units import Unit

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: No unit is made of more files, and none names more than a few things of each.
_MOST_FILES, _MOST_FORMATS = 1 << 16, 16
#: No file has more lines.
_LARGEST = 1 << 31

# DW_LNCT_path, DW_LNCT_directory_index
_PATH, _DIRECTORY = 1, 2


@dataclass(frozen=True, slots=True)
class LineTable:
    """One unit's rows by address: address uint64[n], ascending; file, line int64[n], line 0 where none is known, file
    -1 of a row that ends a sequence. `files` are (directory, name) by number, `directories` as they are listed."""

    address: U64
    file: I64
    line: I64
    files: list[tuple[str, str]]
    directories: list[str]

    def at(self, addresses: U64) -> tuple[I64, I64]:
        """(file, line) of each address, int64[k]; -1 and 0 where no row tells."""
        row = np.searchsorted(self.address, addresses, "right") - 1
        known = row >= 0
        if not known.any():
            return np.full(len(addresses), -1, dtype=np.int64), np.zeros(len(addresses), dtype=np.int64)
        file = np.where(known, self.file[row], -1)
        return file, np.where(file >= 0, self.line[row], 0)


@dataclass(slots=True)
class _Header:
    """What a program begins with; `begin` and `end` are where its instructions lie."""

    version: int
    begin: int
    end: int
    smallest: int
    line_base: int
    line_range: int
    lengths: list[int]
    files: list[tuple[str, str]]
    directories: list[str]


def line_table(unit: Unit) -> LineTable | None:
    """A unit's table, None where it has none. Raises IndexError, KeyError, ValueError for a damaged one."""
    at = unit.own.get("stmt_list")
    if not isinstance(at, int):
        return None
    data = unit.sections(".debug_line")
    head = _header(unit, data, at)
    # OverflowError for what is not a number of 64 bits.
    rows = np.array(_run(head, cut(data, head.begin, head.end)), dtype=np.uint64).reshape(-1, 3)
    # Of rows at one address the last counts; a sequence that ends there does not hide the one that begins.
    rows = rows[np.lexsort((np.arange(len(rows)), rows[:, 1] != 0, rows[:, 0]))]
    if (rows[:, 1:] > _LARGEST).any():
        raise ValueError("it leads to a file or a line that cannot be")
    file, line = rows[:, 1].astype(np.int64) - 1, rows[:, 2].astype(np.int64)
    return LineTable(rows[:, 0].copy(), file, line, head.files, head.directories)


def directories(unit: Unit) -> list[str]:
    """The directories of a unit's files, joined to where it was compiled; none where it has no table."""
    at = unit.own.get("stmt_list")
    if not isinstance(at, int):
        return []
    return _header(unit, unit.sections(".debug_line"), at).directories


def _header(unit: Unit, data: Bytes, start: int) -> _Header:
    length, offset_size, at = unsigned(data, start, 4), 4, start + 4
    if length == 0xFFFF_FFFF:
        length, offset_size, at = unsigned(data, at, 8), 8, at + 8
    end = at + length
    if end > len(data):
        raise IndexError(f"the line table at byte {start:,} would end at byte {end:,} of {len(data):,}")
    version, at = unsigned(data, at, 2), at + 2
    if not 2 <= version <= 5:
        raise ValueError(f"the line table at byte {start:,} is of version {version}; kernlab reads 2 to 5")
    if version == 5:
        at += 2  # sizes of addresses and of segment selectors
    begin = unsigned(data, at, offset_size) + at + offset_size
    at += offset_size
    smallest, at = unsigned(data, at, 1), at + 1
    if version >= 4:
        at += 1  # instructions that one word holds
    at += 1  # is each row a statement at first?
    base, span, count = unsigned(data, at, 1), unsigned(data, at + 1, 1), unsigned(data, at + 2, 1)
    at += 3
    if not span or not count:
        raise ValueError(f"the line table at byte {start:,} has no instructions to step with")
    lengths = [0, *cut(data, at, at + count - 1)]
    at += count - 1
    compiled = unit.text(unit.own.get("comp_dir"))
    read = _new_files if version == 5 else _old_files
    files, listed = read(unit, data, at, offset_size, compiled)
    return _Header(
        version, begin, end, smallest, base - 256 if base > 127 else base, span, lengths, files, listed
    )


def _old_files(
    unit: Unit, data: Bytes, at: int, offset_size: int, compiled: str
) -> tuple[list[tuple[str, str]], list[str]]:
    """Files and directories of DWARF 2 to 4: lists that an empty text ends, files numbered from 1."""
    listed = [compiled]
    while unsigned(data, at, 1):
        listed.append(_joined(compiled, text(data, at)))
        at = _next(data, at, len(listed))
    files = [(compiled, unit.text(unit.own.get("name")))]
    at += 1
    while unsigned(data, at, 1):
        name = text(data, at)
        at = _next(data, at, len(files))
        directory, at = uleb(data, at)
        for _ in range(2):
            _, at = uleb(data, at)
        files.append((listed[directory] if directory < len(listed) else "", name))
    return files, listed


def _next(data: Bytes, at: int, count: int) -> int:
    if count > _MOST_FILES:
        raise ValueError(f"a line table names more than {_MOST_FILES:,} files")
    return text_end(data, at)


def _new_files(
    unit: Unit, data: Bytes, at: int, offset_size: int, compiled: str
) -> tuple[list[tuple[str, str]], list[str]]:
    """Files and directories of DWARF 5, which describes what it tells of them; both numbered from 0."""
    raw, at = _entries(unit, data, at, offset_size)
    first = raw[0][0] if raw else compiled
    listed = [_joined(compiled, first), *(_joined(first or compiled, name) for name, _ in raw[1:])]
    raw, at = _entries(unit, data, at, offset_size)
    return [(listed[place] if place < len(listed) else "", name) for name, place in raw], listed


def _entries(unit: Unit, data: Bytes, at: int, offset_size: int) -> tuple[list[tuple[str, int]], int]:
    formats: list[tuple[int, str]] = []
    number, at = unsigned(data, at, 1), at + 1
    if number > _MOST_FORMATS:
        raise ValueError(f"a line table tells {number} things of each file")
    for _ in range(number):
        kind, at = uleb(data, at)
        code, at = uleb(data, at)
        formats.append((kind, form_names()[code]))
    count, at = uleb(data, at)
    if count > _MOST_FILES:
        raise ValueError(f"a line table names {count:,} files")
    found = []
    for _ in range(count):
        name, place = "", 0
        for kind, form in formats:
            if kind == _PATH:
                name, at = _path(unit, data, at, form, offset_size)
            else:
                before, at = at, skip_form(data, at, form, 8, offset_size)
                if kind == _DIRECTORY:
                    size = fixed_size(form, 8, offset_size)
                    place = unsigned(data, before, size) if size else uleb(data, before)[0]
        found.append((name, place))
    return found, at


def _path(unit: Unit, data: Bytes, at: int, form: str, offset_size: int) -> tuple[str, int]:
    end = skip_form(data, at, form, 8, offset_size)
    if form == "DW_FORM_string":
        return text(data, at), end
    if form in ("DW_FORM_strp", "DW_FORM_line_strp"):
        section = ".debug_str" if form == "DW_FORM_strp" else ".debug_line_str"
        return text(unit.sections(section), unsigned(data, at, offset_size)), end
    if form.startswith("DW_FORM_strx"):
        size = fixed_size(form, 8, offset_size)
        return unit.text(("strx", unsigned(data, at, size) if size else uleb(data, at)[0])), end
    raise ValueError(f"a file is named by {form}")


def _joined(directory: str, name: str) -> str:
    return name if name.startswith("/") or not directory else f"{directory}/{name}" if name else directory


def _run(head: _Header, code: bytes) -> list[tuple[int, int, int]]:
    """Carry out a line program: the rows it makes, in its order: (address, number of the file + 1, line); file 0 ends
    a sequence."""
    rows: list[tuple[int, int, int]] = []
    add = rows.append
    lengths, opcode_base = head.lengths, len(head.lengths)
    smallest, line_base, line_range = head.smallest, head.line_base, head.line_range
    const_add = (255 - opcode_base) // line_range * smallest
    advance = [(op - opcode_base) // line_range * smallest for op in range(256)]
    jump = [line_base + (op - opcode_base) % line_range for op in range(256)]
    at, end = 0, len(code)
    address, file, line = 0, 2, 1
    while at < end:
        op = code[at]
        at += 1
        if op >= opcode_base:
            address += advance[op]
            line += jump[op]
            add((address, file, line))
            continue
        if op == 1:  # DW_LNS_copy
            add((address, file, line))
        elif op == 3:  # DW_LNS_advance_line
            value = code[at]
            at += 1
            if value > 0x7F:
                value, at = sleb(code, at - 1)
            elif value > 0x3F:
                value -= 0x80
            line += value
        elif op == 2:  # DW_LNS_advance_pc
            value, at = uleb(code, at)
            address += value * smallest
        elif op == 4:  # DW_LNS_set_file
            value, at = uleb(code, at)
            file = value + 1
        elif op == 8:  # DW_LNS_const_add_pc
            address += const_add
        elif op == 9:  # DW_LNS_fixed_advance_pc
            address += unsigned(code, at, 2)
            at += 2
        elif op:
            # What only says more of a row (a column, a statement), or what came later than this.
            for _ in range(lengths[op]):
                while code[at] > 0x7F:
                    at += 1
                at += 1
        else:
            length, at = uleb(code, at)
            after = at + length
            if not length or after > end:
                raise ValueError("an instruction of a line table does not end")
            kind = code[at]
            if kind == 1:  # DW_LNE_end_sequence
                add((address, 0, 0))
                address, file, line = 0, 2, 1
            elif kind == 2:  # DW_LNE_set_address
                address = unsigned(code, at + 1, min(length - 1, 8))
            at = after
    return rows

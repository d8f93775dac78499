"""Compilation units of .debug_info: their headers, their own entries, and the values of attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kernlab.debuginfo.dwarf.abbreviations import Abbreviation, abbreviations
from kernlab.debuginfo.dwarf.reading import (
    Bytes,
    cut,
    direct,
    fixed_size,
    skip_form,
    sleb,
    text,
    uleb,
    unsigned,
)

#: Bytes of a section by its name; nothing where a file has none of it.
Sections = Callable[[str], Bytes]
#: What is asked of an entry: numbers, texts, or ("kind", number) of what leads elsewhere.
Attributes = dict[str, int | str | tuple[str, int]]

_UNIT_OF_CODE = (1, 4)  # DW_UT_compile, DW_UT_skeleton
_SKELETON = 4
_REFERENCES = frozenset(f"DW_FORM_ref{size}" for size in ("1", "2", "4", "8", "_udata"))
_ELSEWHERE = frozenset(
    (
        "DW_FORM_GNU_ref_alt",
        "DW_FORM_GNU_strp_alt",
        "DW_FORM_strp_sup",
        "DW_FORM_ref_sup4",
        "DW_FORM_ref_sup8",
    )
) | {"DW_FORM_ref_sig8"}
_STRINGS = {"DW_FORM_strp": ".debug_str", "DW_FORM_line_strp": ".debug_line_str"}


@dataclass(frozen=True, slots=True)
class Header:
    """Where a unit lies in .debug_info, and how its numbers are written; `first` is its own entry."""

    offset: int
    end: int
    version: int
    kind: int
    offset_size: int
    address_size: int
    abbreviations: int
    first: int

    @property
    def has_code(self) -> bool:
        """Is it one that may have code? Others hold types only."""
        return self.kind in _UNIT_OF_CODE


def header(info: Bytes, at: int) -> Header:
    """The unit that begins at a byte of .debug_info. Raises IndexError, ValueError."""
    length, offset_size, begin = unsigned(info, at, 4), 4, at + 4
    if length == 0xFFFF_FFFF:
        length, offset_size, begin = unsigned(info, begin, 8), 8, begin + 8
    end = begin + length
    version = unsigned(info, begin, 2)
    if end > len(info) or end <= begin:
        raise IndexError(f"the unit at byte {at:,} would end at byte {end:,} of {len(info):,}")
    place, kind = begin + 2, 1
    if version == 5:
        kind, address_size = unsigned(info, place, 1), unsigned(info, place + 1, 1)
        table, first = unsigned(info, place + 2, offset_size), place + 2 + offset_size
        if kind == _SKELETON:
            first += 8  # the id of the file that has the rest
    elif 2 <= version <= 4:
        table, address_size = unsigned(info, place, offset_size), unsigned(info, place + offset_size, 1)
        first = place + offset_size + 1
    else:
        raise ValueError(f"the unit at byte {at:,} is of DWARF {version}; kernlab reads 2 to 5")
    if address_size not in (4, 8):
        raise ValueError(f"the unit at byte {at:,} has addresses of {address_size} bytes")
    return Header(at, end, version, kind, offset_size, address_size, table, first)


def headers(info: Bytes) -> Iterator[Header]:
    """All units, one after the other."""
    at = 0
    while at < len(info):
        found = header(info, at)
        yield found
        at = found.end


@dataclass(slots=True)
class Unit:
    """One unit at work: its bytes, its abbreviations, and what its own entry says."""

    sections: Sections
    header: Header
    data: bytes
    kinds: dict[int, Abbreviation]
    own: Attributes = field(default_factory=dict)

    @classmethod
    def read(cls, sections: Sections, header: Header) -> Unit:
        """A unit's bytes and abbreviations. Raises IndexError, KeyError, ValueError, struct.error."""
        data = cut(sections(".debug_info"), header.offset, header.end)
        table = abbreviations(
            sections(".debug_abbrev"), header.abbreviations, header.address_size, header.offset_size
        )
        unit = cls(sections, header, data, table)
        unit.own = unit.entry(header.first - header.offset)[1]
        return unit

    @property
    def base(self) -> int:
        """What its addresses of ranges count from."""
        low = self.own.get("low_pc")
        return self.address(low) if low is not None else 0

    def entry(self, at: int) -> tuple[Abbreviation | None, Attributes, int]:
        """The entry at a byte of the unit: its kind (None of the mark that ends a list), attributes, and its end."""
        code, at = uleb(self.data, at)
        if not code:
            return None, {}, at
        kind = self.kinds[code]
        found: Attributes = {}
        for name, form, constant in kind.attributes:
            if name:
                found[name], at = self._value(at, form, constant)
            else:
                at = skip_form(self.data, at, form, self.header.address_size, self.header.offset_size)
        return kind, found, at

    def _value(self, at: int, form: str, constant: int) -> tuple[int | str | tuple[str, int], int]:
        data, head = self.data, self.header
        if form == "DW_FORM_implicit_const":
            return constant, at
        if form == "DW_FORM_indirect":
            number, at = uleb(data, at)
            form = direct(number)
        if form == "DW_FORM_flag_present":
            return 1, at
        if form == "DW_FORM_string":
            end = skip_form(data, at, form, 8, 4)
            return text(data, at), end
        size = fixed_size(form, head.address_size, head.offset_size)
        if size is not None:
            number = unsigned(data, at, size)
            at += size
        elif form == "DW_FORM_sdata":
            number, at = sleb(data, at)
        elif form.startswith(("DW_FORM_block", "DW_FORM_exprloc")):
            return 0, skip_form(data, at, form, head.address_size, head.offset_size)
        else:
            number, at = uleb(data, at)
        if form in _STRINGS:
            return text(self.sections(_STRINGS[form]), number), at
        if form.startswith(("DW_FORM_strx", "DW_FORM_GNU_str_index")):
            return ("strx", number), at
        if form.startswith(("DW_FORM_addrx", "DW_FORM_GNU_addr_index")):
            return ("addrx", number), at
        if form == "DW_FORM_rnglistx":
            return ("rnglistx", number), at
        if form == "DW_FORM_ref_addr":
            return ("entry", number), at
        if form in _REFERENCES:
            return ("entry", head.offset + number), at
        if form == "DW_FORM_addr":
            return ("address", number), at
        if form in _ELSEWHERE:
            # They lead into files that nobody gave.
            return ("elsewhere", number), at
        return number, at

    def address(self, value: int | str | tuple[str, int]) -> int:
        """An address from an attribute. Raises ValueError for what is not one."""
        if not isinstance(value, tuple) or value[0] not in ("address", "addrx"):
            raise ValueError(f"{value!r} stands where an address does")
        return value[1] if value[0] == "address" else self.indexed(value[1])

    def indexed(self, index: int) -> int:
        """An address by its number in .debug_addr."""
        size = self.header.address_size
        return unsigned(self.sections(".debug_addr"), self.start_of("addr_base") + index * size, size)

    def text(self, value: int | str | tuple[str, int] | None) -> str:
        """A text from an attribute, "" where there is none."""
        if isinstance(value, str):
            return value
        if not isinstance(value, tuple) or value[0] != "strx":
            return ""
        size = self.header.offset_size
        at = self.start_of("str_offsets_base") + value[1] * size
        return text(self.sections(".debug_str"), unsigned(self.sections(".debug_str_offsets"), at, size))

    def start_of(self, name: str) -> int:
        """Where its part of a section begins that is looked up by number; ValueError where it does not say."""
        base = self.own.get(name)
        if not isinstance(base, int):
            raise ValueError(f"the unit at byte {self.header.offset:,} has no {name}")
        return base

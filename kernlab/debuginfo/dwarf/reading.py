"""Numbers and forms of DWARF in bytes that nobody vouches for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from elftools.dwarf.enums import ENUM_DW_FORM

from kernlab.errors import KernlabError

Bytes = bytes | bytearray | memoryview

#: A LEB128 of 64 bits has no more bytes.
_LONGEST_LEB128 = 10


class DebugInfoError(KernlabError):
    """A debug file cannot be used: it is not one, is another kernel's, or is damaged."""


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Let out as a DebugInfoError whatever damaged bytes lead the reading into."""
    try:
        yield
    except (IndexError, KeyError, OverflowError, ValueError, struct.error) as error:
        raise DebugInfoError(f"{what} is damaged ({error or type(error).__name__})") from error


def uleb(data: Bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 and where it ends."""
    value = shift = 0
    for place in range(at, at + _LONGEST_LEB128):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise ValueError(f"a number at byte {at:,} does not end")


def sleb(data: Bytes, at: int) -> tuple[int, int]:
    """A signed LEB128 and where it ends."""
    value, end = uleb(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if value >> (bits - 1) & 1 else value), end


def unsigned(data: Bytes, at: int, size: int) -> int:
    """`size` bytes as a number; IndexError where there are fewer."""
    raw = data[at : at + size]
    if len(raw) < size or at < 0:
        raise IndexError(f"it ends within a number at byte {at:,}")
    return int.from_bytes(raw, "little")


def cut(data: Bytes, start: int, end: int) -> bytes:
    """Bytes from `start` to `end`; IndexError where they are not all there."""
    if not 0 <= start <= end <= len(data):
        raise IndexError(f"it ends at byte {len(data):,}, before byte {end:,}")
    return bytes(data[start:end])


#: No path is longer, so far is a text read; and no name of a compiler's making.
_LONGEST_TEXT, _LONGEST_NAME = 1 << 12, 1 << 16


def text(data: Bytes, at: int) -> str:
    """A string up to its NUL."""
    if not 0 <= at < len(data):
        raise IndexError(f"a string would lie at byte {at:,} of {len(data):,}")
    raw = bytes(data[at : at + _LONGEST_TEXT])
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def text_end(data: Bytes, at: int) -> int:
    """Where the string at `at` is over, its NUL included."""
    end = bytes(data[at : at + _LONGEST_NAME]).find(b"\0")
    if end < 0:
        raise IndexError(f"a string at byte {at:,} does not end")
    return at + end + 1


#: Forms of one size, beside those whose size the unit says.
FIXED = {
    "DW_FORM_data1": 1,
    "DW_FORM_data2": 2,
    "DW_FORM_data4": 4,
    "DW_FORM_data8": 8,
    "DW_FORM_data16": 16,
    "DW_FORM_flag": 1,
    "DW_FORM_flag_present": 0,
    "DW_FORM_implicit_const": 0,
    "DW_FORM_ref1": 1,
    "DW_FORM_ref2": 2,
    "DW_FORM_ref4": 4,
    "DW_FORM_ref8": 8,
    "DW_FORM_ref_sig8": 8,
    "DW_FORM_ref_sup4": 4,
    "DW_FORM_ref_sup8": 8,
    "DW_FORM_strx1": 1,
    "DW_FORM_strx2": 2,
    "DW_FORM_strx3": 3,
    "DW_FORM_strx4": 4,
    "DW_FORM_addrx1": 1,
    "DW_FORM_addrx2": 2,
    "DW_FORM_addrx3": 3,
    "DW_FORM_addrx4": 4,
}
#: Forms as long as an offset is (4 or 8 bytes).
OFFSETS = frozenset(
    (
        "DW_FORM_strp",
        "DW_FORM_line_strp",
        "DW_FORM_sec_offset",
        "DW_FORM_ref_addr",
        "DW_FORM_strp_sup",
        "DW_FORM_GNU_ref_alt",
        "DW_FORM_GNU_strp_alt",
    )
)
LEB128 = frozenset(
    (
        "DW_FORM_udata",
        "DW_FORM_sdata",
        "DW_FORM_ref_udata",
        "DW_FORM_strx",
        "DW_FORM_addrx",
        "DW_FORM_loclistx",
        "DW_FORM_rnglistx",
        "DW_FORM_GNU_addr_index",
        "DW_FORM_GNU_str_index",
    )
)
#: Forms that begin with their size, in so many bytes (0: a LEB128).
BLOCKS = {
    "DW_FORM_block1": 1,
    "DW_FORM_block2": 2,
    "DW_FORM_block4": 4,
    "DW_FORM_block": 0,
    "DW_FORM_exprloc": 0,
}


@cache
def form_names() -> dict[int, str]:
    """Forms by number."""
    return {number: name for name, number in ENUM_DW_FORM.items() if isinstance(number, int)}


def fixed_size(form: str, address_size: int, offset_size: int) -> int | None:
    """Bytes of a form, None where its content says it."""
    if form == "DW_FORM_addr":
        return address_size
    return offset_size if form in OFFSETS else FIXED.get(form)


def skip_form(data: Bytes, at: int, form: str, address_size: int, offset_size: int) -> int:
    """Where a value of a form ends. KeyError for a form that nobody knows."""
    size = fixed_size(form, address_size, offset_size)
    if size is not None:
        return at + size
    if form in LEB128:
        return uleb(data, at)[1]
    if form == "DW_FORM_string":
        return text_end(data, at)
    if form == "DW_FORM_indirect":
        number, at = uleb(data, at)
        return skip_form(data, at, direct(number), address_size, offset_size)
    width = BLOCKS[form]
    length, begin = (unsigned(data, at, width), at + width) if width else uleb(data, at)
    return begin + length


def direct(number: int) -> str:
    """The form of a value that says its own; one that leads on is refused."""
    form = form_names()[number]
    if form in ("DW_FORM_indirect", "DW_FORM_implicit_const"):
        raise ValueError(f"a value of form {form} within an indirect one")
    return form

"""One struct's members in, text and HTML that a person likes to read out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kernlab.debuginfo.types import EnumType, Type
from kernlab.errors import KernlabError
from kernlab.escape import escape_html, escape_terminal
from kernlab.util import text

#: Longer values are cut in a struct's repr; reading the member itself gives all of it.
_LONGEST_VALUE = 60
_MOST_ELEMENTS = 8


class EnumValue(int):
    """An enum's value that knows its name; in arithmetic and comparison an int."""

    name: str | None
    type_name: str

    def __new__(cls, value: int, enum: EnumType) -> EnumValue:
        """The value, and the first enumerator of `enum` that has it."""
        self = super().__new__(cls, value)
        self.name = next((name for name, number in enum.enumerators.items() if number == value), None)
        self.type_name = enum.c_name
        return self

    def __repr__(self) -> str:
        return self.name or f"({self.type_name}){int(self)}"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Member:
    """One member as `Struct.members_` reads it; `value` is the error where it could not be read."""

    name: str
    type: Type
    bit_offset: int
    bit_size: int
    value: Any

    @property
    def offset(self) -> str:
        """Byte offset, and bits of a bitfield, as pahole prints them."""
        byte, bit = divmod(self.bit_offset, 8)
        return f"{byte:#x}:{bit}-{bit + self.bit_size - 1}" if self.bit_size else f"{byte:#x}"


def as_text(type: Type, address: int, members: list[Member]) -> str:  # noqa: A002
    """A struct as C would write it, one member a line, values that could not be read as `<why>`."""
    lines = [f"{type.c_name} @ {address:#018x} {{"]
    lines += [f"  .{m.name} = {escape_terminal(_value(m.value))}," for m in members]
    return "\n".join([*lines, "}"])


def as_html(type: Type, address: int, members: list[Member]) -> str:  # noqa: A002
    """A struct as a table of offset, member, type and value, every string of the dump escaped."""
    rows = "".join(
        f"<tr><td>{m.offset}</td><td><b>{escape_html(m.name)}</b></td>"
        f"<td>{escape_html(_type_name(m))}</td>"
        f"<td{_MISSING if isinstance(m.value, KernlabError) else ''}>{escape_html(_value(m.value))}</td></tr>"
        for m in members
    )
    title = escape_html(type.c_name)
    left = 'style="text-align:left"'
    return (
        '<div class="kernlab-struct tex2jax_ignore mathjax_ignore" style="max-height:40em;overflow:auto">'
        f"<table {left}><caption {left}><code>{title}</code> @ <code>{address:#018x}</code>"
        f" · {type.size:,} bytes · {len(members):,} members</caption>"
        f"<thead><tr><th {left}>offset</th><th {left}>member</th><th {left}>type</th><th {left}>value</th></tr></thead>"
        f'<tbody style="font-family:var(--jp-code-font-family,monospace)">{rows}</tbody></table></div>'
    )


_MISSING = ' style="font-style:italic;opacity:.75"'


def _type_name(member: Member) -> str:
    return f"{member.type.c_name} : {member.bit_size}" if member.bit_size else member.type.c_name


def _value(value: Any) -> str:
    """A member's value in one line."""
    if isinstance(value, KernlabError):
        return f"<{value}>"
    if value is None:
        return "NULL"
    if isinstance(value, list):
        shown = ", ".join(_value(item) for item in value[:_MOST_ELEMENTS])
        return f"[{shown}{f', … {len(value):,} in all' if len(value) > _MOST_ELEMENTS else ''}]"
    if isinstance(value, bool | int) or value.__class__.__name__ == "float":
        return repr(value)
    if isinstance(value, str):
        return text.shorten(repr(value), _LONGEST_VALUE)
    if isinstance(value, bytes):
        return text.shorten(value.hex(" "), _LONGEST_VALUE)
    # A struct: where it lies, not what it holds, or one repr would print half the kernel.
    return f"{value.type_.c_name} @ {value.address_:#018x}"

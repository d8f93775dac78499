"""Places in memory in, rows for people out: all rows of a page are read, named and summed up together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.members import is_char
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import (
    ArrayType,
    ForwardType,
    PointerType,
    StructType,
    Type,
    VoidType,
)
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.memory import Status
from kernlab.struct_browser import list_heads, values
from kernlab.struct_browser.conventions import NAMED_BY
from kernlab.struct_browser.identify import identify
from kernlab.struct_browser.page_reader import PageReader
from kernlab.util import text
from kernlab.walk.strings import c_strings

_LONGEST_STRING = 256
_GONE = "is not in the dump"


class _ValueType(Type):
    """A number that stands in the slot of a tree itself (lib/xarray.c, xa_mk_value): nothing lies at its address."""

    name = "value"


VALUE: Type = _ValueType()


@dataclass(frozen=True)
class Location:
    """Something of a type at an address; `owner` is the (struct, member) that it is, '' where it is none."""

    name: str
    type: Type
    address: int
    owner: tuple[str, str] = ("", "")
    bit_offset: int = 0
    bit_size: int = 0
    #: Bytes from the start of the struct around it; -1 where there is none.
    offset: int = -1
    #: The Python expression that gives it again, and what to type into the address bar for it.
    code: str = ""
    expression: str = ""
    #: Said beside the value, as a fact about how it was found.
    note: str = ""
    #: Shown as a struct though its type is one of heads.
    raw: bool = False
    #: Many structs that lie here and there: then the place itself lies nowhere.
    many: StructArray | None = field(default=None, compare=False)

    @property
    def kind(self) -> Type:
        """The type without typedefs."""
        return self.type.strip()


@dataclass(frozen=True)
class NodeRow:
    """A place as it is shown. `why` says why it could not be read, `target` where a pointer leads ('' nowhere)."""

    place: Location
    value: str
    kind: str
    opens: bool
    why: str = ""
    target: int = 0
    summary: str = ""


def rows(kernel: Kernel, places: Sequence[Location]) -> list[NodeRow]:
    """One row per place. Never raises for what a dump lacks: such a row says why."""
    reader = PageReader(kernel)
    reader.want((place.address, _size(place)) for place in places)
    made = [_row(kernel, reader, place) for place in places]
    _name_pointers(kernel, made)
    _sum_up(kernel, made)
    return made


def _size(place: Location) -> int:
    """How many bytes are needed to show a place in one line."""
    kind = values.plain(place.type)
    if place.bit_size:
        return (place.bit_offset + place.bit_size + 7) // 8
    if list_heads.is_head(place.kind):
        return min(place.kind.size, 8)
    if isinstance(kind, StructType):
        return 0
    if isinstance(kind, ArrayType) and isinstance(kind.element.strip(), StructType):
        return 0
    return min(kind.size, values.MOST_BYTES)


def _row(kernel: Kernel, reader: PageReader, place: Location) -> NodeRow:
    kind = place.kind
    if kind is VALUE:
        return NodeRow(place, values.integer(kernel.arch, place.address >> 1), "scalar", False)
    try:
        raw = reader.read(place.address, _size(place))
    except KernlabError as error:
        return NodeRow(place, "", _kind(place), isinstance(kind, StructType | ArrayType), why=str(error))
    if list_heads.is_head(kind) and not place.raw:
        return _head(place, int.from_bytes(raw, "little"))
    if isinstance(kind, PointerType):
        value = values.number(kind, raw)
        return NodeRow(
            place, values.pointer(value), _kind(place), _followable(kernel, place, kind, value), target=value
        )
    inner = values.plain(place.type)
    if isinstance(inner, StructType):
        opens = bool(inner.members)
        return NodeRow(place, "", "union" if inner.is_union else "struct", opens)
    shown = values.scalar(
        kernel.types, kernel.arch, place.type, place.owner, raw, place.bit_offset, place.bit_size
    )
    opens = isinstance(kind, StructType | ArrayType) and not values.is_text(kind)
    return NodeRow(place, shown, _kind(place), opens)


def _head(place: Location, first: int) -> NodeRow:
    if not list_heads.HEADS[place.kind.c_name]:
        return NodeRow(place, "", "head", True)
    link = place.kind.c_name == "struct list_head"
    if link and not first:
        return NodeRow(place, "NULL: never set up", "head", True)
    if first == place.address if link else not first:
        # An empty list_head may be an entry that is on no list: its members can still be looked at.
        return NodeRow(place, "empty", "head", link)
    return NodeRow(place, f"first at {values.pointer(first)}", "head", True)


def _kind(place: Location) -> str:
    kind = place.kind
    if isinstance(kind, PointerType):
        return "function" if values.is_function(kind) else "pointer"
    if isinstance(kind, ArrayType):
        return "string" if values.is_text(kind) else "array"
    if isinstance(kind, StructType):
        return "head" if list_heads.is_head(kind) and not place.raw else "struct"
    return "scalar"


def _followable(kernel: Kernel, place: Location, kind: PointerType, value: int) -> bool:
    target = kind.target.strip()
    if not value or values.is_function(kind) or points_to_text(place):
        return False
    # What a void pointer or one to an unknown struct leads to may be known by its slab cache.
    return bool(target.size) or (
        isinstance(target, VoidType | ForwardType) and values.is_kernel_address(kernel.arch, value)
    )


def points_to_text(place: Location) -> bool:
    """Is it a pointer to a string? Plain char says so; the kernel's names of files are unsigned."""
    kind = place.kind
    return isinstance(kind, PointerType) and (
        is_char(kind.target.strip()) or place.owner == ("struct qstr", "name")
    )


def _name_pointers(kernel: Kernel, made: list[NodeRow]) -> None:
    """Symbols for what points at code or at globals, text for what points at strings."""
    pointing = [i for i, row in enumerate(made) if row.target >= kernel.arch.kernel_start]
    if pointing:
        named = kernel.symbolize(np.array([made[i].target for i in pointing], dtype=np.uint64))
        for i, name in zip(pointing, named, strict=True):
            if name is not None:
                made[i] = replace(made[i], summary=_short(name))
    unnamed = [
        i
        for i in pointing
        if not made[i].summary
        and isinstance(kind := made[i].place.kind, PointerType)
        and isinstance(kind.target.strip(), VoidType | ForwardType)
    ]
    if unnamed:
        for i, answer in zip(unnamed, identify(kernel, [made[i].target for i in unnamed]), strict=True):
            what = "; the rest" if answer.label else "what tells of it"
            unknown = f"{what} {_GONE}" if answer.unread else ""
            made[i] = replace(made[i], summary=show_controls(answer.label) + unknown)
    strings = [i for i in pointing if points_to_text(made[i].place)]
    if strings:
        addresses = np.array([made[i].target for i in strings], dtype=np.uint64)
        column = c_strings(kernel, addresses, _LONGEST_STRING)
        for i, value in zip(strings, column, strict=True):
            said = (
                f"its text {_GONE}"
                if value is None
                else values.string(value.encode("utf-8", "surrogateescape"))
            )
            made[i] = replace(made[i], summary=said)


def _short(symbol: str) -> str:
    """`name+0x0/0x80 [mod]` as `name [mod]`."""
    name, _, module = symbol.partition(" ")
    name = name.split("+0x0/")[0].rsplit("/", 1)[0] if "+" in name else name
    return show_controls(f"{name} {module}".strip())


def _sum_up(kernel: Kernel, made: list[NodeRow]) -> None:
    """A few words on each struct that a row is or points to, one gather a member and type."""
    groups: dict[str, list[int]] = {}
    types: dict[str, Type] = {}
    for i, row in enumerate(made):
        kind = row.place.kind
        struct = kind.target.strip() if isinstance(kind, PointerType) else kind
        if (
            isinstance(struct, StructType)
            and struct.c_name in NAMED_BY
            and not row.why
            and (row.opens or row.target)
        ):
            groups.setdefault(struct.c_name, []).append(i)
            types[struct.c_name] = struct
    for name, which in groups.items():
        at = [
            made[i].target if isinstance(made[i].place.kind, PointerType) else made[i].place.address
            for i in which
        ]
        said = summaries(kernel, types[name], np.array(at, dtype=np.uint64))
        for i, words in zip(which, said, strict=True):
            if words:
                # A global's symbol stays in front.
                made[i] = replace(
                    made[i], summary=f"{made[i].summary}: {words}" if made[i].summary else words
                )


def summaries(
    kernel: Kernel, kind: Type, addresses: np.ndarray[tuple[int], np.dtype[np.uint64]]
) -> list[str]:
    """What names each struct of one type; of those that the dump lacks it says so, '' of what is not a struct."""
    array = StructArray(kernel, kind, addresses)
    parts: list[list[str]] = [[] for _ in range(len(array))]
    lacking = np.zeros(len(array), dtype=bool)
    for spec in NAMED_BY.get(kind.strip().c_name, ()):
        label, _, path = spec.rpartition("=")
        path, _, form = path.partition(":")
        if not array.has(path):
            continue
        column = array[path]
        lacking |= ~column.valid
        if (
            column.kind == "address"
            and isinstance(column.type, PointerType)
            # char, or unsigned char as in struct qstr
            and column.type.target.strip().size == 1
        ):
            column = c_strings(kernel, column, _LONGEST_STRING)
        for i, item in enumerate(column):
            if item is not None and not isinstance(item, list):
                shown = (
                    show_controls(text.shorten(str(item), 80))
                    if column.kind == "text"
                    else f"{item:#x}"
                    if form
                    else str(item)
                )
                if shown:
                    parts[i].append(f"{label} {shown}" if label else shown)
    # Only where something is lacking at all is it asked why.
    rows = np.flatnonzero(lacking)
    for row, status in zip(
        rows.tolist(), kernel.gather(addresses[rows], kind.size, "")[1].tolist(), strict=True
    ):
        what = "the rest of it" if parts[row] else "its struct"
        if status in (Status.EXCLUDED, Status.LOST):
            parts[row].append(f"{what} {_GONE}")
        elif status == Status.ABSENT:
            parts[row].append(f"the machine had no memory at {what}")
    return [", ".join(words) for words in parts]

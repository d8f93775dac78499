"""Fields of trace records, many at once: records and a field in, a column out.

| a field of | becomes |
|---|---|
| integers and enums | int64, uint64 (int64 below 8 bytes) |
| bool | bool |
| a pointer | address |
| char array, `__data_loc char[]`, what ends the record as char[] | str |
| other arrays | tuples of int; of u8 `bytes` |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.dataframes import nullable
from kernlab.traces.ftrace.formats import Field
from kernlab.traces.ftrace.source import NATIVE, Machine
from kernlab.util import text

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

_CHARS = ("char", "signed char", "const char", "unsigned char", "u8", "__u8", "uint8_t")
_TEXT = ("char", "const char", "signed char")


@dataclass(frozen=True)
class Records:
    """Records of one event: bytes [start, start + size) of `data`, the sub-buffers one behind the other."""

    data: U8
    start: I64
    size: I64
    machine: Machine = NATIVE

    def __len__(self) -> int:
        return len(self.start)

    def rows(self, offset: int, width: int) -> tuple[U8, npt.NDArray[np.bool_]]:
        """`width` bytes at an offset of every record: (uint8[n, width], bool[n] of which records reach so far)."""
        there = self.size >= offset + width
        at = np.where(there, self.start + offset, 0)
        if width > len(self.data):
            return np.zeros((len(self), width), dtype=np.uint8), np.zeros(len(self), dtype=bool)
        taken = self.data[at[:, None] + np.arange(width)]
        return taken, there

    def words(self, offset: int, width: int, signed: bool) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Integers of 1, 2, 4 or 8 bytes at an offset of every record."""
        taken, there = self.rows(offset, width)
        values = np.ascontiguousarray(taken).view(_kind(self.machine, width, signed))[:, 0]
        return values.astype(values.dtype.newbyteorder("="), copy=False), there


def _kind(machine: Machine, width: int, signed: bool) -> str:
    return f"{machine.mark}{'i' if signed else 'u'}{width}"


def column(records: Records, field: Field) -> Any:
    """A field of all records, as the frame builder takes it; missing where a record ends before it."""
    if field.is_dynamic:
        start, size, there = _located(records, field)
        return _spans(records, start, size, there, field)
    if field.size == 0:
        # What ends the record: the record's end is its end.
        start = records.start + field.offset
        size = records.size - field.offset
        return _spans(records, start, np.maximum(size, 0), size >= 0, field)
    if field.is_array:
        return _array(records, field)
    if field.size in (1, 2, 4, 8):
        values, there = records.words(field.offset, field.size, field.signed)
        if field.element.endswith("*"):
            return Column.of(values.astype(np.uint64), there, "address")
        if field.element in ("bool", "_Bool"):
            return Column.of(values != 0, there)
        column = Column.of(values, there)
        return column if there.all() else nullable(column)
    taken, there = records.rows(field.offset, field.size)
    return _objects([row.tobytes() for row in taken], there)


def _located(records: Records, field: Field) -> tuple[I64, I64, npt.NDArray[np.bool_]]:
    """Where dynamic values lie: size << 16 | offset, from the record's start or from the field's own end."""
    where, there = records.words(field.offset, 4, False)
    offset = (where & 0xFFFF).astype(np.int64)
    if field.type.startswith("__rel_loc"):
        offset += field.offset + field.size
    size = (where >> 16).astype(np.int64)
    there = there & (offset + size <= records.size)
    return records.start + offset, np.where(there, size, 0), there


def _array(records: Records, field: Field) -> Any:
    taken, there = records.rows(field.offset, field.size)
    if field.element in _TEXT:
        return Column.of(text.decode_rows(taken), there, "text")
    width = element_width(field)
    if field.element in _CHARS or width is None:
        return _objects([row.tobytes() for row in taken], there)
    values = np.ascontiguousarray(taken).view(_kind(field.machine, width, field.signed))
    return _objects([tuple(row) for row in values.tolist()], there)


def _spans(records: Records, start: I64, size: I64, there: npt.NDArray[np.bool_], field: Field) -> Any:
    """Values of any length, one slice each."""
    pairs = zip(start.tolist(), size.tolist(), there.tolist(), strict=True)
    raw = [records.data[at : at + length].tobytes() if good else b"" for at, length, good in pairs]
    if field.element in _TEXT:
        values = np.empty(len(raw), dtype=object)
        values[:] = [text.decode(piece, cut=True) for piece in raw]
        return Column.of(values, there)
    width = element_width(field)
    if field.element in _CHARS or width is None:
        return _objects(raw, there)
    kind = _kind(field.machine, width, field.signed)
    return _objects(
        [tuple(np.frombuffer(piece[: len(piece) // width * width], kind).tolist()) for piece in raw], there
    )


#: Sizes of the types of elements that events use, a long apart; what is none of them stays bytes.
_WIDTHS = {
    "u64": 8,
    "__u64": 8,
    "s64": 8,
    "int": 4,
    "unsigned int": 4,
    "unsigned": 4,
    "u32": 4,
    "__u32": 4,
    "__be32": 4,
    "s32": 4,
    "short": 2,
    "unsigned short": 2,
    "u16": 2,
    "__u16": 2,
    "s16": 2,
}


_LONGS = ("unsigned long", "long")


def element_width(field: Field) -> int | None:
    """Bytes of an array's element, None where they are not known."""
    if field.length > 0 and not field.is_dynamic and field.size and field.size % field.length == 0:
        width = field.size // field.length
    elif field.element.endswith("*"):
        width = field.machine.word
    else:
        kind = field.element.removeprefix("const ")
        width = field.machine.word if kind in _LONGS else _WIDTHS.get(kind, 0)
    # The size of a dynamic array is that of the number that says where it lies.
    fits = field.is_dynamic or field.size % (width or 1) == 0
    return width if width in (1, 2, 4, 8) and fits else None


def _objects(values: list[Any], there: npt.NDArray[np.bool_]) -> npt.NDArray[np.object_]:
    result = np.empty(len(values), dtype=object)
    for row, (value, good) in enumerate(zip(values, there.tolist(), strict=True)):
        result[row] = value if good else None
    return result

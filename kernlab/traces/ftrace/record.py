"""Fields of one trace record: a field in, a function from the record's bytes to its value out.

The counterpart of fields.py, which reads a field of all records at once: texts are made one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernlab.traces.ftrace.fields import element_width
from kernlab.traces.ftrace.formats import Field
from kernlab.util import text

#: An int, a str, `bytes` (a buffer) or a tuple of int (an array).
Value = Any
Compiled = Callable[[bytes], Value]


_TEXT = ("char", "const char")


class Failed(Exception):  # noqa: N818
    """A record lacks what is asked for, or C would not compute it: a division by zero, a shift too far."""


class NotKnown(Failed):
    """An argument asks for what only the running kernel knows: a variable, or the size of a struct."""


def getter(field: Field) -> Compiled:
    """A field's value in a record."""
    start, end, signed, order = field.offset, field.offset + field.size, field.signed, field.machine.order
    if field.is_dynamic:
        return dynamic(field)
    if field.size == 0:
        return lambda record: shape(field, record[start:])
    if not field.is_array and field.size in (1, 2, 4, 8):

        def number(record: bytes) -> Value:
            if len(record) < end:
                raise Failed
            return int.from_bytes(record[start:end], order, signed=signed)

        return number

    is_text = field.element in _TEXT

    def array(record: bytes) -> Value:
        if len(record) < end:
            raise Failed
        return text.decode(record[start:end], cut=True) if is_text else shape(field, record[start:end])

    return array


def dynamic(field: Field) -> Compiled:
    """The bytes that a `__data_loc` or `__rel_loc` field points to within its record."""
    order = field.machine.order
    base = field.offset + field.size if field.type.startswith("__rel_loc") else 0

    def take(record: bytes) -> Value:
        if len(record) < field.offset + 4:
            raise Failed
        where = int.from_bytes(record[field.offset : field.offset + 4], order)
        start, size = base + (where & 0xFFFF), where >> 16
        if start + size > len(record):
            raise Failed
        return record[start : start + size]

    return take


def shape(field: Field, raw: bytes) -> Value:
    """An array's bytes as what it is: text of char, `bytes` of u8, else a tuple of numbers."""
    if field.element in _TEXT:
        return text.decode(raw, cut=True)
    width = element_width(field)
    if width is None or width == 1:
        return raw
    return tuple(
        int.from_bytes(raw[at : at + width], field.machine.order, signed=field.signed)
        for at in range(0, len(raw) - width + 1, width)
    )

"""What print formats call: `__print_flags`, `__get_str` and their like, as functions of a record's bytes.

Mirrors kernel/trace/trace_output.c (trace_print_flags_seq and its siblings).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from kernlab.traces.ftrace.fields import element_width
from kernlab.traces.ftrace.formats import Field
from kernlab.traces.ftrace.printf import Unpadded
from kernlab.traces.ftrace.record import Compiled, Failed
from kernlab.traces.ftrace.source import Machine
from kernlab.util import text

#: Those that take the name of a field.
OF_FIELDS = frozenset(
    f"__get_{kind}{what}"
    for kind in ("", "rel_")
    for what in ("str", "dynamic_array", "dynamic_array_len", "bitmask", "cpumask", "sockaddr")
) | {"__print_dynamic_array"}

#: Those that take a table of values and names.
TABLES = frozenset(("__print_flags", "__print_flags_u64", "__print_symbolic", "__print_symbolic_u64"))

#: Shifting by more, or a product of more bits, is damage.
_WIDEST = 1 << 64

#: These give back what they are given.
_TRANSPARENT = (
    "pte_val",
    "pmd_val",
    "pud_val",
    "p4d_val",
    "pgd_val",
    "__builtin_expect",
    "likely",
    "unlikely",
)


def _divide(left: int, right: int) -> int:
    if not right:
        raise Failed
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _shift(left: int, right: int) -> int:
    if not 0 <= right < 64:
        raise Failed
    return (left << right) % _WIDEST if left >= 0 else left << right


def _shift_right(left: int, right: int) -> int:
    if not 0 <= right < 64:
        raise Failed
    return left >> right


ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: (a * b) % _WIDEST if a >= 0 and b >= 0 else a * b,
    "/": _divide,
    "%": lambda a, b: a - _divide(a, b) * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": _shift,
    ">>": _shift_right,
    "<": lambda a, b: int(a < b),
    ">": lambda a, b: int(a > b),
    "<=": lambda a, b: int(a <= b),
    ">=": lambda a, b: int(a >= b),
}


def flags(value: int, delimiter: str, entries: list[tuple[int, str]]) -> str:
    """trace_print_flags_seq: names of the bits, and what is left as a number."""
    left = value % _WIDEST
    out = []
    for mask, name in entries:
        if not left:
            break
        if left & mask == mask:
            out.append(name)
            left &= ~mask
    if left:
        out.append(f"{left:#x}")
    return delimiter.join(out)


def table(
    name: str, value: Compiled, delimiter: str, entries: list[tuple[int, str]], report: bool = False
) -> Compiled:
    """__print_flags and __print_symbolic over constant entries; trace-cmd (`report`) pads no number."""
    if name.startswith("__print_flags"):
        return lambda record: flags(_int(value(record)), delimiter, entries)
    names: dict[int, str] = {}
    for number, label in entries:
        names.setdefault(number, label)

    def symbolic(record: bytes) -> str:
        number = _int(value(record)) % _WIDEST
        found = names.get(number)
        if found is not None:
            return found
        return Unpadded(f"{number:#x}") if report else f"{number:#x}"

    return symbolic


def _int(value: Any) -> int:
    if isinstance(value, int):
        return value
    raise Failed


def of_field(name: str, field: Field, raw: Compiled, rest: list[Compiled], report: bool = False) -> Compiled:
    """What takes a field's name; `raw` gives the bytes that it points to. trace-cmd (`report`) lists CPUs."""
    width, order = element_width(field) or 1, field.machine.order
    kind = name.removeprefix("__get_").removeprefix("rel_")
    if kind == "str":
        return lambda record: text.decode(raw(record), cut=True)
    if kind == "dynamic_array_len":
        # Of bytes: formats divide it by the size of an element (stage3_trace_output.h).
        return lambda record: len(raw(record))
    if kind == "cpumask" and report:
        return lambda record: cpus(raw(record), field.machine)
    if kind in ("bitmask", "cpumask"):
        return lambda record: bitmap(raw(record), field.machine)
    if name == "__print_dynamic_array":
        return lambda record: array(raw(record), None, _int(rest[0](record)) if rest else width, order)
    return raw


def bitmap(raw: bytes, machine: Machine) -> str:
    """%*pb: 32 bits a group, in hexadecimal, the highest first; in memory it is an array of longs."""
    size = machine.word if machine.big and len(raw) % machine.word == 0 else 4
    words = [int.from_bytes(raw[at : at + size], machine.order) for at in range(0, len(raw), size)]
    groups = [word >> shift & 0xFFFF_FFFF for word in words for shift in range(0, 8 * size, 32)]
    return ",".join(f"{group:08x}" for group in reversed(groups))


def cpus(raw: bytes, machine: Machine) -> str:
    """The bits of a mask as `0,2,66-68`; in memory it is an array of longs."""
    size = machine.word if len(raw) % machine.word == 0 else 1
    mask = sum(
        int.from_bytes(raw[at : at + size], machine.order) << 8 * at for at in range(0, len(raw), size)
    )
    runs = [match.span() for match in re.finditer("1+", f"{mask:b}"[::-1])]
    spans = [f"{first}-{end - 1}" if end - first > 1 else f"{first}" for first, end in runs]
    return ",".join(spans)


def array(raw: Any, count: int | None, size: int, order: Literal["little", "big"]) -> str:
    """trace_print_array_seq: `{0x1,0x2}` of a buffer, or of numbers read already."""
    if isinstance(raw, tuple):
        values = list(raw)
    elif isinstance(raw, bytes) and size in (1, 2, 4, 8):
        values = [int.from_bytes(raw[at : at + size], order) for at in range(0, len(raw) - size + 1, size)]
    else:
        raise Failed
    return "{" + ",".join(f"{value % (1 << 8 * size):#x}" for value in values[:count]) + "}"


def call(name: str, arguments: list[Compiled], order: Literal["little", "big"] = "little") -> Compiled:
    """Any other function; one that is not known shows itself with its arguments."""
    if (name in _TRANSPARENT or name.startswith("native_make_")) and arguments:
        return arguments[0]
    if name in ("__print_hex", "__print_hex_str") and len(arguments) == 2:
        between = " " if name == "__print_hex" else ""

        def hexadecimal(record: bytes) -> str:
            held = _buffer(arguments[0](record))[: _int(arguments[1](record))]
            return between.join(f"{byte:02x}" for byte in held)

        return hexadecimal
    if name == "__print_array" and len(arguments) == 3:
        return lambda record: array(
            arguments[0](record), _int(arguments[1](record)), _int(arguments[2](record)), order
        )
    if name == "__print_ns_to_secs" and arguments:
        return lambda record: _divide(_int(arguments[0](record)), 10**9)
    if name == "__print_ns_without_secs" and arguments:
        return lambda record: _int(arguments[0](record)) % 10**9

    def shown(record: bytes) -> str:
        return f"{name}({', '.join(str(argument(record)) for argument in arguments)})"

    return shown


def _buffer(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace")
    raise Failed

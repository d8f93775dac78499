"""The kernel's printf: a format and arguments in, text out; arguments are values, or packed as by trace_printk.

Mirrors lib/vsprintf.c (format_decode, vbin_printf, bstr_printf). Formats come from a dump: a format is data here,
widths are bounded, and no format is an error.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from kernlab.traces.ftrace.source import NATIVE, Machine
from kernlab.util import text

#: A directive: flags, width, precision, length, conversion, and the letters behind %p.
_DIRECTIVE = re.compile(r"%([-+ #0]*)(\d+|\*)?(?:\.(\d+|\*)?)?(hh|h|ll|l|L|j|z|Z|t|q)?([diouxXcspn%])?")

_HAS_POINT = re.compile(r"%[-+ #0]*(?:\d+|\*)?\.")

_SIZES = {"hh": 1, "h": 2, "": 4, "ll": 8, "L": 8, "j": 8, "q": 8}

#: Padding beyond this is damage.
_WIDEST = 1024

#: vbin_printf: pointers that it saves as such. What others point to is formatted when it is recorded.
_SAVED_POINTERS = "SsxKe"

#: In the place of a pointer's letters, or a number's: as the C library prints it.
OF_LIBC = "libc"

#: Behind a pointer's letters: what is no address shows nothing.
SILENT = "!"


class Unpadded(str):
    """A text that no directive makes wider or shorter."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One `%…`: `width` and `precision` are -1 where the argument before gives them ('*'), None where there is none."""

    flags: str
    width: int | None
    precision: int | None
    size: int
    conversion: str
    #: Letters that say how a pointer is shown ("S", "I4").
    pointer: str = ""
    order: Literal["little", "big"] = "little"


def parse(form: str, machine: Machine = NATIVE) -> list[str | Directive]:
    """A format as its texts and directives, `%%` as text. What is not a directive stands as it is."""
    parts: list[str | Directive] = []
    at = 0
    while at < len(form):
        start = form.find("%", at)
        if start < 0:
            parts.append(form[at:])
            break
        if start > at:
            parts.append(form[at:start])
        match = _DIRECTIVE.match(form, start)
        if match is None or match[5] is None:
            parts.append("%")
            at = start + 1
            continue
        at = match.end()
        if match[5] == "%":
            parts.append("%")
            continue
        pointer = ""
        if match[5] == "p":
            while at < len(form) and form[at].isascii() and form[at].isalnum():
                pointer += form[at]
                at += 1
        precision = match[3] if match[3] is not None else "0" if _HAS_POINT.match(match[0]) else None
        # l, z and t are of a long's size, as pointers are.
        size = machine.word if match[5] == "p" else _SIZES.get(match[4] or "", machine.word)
        parts.append(
            Directive(match[1], _count(match[2]), _count(precision), size, match[5], pointer, machine.order)
        )
    return parts


def _count(written: str | None) -> int | None:
    if written is None:
        return None
    return -1 if written == "*" else min(int(written[:6]), _WIDEST)


def render(
    parts: Iterable[str | Directive],
    arguments: Iterator[object],
    symbolize: Callable[[int], str],
) -> str:
    """The text of a format whose arguments are values (int, str or bytes); a missing one ends it with an ellipsis."""
    out: list[str] = []
    try:
        for part in parts:
            if isinstance(part, str):
                out.append(part)
                continue
            width = next(arguments) if part.width == -1 else part.width
            precision = next(arguments) if part.precision == -1 else part.precision
            out.append(_one(part, _small(width), _small(precision), next(arguments), symbolize))
    except StopIteration:
        out.append("…")
    return "".join(out)


def _small(count: object) -> int | None:
    return max(min(count, _WIDEST), -_WIDEST) if isinstance(count, int) else None


def _one(
    directive: Directive,
    width: int | None,
    precision: int | None,
    value: object,
    symbolize: Callable[[int], str],
) -> str:
    kind = directive.conversion
    left = "-" in directive.flags
    if width is not None and width < 0:
        left, width = True, -width
    if (
        kind == "p"
        and isinstance(value, bytes)
        and (said := buffer(directive.pointer, value, width, directive.order)) is not None
    ):
        return said
    if isinstance(value, Unpadded):
        return value
    if kind == "s" or not isinstance(value, int):
        shown = text.decode(value) if isinstance(value, bytes) else str(value)
        if precision is not None and precision >= 0:
            shown = shown[:precision]
    elif kind == "p":
        shown = _pointer(directive, value, symbolize)
    elif kind == "c":
        shown = text.decode(bytes([value & 0xFF]))
    else:
        return _integer(directive, width or 0, precision, value, left)
    return shown.ljust(width or 0) if left else shown.rjust(width or 0)


def _integer(directive: Directive, width: int, precision: int | None, value: int, left: bool) -> str:
    bits = 8 * directive.size
    value &= (1 << bits) - 1
    kind = directive.conversion
    if kind in "di" and value >> (bits - 1):
        value -= 1 << bits
    flags = directive.flags
    sign = (
        "-"
        if value < 0
        else "+"
        if "+" in flags and kind in "di"
        else " "
        if " " in flags and kind in "di"
        else ""
    )
    digits = format(abs(value), {"o": "o", "x": "x", "X": "X"}.get(kind, "d"))
    prefix = {"x": "0x", "X": "0X", "o": "0"}.get(kind, "") if "#" in flags else ""
    if not value and directive.pointer == OF_LIBC:
        # The C library gives zero no prefix, the kernel does.
        prefix = ""
    if precision is not None and precision >= 0:
        digits = digits.rjust(precision, "0")
    elif "0" in flags and not left:
        digits = digits.rjust(width - len(sign) - len(prefix), "0")
    shown = sign + prefix + digits
    return shown.ljust(width) if left else shown.rjust(width)


def _pointer(directive: Directive, value: int, symbolize: Callable[[int], str]) -> str:
    """Pointers by their letters: S and B with an offset, s without; others as numbers."""
    how = directive.pointer
    value &= (1 << 8 * directive.size) - 1
    if how == OF_LIBC:
        return f"{value:#x}" if value else "(nil)"
    if how[:1] in ("S", "B", "F"):
        return symbolize(value)
    if how[:1] in ("s", "f"):
        named = symbolize(value)
        return named.partition("+")[0] + (named[named.index(" [") :] if " [" in named else "")
    return f"{value:0{2 * directive.size}x}"


def buffer(how: str, raw: bytes, width: int | None, order: Literal["little", "big"] = "little") -> str | None:
    """What %p with letters shows of the bytes that it points to; None where the letters ask for no bytes."""
    if how[:1] == "h":
        separator = {"C": ":", "D": "-", "N": ""}.get(how[1:2], " ")
        held = raw[:width] if width is not None else raw[:1]
        return held.hex(separator) if separator else held.hex()
    if how[:1] in ("M", "m") and len(raw) >= 6:
        return raw[:6].hex(":" if how[:1] == "M" else "") if how[1:2] != "R" else raw[5::-1].hex(":")
    if how[:1] == "U" and len(raw) >= 16:
        places = (3, 2, 1, 0, 5, 4, 7, 6) if how[1:2] in ("l", "L") else range(8)
        digits = (bytes(raw[at] for at in places) + raw[8:16]).hex()
        shown = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        return shown.upper() if how[1:2] in ("B", "L") else shown
    if how[:1] in ("I", "i"):
        return _network(how, raw, order)
    return None


def _network(how: str, raw: bytes, order: Literal["little", "big"]) -> str | None:
    """%pI4, %pI6, %pI6c, and %pIS with p, c: the address in a struct sockaddr_in or sockaddr_in6."""
    if how[1:2] == "4" and len(raw) >= 4:
        return ".".join(str(byte) for byte in raw[:4])
    if how[1:2] == "6" and len(raw) >= 16:
        if "c" in how:
            return str(ipaddress.IPv6Address(raw[:16]))
        return raw[:16].hex(":", 2)
    if how[1:2] != "S" or len(raw) < 2:
        return None
    family, port = int.from_bytes(raw[:2], order), f"{int.from_bytes(raw[2:4], 'big')}"
    if family == socket.AF_INET and len(raw) >= 8:
        shown = ".".join(str(byte) for byte in raw[4:8])
        return f"{shown}:{port}" if "p" in how else shown
    if family == socket.AF_INET6 and len(raw) >= 24:
        shown = str(ipaddress.IPv6Address(raw[8:24])) if "c" in how else raw[8:24].hex(":", 2)
        return f"[{shown}]:{port}" if "p" in how else shown
    # vsprintf.c, ip_addr_string: what is neither.
    return "" if how.endswith(SILENT) else "(einval)"


def unpack(
    parts: Iterable[str | Directive], packed: bytes, smallest: int = 1, machine: Machine = NATIVE
) -> Iterator[object]:
    """The arguments that vbin_printf packed for a format, one after the other; ends where `packed` does.

    `smallest` is how many bytes a number takes at least (%hhd and %hd: their own sizes, or an int's).
    """
    at = 0

    def number(size: int) -> int | None:
        nonlocal at
        step = min(size, 4)
        at = -(-at // step) * step
        if at + size > len(packed):
            return None
        value = int.from_bytes(packed[at : at + size], machine.order)
        at += size
        return value

    for part in parts:
        if isinstance(part, str):
            continue
        for given in (part.width, part.precision):
            if given == -1:
                count = number(4)
                if count is None:
                    return
                yield count - (1 << 32) if count >> 31 else count
        inline = part.conversion == "s" or (
            part.conversion == "p" and part.pointer[:1] not in _SAVED_POINTERS and part.pointer != ""
        )
        if inline:
            if at >= len(packed):
                return
            end = packed.find(b"\0", at)
            end = len(packed) if end < 0 else end
            yield text.decode(packed[at:end])
            at = end + 1
            continue
        size = 1 if part.conversion == "c" else max(part.size, smallest)
        value = number(size)
        if value is None:
            return
        yield value


def render_packed(
    form: str,
    packed: bytes,
    symbolize: Callable[[int], str],
    smallest: int = 1,
    machine: Machine = NATIVE,
) -> str:
    """bstr_printf: the text of a format whose arguments vbin_printf packed (see `unpack`)."""
    parts = parse(form, machine)
    return render(parts, unpack(parts, packed, smallest, machine), symbolize)

"""Texts of events: the kernel's printf, packed arguments, and print formats."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.errors import KernlabError
from kernlab.traces.ftrace.expression import Parser
from kernlab.traces.ftrace.formats import Field
from kernlab.traces.ftrace.printf import parse, render, render_packed
from kernlab.traces.ftrace.record import Failed


def symbol(address: int) -> str:
    return f"function+{address:#x}/0x100 [mod]"


@pytest.mark.parametrize(
    ("form", "arguments", "text"),
    [
        ("%d %u %x", [-1 & 0xFFFFFFFF, 1 << 31, 255], "-1 2147483648 ff"),
        ("%5d|%-5d|%05d|%+d", [7, 7, 7, 7], "    7|7    |00007|+7"),
        ("%#x %#o %#010llx", [255, 8, 0xBEEF], "0xff 010 0x0000beef"),
        ("%hhu %hd %ld", [300, 0xFFFE, (1 << 64) - 5], "44 -2 -5"),
        ("%s|%8s|%-4s|%.2s|%%", ["a", "b", "c", "defg"], "a|       b|c   |de|%"),
        ("%*d|%-*d|%.*s", [4, 1, 4, 2, 1, "xyz"], "   1|2   |x"),
        ("%c%c", [65, 0x1FF & 0x42], "AB"),
        ("%pS %ps %px", [0x10, 0x10, 0x10], "function+0x10/0x100 [mod] function [mod] 0000000000000010"),
        (
            "%pI4 %pM %*phC",
            [b"\x0a\0\0\x01", b"\x52\x54\0\0\0\1", 3, b"abc"],
            "10.0.0.1 52:54:00:00:00:01 61:62:63",
        ),
        ("%pI6c", [bytes(15) + b"\1"], "::1"),
        ("%pISpc", [struct.pack("<H", 2) + b"\x01\xbb\x7f\0\0\1" + bytes(8)], "127.0.0.1:443"),
        ("%pUb", [bytes(range(16))], "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ("%d %d", [1], "1 …"),
        ("%q %", [], "%q %"),
        ("%99999999d", [1], " " * 1023 + "1"),
    ],
)
def test_printf(form: str, arguments: list[Any], text: str) -> None:
    assert render(parse(form), iter(arguments), symbol) == text


def test_packed_arguments() -> None:
    # As vbin_printf packs them: numbers aligned to their size, at most to 4; strings where they come.
    packed = (
        struct.pack("<i", -3) + b"name\0" + b"x" + struct.pack("<H", 7) + struct.pack("<q", -1) + b"52:54\0"
    )
    assert render_packed("%d %s %c %hu %ld %pM", packed, symbol) == "-3 name x 7 -1 52:54"
    # Kernels that pack what is smaller than an int as an int.
    wide = struct.pack("<IiQ", 200, -2, 9)
    assert render_packed("%hhu %hd %zu", wide, symbol, 4) == "200 -2 9"


@settings(deadline=None)
@given(st.text(max_size=60), st.binary(max_size=80))
def test_no_format_is_an_error(form: str, packed: bytes) -> None:
    render_packed(form, packed, symbol)
    render_packed(f"%{form}", packed, symbol)


FIELDS = {
    field.name: field
    for field in (
        Field("state", "long", 8, 8, True),
        Field("flags", "unsigned int", 16, 4, False),
        Field("comm", "char[16]", 20, 16, False, 16),
        Field("name", "__data_loc char[]", 36, 4, False, 0),
        Field("list", "__data_loc u32[]", 40, 4, False, 0),
        Field("raw", "u8[4]", 44, 4, False, 4),
    )
}
RECORD = (
    bytes(8)
    + struct.pack("<qI16s", 258, 5, b"bash\0old")
    + struct.pack("<II", 6 << 16 | 48, 8 << 16 | 56)
    + b"\1\2\3\4"
    + b"hello\0\0\0"
    + struct.pack("<II", 16, 255)
)


SIZES = {
    "unsigned int": (4, False),
    "unsigned": (4, False),
    "u32": (4, False),
    "int": (4, True),
    "struct page": (64, False),
}


def evaluate(source: str, record: bytes = RECORD) -> Any:
    form, (value,) = Parser(
        f'"%s", {source}', FIELDS, {"BIT": 4, "base": 0x1000}.get, SIZES.get
    ).format_and_arguments()
    assert form == "%s"
    return value(record)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("REC->state", 258),
        ("REC->comm", "bash"),
        ("__get_str(name)", "hello"),
        ("__get_str(name)[0] == 'h'", 1),
        ("1 + 2 * 3 - 8 / 3", 5),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("1 << 4 | 1", 17),
        ("(REC->state & (((0x0 | 0x1 | 0x2 | 0x40) + 1) << 1) - 1) ? 1 : 2", 1),
        ("!REC->flags || REC->flags > 4 && 0", 0),
        ("~0UL == -1UL", 1),
        ("(unsigned int) -1", 0xFFFFFFFF),
        ("(u32)(REC->state << 31)", 0),
        ("(REC->flags) & BIT", 4),
        ('__print_flags(REC->flags, "|", {1, "A"}, {BIT, "B"}, {8, "C"})', "A|B"),
        ('__print_flags(REC->state, "|", {2, "A"})', "A|0x100"),
        ('__print_symbolic(REC->flags, {4, "four"}, {5, "five"})', "five"),
        ('__print_symbolic(REC->flags, {4, "four"})', "0x5"),
        ("__print_array(__get_dynamic_array(list), __get_dynamic_array_len(list), 4)", "{0x10,0xff}"),
        ("__print_hex(REC->raw, 3)", "01 02 03"),
        ("__print_hex_str(REC->raw, 4)", "01020304"),
        ("sizeof(u32) * 2", 8),
        ("(((struct page *)base) + (REC->flags))", 0x1000 + 5 * 64),
        ('some_function(REC->flags, "x")', "some_function(5, x)"),
        ('"a" "b"', "ab"),
        (r'"tab\tquote\"\x41"', 'tab\tquote"A'),
        ("REC->raw[2]", 3),
    ],
)
def test_expressions(source: str, value: Any) -> None:
    assert evaluate(source) == value


@pytest.mark.parametrize(
    "source", ["REC->state / 0", "1 << 64", "REC->comm + 1", "__get_str(name)", "REC->state"]
)
def test_what_a_record_does_not_hold(source: str) -> None:
    with pytest.raises(Failed):
        evaluate(source, RECORD[:12])


@pytest.mark.parametrize(
    "source",
    ["REC->nothing", "REC", "1 +", "(1", "REC->state.x", "`id`", "1 2", "(" * 500 + "1", "sizeof(what)"],
)
def test_what_is_not_understood_says_so(source: str) -> None:
    with pytest.raises(KernlabError):
        evaluate(source)


def test_nothing_of_a_format_is_executed() -> None:
    assert evaluate('__import__("os")') == "__import__(os)"


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet="REC->state()[]{}+-*/%&|^~!<>?:,\"'0123456789 _abc", max_size=80), st.binary(max_size=80)
)
def test_no_format_and_no_record_is_an_error(source: str, record: bytes) -> None:
    try:
        _, values = Parser(f'"%s", {source}', FIELDS, lambda name: None, SIZES.get).format_and_arguments()
    except KernlabError:
        return
    for value in values:
        with contextlib.suppress(Failed):
            value(record)

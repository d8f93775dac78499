"""The arguments of an event's print format (`REC->prev_state & 255 ? __print_flags(…) : "R"`): C in, functions out.

A small part of C, as include/trace/stages/stage3_trace_output.h leaves it in `print_fmt`. Each expression becomes a
Python function from a record's bytes to a value: int, str, bytes (a buffer) or a tuple of int (an array). Nothing of
the format is executed: what is not understood raises `NotUnderstood` when it is read, not when it is used.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

from kernlab import text
from kernlab.errors import KernlabError
from kernlab.traces import ftrace_helpers as helpers
from kernlab.traces.ftrace_fields import element_width
from kernlab.traces.ftrace_formats import Field
from kernlab.traces.ftrace_helpers import Failed

Value = Any
Compiled = Callable[[bytes], Value]

#: Expressions that are pointers, by the size of what they point to.
_strides: weakref.WeakKeyDictionary[Compiled, int] = weakref.WeakKeyDictionary()

#: Deeper expressions, or more tokens, than these are damage.
_DEEPEST = 100
_MOST_TOKENS = 1 << 16

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*") |
    (?P<char>'(?:[^'\\]|\\.)+') |
    (?P<number>0[xX][0-9a-fA-F]+[uUlL]*|[0-9]+[uUlL]*) |
    (?P<name>[A-Za-z_]\w*) |
    (?P<op>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>?:(),{}\[\].])
    )""",
    re.VERBOSE | re.DOTALL,
)

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}

_TYPE_WORDS = {
    "const",
    "unsigned",
    "signed",
    "long",
    "int",
    "short",
    "char",
    "void",
    "struct",
    "union",
    "enum",
}

_LEVELS = (
    ("||",),
    ("&&",),
    ("|",),
    ("^",),
    ("&",),
    ("==", "!="),
    ("<", ">", "<=", ">="),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)


class NotUnderstood(KernlabError):  # noqa: N818 - it is no failure: the event is shown without its text
    """A print format uses what kernlab does not read."""


def tokens(source: str) -> list[tuple[str, str]]:
    """(kind, text) of each token. Raises NotUnderstood."""
    found: list[tuple[str, str]] = []
    at = 0
    end = len(source.rstrip())
    while at < end:
        match = _TOKEN.match(source, at)
        if match is None or match.lastgroup is None or len(found) >= _MOST_TOKENS:
            raise NotUnderstood(f"the print format has {source[at : at + 20]!r} at character {at:,}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def unquote(literal: str) -> str:
    """A C string literal's text."""

    def replace(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x":
            return chr(int(code[1:], 16) & 0xFF)
        return _ESCAPES.get(code, code)

    return re.sub(r"\\(x[0-9a-fA-F]{1,2}|.)", replace, literal[1:-1], flags=re.DOTALL)


class Parser:
    """Reads expressions; `fields` are the event's, `constant` and `size_of` look into the kernel.

    `size_of(name)` gives (bytes, signed) of a C type, None for what is neither number nor struct; `constant(name)` the
    value of an enumerator or of a variable of the kernel.
    """

    def __init__(
        self,
        source: str,
        fields: dict[str, Field],
        constant: Callable[[str], int | None],
        size_of: Callable[[str], tuple[int, bool] | None],
    ):
        self._tokens = tokens(source)
        self._at = 0
        self._depth = 0
        self._fields, self._constant, self._size_of = fields, constant, size_of

    def format_and_arguments(self) -> tuple[str, list[Compiled]]:
        """`"format", argument, …`. Raises NotUnderstood."""
        kind, literal = self._next()
        if kind != "string":
            raise NotUnderstood("the print format does not begin with a string")
        form = unquote(literal)
        while self._peek()[0] == "string":
            form += unquote(self._next()[1])
        arguments = []
        while self._at < len(self._tokens):
            self._expect(",")
            arguments.append(self._ternary())
        return form, arguments

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _take(self, op: str) -> bool:
        if self._peek() == ("op", op):
            self._at += 1
            return True
        return False

    def _expect(self, op: str) -> None:
        if not self._take(op):
            raise NotUnderstood(f"{op!r} is expected, but there is {self._peek()[1]!r}")

    def _ternary(self) -> Compiled:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotUnderstood("the print format is nested too deeply")
        condition = self._binary(0)
        if self._take("?"):
            # GNU C: `a ?: b`.
            first = condition if self._peek() == ("op", ":") else self._ternary()
            self._expect(":")
            second = self._ternary()
            self._depth -= 1
            return lambda record: first(record) if truth(condition(record)) else second(record)
        self._depth -= 1
        return condition

    def _binary(self, level: int) -> Compiled:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._peek()[0] == "op" and self._peek()[1] in _LEVELS[level]:
            left = _operation(self._next()[1], left, self._binary(level + 1))
        return left

    def _unary(self) -> Compiled:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotUnderstood("the print format is nested too deeply")
        try:
            return self._unary_inside()
        finally:
            self._depth -= 1

    def _unary_inside(self) -> Compiled:
        for op in ("!", "~", "-", "+", "&", "*"):
            if self._take(op):
                inner = self._unary()
                return _unary_operation(op, inner)
        if (cast := self._cast()) is not None:
            made = _cast(self._unary(), cast[0], cast[1])
            if cast[2] > 1:
                _strides[made] = cast[2]
            return made
        return self._postfix(self._primary())

    def _cast(self) -> tuple[int, bool, int] | None:
        """(bytes, signed, bytes of what a pointer points to) where a cast begins; 0 bytes: it changes nothing."""
        if self._peek() != ("op", "("):
            return None
        words = []
        ahead = 1
        while self._peek(ahead)[0] == "name" or self._peek(ahead) == ("op", "*"):
            words.append(self._peek(ahead)[1])
            ahead += 1
        if not words or words[0] == "*" or self._peek(ahead) != ("op", ")"):
            return None
        after = self._peek(ahead + 1)
        if after[0] == "end" or (after[0] == "op" and after[1] not in ("(", "~", "!", "-", "&", "*")):
            return None
        name = " ".join(word for word in words if word not in ("const", "*"))
        size = self._size_of(name)
        pointer = words[-1] == "*"
        if not (pointer or set(words) & _TYPE_WORDS or size is not None):
            return None
        if after == ("op", "&") and len(words) == 1 and not (size or pointer):
            return None
        self._at += ahead + 1
        if pointer:
            return 8, False, self._pointee(name) if words.count("*") == 1 else 8
        return (*(size or (0, False)), 0)

    def _pointee(self, name: str) -> int:
        size = self._size_of(name)
        return size[0] if size else 1

    def _postfix(self, value: Compiled) -> Compiled:
        while True:
            if self._take("["):
                index = self._ternary()
                self._expect("]")
                value = _indexed(value, index)
            elif self._peek() in (("op", "."), ("op", "->")):
                raise NotUnderstood("members of members are not read")
            else:
                return value

    def _primary(self) -> Compiled:
        kind, word = self._next()
        if kind == "number":
            digits = word.rstrip("uUlL")
            octal = len(digits) > 1 and digits[0] == "0" and digits.isdecimal()
            try:
                return _constant(int(digits, 8 if octal else 0))
            except ValueError as error:
                raise NotUnderstood(f"{word!r} is no number") from error
        if kind == "char":
            return _constant(ord(unquote(word)[:1] or "\0"))
        if kind == "string":
            literal = unquote(word)
            while self._peek()[0] == "string":
                literal += unquote(self._next()[1])
            return _constant(literal)
        if (kind, word) == ("op", "("):
            inner = self._ternary()
            self._expect(")")
            return inner
        if kind != "name":
            raise NotUnderstood(f"{word!r} is not expected" if word else "the print format ends too early")
        if word == "REC":
            self._expect("->")
            return self._field_value(self._next()[1])
        if word == "sizeof":
            return self._sizeof()
        if self._peek() == ("op", "("):
            return self._call(word)
        number = self._constant(word)
        return _constant(word if number is None else number)

    def _field_value(self, name: str) -> Compiled:
        return getter(self._field(name))

    def _field(self, name: str) -> Field:
        if name not in self._fields:
            raise NotUnderstood(f"the event has no field {name!r}")
        return self._fields[name]

    def _sizeof(self) -> Compiled:
        self._expect("(")
        words = []
        while not self._take(")"):
            kind, word = self._next()
            if kind == "end":
                raise NotUnderstood("sizeof( does not end")
            words.append(word)
        if words[:2] == ["REC", "->"] and len(words) == 3:
            return _constant(self._field(words[2]).size)
        size = self._size_of(" ".join(word for word in words if word != "const"))
        if "*" in words:
            size = (8, False)
        if size is None:
            raise NotUnderstood(f"sizeof({' '.join(words)}) is not known")
        return _constant(size[0])

    def _call(self, name: str) -> Compiled:
        self._expect("(")
        if name in helpers.OF_FIELDS:
            # __get_str(msg): the argument names a field.
            field = self._field(self._next()[1])
            rest = []
            while self._take(","):
                rest.append(self._ternary())
            self._expect(")")
            return helpers.of_field(name, field, dynamic(field), rest)
        if name in helpers.TABLES:
            return self._table(name)
        arguments = []
        while not self._take(")"):
            arguments.append(self._ternary())
            if not self._take(","):
                self._expect(")")
                break
        return helpers.call(name, arguments)

    def _table(self, name: str) -> Compiled:
        """__print_flags(value, "|", {1, "A"}, …) and __print_symbolic(value, {1, "A"}, …)."""
        value = self._ternary()
        delimiter = "|"
        if name.startswith("__print_flags"):
            self._expect(",")
            given = self._ternary()(b"")
            delimiter = given if isinstance(given, str) else "|"
        entries: list[tuple[int, str]] = []
        while self._take(","):
            self._expect("{")
            number = self._ternary()
            self._expect(",")
            label = self._ternary()
            self._expect("}")
            try:
                entries.append((int(number(b"")) % (1 << 64), str(label(b""))))
            except (TypeError, ValueError, Failed) as error:
                raise NotUnderstood(f"a table of {name} holds what is no constant") from error
        self._expect(")")
        return helpers.table(name, value, delimiter, entries)


def truth(value: Value) -> bool:
    """C's truth: an array is always true."""
    return value != 0 if isinstance(value, int) else True


def _number(value: Value) -> int:
    if isinstance(value, int):
        return value
    raise Failed


def _constant(value: Value) -> Compiled:
    return lambda record: value


def _operation(op: str, left: Compiled, right: Compiled) -> Compiled:
    if op == "&&":
        return lambda record: int(truth(left(record)) and truth(right(record)))
    if op == "||":
        return lambda record: int(truth(left(record)) or truth(right(record)))
    if op in ("==", "!="):
        return lambda record: int(_equal(left(record), right(record)) == (op == "=="))
    compute = helpers.ARITHMETIC[op]
    # Pointers go on by what they point to.
    stride = _strides.get(left, 1) if op in ("+", "-") else 1
    if stride != 1:
        moved: Compiled = lambda record: compute(_number(left(record)), _number(right(record)) * stride)  # noqa: E731
        return moved
    return lambda record: compute(_number(left(record)), _number(right(record)))


def _equal(left: Value, right: Value) -> bool:
    # -1UL and ~0 are the same 64 bits.
    if isinstance(left, int) and isinstance(right, int):
        return (left - right) % (1 << 64) == 0
    return bool(left == right)


def _unary_operation(op: str, inner: Compiled) -> Compiled:
    if op in ("&", "*"):
        # The address of a field is only ever shown as what lies there.
        return inner
    if op == "!":
        return lambda record: int(not truth(inner(record)))
    if op == "~":
        return lambda record: ~_number(inner(record))
    if op == "-":
        return lambda record: -_number(inner(record))
    return lambda record: _number(inner(record))


def _cast(inner: Compiled, size: int, signed: bool) -> Compiled:
    if not size:
        return inner
    bits = 8 * size

    def convert(record: bytes) -> Value:
        value = inner(record)
        if not isinstance(value, int):
            return value
        value &= (1 << bits) - 1
        return value - (1 << bits) if signed and value >> (bits - 1) else value

    return convert


def _indexed(value: Compiled, index: Compiled) -> Compiled:
    def take(record: bytes) -> Value:
        held, at = value(record), _number(index(record))
        if isinstance(held, str):
            return ord(held[at]) if 0 <= at < len(held) else 0
        if isinstance(held, bytes | tuple) and 0 <= at < len(held):
            return held[at]
        raise Failed

    return take


def getter(field: Field) -> Compiled:
    """A field's value in a record."""
    start, end, signed = field.offset, field.offset + field.size, field.signed
    if field.is_dynamic:
        return dynamic(field)
    if field.size == 0:
        return lambda record: shape(field, record[start:])
    if not field.is_array and field.size in (1, 2, 4, 8):

        def number(record: bytes) -> Value:
            if len(record) < end:
                raise Failed
            return int.from_bytes(record[start:end], "little", signed=signed)

        return number

    def array(record: bytes) -> Value:
        if len(record) < end:
            raise Failed
        return shape(field, record[start:end])

    return array


def dynamic(field: Field) -> Compiled:
    """The bytes that a `__data_loc` or `__rel_loc` field points to within its record."""
    base = field.offset + field.size if field.type.startswith("__rel_loc") else 0

    def take(record: bytes) -> Value:
        if len(record) < field.offset + 4:
            raise Failed
        where = int.from_bytes(record[field.offset : field.offset + 4], "little")
        start, size = base + (where & 0xFFFF), where >> 16
        if start + size > len(record):
            raise Failed
        return record[start : start + size]

    return take


def shape(field: Field, raw: bytes) -> Value:
    """An array's bytes as what it is: text of char, `bytes` of u8, else a tuple of numbers."""
    if field.element in ("char", "const char"):
        return text.decode(raw, cut=True)
    width = element_width(field)
    if width is None or width == 1:
        return raw
    return tuple(
        int.from_bytes(raw[at : at + width], "little", signed=field.signed)
        for at in range(0, len(raw) - width + 1, width)
    )

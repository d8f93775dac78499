"""The arguments of an event's print format (`REC->prev_state & 255 ? __print_flags(…) : "R"`): C in, functions out.

A small part of C, as include/trace/stages/stage3_trace_output.h leaves it in `print_fmt`. Each expression becomes a
Python function from a record's bytes to a value: int, str, bytes (a buffer) or a tuple of int (an array). Nothing of
the format is executed: what is not understood raises `NotUnderstood` when it is read, not when it is used.
"""

from __future__ import annotations

from collections.abc import Callable

from kernlab.traces.ftrace import helpers
from kernlab.traces.ftrace.formats import Field
from kernlab.traces.ftrace.record import Compiled, Failed, NotKnown, Value, dynamic, getter
from kernlab.traces.ftrace.source import NATIVE, Machine
from kernlab.traces.ftrace.tokens import NotUnderstood, tokens, unquote

#: Deeper expressions are damage.
_DEEPEST = 100

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


class Parser:
    """Reads expressions; `fields` are the event's, `constant` and `size_of` look into the kernel.

    `size_of(name)` gives (bytes, signed) of a C type, None for what is neither number nor struct; `constant(name)` the
    value of an enumerator or of a variable of the kernel. With
    `report` they are understood as trace-cmd does: a pointer goes on by single bytes.
    """

    def __init__(
        self,
        source: str,
        fields: dict[str, Field],
        constant: Callable[[str], int | None],
        size_of: Callable[[str], tuple[int, bool] | None],
        machine: Machine = NATIVE,
        report: bool = False,
    ):
        self._machine = machine
        self._tokens = tokens(source)
        self._at = 0
        self._depth = 0
        # Expressions that are pointers, and the size of what they point to.
        self._strides: dict[Compiled, int] = {}
        self._report = report
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
            op = self._next()[1]
            # Pointers go on by what they point to.
            stride = self._strides.get(left, 1) if op in ("+", "-") else 1
            left = _operation(op, left, self._binary(level + 1), stride)
            if stride != 1:
                self._strides[left] = stride
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
            if cast[2] != 1 and not self._report:
                self._strides[made] = cast[2]
            return made
        return self._postfix(self._primary())

    def _cast(self) -> tuple[int, bool, int] | None:
        """(bytes, signed, bytes of what a pointer points to) where a cast begins; 0 bytes: it changes nothing.

        What a pointer points to may have a size that is not known: 0.
        """
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
            word = self._machine.word
            return word, False, self._pointee(name) if words.count("*") == 1 else word
        return (*(size or (0, False)), 1)

    def _pointee(self, name: str) -> int:
        size = self._size_of(name)
        return size[0] if size else 1 if name in ("void", "char") else 0

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
                raise NotUnderstood(f"{word!r} is not a number") from error
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
            name = self._next()[1]
            # The common fields are a struct to C.
            if name == "ent" and self._take("."):
                name = f"common_{self._next()[1]}"
            return getter(self._field(name))
        if word == "sizeof":
            return self._sizeof()
        if self._peek() == ("op", "("):
            return self._call(word)
        number = self._constant(word)
        return _constant(word if number is None else number)

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
            size = (self._machine.word, False)
        if size is None and (self._report or words[:1] not in (["struct"], ["union"])):
            raise NotUnderstood(f"sizeof({' '.join(words)}) is not known")
        # What is made with it is not known, the rest of the text is.
        return _constant(f"sizeof({' '.join(words)})" if size is None else size[0])

    def _call(self, name: str) -> Compiled:
        self._expect("(")
        if name in helpers.OF_FIELDS:
            # __get_str(msg): the argument names a field.
            field = self._field(self._next()[1])
            rest = []
            while self._take(","):
                rest.append(self._ternary())
            self._expect(")")
            return helpers.of_field(name, field, dynamic(field), rest, self._report)
        if name in helpers.TABLES:
            return self._table(name)
        arguments = []
        while not self._take(")"):
            arguments.append(self._ternary())
            if not self._take(","):
                self._expect(")")
                break
        if name == "jiffies_to_msecs" and len(arguments) == 1 and (tick := self._constant("tick_nsec")):
            return lambda record: _number(arguments[0](record)) * tick // 1_000_000
        return helpers.call(name, arguments, self._machine.order)

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
                value_of, text_of = number(b""), str(label(b""))
                # An enumerator that nobody knows stands for itself, and fits no value.
                if not isinstance(value_of, str):
                    entries.append((int(value_of) % (1 << 64), text_of))
            except NotKnown:
                continue
            except (TypeError, ValueError, Failed) as error:
                raise NotUnderstood(f"a table of {name} holds something that is not a constant") from error
        self._expect(")")
        return helpers.table(name, value, delimiter, entries, self._report)


def truth(value: Value) -> bool:
    """C's truth: an array is always true."""
    return value != 0 if isinstance(value, int) else True


def _number(value: Value) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        # A name that nobody knows stands for itself.
        raise NotKnown
    raise Failed


def _not_known(record: bytes) -> Value:
    raise NotKnown


def _constant(value: Value) -> Compiled:
    return lambda record: value


def _operation(op: str, left: Compiled, right: Compiled, stride: int) -> Compiled:
    if op == "&&":
        return lambda record: int(truth(left(record)) and truth(right(record)))
    if op == "||":
        return lambda record: int(truth(left(record)) or truth(right(record)))
    if op in ("==", "!="):
        return lambda record: int(_equal(left(record), right(record)) == (op == "=="))
    if not stride:
        return _not_known
    compute = helpers.ARITHMETIC[op]
    return lambda record: compute(_number(left(record)), _number(right(record)) * stride)


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

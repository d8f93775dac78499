"""A formula as C would write it in (`mm->total_vm * 4096 > 10M and comm =~ "kworker*"`), one value a row out.

A parser of its own over whole columns: nothing is evaluated by Python. Integers are computed as C does with 64 bits:
unsigned where either side is, wrapping round; where a side has a decimal point, in doubles. A number may carry K, M, G
or T (1024 each). `=~` holds where a text fits a pattern of the shell's (`*`, `?`, `[a-z]`). A value that is missing
makes what is computed from it missing. What its names stand for the caller says.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from kernlab.errors import KernlabError

Mask = npt.NDArray[np.bool_]

_LONGEST, _DEEPEST = 2000, 50
_PATH = r"[A-Za-z_]\w*(?:\s*(?:->|\.)\s*[A-Za-z_]\w*|\s*\[\s*(?:0[xX][0-9a-fA-F]+|\d+)\s*\])*"
_TOKEN = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?[KMGT]?)(?![\w.])|(?P<text>\"[^\"]*\"|'[^']*')"
    rf"|(?P<path>{_PATH})"
    r"|(?P<operator>=~|<<|>>|<=|>=|==|!=|&&|\|\||//|[-+*/%&|^~!<>()]))"
)
#: Operators by how tightly they bind, loosest first; `and` and `or` are && and ||. Comparisons bind more loosely than
#: & and |, as in Python: in C, `flags & 4 == 4` is a trap.
_BINDING = [
    ("||",),
    ("&&",),
    ("==", "!=", "<", "<=", ">", ">=", "=~"),
    ("|",),
    ("^",),
    ("&",),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "//", "%"),
]
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_WORDS = {"and": "&&", "or": "||", "not": "!"}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Values:
    """One value a row: int64, uint64, float64, bool or objects (text), and which are there."""

    values: npt.NDArray[Any]
    valid: Mask


def compute(formula: str, count: int, look_up: Callable[[str], Values]) -> Values:
    """The value of a formula in each of `count` rows; `look_up` gives the values of a member path in it.

    Raises KernlabError for what is not a formula (saying where), and what `look_up` raises.
    """
    return _Parser(formula, count, look_up).whole()


def constant(value: np.generic, count: int) -> Values:
    """The same value in each of `count` rows."""
    return Values(np.full(count, value), np.ones(count, dtype=bool))


def is_formula(text: str) -> bool:
    """Is this more than one member path?"""
    return re.fullmatch(rf"\s*{_PATH}\s*", text) is None


class _Parser:
    def __init__(self, formula: str, count: int, look_up: Callable[[str], Values]):
        self.formula, self.count, self.look_up = formula, count, look_up
        if len(formula) > _LONGEST:
            raise KernlabError(
                f"a formula of {len(formula):,} characters is refused: the longest is {_LONGEST:,}"
            )
        self.tokens = self._tokens()
        self.at = 0
        self.depth = 0

    def _tokens(self) -> list[tuple[str, str, int]]:
        found, at = [], 0
        end = len(self.formula.rstrip())
        while at < end:
            match = _TOKEN.match(self.formula, at)
            if match is None or match.lastgroup is None:
                raise KernlabError(
                    f"cannot read the formula {self.formula!r} from {self.formula[at:].strip()!r} on"
                )
            kind, text = match.lastgroup, match[match.lastgroup]
            if kind == "path" and text in _WORDS:
                kind, text = "operator", _WORDS[text]
            found.append((kind, text, match.start(match.lastgroup)))
            at = match.end()
        return found

    def whole(self) -> Values:
        if not self.tokens:
            raise KernlabError("the formula is empty: write one such as 'mm->total_vm * 4096'")
        value = self._binary(0)
        if self.at < len(self.tokens):
            self._fail()
        return value

    def _fail(self) -> NoReturn:
        if self.at < len(self.tokens):
            rest = self.formula[self.tokens[self.at][2] :]
            raise KernlabError(f"cannot read the formula {self.formula!r} from {rest!r} on")
        raise KernlabError(f"the formula {self.formula!r} ends too early")

    def _operator(self, *wanted: str) -> str:
        if self.at < len(self.tokens):
            kind, text, _ = self.tokens[self.at]
            if kind == "operator" and text in wanted:
                self.at += 1
                return text
        return ""

    def _binary(self, level: int) -> Values:
        if level == len(_BINDING):
            return self._unary()
        left = self._binary(level + 1)
        while operator := self._operator(*_BINDING[level]):
            left = _apply(operator, left, self._binary(level + 1), self.formula)
        return left

    def _unary(self) -> Values:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise KernlabError(f"the formula {self.formula!r} is nested deeper than {_DEEPEST}")
        try:
            operator = self._operator("!", "-", "~", "+")
            if not operator:
                return self._primary()
            # `not a == b` means not (a == b), as in Python.
            value = (
                self._binary(2)
                if operator == "!" and self.tokens[self.at - 1][1] == "!" and self._said_not()
                else self._unary()
            )
            return _single(operator, value, self.formula)
        finally:
            self.depth -= 1

    def _said_not(self) -> bool:
        start = self.tokens[self.at - 1][2]
        return self.formula.startswith("not", start)

    def _primary(self) -> Values:
        if self._operator("("):
            value = self._binary(0)
            if not self._operator(")"):
                self._fail()
            return value
        if self.at >= len(self.tokens):
            self._fail()
        kind, text, _ = self.tokens[self.at]
        if kind == "operator":
            self._fail()
        self.at += 1
        if kind == "number":
            return constant(_literal(text), self.count)
        if kind == "text":
            return Values(np.full(self.count, text[1:-1], dtype=object), np.ones(self.count, dtype=bool))
        return self.look_up(text)


def _literal(text: str) -> np.generic:
    """A number as it is written: 12, 0x1f, 1.5, 10M."""
    if text[:2] in ("0x", "0X"):
        number = int(text, 0)
    else:
        digits = text.rstrip("".join(_UNITS))
        unit = _UNITS.get(text[len(digits) :])
        if "." in digits:
            value = float(digits) * (unit or 1)
            # 1.5M are so many bytes; 1.0 is a double, and what is computed with it.
            if unit is None or not value.is_integer():
                return np.float64(value)
            number = int(value)
        else:
            number = int(digits) * (unit or 1)
    if number >> 64:
        raise KernlabError(f"{text} does not fit into 64 bits")
    return np.uint64(number) if number >> 63 else np.int64(number)


def _number(value: Values, operator: str, formula: str) -> npt.NDArray[Any]:
    if value.values.dtype == object:
        raise KernlabError(f"in {formula!r}, {operator} is given text; it takes numbers")
    return value.values.astype(np.int64) if value.values.dtype == bool else value.values


def _truth(value: Values) -> Mask:
    return np.asarray(value.values != ("" if value.values.dtype == object else 0), dtype=bool)


def _single(operator: str, value: Values, formula: str) -> Values:
    if operator == "!":
        return Values(~_truth(value), value.valid)
    number = _number(value, operator, formula)
    if operator == "~":
        if number.dtype.kind == "f":
            raise KernlabError(f"in {formula!r}, ~ is given a floating-point number")
        return Values(~number, value.valid)
    with np.errstate(over="ignore"):
        return Values(-number if operator == "-" else number, value.valid)


def _apply(operator: str, left: Values, right: Values, formula: str) -> Values:
    valid = left.valid & right.valid
    if operator in ("&&", "||"):
        a, b = _truth(left), _truth(right)
        # As in SQL: what is known already decides, whatever is missing.
        if operator == "&&":
            return Values(a & b & valid, valid | (left.valid & ~a) | (right.valid & ~b))
        return Values((a & left.valid) | (b & right.valid), valid | (left.valid & a) | (right.valid & b))
    if operator == "=~":
        return Values(_fits(left, right, formula), valid)
    if operator in _COMPARE:
        return Values(_compare(operator, left, right, formula), valid)
    a, b = _number(left, operator, formula), _number(right, operator, formula)
    if "f" in (a.dtype.kind, b.dtype.kind):
        return _floats(operator, a.astype(np.float64), b.astype(np.float64), valid, formula)
    # The usual arithmetic conversions: unsigned where either is.
    kind = np.uint64 if np.uint64 in (a.dtype, b.dtype) else np.int64
    a, b = a.astype(kind), b.astype(kind)
    with np.errstate(over="ignore"):
        if operator in ("/", "//", "%"):
            valid = valid & (b != 0)
            quotient = _divide(a, np.where(b == 0, kind(1), b))
            return Values(quotient if operator != "%" else a - quotient * np.where(b == 0, kind(1), b), valid)
        if operator in ("<<", ">>"):
            fits = (b >= 0) & (b < kind(64))
            count = np.where(fits, b, kind(0))
            return Values(
                np.left_shift(a, count) if operator == "<<" else np.right_shift(a, count), valid & fits
            )
        simple = {
            "+": np.add,
            "-": np.subtract,
            "*": np.multiply,
            "&": np.bitwise_and,
            "|": np.bitwise_or,
            "^": np.bitwise_xor,
        }
        return Values(simple[operator](a, b), valid)


def _divide(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """C's division, which cuts towards zero."""
    quotient: npt.NDArray[Any] = np.floor_divide(a, b)
    if a.dtype.kind == "u":
        return quotient
    cut: npt.NDArray[Any] = quotient + ((quotient < 0) & (quotient * b != a))
    return cut


def _floats(operator: str, a: Any, b: Any, valid: Mask, formula: str) -> Values:
    simple = {
        "+": np.add,
        "-": np.subtract,
        "*": np.multiply,
        "/": np.divide,
        "//": np.floor_divide,
        "%": np.fmod,
    }
    if operator not in simple:
        raise KernlabError(f"in {formula!r}, {operator} is given a floating-point number")
    with np.errstate(all="ignore"):
        return Values(simple[operator](a, b), valid)


def _fits(left: Values, right: Values, formula: str) -> Mask:
    """Where a text fits a pattern of the shell's; each pattern is the same in all rows, so it is read once."""
    if left.values.dtype != object or right.values.dtype != object:
        raise KernlabError(f"in {formula!r}, =~ is given a number; it takes text and a pattern")
    fits: dict[str, Callable[[str], Any]] = {
        pattern: re.compile(fnmatch.translate(pattern)).match for pattern in set(right.values)
    }
    pairs = zip(left.values, right.values, strict=True)
    return np.array([fits[pattern](text) is not None for text, pattern in pairs], dtype=bool)


def _compare(operator: str, left: Values, right: Values, formula: str) -> Mask:
    """A comparison of numbers by what they are worth (not as C, where -1 > 1u), or of text."""
    a, b = left.values, right.values
    if (a.dtype == object) != (b.dtype == object):
        raise KernlabError(f"in {formula!r}, {operator} compares text with a number")
    # NumPy compares int64 with uint64 exactly, since 1.26.
    return np.asarray(_COMPARE[operator](a, b), dtype=bool)

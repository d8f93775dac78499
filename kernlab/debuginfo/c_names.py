"""C type names as people write them: `struct page *`, `unsigned long`, `int [2][3]`, taken apart for look-ups."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kernlab.debuginfo.types import ArrayType, PointerType, Type

_NAME = re.compile(r"\s*(?:(struct|union|enum)\s+)?([A-Za-z_][\w ]*?)\s*((?:\*\s*)*)((?:\[\s*\d*\s*\]\s*)*)$")
_COUNT = re.compile(r"\[\s*(\d*)\s*\]")
_LONGEST = 1000
_INTEGER_WORDS = frozenset(("signed", "unsigned", "short", "long", "int", "char"))


@dataclass(frozen=True, slots=True)
class TypeName:
    """`word` is struct, union, enum or ''; `names` the spellings to look for; then the pointers and the arrays."""

    word: str
    names: tuple[str, ...]
    pointers: int
    counts: tuple[int, ...]


def parse(name: str) -> TypeName | None:
    """A type's name taken apart; None for what is not a name of a type."""
    match = _NAME.match(name) if len(name) < _LONGEST else None
    if match is None:
        return None
    counts = tuple(int(count or 0) for count in _COUNT.findall(match[4]))
    return TypeName(match[1] or "", _spellings(match[2]), match[3].count("*"), counts)


def _spellings(name: str) -> tuple[str, ...]:
    """The name itself; of an integer type what GCC and Clang call it ("long unsigned int", "unsigned long")."""
    words = name.split()
    plain = " ".join(words)
    if not _INTEGER_WORDS.issuperset(words):
        return (plain,)
    sign = ["unsigned"] if "unsigned" in words else []
    if "char" in words:
        return (plain,)
    length = ["short"] if "short" in words else ["long"] * min(words.count("long"), 2)
    gcc, clang = [*length, *sign, "int"], [*sign, *(length or ["int"])]
    return tuple(dict.fromkeys((plain, " ".join(gcc), " ".join(clang))))


def wrapped(wanted: TypeName, plain: Type) -> Type:
    """A type with the pointers and arrays that a name has behind it."""
    for _ in range(wanted.pointers):
        plain = PointerType(lambda inner=plain: inner)  # type: ignore[misc]
    for count in reversed(wanted.counts):
        plain = ArrayType(lambda inner=plain: inner, count)  # type: ignore[misc]
    return plain

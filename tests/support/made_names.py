"""Types and symbols that a real dump's kernel was built without, put beside its own: `with_names(dump, …)`.

Structs are laid out by hand, as the sources of a kernel with the option have them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from kernlab.debuginfo.types import (
    ArrayType,
    EnumType,
    IntType,
    Member,
    PointerType,
    StructType,
    Type,
    VoidType,
)
from kernlab.dump import Dump

#: Name → (offset, type): "u16", "s32", "char[16]", "*", a struct's C name, or a `Type`.
Layout = Mapping[str, tuple[int, str | Type]]


def with_names(
    dump: Dump,
    symbols: Mapping[str, int],
    structs: Mapping[str, tuple[int, Layout]],
    enums: Mapping[str, Mapping[str, int]] | None = None,
) -> Dump:
    """The dump itself, which a test has for its own (`Overlay.dump`), with more names: structs by C name as (size,
    members), enums as {enumerator: number}."""
    kernel = dump.kernel
    made: dict[str, Type] = {}
    types = copy.copy(kernel.types)
    below: Any = kernel.types

    def get(name: str) -> Type | None:
        found: Type | None = made.get(name) or below.get(name)
        return found

    def kind(of: str | Type) -> Type:
        if isinstance(of, Type):
            return of
        if of == "*":
            return PointerType(VoidType)
        if of.startswith("char["):
            count = int(of[5:-1])
            return ArrayType(lambda: IntType("char", 1, signed=True, is_char=True), count)
        if of[0] in "us" and of[1:].isdigit():
            return IntType(of, int(of[1:]) // 8, signed=of[0] == "s")
        found = get(of)
        assert found is not None, of
        return found

    for name, (size, members) in structs.items():
        parts = [Member(one, lambda of=of: kind(of), 8 * at) for one, (at, of) in members.items()]  # type: ignore[misc]
        made[name] = StructType(name.split(" ", 1)[1], size, False, lambda parts=parts: parts)  # type: ignore[misc]
    numbers: dict[str, int] = {}
    for name, values in (enums or {}).items():
        made[name] = EnumType(name.split(" ", 1)[1], 4, True, lambda values=values: dict(values))  # type: ignore[misc]
        numbers |= values
    own: Any = types
    own.get = get
    own.enumerator_or_none = lambda name: numbers.get(name, below.enumerator_or_none(name))
    kernel.types = types
    table: Any = kernel.symbols
    original = table.get
    table.get = lambda name: symbols.get(name, original(name))
    return dump

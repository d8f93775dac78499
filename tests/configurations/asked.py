"""What tables ask of a kernel by name, noted while they are built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from support.absent import Absence

from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.debuginfo.types import StructType

#: "symbol", "type" or "enumerator" and its name, or "member" and "struct page.flags".
Name = tuple[str, str]


@contextmanager
def noted() -> Iterator[set[Name]]:
    """Fill a set with all names that are asked for in the block."""
    names: set[Name] = set()
    kept = {
        (owner, method): getattr(owner, method)
        for owner, method in (
            (SymbolTable, "index"),
            (Btf, "get"),
            (Btf, "enumerator_or_none"),
            (Btf, "has_member"),
            (StructType, "member"),
        )
    }

    def note(owner, method, name_of):
        original = kept[owner, method]

        def asked(self, *arguments):
            names.add(name_of(self, *arguments))
            return original(self, *arguments)

        setattr(owner, method, asked)

    note(SymbolTable, "index", lambda table, name: ("symbol", name))
    note(Btf, "get", lambda types, name: ("type", name))
    note(Btf, "enumerator_or_none", lambda types, name: ("enumerator", name))
    note(Btf, "has_member", lambda types, owner, name: ("member", f"{owner}.{name}"))
    note(StructType, "member", lambda kind, name: ("member", f"{kind.c_name}.{name}"))
    try:
        yield names
    finally:
        for (owner, method), original in kept.items():
            setattr(owner, method, original)


def hidden(name: Name, absence: set[Name]) -> bool:
    """Does the name go with an absence, by itself or as part of a type?"""
    kind, what = name
    return name in absence or (kind == "member" and ("type", what.rpartition(".")[0]) in absence)


def of_absence(absence: Absence) -> set[Name]:
    """The names that it hides."""
    named = {
        "symbol": absence.symbols,
        "type": absence.types,
        "enumerator": absence.enumerators,
        "member": absence.members,
    }
    return {(kind, name) for kind, names in named.items() for name in names}

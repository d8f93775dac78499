"""Names that tables ask of a kernel, and whether an absence hides them."""

from __future__ import annotations

from support.absent import Absence

from kernlab.debuginfo.asking import Name


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

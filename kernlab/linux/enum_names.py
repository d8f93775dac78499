"""Names that the kernel keeps in an array beside an enum: read one by one, and held against the enumerators."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import EnumType
from kernlab.walk.strings import c_strings

#: What the kernel calls anything that it counts or sorts.
_A_NAME = re.compile(r"\w[\w ()-]*", re.ASCII)


def names_in(kernel: Kernel, symbol: str, known: Sequence[str], limit: int = 64) -> list[str]:
    """The names in an array of pointers to strings, by number, as many as are `known`.

    `known` are they by their enumerators, which stand for those that are lost; all of them where the array is.
    """
    where = kernel.symbols.get(symbol)
    if where is None:
        return list(known)
    with kernel.quiet():
        pointers, read = kernel.words(
            np.uint64(where) + np.arange(len(known), dtype=np.uint64) * np.uint64(8)
        )
        given = c_strings(kernel, np.where(read, pointers, np.uint64(0)), limit)
    return told_names(kernel, symbol, given.tolist(), known)


def told_names(kernel: Kernel, what: str, given: Sequence[str | None], known: Sequence[str]) -> list[str]:
    """What each thing is called: as it is `given`, or where that cannot be, as it is `known` by its enumerator.

    A name is lost where it could not be read, is not one, or is that of another enumerator. An empty one is what the
    kernel does not show (nr_indirectly_reclaimable, until v4.20): it goes by its enumerator.
    """
    others = set(known)
    lost = [
        name is None or (name != "" and not _A_NAME.fullmatch(name)) or (name != own and name in others)
        for name, own in zip(given, known, strict=True)
    ]
    kernel.lost(f"names of {what} are lost; the enumerators' stand for them", mask=np.array(lost, dtype=bool))
    return [own if gone or not name else name for name, own, gone in zip(given, known, lost, strict=True)]


def enum_names(kernel: Kernel, enum: str, count: int, shown: Mapping[str, str], other: str) -> list[str]:
    """The first `count` names by number: what `shown` says of the enumerators, `other` and the number for the rest."""
    names = [f"{other} {number}" for number in range(count)]
    kind = kernel.types.get(enum)
    for name, number in kind.enumerators.items() if isinstance(kind, EnumType) else ():
        if 0 <= number < count and name in shown:
            names[number] = shown[name]
    return names

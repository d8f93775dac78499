"""Names that a dump gives, which may be equal, empty or ours, as names that tell things apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterable


def distinct(names: Iterable[Hashable], taken: Iterable[Hashable] = ()) -> list[Hashable]:
    """The names in their order, each once: one that came before, or is `taken`, gets a number, as "free (2)"."""
    used = set(taken)
    count: dict[Hashable, int] = {}
    found: list[Hashable] = []
    for name in names:
        shown, number = name, count.get(name, 1)
        while shown in used:
            number += 1
            shown = f"{name} ({number})"
        count[name] = number
        used.add(shown)
        found.append(shown)
    return found

"""What is asked of a kernel by name, noted while somebody listens: its symbols, types, members and enumerators.

    with asking.noted() as notes:
        dump.tasks
    notes.found      # {("member", "struct task_struct.comm"): True, ("symbol", "no_such"): False, …}

Look-ups tell it here. While nobody listens that costs them one comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

#: "symbol", "type" or "enumerator" and its name, or "member" and "struct page.flags".
Name: TypeAlias = tuple[str, str]


class Notes:
    """`found`: all names in the order of asking, and whether the kernel has each; `soft`: those that were first asked
    for in a way that takes no for an answer (`has`, `get`, `find_symbol`)."""

    def __init__(self) -> None:
        self.found: dict[Name, bool] = {}
        self.soft: set[Name] = set()
        self._insisted: set[Name] = set()
        self._softly = 0

    def add(self, name: Name, found: bool, soft: bool) -> None:
        """Note a look-up; what was found once stays found (a module may have what the kernel has not)."""
        if name not in self.found and (soft or self._softly) and name not in self._insisted:
            self.soft.add(name)
        self.found[name] = found or self.found.get(name, False)


#: Of who listens; None while nobody does. Threads that a table starts tell it here, too.
notes: Notes | None = None


def note(kind: str, name: str, found: bool, *, soft: bool = False) -> None:
    """Tell of a look-up; `soft` where a name that is not there is an answer, not an error."""
    if notes is not None:
        notes.add((kind, name), found, soft)


def insist(kind: str, name: str) -> None:
    """Tell that a look-up which follows, and is soft by itself, ends in an error where the name is not there."""
    if notes is not None:
        notes._insisted.add((kind, name))


@contextmanager
def softly() -> Iterator[None]:
    """Look-ups of members in the block take no for an answer."""
    here = notes
    if here is None:
        yield
        return
    here._softly += 1
    try:
        yield
    finally:
        here._softly -= 1


@contextmanager
def noted() -> Iterator[Notes]:
    """Note all names that are asked for in the block, by any thread.

    Blocks may lie in one another: the outer one has the names of the inner one, too.
    """
    global notes
    outer, mine = notes, Notes()
    notes = mine
    try:
        yield mine
    finally:
        notes = outer
        if outer is not None:
            for name, found in mine.found.items():
                outer.add(name, found, name in mine.soft)

"""What all kinds of cases have in common: a name in, a damaged dump out; and what a reader could know of the damage."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fuzz.subjects import Subject

#: What is compared, and what of it must be told.
#: missing: pages are gone, and every reader notices that: any difference must be told.
#: wild: a pointer leads nowhere: any difference must be told, but cells that show the pointer itself.
#: rows: a value that may be true: nothing but a loss of rows by equal names can be wrong.
#: none: no reader can know.
MISSING, WILD, ROWS, NONE = "missing", "wild", "rows", "none"


@dataclass
class Damaged:
    """A case, ready to be looked at: `open` gives the dump (or raises KernlabError: told); `steps` to ask it for."""

    open: Callable[[], Any]
    steps: Sequence[str]
    rule: str = NONE
    planted: frozenset[int] = field(default_factory=frozenset)
    #: Undo what was done to files outside of the process.
    #: For cases without a dump: run instead of all steps.
    instead: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of damage: `draw` names a new case of a dump, `apply` makes a named one."""

    name: str
    weight: int
    draw: Callable[[Subject, random.Random], str | None]
    apply: Callable[[Subject, list[str], int], Damaged]


def site_step(subject: Subject, chance: random.Random) -> str:
    """A step to aim at, each as likely as any other."""
    return chance.choice(sorted(subject.reads))


def within(subject: Subject, names: Sequence[str], first: str, name: str, seconds: float) -> list[str]:
    """`first`, and as many others of `names` as cost no more than `seconds`: by chance, but the same for one case."""
    others = sorted(set(names) - {first, "open", "search"})
    random.Random(name).shuffle(others)
    chosen = [first] if first in subject.answers else []
    left = seconds
    for other in others:
        cost = subject.answers[other].seconds if other in subject.answers else None
        if cost is not None and cost <= left:
            chosen.append(other)
            left -= cost
    return chosen

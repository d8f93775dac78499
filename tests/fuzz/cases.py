"""What all kinds of cases have in common: a name in, a damaged dump out; and what a reader could know of the damage."""

from __future__ import annotations

import math
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
#: same: nothing was damaged, so that nothing may differ, told or not.
MISSING, WILD, ROWS, NONE, SAME = "missing", "wild", "rows", "none", "same"


@dataclass
class Damaged:
    """A case, ready to be looked at: `open` gives the dump (or raises KernlabError: told); `steps` to ask it for."""

    open: Callable[[], Any]
    steps: Sequence[str]
    rule: str = NONE
    planted: frozenset[int] = field(default_factory=frozenset)


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


#: Of a case that somebody asks for by its name all steps are done that read the damaged place.
whole = False


def within(subject: Subject, names: Sequence[str], first: str, name: str, seconds: float) -> list[str]:
    """`first`, and as many others of `names` as cost no more than `seconds`, chosen by chance."""
    others = sorted(set(names) - {first, "open", *(() if whole else ("search",))})
    random.Random(name).shuffle(others)
    chosen = [first] if first in subject.answers else []
    left = math.inf if whole else seconds
    for other in others:
        cost = subject.answers[other].seconds if other in subject.answers else None
        if cost is not None and cost <= left:
            chosen.append(other)
            left -= cost
    return chosen

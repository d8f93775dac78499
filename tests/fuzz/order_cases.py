"""Nothing is damaged, but steps are done in another order: what they give may not depend on what was asked before.

order:6.12:tasks,relay.read,zones
"""

from __future__ import annotations

import random

from fuzz.cases import SAME, Damaged, Kind
from fuzz.subjects import Subject

#: Steps of one case.
STEPS = 6


def draw(subject: Subject, chance: random.Random) -> str | None:
    names = sorted(subject.answers)
    return f"order:{subject.name}:{','.join(chance.sample(names, min(STEPS, len(names))))}"


def apply(subject: Subject, rest: list[str], slot: int) -> Damaged:
    return Damaged(subject.fresh, rest[0].split(","), SAME)


KIND = Kind("order", 2, draw, apply)

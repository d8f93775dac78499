"""All kinds of cases, and cases by name."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from fuzz import copy_cases, file_cases, form_cases, memory_cases, name_cases, order_cases, page_cases
from fuzz.cases import Damaged, Kind
from fuzz.subjects import Subject

MODULES = (memory_cases, page_cases, name_cases, copy_cases, file_cases, form_cases, order_cases)
KINDS: dict[str, Kind] = {module.KIND.name: module.KIND for module in MODULES}


def dump_of(name: str) -> str:
    """The short name of the dump that a case damages."""
    return name.split(":")[1]


def apply(subjects: dict[str, Subject], name: str, slot: int = 0) -> tuple[Subject, Damaged]:
    """Make a case by its name; `slot` is the number of the worker, who has files of its own."""
    kind, dump, *rest = name.split(":")
    return subjects[dump], KINDS[kind].apply(subjects[dump], rest, slot)


def draw(subjects: dict[str, Subject], seed: str, count: int, kinds: Sequence[str] = ()) -> Iterator[str]:
    """Names of cases: the same for a seed, on the same dumps and tables."""
    chosen = [KINDS[name] for name in kinds] if kinds else list(KINDS.values())
    weights = [kind.weight for kind in chosen]
    number = made = 0
    while made < count:
        chance = random.Random(f"{seed}:{number}")
        number += 1
        subject = subjects[chance.choice(sorted(subjects))]
        name = chance.choices(chosen, weights)[0].draw(subject, chance)
        if name is not None:
            made += 1
            yield name

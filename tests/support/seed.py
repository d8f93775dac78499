"""Which part of a large matrix runs: each case on one dump, on the next one with the next KERNLAB_SEED (a number).

`make test-seeds` runs all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

SEED = int(os.environ.get("KERNLAB_SEED", "0"))


def in_turn(dumps: Sequence[str], cases: Iterable[str]) -> list[tuple[str, str]]:
    """(dump, case): the cases dealt out to the dumps."""
    return [(dumps[(place + SEED) % len(dumps)], case) for place, case in enumerate(cases)]


def every_fourth(*axes: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Of all combinations of these every fourth, each value with several others; the next seeds have the others."""
    counted = product(*(enumerate(axis) for axis in axes))
    return [
        tuple(value for _, value in combination)
        for combination in counted
        if sum(place for place, _ in combination) % 4 == SEED % 4
    ]

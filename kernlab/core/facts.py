"""`@fact`: what is found once of a kernel, and kept for all who ask, with what was lost in finding it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from kernlab.core.kernel import Kernel

Found = TypeVar("Found")


def fact(find: Callable[[Kernel], Found]) -> Callable[[Kernel], Found]:
    """Have `find(kernel)` run once a kernel, until the dump is closed; nobody may change what it gives.

    What it loses every scope is told that asks (`Kernel.once`), so that no table passes over it.
    """
    name = f"{find.__module__}.{find.__qualname__}"

    @functools.wraps(find)
    def ask(kernel: Kernel) -> Found:
        return kernel.once(name, find)

    return ask

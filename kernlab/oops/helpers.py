"""A function's name in, whether it works for any caller out: by the file of the kernel's sources that defines it.

The table beside this module is made by scripts/helper_functions.py, which says what files the groups are of.
"""

from __future__ import annotations

import lzma
from functools import cache
from importlib import resources
from typing import Literal

#: What a helper is for: it reports, waits, allocates, copies (strings, trees, counters, users' memory), serves
#: whoever registers something (works, timers, devices, pages of files), or unregisters what a driver had registered.
Group = Literal["reports", "waits", "allocates", "copies", "serves", "unregisters"]


def helps(name: str, *groups: Group) -> bool:
    """Whether a function of the kernel's own image, by its normal name, is a helper of one of the groups.

    >>> from kernlab.oops.helpers import helps
    >>> helps("memcpy", "copies"), helps("ext4_writepages", "copies"), helps("memcpy", "waits")
    (True, False, False)
    """
    for group in groups:
        names, families = _table()[group]
        if name in names:
            return True
        place = name.find("_", 2)
        while place >= 0:
            if name[: place + 1] in families:
                return True
            place = name.find("_", place + 1)
    return False


@cache
def _table() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Names, and beginnings of names, by group."""
    text = lzma.decompress(resources.files("kernlab.oops").joinpath("helpers.txt.xz").read_bytes()).decode(
        "ascii"
    )
    table: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
    for part in text.partition("\n[")[2].split("\n["):
        group, _, lines = part.partition("]\n")
        words = [
            (begin, ends.split(" "))
            for begin, _, ends in (line.partition(" ") for line in lines.splitlines())
        ]
        all_names = {begin + ("" if end == "=" else end) for begin, ends in words for end in ends}
        families = {name[:-1] for name in all_names if name.endswith("*")}
        table[group] = frozenset(all_names), frozenset(families)
    return table

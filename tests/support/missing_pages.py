"""Pages that a table reads are taken from a dump, one at a time: what the table then lacks it must say.

Which pages these are is recorded, not listed: every frame that is looked up while the table is made.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from support.overlay import PAGE, Overlay

from kernlab import KernlabError
from kernlab.dump import TABLES, Dump

#: How a page is taken: left out by a dump level, damaged in the file, never there.
WAYS = ("exclude", "lose", "remove")

#: Made of what is asked for; of tables with parameters these are tried.
_CALLS: dict[str, Callable[[Dump], Any]] = {
    "slab_objects": lambda dump: dump.slab_objects(["dentry", "task_struct", "kmalloc-64"]),
    "owner": lambda dump: dump.owner(_some_addresses(dump)),
}


def _some_addresses(dump: Dump) -> list[int]:
    kernel = dump.kernel
    start = kernel.layout.direct_start
    frames = random.Random(1).sample(range(kernel.file.max_pfn), 64)
    return [start + frame * PAGE + 0x40 for frame in frames] + [kernel.symbol("init_task")]


def tables() -> list[str]:
    """Every table that can be made without asking the user anything, and those of traces."""
    plain = [name for name, entry in TABLES.items() if not entry.is_method]
    return sorted([*plain, *_CALLS, "relay.channels", "ftrace.instances"])


def make(dump: Dump, name: str) -> Any:
    """A table, with all of its deferred columns made."""
    if name in _CALLS:
        made = _CALLS[name](dump)
    else:
        made = dump
        for part in name.split("."):
            made = getattr(made, part)
    if isinstance(made, pd.DataFrame):
        for column in made:
            made[column].isna().sum()
    return made


def cold(below: Dump) -> Dump:
    """The same dump, of which nothing was read yet."""
    return Overlay(below).dump()


@dataclass
class Recorded:
    """What a table is like undamaged, and the frames that are looked up for it."""

    table: Any
    frames: list[int]
    #: Those of them that hold page structs: many, and much alike.
    page_structs: set[int]


def record(below: Dump, name: str) -> Recorded:
    """Make a table of the dump, and record the frames that it has of those that it looks at."""
    dump = cold(below)
    find = dump.kernel.file.find
    seen: set[int] = set()

    def recording(pfns: np.ndarray) -> np.ndarray:
        found = find(pfns)
        seen.update(np.unique(pfns[found >= 0]).tolist())
        return found

    dump.kernel.file.find = recording  # type: ignore[method-assign]
    made = make(dump, name)
    return Recorded(made, sorted(seen), seen & _page_structs(below))


def _page_structs(below: Dump) -> set[int]:
    kernel = below.kernel
    each = PAGE // kernel.find_type("struct page").size
    start = np.uint64(kernel.vmemmap) + np.arange(
        0, kernel.file.max_pfn // each, dtype=np.uint64
    ) * np.uint64(PAGE)
    physical, status = kernel.memory.translate(start)
    return set((physical[status == 0] // np.uint64(PAGE)).tolist())


def problems(made: Any) -> set[str]:
    return set(made.attrs["problems"])


def differs(made: Any, whole: Any) -> list[str]:
    """What of a table is not as in the undamaged one: its rows, or columns."""
    if isinstance(whole, pd.Series):
        keys = [*whole.index, *[key for key in made.index if key not in whole.index]]
        return [
            str(key) for key in keys if not _same(made.get(key, "no such key"), whole.get(key, "no such key"))
        ]
    if len(made) != len(whole):
        return [f"{len(made):,} rows of {len(whole):,}"]
    if list(made.columns) != list(whole.columns):
        return [f"columns {[name for name in [*made, *whole] if name not in made or name not in whole]}"]
    return [name for name in whole if not _equal(made[name], whole[name])]


def _equal(left: pd.Series, right: pd.Series) -> bool:
    if left.dtype == right.dtype and left.equals(right):
        return True
    # What a missing value makes of a dtype is no difference of its own.
    left, right = left.astype(object), right.astype(object)
    missing = left.isna() & right.isna()
    return bool(((left.isna() == right.isna()) & (missing | (left == right).fillna(False))).all())


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, list | tuple | np.ndarray) or isinstance(right, list | tuple | np.ndarray):
        return list(np.atleast_1d(left)) == list(np.atleast_1d(right))
    if pd.isna(left) or pd.isna(right):
        return bool(pd.isna(left) and pd.isna(right))
    return bool(left == right)


def silent(below: Dump, name: str, known: Recorded, frame: int, way: str) -> str | None:
    """Take one frame: what the table lost of it without a word; None where it told, or lost nothing."""
    overlay = Overlay(below)
    getattr(overlay, way)(frame * PAGE, physical=True)
    dump = overlay.dump()
    try:
        made = make(dump, name)
    except KernlabError:
        return None
    lost = differs(made, known.table)
    if not lost or problems(made) - problems(known.table):
        return None
    return f"{name}, {way} frame {frame:#x}: {', '.join(lost)} without a word"


def samples(known: Recorded, count: int, seed: str) -> Iterator[tuple[int, str]]:
    """Some of a table's frames, and a way for each to go; the same ones for the same seed. One in eight may hold page
    structs, of the others there are fewer."""
    chance = random.Random(seed)
    rest = [frame for frame in known.frames if frame not in known.page_structs]
    chance.shuffle(rest)
    structs = sorted(known.page_structs)
    for number in range(min(count, len(rest))):
        frame = chance.choice(structs) if structs and number % 8 == 7 else rest[number]
        yield frame, chance.choice(WAYS)

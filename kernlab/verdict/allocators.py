"""Who allocated what somebody holds: exactly, where the kernel was told to note or to count it."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import normal
from kernlab.tables.memory.slab_objects import slab_objects
from kernlab.util.text import human_bytes, percent
from kernlab.verdict.askers import Asker, asker
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence
from kernlab.verdict.holders import Holder

#: A place in the source that allocated at least this part of what is held has most of it; more than so much is
#: something else.
_MOST_OF_IT, _TOO_MUCH = 0.6, 1.2


@dataclasses.dataclass(frozen=True, slots=True)
class Allocator:
    """A function that allocated most of what somebody holds, its module (None for the kernel's own), and what shows it;
    `cell` is '' where what shows the holder shows this, too."""

    function: str
    module: str | None
    evidence: Evidence
    cell: str = ""


def allocated_at(case: Case, holder: Holder) -> Allocator | None:
    """Who allocated most of what a holder in the kernel has; None where that is not known."""
    if holder.usual is None:
        return None
    for source in (_noted_in_slabs, _noted_by_pages, _counted):
        try:
            found = source(case, holder)
        except KernlabError as error:
            case.kernel.lost(f"verdict: who allocated {holder.subject} could not be asked: {error}")
            continue
        if found is not None:
            return found
    return None


def _noted_in_slabs(case: Case, holder: Holder) -> Allocator | None:
    """SLUB notes who allocated each object of a cache (slub_debug=U)."""
    table = case.memory.slabs
    own = (
        table[(table["address"] == np.uint64(holder.cache)).fillna(False)] if holder.cache else table.head(0)
    )
    if not own["flags"].str.contains("SLAB_STORE_USER", na=False).any():
        return None
    objects = slab_objects(case.kernel, holder.cache, stacks=True)
    live = objects[objects["allocated"].fillna(False).astype(bool)]
    count: Counter[Asker] = Counter()
    who = (
        live["alloc_stack"]
        .astype(object)
        .where(live["alloc_stack"].notna(), live["alloc_caller"].astype(object))
    )
    for stack, times in who.value_counts().items():
        count[_asker(str(stack))] += int(times)
    told, times = count.most_common(1)[0] if count else (Asker(""), 0)
    if told.function is None or times < _MOST_OF_IT * len(live):
        return None
    said = f"{told.name} allocated {percent(times / len(live))} of its objects in use, {times:,}"
    cell = f"dump.slab_objects({str(own['name'].iloc[0])!r}, stacks=True).alloc_caller.value_counts()"
    return Allocator(told.function, told.module, Evidence("slab_objects", show_controls(said)), cell)


def _noted_by_pages(case: Case, holder: Holder) -> Allocator | None:
    """The kernel notes who allocated each page (page_owner=on)."""
    table = case.page_owner
    if not len(table):
        return None
    size = table["size_bytes"].astype("float64").fillna(0.0)
    by_asker: dict[Asker, tuple[float, list[int]]] = {}
    for stack, sizes in size.groupby(table["stack"].fillna("").astype(str)):
        told = _asker(str(stack))
        if told.function is None or (holder.asks and told.asks != holder.asks):
            continue
        had, rows = by_asker.get(told, (0.0, []))
        by_asker[told] = (had + float(sizes.sum()), [*rows, *map(int, sizes.index[:100])])
    told = max(by_asker, key=lambda one: by_asker[one][0], default=Asker(""))
    if told.function is None or not _is_most(by_asker[told][0], holder):
        return None
    total, rows = by_asker[told]
    said = f"{told.name} allocated {human_bytes(int(total))} in pages that are still in use"
    cell = "dump.page_owner.groupby('stack').size_bytes.sum().nlargest(10)"
    return Allocator(
        told.function, told.module, Evidence("page_owner", show_controls(said), tuple(rows[:100])), cell
    )


def _counted(case: Case, holder: Holder) -> Allocator | None:
    """The kernel counts what each place of its source has allocated (CONFIG_MEM_ALLOC_PROFILING)."""
    table = case.allocations
    if not len(table):
        return None
    size = table["size_bytes"].astype("float64").fillna(0.0)
    row = int(size.to_numpy().argmax())
    function, module = table["function"].iloc[row], table["module"].iloc[row]
    if not _is_most(float(size.iloc[row]), holder) or pd.isna(function):
        return None
    module = None if pd.isna(module) or not module else str(module)
    told = Asker("", normal(str(function)), module)
    said = f"{told.name} has allocated {human_bytes(int(size.iloc[row]))} and not freed it"
    evidence = Evidence("allocations", show_controls(said), (int(table.index[row]),))
    return Allocator(normal(str(function)), module, evidence, "dump.allocations.nlargest(10, 'size_bytes')")


def _is_most(size: float, holder: Holder) -> bool:
    return _MOST_OF_IT * holder.bytes <= size <= _TOO_MUCH * holder.bytes


def _asker(stack: str) -> Asker:
    """Who asked, of frames with " < " between, the innermost first; or of one caller."""
    frames = stack.split(" < ")
    told = asker(frames)
    if told.function is None and len(frames) == 1 and (one := frame_of(frames[0])) is not None:
        return Asker(told.asks, normal(one.name), one.module or None)
    return told

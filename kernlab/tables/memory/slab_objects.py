"""Slab objects: one row per object of one cache, of some, or of all, in use or free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, frame, lookup, nullable, table
from kernlab.errors import KernlabError
from kernlab.linux.allocations.depot import Tracks
from kernlab.linux.allocations.tracks import ALLOC, FREE, nothing_noted, tracked, tracks
from kernlab.linux.slab_caches import (
    cache_names,
    cache_nodes,
    caches_by_name,
    every_cache,
    type_of_cache,
)
from kernlab.linux.slab_pages import ALLOCATED, UNKNOWN, SlabPages, slab_heads
from kernlab.linux.slab_states import object_states
from kernlab.linux.slub import slab_type
from kernlab.util import integers
from kernlab.util.text import nearest

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


@table
def slab_objects(
    kernel: Kernel, cache: str | int | Iterable[str | int] | None = None, *, stacks: bool = False
) -> pd.DataFrame:
    """One row per slot of every slab, by address.

    `cache` is a cache's name or the address of its kmem_cache, several of them, or None for all. Columns: address (of
    the object, with its type where the cache's name tells it, so that `.kern.field("d_name.name")` works), cache (its
    name), slab (the struct slab, or page, that it is on), allocated: False where a freelist of the slab or a CPU, a
    sheaf or a barn holds it; missing where damage leaves it open.
    With `stacks` also who allocated each and who freed it last, of caches that note it (slub_debug=U at boot):
    alloc_caller (the function that asked, as the kernel prints it), alloc_stack (the frames, innermost first, " < "
    between), alloc_pid (the thread's), alloc_cpu, alloc_when (timedelta since boot, as exact as a tick), and the same
    as free_*. What was not noted is missing; of objects of KFENCE's pool, which are rows, too, `kfence` has it.
    Mirrors mm/slub.c. Raises KernlabError, naming the nearest, for a cache that there is not.

    >>> dump.slab_objects("task_struct")["allocated"].value_counts()
    allocated
    True     97
    False    20
    Name: count, dtype: Int64
    """
    wanted = None if cache is None else _caches(kernel, cache)
    slabs = SlabPages.read(kernel, slab_heads(kernel))
    if wanted is not None:
        slabs = slabs.only(wanted)
    _compare(kernel, slabs, wanted)
    states = object_states(kernel, slabs)
    names = cache_names(kernel, slabs.caches)
    owner = np.repeat(slabs.cache, slabs.objects)
    used = np.unique(slabs.cache)
    # Objects of several caches have no type in common.
    row = int(used[0]) if len(used) == 1 else -1
    target = type_of_cache(kernel, names[row], _object_size(slabs, row)) if row >= 0 else ""
    slab = np.repeat(slabs.page, slabs.objects)
    noted = _noted(kernel, slabs) if stacks else {}
    return frame(
        kernel,
        "slab_objects",
        address=addresses(kernel, slabs.addresses(), target=target),
        cache=lookup(owner, names),
        slab=addresses(kernel, slab, target=slab_type(kernel)),
        allocated=pd.arrays.BooleanArray(states == ALLOCATED, states == UNKNOWN),
        **noted,
    )


def _noted(kernel: Kernel, slabs: SlabPages) -> dict[str, Any]:
    """The columns of who allocated and who freed each object."""
    if kernel.type_or_none("struct track") is None:
        kernel.lost("who allocated slab objects is not noted by this kernel (CONFIG_SLUB_DEBUG)")
        return _columns("alloc", nothing_noted(slabs)) | _columns("free", nothing_noted(slabs))
    noting = tracked(slabs)
    if len(slabs) and not noting.any():
        kernel.lost(
            "who allocated slab objects was not noted: the kernel does so with slub_debug=U on its command line, for "
            "all caches or for those that are named there"
        )
    return _columns("alloc", tracks(slabs, ALLOC)) | _columns("free", tracks(slabs, FREE))


def _columns(what: str, noted: Tracks) -> dict[str, Any]:
    return {
        f"{what}_caller": noted.callers,
        f"{what}_stack": lookup(noted.stacks.code, noted.stacks.text),
        f"{what}_pid": nullable(noted.pid),
        f"{what}_cpu": nullable(noted.cpu),
        f"{what}_when": noted.when.timedelta,
    }


def _compare(kernel: Kernel, slabs: SlabPages, wanted: U64 | None) -> None:
    """Say which slabs and objects caches count that were not found: of damaged page structs nothing else tells."""
    cache = StructArray(kernel, slabs.caches.type, wanted) if wanted is not None else every_cache(kernel)
    owner, nodes = cache_nodes(kernel, cache)
    if not nodes.has("nr_slabs"):
        # Without CONFIG_SLUB_DEBUG nobody counts them.
        return
    short = []
    for member, each in (("nr_slabs", np.ones(len(slabs), dtype=np.int64)), ("total_objects", slabs.objects)):
        told = nodes[f"{member}.counter"].added_by(owner, len(cache))
        found = np.zeros(len(slabs.caches), dtype=np.int64)
        np.add.at(found, slabs.cache, each)
        place = np.searchsorted(slabs.caches.addresses, cache.addresses)
        here = place < len(found)
        here[here] = slabs.caches.addresses[place[here]] == cache.addresses[here]
        known = np.zeros(len(cache), dtype=np.int64)
        known[here] = found[place[here]]
        short.append((told - known).clip(0))
    rows = np.flatnonzero(short[0].true | short[1].true)
    if len(rows):
        slabs_lost, objects_lost = (integers.total(column.filled(0)) for column in short)
        names = f"{', '.join(cache_names(kernel, cache[rows[:5]]))}{' …' if len(rows) > 5 else ''}"
        kernel.lost(
            f"slabs: {slabs_lost:,} slabs and {objects_lost:,} objects that their caches count are not here: their "
            f"page structs are damaged or absent (caches: {names})"
        )


def _object_size(slabs: SlabPages, row: int) -> int:
    return int(slabs.caches[row : row + 1]["object_size"][0] or 0)


def _caches(kernel: Kernel, wanted: Any) -> U64:
    """Addresses of caches that were asked for by name or address."""
    asked = [wanted] if isinstance(wanted, str) or hasattr(wanted, "__index__") else list(wanted)
    by_name = caches_by_name(kernel)
    every = {address for addresses in by_name.values() for address in addresses}
    found: list[int] = []
    for one in asked:
        key = one if isinstance(one, str) else kernel.address(one)
        known = by_name.get(key, []) if isinstance(key, str) else [key] if key in every else []
        if not known:
            shown = repr(key) if isinstance(key, str) else f"at {key:#x}"
            raise KernlabError(
                f"there is no slab cache {shown}{nearest(str(key), by_name) or ';'} SLUB merges caches whose objects "
                "are alike, and the merged one has the name of the first (dump.slabs lists them)"
            )
        found += known
    return np.array(found, dtype=np.uint64)

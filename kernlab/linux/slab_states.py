"""Which slab objects are in use: what freelists, CPUs, sheaves and barns hold is free (mm/slub.c)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.slab_caches import (
    percpu_structs,
    sheaves,
)
from kernlab.linux.slab_pages import ObjectStates, SlabPages
from kernlab.walk.cpus import possible_cpus

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


#: A sheaf holds no more objects (mm/slub.c sizes them by cache, 4 to 60).
_LARGEST_SHEAF = 1 << 16


def object_states(kernel: Kernel, slabs: SlabPages, *, whole: bool = True) -> npt.NDArray[np.uint8]:
    """ALLOCATED, FREE or UNKNOWN for each object of some slabs, uint8[m], by all that may hold free ones.

    `whole`: they are all slabs of their caches, so that what CPUs and sheaves hold must lie on them.
    """
    states = ObjectStates(slabs)
    rows = np.arange(len(slabs), dtype=np.int64)
    lengths, good = states.walk(rows, slabs.freelist)
    _tell(kernel, slabs.page[~good], "of slabs are damaged (they lead out of the slab, or in a circle)")
    counted = good & (lengths != slabs.objects - slabs.inuse) & (slabs.objects > 0)
    _tell(kernel, slabs.page[counted], "hold a different number of objects than their slab counts as free")
    cache = slabs.caches
    known = np.unique(slabs.cache)
    known = known[cache.valid[known]]
    numbers = possible_cpus(kernel)
    if cache.has("cpu_slab"):
        owner, cpu = percpu_structs(kernel, cache[known], "cpu_slab", "struct kmem_cache_cpu", numbers)
        heads = cpu["freelist"]
        first = heads.values[heads.true]
        slab, _, _ = slabs.locate(first)
        _, good = states.walk(slab[slab >= 0], first[slab >= 0])
        outside = first[slab < 0] if whole else first[:0]
        _tell(kernel, np.concatenate([outside, first[slab >= 0][~good]]), "of CPUs are damaged")
        _doubt(kernel, states, known[owner[~heads.valid]], "freelists of CPUs")
    if cache.has("cpu_sheaves"):
        owner, cpu = percpu_structs(
            kernel, cache[known], "cpu_sheaves", "struct slub_percpu_sheaves", numbers
        )
        of, sheaf, doubtful = sheaves(kernel, cache[known], owner, cpu)
        held, unread = _held_by(kernel, sheaf)
        nowhere, twice = states.mark(held)
        nowhere = nowhere if whole else 0
        if nowhere or twice:
            kernel.lost(
                f"slabs: sheaves hold {nowhere:,} pointers to no object, and {twice:,} to objects that were free "
                "already"
            )
        _doubt(kernel, states, known[np.concatenate([doubtful, of[unread]])], "sheaves")
    states.finish()
    return states.state


def _doubt(kernel: Kernel, states: ObjectStates, cache: I64, what: str) -> None:
    if len(cache):
        states.doubt(cache)
        kernel.lost(
            f"slabs: {what} of {len(np.unique(cache)):,} caches cannot be read; whether their objects are free is "
            "not known"
        )


def _held_by(kernel: Kernel, sheaf: StructArray) -> tuple[U64, I64]:
    """The objects on many sheaves: (addresses uint64[k], indexes of sheaves that could not be read)."""
    size, where = sheaf["size"], sheaf["objects"].values
    sane = (size <= _LARGEST_SHEAF).true
    claimed = size.where(sane).int64.filled(0)
    count = kernel.budget.counts(claimed, 8, "objects on sheaves")
    sane &= count == claimed
    owner = np.repeat(np.arange(len(sheaf)), count)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    held, read = kernel.words(where[owner] + index.astype(np.uint64) * np.uint64(8), what="")
    lost = np.flatnonzero(~sane)
    return held[read], np.concatenate([lost, np.unique(owner[~read])])


def _tell(kernel: Kernel, where: U64, how: str) -> None:
    if len(where):
        kernel.lost(f"slabs: {len(where):,} freelists {how} (the first at {int(where[0]):#018x})")

"""KFENCE's pool: the sampled objects, each with who allocated and who freed it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, empty, frame, lookup, nullable, table
from kernlab.linux.allocations.kfence import (
    ALLOCATED,
    FREED,
    RCU_FREEING,
    UNUSED,
    kfence_objects,
    kfence_tracks,
    states,
    why_none,
)
from kernlab.linux.slab_caches import cache_names

_STATES = {UNUSED: "unused", ALLOCATED: "allocated", RCU_FREEING: "rcu_freeing", FREED: "freed"}


@table(rows="struct kfence_metadata")
def kfence(kernel: Kernel) -> pd.DataFrame:
    """One row per object of KFENCE's pool, in its order; empty where KFENCE is off, and `problems` says why.

    Columns: number (as in reports: kfence-#7), state ("unused", "allocated", "rcu_freeing", "freed"), object (its
    address), size_bytes (that were asked for), cache (that it was allocated of; missing for one that is gone),
    alloc_pid, alloc_cpu, alloc_when (timedelta on the log's clock), alloc_stack (frames as the kernel prints them, the
    innermost first, " < " between), free_pid, free_cpu, free_when, free_stack (missing of an object that is in use or
    was never used), address (of the kfence_metadata). Mirrors mm/kfence/report.c (kfence_print_object) and
    /sys/kernel/debug/kfence/objects, which leaves the allocator's own frames out.

    >>> len(dump.kfence), dump.kfence.attrs["problems"][-1]
    (0, 'KFENCE is off in this kernel (CONFIG_KFENCE)')
    """
    objects = kfence_objects(kernel)
    if objects is None:
        kernel.lost(why_none(kernel))
        side = {"pid": "Int64", "cpu": "Int64", "when": "timedelta64[ns]", "stack": "str"}
        sides = {f"{what}_{name}": dtype for what in ("alloc", "free") for name, dtype in side.items()}
        return empty(
            kernel,
            "kfence",
            number="int64",
            state="str",
            object="address",
            size_bytes="Int64",
            cache="str",
            **sides,
            address="struct kfence_metadata",
        )
    state = states(objects)
    used = state.valid & (state.values != UNUSED)
    over = used & np.isin(state.values, (RCU_FREEING, FREED))
    alloc = kfence_tracks(objects, "alloc_track", used)
    free = kfence_tracks(objects, "free_track", over)
    cache = objects.follow("cache")
    cache.valid &= used
    names = cache_names(kernel, cache)
    place = objects["addr"]
    # 2^63 and more is an object whose destruction is under way, whose size is kept as a negative number.
    size = Column.of(np.abs(objects["size"].values.view(np.int64)), used)
    return frame(
        kernel,
        "kfence",
        number=np.arange(len(objects)),
        state=lookup(
            np.where(state.valid & (state.values <= FREED), state.values, -1), list(_STATES.values())
        ),
        object=addresses(kernel, place.values, place.valid & used),
        size_bytes=nullable(size),
        cache=Column.of(names, cache.valid, "text"),
        alloc_pid=nullable(alloc.pid),
        alloc_cpu=nullable(alloc.cpu),
        alloc_when=alloc.when.timedelta,
        alloc_stack=alloc.stacks.column,
        free_pid=nullable(free.pid),
        free_cpu=nullable(free.cpu),
        free_when=free.when.timedelta,
        free_stack=free.stacks.column,
        address=objects,
    )

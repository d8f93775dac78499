"""Freed slab objects: what they held last is still there; zeroed, but for the links of the freelist."""

from __future__ import annotations

import numpy as np

from kernlab.linux.allocations.kfence import IN_USE, kfence_objects, states
from kernlab.linux.slab_pages import ALLOCATED, UNKNOWN
from kernlab.redaction.found import Found

_LINK = 8


def freed_objects(found: Found) -> None:
    """Zero every object that is free; one of which it is not known only at the strict level."""
    slabs, states = found.slabs, found.states
    free = states != ALLOCATED if found.strict else (states != ALLOCATED) & (states != UNKNOWN)
    rows = np.flatnonzero(free)
    cache = np.repeat(slabs.cache, slabs.objects)[rows]
    start = slabs.addresses()[rows]
    offset = slabs.caches["offset"].int64.filled(0)[cache]
    # The whole object goes, with what lies behind it: stale data of the page's earlier owner.
    stride = np.repeat(slabs.stride, slabs.objects)[rows]
    inside = (offset >= 0) & (offset + _LINK <= stride)
    found.edits.zero(start, np.where(inside, offset, stride), "freed slab object")
    behind = start + (offset + _LINK).astype(np.uint64)
    found.edits.zero(behind[inside], (stride - offset - _LINK)[inside])
    # A packet that was freed may lead to one that is free by now: the freelist must not end there.
    found.edits.keep((start + offset.astype(np.uint64))[inside], _LINK)
    _sampled(found)


def _sampled(found: Found) -> None:
    """Pages of KFENCE's pool without an object in use: what the last one held stays until the page is taken anew."""
    kernel = found.kernel
    objects = kfence_objects(kernel)
    if objects is None:
        return
    state, place = states(objects), objects["addr"]
    free = place.valid & ~np.isin(state.filled(IN_USE[0]), IN_USE)
    page = place.values[free].astype(np.uint64) & ~np.uint64(kernel.page_size - 1)
    found.edits.zero(page, kernel.page_size, "freed slab object")

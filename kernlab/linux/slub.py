"""SLUB (mm/slub.c): caches in, the slabs on their lists and the length of freelists out, all caches together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: kmem_cache_order_objects packs a slab's page order above its number of objects (OO_SHIFT, OO_MASK).
OO_SHIFT, OO_MASK = 16, 0xFFFF

#: No slab holds more objects (MAX_OBJS_PER_PAGE): a longer freelist is a cycle.
LONGEST_FREELIST = 32767


def slab_type(kernel: Kernel) -> str:
    """The struct that describes a slab."""
    # Linux commit d122019bf061 ("mm: Split slab into its own type") (in v5.17); before, part of struct page.
    return "struct slab" if kernel.types.get("struct slab") else "struct page"


def freelist_lengths(
    kernel: Kernel, caches: StructArray, owner: npt.NDArray[np.int64], heads: U64
) -> tuple[npt.NDArray[np.int64], Mask]:
    """How many objects hang on many freelists.

    Parameters: caches, and for each freelist its cache's index in them (owner int64[m]) and first object (heads
    uint64[m]). Returns (int64[m], bool[m]: False where a link could not be read, or where more objects hang on the
    list than a slab of its cache holds: then it runs in a circle, or through memory that is not a slab).
    Links are stored as they are, or hardened (CONFIG_SLAB_FREELIST_HARDENED): xored with the cache's `random` and the
    byte-swapped address of the link itself (freelist_ptr_decode).
    """
    offset = caches["offset"].values.astype(np.uint64)[owner]
    hardened = caches.has("random")
    secret = caches["random"].values[owner] if hardened else np.zeros(len(owner), dtype=np.uint64)
    room = (caches["oo.x"] & OO_MASK).values[owner]
    lengths = np.zeros(len(heads), dtype=np.int64)
    good = np.ones(len(heads), dtype=bool)
    rows = np.flatnonzero(heads)
    current = heads[rows]
    for _ in range(LONGEST_FREELIST):
        if not len(rows):
            return lengths, good
        long = lengths[rows] >= room[rows]
        good[rows[long]] = False
        rows, current = rows[~long], current[~long]
        lengths[rows] += 1
        where = current + offset[rows]
        stored, read = kernel.words(where, what="")
        good[rows[~read]] = False
        following = stored ^ secret[rows] ^ where.byteswap() if hardened else stored
        going = read & (following != 0)
        rows, current = rows[going], following[going]
    good[rows] = False
    return lengths, good

"""SLUB (mm/slub.c): caches in, the slabs on their lists and the length of freelists out, all caches together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.slab_caches import every_cache, percpu_structs
from kernlab.walk.cpus import possible_cpus

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: kmem_cache_order_objects packs a slab's page order above its number of objects (OO_SHIFT, OO_MASK).
OO_SHIFT, OO_MASK = 16, 0xFFFF

#: No slab holds more objects (MAX_OBJS_PER_PAGE): a longer freelist is a cycle.
LONGEST_FREELIST = 32767

#: So many caches on so many CPUs tell how all links are stored.
_FEW_CACHES, _FEW_CPUS = 256, 16


def slab_type(kernel: Kernel) -> str:
    """The struct that describes a slab."""
    # Linux commit d122019bf061 ("mm: Split slab into its own type") (in v5.17); before, part of struct page.
    return "struct slab" if kernel.types.get("struct slab") else "struct page"


def decoded(kernel: Kernel, stored: U64, secret: U64, where: U64) -> U64:
    """Where hardened links uint64[n] lead (mm/slub.c, freelist_ptr_decode): `secret` are the caches' own, `where` the
    addresses of the links."""
    own: U64 = stored ^ secret ^ (where.byteswap() if swaps_addresses(kernel) else where)
    return own


@fact
def swaps_addresses(kernel: Kernel) -> bool:
    """Does a hardened link hold its own address with the bytes turned round?

    Linux commit 1ad53d9fa3f6 ("slub: improve bit diffusion for freelist ptr obfuscation") (in v5.7, and in later
    releases of older lines) began to: no type tells. What CPUs' freelists lead to does, as it is in the same slab.
    """
    cache = every_cache(kernel)
    if not cache.has("random") or not cache.has("cpu_slab"):
        return True
    cache = cache[:_FEW_CACHES]
    with kernel.quiet():
        owner, cpu = percpu_structs(
            kernel, cache, "cpu_slab", "struct kmem_cache_cpu", possible_cpus(kernel)[:_FEW_CPUS]
        )
        first = cpu["freelist"]
        rows = np.flatnonzero(first.true)
        head, owner = first.values[rows], owner[rows]
        where = head + cache["offset"].values.astype(np.uint64)[owner]
        stored, read = kernel.words(where, what="")
        size, secret = cache["size"].values.astype(np.uint64)[owner], cache["random"].values[owner]
        span = np.uint64(kernel.page_size) << (
            cache["oo.x"].values.astype(np.uint64)[owner] >> np.uint64(OO_SHIFT)
        )
    fits = []
    for address in (where.byteswap(), where):
        link = stored ^ secret ^ address
        apart = np.where(link > head, link - head, head - link)
        fits.append(
            int((read & (link != 0) & (apart < span) & (apart % np.maximum(size, np.uint64(1)) == 0)).sum())
        )
    return fits[0] >= fits[1]


def freelist_lengths(
    kernel: Kernel, caches: StructArray, owner: npt.NDArray[np.int64], heads: U64
) -> tuple[npt.NDArray[np.int64], Mask]:
    """How many objects hang on many freelists.

    Parameters: caches, and for each freelist its cache's index in them (owner int64[m]) and first object (heads
    uint64[m]). Returns (int64[m], bool[m]: False where a link could not be read, or where more objects hang on the
    list than a slab of its cache holds: then it runs in a circle, or through memory that is not a slab).
    Links are stored as they are, or hardened (CONFIG_SLAB_FREELIST_HARDENED): xored with the cache's `random` and the
    address of the link itself (`decoded`).
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
        following = decoded(kernel, stored, secret[rows], where) if hardened else stored
        going = read & (following != 0)
        rows, current = rows[going], following[going]
    good[rows] = False
    return lengths, good

"""zswap, the compressed pool in front of swap: how much memory it takes."""

from __future__ import annotations

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

#: What each allocator keeps its pages in, by the name of its driver: its struct and the count's member.
_ALLOCATORS = {
    "zsmalloc": ("struct zs_pool", "pages_allocated.counter"),
    "zbud": ("struct zbud_pool", "pages_nr"),
    "z3fold": ("struct z3fold_pool", "pages_nr.counter"),
}


def stored_pages(kernel: Kernel) -> int | None:
    """How many pages lie in zswap; None where that cannot be read."""
    # An atomic_t before 6.13, an atomic_long_t since; 4 bytes of it count pages of 16 TiB.
    return _word(kernel, "zswap_stored_pages", 4)


def pool_bytes(kernel: Kernel) -> int | None:
    """Bytes that zswap's pools take, those of former settings included; None where that cannot be read.

    Mirrors mm/zswap.c, zswap_total_pages.
    """
    # Linux commit 91cdcd8d62c1 ("mm: zswap: remove zswap_pool_total_size") (in v6.9): the pools are summed when asked.
    if kernel.find_symbol("zswap_pool_total_size") is not None:
        return _word(kernel, "zswap_pool_total_size", 8)
    try:
        with kernel.watched() as losses:
            _, pool = list_entries(
                kernel,
                [kernel.symbol("zswap_pools")],
                "struct zswap_pool",
                "list",
                what="the pools of zswap",
            )
            pages = _pages(kernel, pool)
    except KernlabError as error:
        kernel.lost(f"zswap: how much memory its pools take is not known: {error}")
        return None
    if losses or pages is None:
        return None
    return pages * kernel.page_size


def _pages(kernel: Kernel, pool: StructArray) -> int | None:
    """Pages of all pools, None where a part of them cannot be read."""
    # In 6.18 zpool went, a layer between zswap and its allocators, of which only zsmalloc was left.
    if pool.has("zs_pool"):
        return pool.follow("zs_pool")["pages_allocated.counter"].sum()
    # From 6.6 to 6.10 a pool was made of several zpools.
    layers = pool["zpool"] if pool.has("zpool") else pool["zpools"]
    if not layers.valid.all():
        return None
    pointers = layers.values.reshape(-1)
    layer = StructArray(kernel, "struct zpool", pointers[pointers != 0])
    driver, allocator = layer.follow("driver")["type"], layer["pool"]
    name = c_strings(kernel, driver, 64)
    if not (name.valid.all() and allocator.valid.all()):
        return None
    total = 0
    for kind in np.unique(name.values.astype(str)).tolist():
        if kind not in _ALLOCATORS:
            raise KernlabError(f"its allocator {show_controls(kind)!r} is not known")
        struct, member = _ALLOCATORS[kind]
        rows = allocator.values[(name == kind).true]
        pages = StructArray(kernel, struct, rows)[member].sum()
        if pages is None:
            return None
        total += pages
    return total


def _word(kernel: Kernel, name: str, size: int) -> int | None:
    try:
        return kernel.word(name, size)
    except KernlabError:
        return None

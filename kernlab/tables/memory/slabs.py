"""Slab caches: one row per cache, with how many of its objects are really in use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, table
from kernlab.debuginfo.types import EnumType
from kernlab.errors import KernlabError
from kernlab.linux.slab_caches import cache_nodes, percpu_structs, sheaves
from kernlab.linux.slab_pages import slab_heads
from kernlab.linux.slub import OO_MASK, OO_SHIFT, freelist_lengths, slab_type
from kernlab.walk.cpus import possible_cpus
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings, never_empty

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# include/linux/slab.h and mm/slab.h before 6.9: macros, which no type information has.
_FLAGS = {
    0x100: "SLAB_CONSISTENCY_CHECKS",
    0x400: "SLAB_RED_ZONE",
    0x800: "SLAB_POISON",
    0x1000: "SLAB_KMALLOC",
    0x2000: "SLAB_HWCACHE_ALIGN",
    0x4000: "SLAB_CACHE_DMA",
    0x8000: "SLAB_CACHE_DMA32",
    0x10000: "SLAB_STORE_USER",
    0x20000: "SLAB_RECLAIM_ACCOUNT",
    0x40000: "SLAB_PANIC",
    0x80000: "SLAB_TYPESAFE_BY_RCU",
    0x100000: "SLAB_MEM_SPREAD",
    0x200000: "SLAB_TRACE",
    0x400000: "SLAB_DEBUG_OBJECTS",
    0x800000: "SLAB_NOLEAKTRACE",
    0x1000000: "SLAB_NO_MERGE",
    0x2000000: "SLAB_FAILSLAB",
    0x4000000: "SLAB_ACCOUNT",
    0x8000000: "SLAB_KASAN",
    0x10000000: "SLAB_NO_USER_FLAGS",
    0x40000000: "SLAB_CMPXCHG_DOUBLE",
    0x80000000: "SLAB_OBJECT_POISON",
}


@table(rows="struct kmem_cache")
def slabs(kernel: Kernel) -> pd.DataFrame:
    """One row per kmem_cache (aliases have none), in the kernel's order.

    slabs, objects: pages and slots on all nodes; active: objects less the free ones, wherever they lie (a slab's or a
    CPU's freelist, a sheaf, a barn); bytes = slabs × pages_per_slab × page size; used_bytes = active × size.
    What cannot be read is missing, never 0. Mirrors mm/slub.c (SLUB; SLAB and SLOB are not read).

    >>> dump.slabs.nlargest(3, "used_bytes")[["name", "active", "objects", "used_bytes"]]
                     name  active  objects  used_bytes
    72        inode_cache   12157    12180     7780480
    73             dentry   15748    15855     3023616
    67  shmem_inode_cache    2113     2140     1656592
    """
    head = kernel.symbol("slab_caches")
    _, cache = list_entries(kernel, [head], "struct kmem_cache", "list", what="the list of slab caches")
    if not cache.has("oo"):
        raise KernlabError(
            "this kernel uses SLAB (CONFIG_SLAB, removed in Linux 6.8); kernlab only reads SLUB"
        )
    size = cache["size"]
    layout = cache["oo.x"]
    pages = 1 << (layout >> OO_SHIFT & 0x3F)
    tally = count(kernel, cache)
    slabs_, objects = tally.slabs, tally.objects
    negative = (slabs_ < 0).true | (objects < 0).true
    kernel.lost("caches count fewer slabs or objects than none, which are not known", mask=negative)
    slabs_, objects = slabs_.where(~negative), objects.where(~negative)
    # A cache without a slab has nothing in use, whatever else of it cannot be read.
    active = objects.where((objects == 0).true).otherwise(objects - tally.free)
    sane = (active >= 0).true
    wrong = int((active.valid & ~sane).sum())
    if wrong:
        kernel.lost(
            f"slabs: {wrong:,} caches count more free objects than they have; their `active` is missing"
        )
    active = active.where(sane)
    lost = int((~active.valid).sum())
    if lost:
        kernel.lost(
            f"slabs: the use of {lost:,} of {len(cache):,} caches is not known: parts of them are not here"
        )
    return frame(
        kernel,
        "slabs",
        address=cache,
        name=never_empty(c_strings(kernel, cache["name"])),
        object_size=nullable(cache["object_size"]),
        size=nullable(size),
        objects_per_slab=nullable(layout & OO_MASK),
        pages_per_slab=nullable(pages),
        slabs=nullable(slabs_),
        objects=nullable(objects),
        active=nullable(active),
        bytes=nullable(slabs_ * pages * kernel.page_size),
        used_bytes=nullable(active * size),
        flags=flag_names(kernel, cache["flags"]),
    )


def flag_names(kernel: Kernel, flags: Column) -> Column:
    """SLAB_ names of each cache's flags, joined by commas; bits without a name in hexadecimal."""
    # Linux commit cc61eb851461 ("mm, slab: use an enum to define SLAB_ cache creation flags") (in v6.9).
    bits = kernel.types.get("enum _slab_flag_bits")
    known = _FLAGS
    if isinstance(bits, EnumType):
        known = {1 << bit: name[1:] for name, bit in bits.enumerators.items() if name.startswith("_SLAB_")}
    names = []
    for mask in flags.filled(0).tolist():
        found = [name for value, name in known.items() if mask & value]
        rest = mask & ~sum(known)
        names.append(",".join(found + ([f"{rest:#x}"] if rest else [])))
    return Column.of(names, flags.valid, "text")


@dataclass
class Tally:
    """What was counted per cache: "int" columns, missing where not all of it could be read."""

    slabs: Column
    objects: Column
    free: Column

    @classmethod
    def zero(cls, count: int) -> Tally:
        """Nothing counted yet, nothing missed."""
        none = Column.of(np.zeros(count, dtype=np.int64))
        return cls(none, none, none)

    def add_free(self, owner: npt.NDArray[np.integer], free: Column) -> None:
        """Count free objects towards their caches; one that could not be read spoils its cache's count."""
        self.free += free.added_by(owner, len(self.free))

    def spoil(self, owner: npt.NDArray[np.integer]) -> None:
        """Of these caches not all free objects are known."""
        known = self.free.valid.copy()
        known[owner] = False
        self.free = self.free.where(known)


def count(kernel: Kernel, cache: StructArray) -> Tally:
    """Slabs, objects and free objects of every cache."""
    tally = Tally.zero(len(cache))
    owner, nodes = cache_nodes(kernel, cache)
    if nodes.has("nr_slabs"):
        slabs_, objects = nodes["nr_slabs.counter"], nodes["total_objects.counter"]
        valid = nodes.valid & slabs_.valid & objects.valid
        tally.slabs = slabs_.where(valid).added_by(owner, len(cache))
        tally.objects = objects.where(valid).added_by(owner, len(cache))
    else:
        # Without CONFIG_SLUB_DEBUG (and so with CONFIG_SLUB_TINY) nobody counts them.
        _count_frames(kernel, cache, tally)
    partial = nodes["nr_partial"]
    tally.spoil(owner[~partial.valid])
    heads = nodes.follow("partial").addresses
    slab, member = slab_type(kernel), "slab_list"
    with kernel.watched() as losses:
        index, slabs_on = list_entries(
            kernel, heads[partial.valid], slab, member, what="the nodes' partial slabs"
        )
    of_node = np.flatnonzero(partial.valid)[index]
    found = np.bincount(of_node, minlength=len(nodes))
    if losses:
        # A list that broke lacks slabs, or ran on through what is none of its own.
        wrong = (partial != found).true
        tally.spoil(owner[wrong])
    tally.add_free(owner[of_node], _free_in(slabs_on))
    _count_percpu(kernel, cache, tally)
    return tally


def _count_frames(kernel: Kernel, cache: StructArray, tally: Tally) -> None:
    """Slabs and objects by the page structs of all slabs."""
    slab = StructArray(kernel, slab_type(kernel), slab_heads(kernel))
    pointer, objects = slab["slab_cache"], slab["objects"]
    order = np.argsort(cache.addresses)
    place = np.minimum(np.searchsorted(cache.addresses[order], pointer.values), max(len(cache) - 1, 0))
    mine = (pointer.where(objects.valid) == cache.addresses[order][place]).true
    of = order[place[mine]]
    tally.slabs = Column.of(np.ones(len(of), dtype=np.int64)).added_by(of, len(cache))
    tally.objects = objects[mine].added_by(of, len(cache))
    kernel.lost("slab pages belong to no listed cache, or cannot be read", mask=~mine, why="not counted")


def _free_in(slabs_on: StructArray) -> Column:
    """Free objects on each slab's own freelist."""
    return slabs_on["objects"] - slabs_on["inuse"]


def _count_percpu(kernel: Kernel, cache: StructArray, tally: Tally) -> None:
    """Free objects that CPUs keep: their slab's freelist, their partial slabs, or their sheaves and barns."""
    numbers = possible_cpus(kernel)
    if cache.has("cpu_slab"):
        owner, cpu = percpu_structs(kernel, cache, "cpu_slab", "struct kmem_cache_cpu", numbers)
        _count_cpu_slabs(kernel, cache, tally, owner, cpu)
    if cache.has("cpu_sheaves"):
        owner, cpu = percpu_structs(kernel, cache, "cpu_sheaves", "struct slub_percpu_sheaves", numbers)
        _count_sheaves(kernel, cache, tally, owner, cpu)


def _count_cpu_slabs(kernel: Kernel, cache: StructArray, tally: Tally, owner: I64, cpu: StructArray) -> None:
    heads = cpu["freelist"]
    tally.spoil(owner[~heads.valid])
    lengths, good = freelist_lengths(kernel, cache, owner[heads.valid], heads.values[heads.valid])
    tally.add_free(owner[heads.valid], Column.of(lengths, good))
    broken = int((~good).sum())
    if broken:
        kernel.lost(
            f"slabs: {broken:,} freelists of CPUs are damaged (a cycle, or a link that cannot be read)"
        )
    # Linux commit bb192ed9aa71 ("mm/slub: Convert most struct page to struct slab by spatch") (in v5.17).
    current = cpu.first("slab", "page")
    rows = np.flatnonzero(current.true)
    slab = slab_type(kernel)
    tally.add_free(owner[rows], _free_in(StructArray(kernel, slab, current.values[rows])))
    if not cpu.has("partial"):
        return
    partial = cpu["partial"]
    tally.spoil(owner[~partial.valid])
    rows = np.flatnonzero(partial.true)
    waiting = partial[rows]
    for _ in range(4096):
        if not len(rows):
            return
        slabs_on = StructArray(kernel, slab, waiting.values)
        tally.add_free(owner[rows], _free_in(slabs_on))
        following = slabs_on["next"]
        rows, waiting = rows[following.true], following[following.true]
    tally.spoil(owner[rows])
    kernel.lost(f"slabs: the partial slabs of {len(rows):,} CPUs do not end")


def _count_sheaves(kernel: Kernel, cache: StructArray, tally: Tally, owner: I64, cpu: StructArray) -> None:
    of, sheaf, doubtful = sheaves(kernel, cache, owner, cpu)
    tally.spoil(doubtful)
    tally.add_free(of, sheaf["size"])

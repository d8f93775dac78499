"""Slab objects: one row per object of one cache, of some, or of all, in use or free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.core.structs import StructArray
from kernlab.debuginfo.types import StructType, Type
from kernlab.errors import KernlabError
from kernlab.frames import addresses, frame, lookup, table
from kernlab.tables.slabs import cache_nodes, percpu_structs, sheaves
from kernlab.util.text import nearest
from kernlab.walk.cpus import possible_cpus
from kernlab.walk.lists import list_entries
from kernlab.walk.slab_pages import ALLOCATED, UNKNOWN, ObjectStates, SlabPages, slab_heads
from kernlab.walk.slub import slab_type
from kernlab.walk.strings import c_strings, never_empty

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: A sheaf holds no more objects (mm/slub.c sizes them by cache, 4 to 60).
_LARGEST_SHEAF = 1 << 16

#: Slab caches whose objects' type has another name than the cache, as the kernel creates them.
_TYPE_OF_CACHE = {
    "PACKET": "struct packet_sock",
    "RAW": "struct raw_sock",
    "TCP": "struct tcp_sock",
    "TCPv6": "struct tcp6_sock",
    "UDP": "struct udp_sock",
    "UDPv6": "struct udp6_sock",
    "UNIX": "struct unix_sock",
    "UNIX-STREAM": "struct unix_sock",
    "bdev_cache": "struct bdev_inode",
    "blkdev_ioc": "struct io_context",
    "cred_jar": "struct cred",
    "filp": "struct file",
    "inode_cache": "struct inode",
    "jbd2_journal_head": "struct journal_head",
    "mnt_cache": "struct mount",
    "net_namespace": "struct net",
    "pid_2": "struct pid",
    "radix_tree_node": "struct xa_node",
    "sighand_cache": "struct sighand_struct",
    "signal_cache": "struct signal_struct",
    "skbuff_head_cache": "struct sk_buff",
    "sock_inode_cache": "struct socket_alloc",
}
#: Types that the kernel allocates shorter than they are declared: the last array is cut to what the machine has.
_CUT_SHORT = ("struct task_struct", "struct kmem_cache", "struct mm_struct")


@table("Slab objects of one cache, or of all: every one, in use or free.")
def slab_objects(kernel: Kernel, cache: str | int | Iterable[str | int] | None = None) -> pd.DataFrame:
    """One row per slot of every slab, by address.

    `cache` is a cache's name or the address of its kmem_cache, several of them, or None for all. Columns: address (of
    the object, with its type where the cache's name tells it, so that `.kern.field("d_name.name")` works), cache (its
    name), slab (the struct slab, or page, that it is on), allocated: False where a freelist of the slab or a CPU, a
    sheaf or a barn holds it; missing where damage leaves it open. Mirrors mm/slub.c.
    Raises KernlabError, naming the nearest, for a cache that there is not.
    """
    problems: list[str] = []
    wanted = None if cache is None else _caches(kernel, cache, problems)
    slabs = SlabPages.read(kernel, slab_heads(kernel), problems)
    if wanted is not None:
        slabs = slabs.only(wanted)
    _compare(kernel, slabs, wanted, problems)
    states = object_states(kernel, slabs, problems)
    names = cache_names(kernel, slabs.caches)
    owner = np.repeat(slabs.cache, slabs.objects)
    used = np.unique(slabs.cache)
    # Objects of several caches have no type in common.
    row = int(used[0]) if len(used) == 1 else -1
    target = type_of_cache(kernel, names[row], _object_size(slabs, row)) if row >= 0 else ""
    slab = np.repeat(slabs.page, slabs.objects)
    return frame(
        kernel,
        "slab_objects",
        problems=problems,
        address=addresses(kernel, slabs.addresses(), target=target),
        cache=lookup(owner, names),
        slab=addresses(kernel, slab, target=slab_type(kernel)),
        allocated=pd.arrays.BooleanArray(states == ALLOCATED, states == UNKNOWN),
    )


def object_states(
    kernel: Kernel, slabs: SlabPages, problems: list[str], *, whole: bool = True
) -> npt.NDArray[np.uint8]:
    """ALLOCATED, FREE or UNKNOWN for each object of some slabs, uint8[m], by all that may hold free ones.

    `whole`: they are all slabs of their caches, so that what CPUs and sheaves hold must lie on them.
    """
    states = ObjectStates(slabs)
    rows = np.arange(len(slabs), dtype=np.int64)
    lengths, good = states.walk(rows, slabs.freelist)
    _tell(problems, slabs.page[~good], "of slabs are damaged (they lead out of the slab, or in a circle)")
    counted = good & (lengths != slabs.objects - slabs.inuse) & (slabs.objects > 0)
    _tell(problems, slabs.page[counted], "hold another number of objects than their slab counts free")
    cache = slabs.caches
    known = np.unique(slabs.cache)
    known = known[cache.valid[known]]
    numbers = possible_cpus(kernel, problems)
    if cache.has("cpu_slab"):
        owner, cpu = percpu_structs(kernel, cache[known], "cpu_slab", "struct kmem_cache_cpu", numbers)
        heads = cpu["freelist"]
        first = heads.values[heads.valid & (heads.values != 0)]
        slab, _, _ = slabs.locate(first)
        _, good = states.walk(slab[slab >= 0], first[slab >= 0])
        outside = first[slab < 0] if whole else first[:0]
        _tell(problems, np.concatenate([outside, first[slab >= 0][~good]]), "of CPUs are damaged")
        _doubt(problems, states, known[owner[~heads.valid]], "freelists of CPUs")
    if cache.has("cpu_sheaves"):
        owner, cpu = percpu_structs(
            kernel, cache[known], "cpu_sheaves", "struct slub_percpu_sheaves", numbers
        )
        of, sheaf, doubtful = sheaves(kernel, cache[known], owner, cpu, problems)
        held, unread = _held_by(kernel, sheaf)
        nowhere, twice = states.mark(held)
        nowhere = nowhere if whole else 0
        if nowhere or twice:
            problems.append(
                f"slabs: sheaves hold {nowhere:,} pointers to no object, and {twice:,} to objects that were free "
                "already"
            )
        _doubt(problems, states, known[np.concatenate([doubtful, of[unread]])], "sheaves")
    states.finish()
    return states.state


def _compare(kernel: Kernel, slabs: SlabPages, wanted: U64 | None, problems: list[str]) -> None:
    """Say which slabs and objects caches count that were not found: of damaged page structs nothing else tells."""
    cache = (
        StructArray(kernel, slabs.caches.type, wanted)
        if wanted is not None
        else _every_cache(kernel, problems)
    )
    owner, nodes = cache_nodes(kernel, cache, problems)
    if not nodes.has("nr_slabs"):
        # Without CONFIG_SLUB_DEBUG nobody counts them.
        return
    short = []
    for member, each in (("nr_slabs", np.ones(len(slabs), dtype=np.int64)), ("total_objects", slabs.objects)):
        told = nodes[f"{member}.counter"]
        counted = np.zeros(len(cache), dtype=np.int64)
        np.add.at(counted, owner[told.valid], told.values[told.valid])
        found = np.zeros(len(slabs.caches), dtype=np.int64)
        np.add.at(found, slabs.cache, each)
        place = np.searchsorted(slabs.caches.addresses, cache.addresses)
        here = place < len(found)
        here[here] = slabs.caches.addresses[place[here]] == cache.addresses[here]
        counted[here] -= found[place[here]]
        short.append(np.maximum(counted, 0))
    rows = np.flatnonzero(short[0] + short[1])
    if len(rows):
        problems.append(
            f"slabs: {int(short[0].sum()):,} slabs and {int(short[1].sum()):,} objects that their caches count are not "
            f"here: their page structs are damaged or absent (caches: {', '.join(cache_names(kernel, cache[rows[:5]]))}"
            f"{' …' if len(rows) > 5 else ''})"
        )


def _doubt(problems: list[str], states: ObjectStates, cache: I64, what: str) -> None:
    if len(cache):
        states.doubt(cache)
        problems.append(
            f"slabs: {what} of {len(np.unique(cache)):,} caches cannot be read; whether their objects are free is "
            "not known"
        )


def _held_by(kernel: Kernel, sheaf: StructArray) -> tuple[U64, I64]:
    """The objects on many sheaves: (addresses uint64[k], indexes of sheaves that could not be read)."""
    size, where = sheaf["size"], sheaf["objects"].values
    count = np.where(size.valid & (size.values <= _LARGEST_SHEAF), size.values, 0).astype(np.int64)
    owner = np.repeat(np.arange(len(sheaf)), count)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    held, read = kernel.words(where[owner] + index.astype(np.uint64) * np.uint64(8))
    lost = np.flatnonzero(~size.valid | (size.values > _LARGEST_SHEAF))
    return held[read], np.concatenate([lost, np.unique(owner[~read])])


def _tell(problems: list[str], where: U64, how: str) -> None:
    if len(where):
        problems.append(f"slabs: {len(where):,} freelists {how} (the first at {int(where[0]):#018x})")


def _object_size(slabs: SlabPages, row: int) -> int:
    return int(slabs.caches[row : row + 1]["object_size"].values[0])


def cache_names(kernel: Kernel, caches: StructArray) -> list[str]:
    """The name of each kmem_cache, its address where that cannot be read."""
    pointer = caches["name"]
    name = never_empty(c_strings(kernel, np.where(pointer.valid, pointer.values, np.uint64(0)), 256))
    return [
        str(text) if valid else f"{address:#018x}"
        for text, valid, address in zip(
            name.values, name.valid.tolist(), caches.addresses.tolist(), strict=True
        )
    ]


def _every_cache(kernel: Kernel, problems: list[str]) -> StructArray:
    """All kmem_caches, in the kernel's order."""
    head = kernel.symbol("slab_caches")
    _, cache = list_entries(
        kernel, [head], "struct kmem_cache", "list", problems=problems, what="the list of slab caches"
    )
    return cache


def caches_by_name(kernel: Kernel, problems: list[str]) -> dict[str, list[int]]:
    """The addresses of the kmem_caches of each name: merged ones bear the name of the first, and modules may repeat."""
    cache = _every_cache(kernel, problems)
    found: dict[str, list[int]] = {}
    for name, address in zip(cache_names(kernel, cache), cache.addresses.tolist(), strict=True):
        found.setdefault(name, []).append(address)
    return found


def _caches(kernel: Kernel, wanted: Any, problems: list[str]) -> U64:
    """Addresses of caches that were asked for by name or address."""
    asked = [wanted] if isinstance(wanted, str) or hasattr(wanted, "__index__") else list(wanted)
    by_name = caches_by_name(kernel, problems)
    every = {address for addresses in by_name.values() for address in addresses}
    found: list[int] = []
    for one in asked:
        key = one if isinstance(one, str) else kernel.address(one)
        known = by_name.get(key, []) if isinstance(key, str) else [key] if key in every else []
        if not known:
            shown = repr(key) if isinstance(key, str) else f"at {key:#x}"
            raise KernlabError(
                f"there is no slab cache {shown}{nearest(str(key), by_name) or ';'} SLUB merges caches whose objects "
                "are alike, and the merged one bears the name of the first (dump.slabs lists them)"
            )
        found += known
    return np.array(found, dtype=np.uint64)


def type_of_cache(kernel: Kernel, name: str, object_size: int) -> str:
    """The C type of a cache's objects by the cache's name, where the kernel or a module has one that fits; or ''."""
    stem = name.removesuffix("_cache")
    guesses = [_TYPE_OF_CACHE.get(name, ""), f"struct {name}"]
    if name.endswith("_inode_cache"):
        guesses += [f"struct {stem}_info", f"struct {stem}"]
    elif name.endswith("_cache"):
        guesses += [f"struct {stem}", f"struct {stem}_struct"]
    for guess in guesses:
        kind = _find(kernel, guess) if guess else None
        struct = kind.strip() if kind is not None else None
        if isinstance(struct, StructType) and (0 < struct.size <= object_size or guess in _CUT_SHORT):
            return guess
    return ""


def _find(kernel: Kernel, name: str) -> Type | None:
    found = kernel.types.get(name)
    if found is not None:
        return found
    kernel.with_modules()
    return next((known for types in kernel.module_types if (known := types.get(name)) is not None), None)

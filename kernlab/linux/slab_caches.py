"""Slab caches: all of them, their names, their nodes, and what CPUs and barns keep for them (mm/slub.c)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType, Type
from kernlab.linux.zones import node_ids
from kernlab.walk.cpus import percpu_many
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings, never_empty

I64 = npt.NDArray[np.int64]


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
    # Before v4.20 the struct had the name of the cache.
    "radix_tree_node": "struct xa_node",
    "sighand_cache": "struct sighand_struct",
    "signal_cache": "struct signal_struct",
    "skbuff_head_cache": "struct sk_buff",
    "sock_inode_cache": "struct socket_alloc",
}


#: Types that the kernel allocates shorter than they are declared: the last array is cut to what the machine has.
_CUT_SHORT = ("struct task_struct", "struct kmem_cache", "struct mm_struct")


def cache_names(kernel: Kernel, caches: StructArray) -> list[str]:
    """The name of each kmem_cache, its address where that cannot be read."""
    pointer = caches["name"]
    name = never_empty(c_strings(kernel, pointer, 256, "names of slab caches"))
    return [
        f"{address:#018x}" if text is None else text
        for text, address in zip(name, caches.addresses.tolist(), strict=True)
    ]


def every_cache(kernel: Kernel) -> StructArray:
    """All kmem_caches, in the kernel's order."""
    head = kernel.symbol("slab_caches")
    _, cache = list_entries(kernel, [head], "struct kmem_cache", "list", what="the list of slab caches")
    return cache


def caches_by_name(kernel: Kernel) -> dict[str, list[int]]:
    """The addresses of the kmem_caches of each name: merged ones bear the name of the first, and modules may repeat."""
    cache = every_cache(kernel)
    found: dict[str, list[int]] = {}
    for name, address in zip(cache_names(kernel, cache), cache.addresses.tolist(), strict=True):
        found.setdefault(name, []).append(address)
    return found


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


def cache_nodes(kernel: Kernel, cache: StructArray) -> tuple[I64, StructArray]:
    """The kmem_cache_node of each cache on each NUMA node that has one: (cache index int64[m], StructArray)."""
    width = node_ids(kernel)
    owners, addresses = [], []
    for number in range(width):
        # In 7.x the pointer lies in a small struct beside the node's barn.
        pointer = cache.first(f"per_node[{number}].node", f"node[{number}]")
        rows = np.flatnonzero(pointer.true)
        owners.append(rows)
        addresses.append(pointer.values[rows])
    return np.concatenate(owners), StructArray(kernel, "struct kmem_cache_node", np.concatenate(addresses))


def percpu_structs(
    kernel: Kernel, cache: StructArray, member: str, type_name: str, numbers: I64
) -> tuple[I64, StructArray]:
    """A per-CPU struct of each cache on each of the CPUs `numbers`: (cache index int64[m], StructArray of m)."""
    pointer = cache[member]
    rows = np.flatnonzero(pointer.true)
    where = percpu_many(kernel, pointer.values[rows], numbers).reshape(-1)
    return np.repeat(rows, len(numbers)), StructArray(kernel, type_name, where)


def sheaves(kernel: Kernel, cache: StructArray, owner: I64, cpu: StructArray) -> tuple[I64, StructArray, I64]:
    """All sheaves of many caches, on CPUs and in barns, each once.

    Parameters: cpu, the caches' slub_percpu_sheaves, and the index of each one's cache (owner). Returns (index of the
    cache int64[n], StructArray of n slab_sheaf, indexes of caches of which some could not be found).
    """
    # Linux commit 2d517aa09bbc ("slab: add opt-in caching layer of percpu sheaves") (in v6.18).
    owners, found, doubtful = [], [], []
    for member in ("main", "spare", "rcu_free"):
        if not cpu.has(member):
            continue
        pointer = cpu[member]
        doubtful.append(owner[~pointer.valid])
        rows = np.flatnonzero(pointer.true)
        owners.append(owner[rows])
        found.append(pointer.values[rows])
    barn_owner, barn = barns(kernel, cache)
    with kernel.watched() as losses:
        index, full = list_entries(
            kernel,
            barn.follow("sheaves_full").addresses,
            "struct slab_sheaf",
            "barn_list",
            what="the barns' full sheaves",
        )
    counted = barn["nr_full"]
    doubtful.append(barn_owner[~counted.valid])
    if losses:
        wrong = counted != np.bincount(index, minlength=len(barn))
        doubtful.append(barn_owner[wrong.true])
    owners.append(barn_owner[index])
    found.append(full.addresses)
    # A sheaf may be shared by caches that have none of their own: it counts once.
    every, first = np.unique(np.concatenate(found), return_index=True)
    return (
        np.concatenate(owners)[first],
        StructArray(kernel, "struct slab_sheaf", every),
        np.concatenate(doubtful),
    )


def barns(kernel: Kernel, cache: StructArray) -> tuple[I64, StructArray]:
    """The node_barn of each cache on each NUMA node that has one: (cache index int64[m], StructArray of m)."""
    width = node_ids(kernel)
    owners, addresses = [], []
    for number in range(width):
        pointer = cache.first(f"per_node[{number}].barn", f"node[{number}]->barn")
        rows = np.flatnonzero(pointer.true)
        owners.append(rows)
        addresses.append(pointer.values[rows])
    return np.concatenate(owners), StructArray(kernel, "struct node_barn", np.concatenate(addresses))

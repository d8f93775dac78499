"""Routes of version 4: the tries of every routing table in, their keys and entries out.

They are walked, not taken from their slab caches: SLUB merges those with others of the same size.
Mirrors net/ipv4/fib_trie.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.network.namespaces import net_namespaces
from kernlab.walk.lists import chain_nodes

U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]

#: include/net/ip_fib.h: FIB_TABLE_HASHSZ, with and without CONFIG_IP_MULTIPLE_TABLES.
_MANY, _TWO = 256, 2
#: KEYLENGTH of net/ipv4/fib_trie.c: no trie is deeper, and no node has more bits.
_KEY_BITS = 32
_NODE = "struct key_vector"
_WHAT = "routes"
_NONE: U64 = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Fib4:
    """Entries of all tries, of equal lengths n: struct fib_alias, the network that each is for (in host order) and the
    struct net that it belongs to; `keys` are those of all nodes, each once.

    `place` orders them within a trie as their networks do, by the shape of the trie alone.
    """

    alias: StructArray
    network: U32
    net: U64
    place: U64
    keys: U32


def fib4(kernel: Kernel) -> Fib4:
    """Every entry of every table of version 4; none for a kernel without CONFIG_INET."""
    nets = net_namespaces(kernel)
    if not len(nets) or kernel.types.get("struct tnode") is None:
        no_keys = np.zeros(0, dtype=np.uint32)
        return Fib4(nets[:0], no_keys, _NONE, _NONE, no_keys)
    nodes, net = _roots(kernel, nets)
    keys: list[U32] = [np.zeros(0, dtype=np.uint32)]
    leaves: list[U64] = [_NONE]
    networks: list[U32] = [np.zeros(0, dtype=np.uint32)]
    owners: list[U64] = [_NONE]
    places: list[U64] = [_NONE]
    place = np.zeros(len(nodes), dtype=np.uint64)
    for _ in range(_KEY_BITS + 1):
        if not len(nodes):
            break
        nodes, first = np.unique(nodes, return_index=True)
        net, place = net[first], place[first]
        node = StructArray(kernel, _NODE, nodes)
        width, key = node["bits"], node["key"]
        bits = width.int64.filled(0)
        numbers = key.values.astype(np.uint32)
        keys.append(numbers[key.valid])
        is_leaf = width.valid & (bits == 0)
        leaves.append(nodes[is_leaf] + np.uint64(resolve(node.type, "leaf").hops[-1]))
        networks.append(numbers[is_leaf])
        owners.append(net[is_leaf])
        places.append(place[is_leaf])
        inner = np.flatnonzero(~is_leaf)
        # Which child it is are so many bits of the network, from `pos` on.
        shift = np.minimum(node["pos"].filled(0), _KEY_BITS).astype(np.uint64)[inner]
        owner, step, nodes = _children(kernel, nodes[inner], bits[inner])
        place = place[inner][owner] | step << shift[owner]
        net = net[inner][owner]
    firsts, read = kernel.words(np.concatenate(leaves), what=_WHAT)
    rows = np.flatnonzero(read)
    leaf, links = chain_nodes(kernel, firsts[rows], what=_WHAT)
    alias = kernel.find_type("struct fib_alias")
    return Fib4(
        StructArray(kernel, alias, links - np.uint64(resolve(alias, "fa_list").hops[-1])),
        np.concatenate(networks)[rows][leaf],
        np.concatenate(owners)[rows][leaf],
        np.concatenate(places)[rows][leaf],
        np.unique(np.concatenate(keys)),
    )


def _roots(kernel: Kernel, net: StructArray) -> tuple[U64, U64]:
    """(the first node of each table's trie, its struct net)."""
    table = net["ipv4.fib_table_hash"]
    count = _MANY if kernel.types.has_member("struct netns_ipv4", "fib_main") else _TWO
    firsts, owner = table.values[table.true].astype(np.uint64), net.addresses[table.true]
    buckets = (firsts[:, None] + np.arange(count, dtype=np.uint64) * np.uint64(8)).reshape(-1)
    heads, read = kernel.words(buckets, what=_WHAT)
    rows = np.flatnonzero(read)
    of, links = chain_nodes(kernel, heads[rows], what=_WHAT)
    owner = np.repeat(owner, count)[rows][of]
    kind = kernel.find_type("struct fib_table")
    tables = StructArray(kernel, kind, links - np.uint64(resolve(kind, "tb_hlist").hops[-1]))
    data = tables["tb_data"]
    # struct trie begins with the key_vector whose only child is the first node; local and main may share one.
    root, owner = data.values[data.true].astype(np.uint64), owner[data.true]
    found, read = kernel.words(root + np.uint64(_child_at(kernel)), what=_WHAT)
    known = read & (found != 0)
    return found[known], owner[known]


def _children(kernel: Kernel, nodes: U64, bits: I64) -> tuple[I64, U64, U64]:
    """(index of the node, which child it is, child) of all children of inner nodes."""
    good = np.flatnonzero(bits <= _KEY_BITS)
    count = kernel.budget.counts(np.left_shift(1, bits[good]), 8, "nodes of routing tables")
    owner = np.repeat(good, count)
    step = (np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)).astype(np.uint64)
    at = nodes[owner] + np.uint64(_child_at(kernel)) + step * np.uint64(8)
    found, read = kernel.words(at, what=_WHAT)
    known = read & (found != 0)
    return owner[known], step[known], found[known]


def _child_at(kernel: Kernel) -> int:
    return int(resolve(kernel.find_type(_NODE), "tnode").hops[-1])

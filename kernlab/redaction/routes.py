"""Networks that routes lead to: the tries of every routing table of version 4 in, their keys and entries out.

They are walked, not taken from their slab caches: SLUB merges those with others of the same size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.walk.lists import chain_nodes, list_entries

U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]

#: include/net/ip_fib.h: FIB_TABLE_HASHSZ, with and without CONFIG_IP_MULTIPLE_TABLES.
_MANY, _TWO = 256, 2
#: KEYLENGTH of net/ipv4/fib_trie.c: no trie is deeper, and no node has more bits.
_KEY_BITS = 32
_NODE = "struct key_vector"
_WHAT = "routes"


def fib_entries(kernel: Kernel) -> tuple[U32, StructArray]:
    """The keys of all leaves (networks, in host order), and the struct fib_alias of each route."""
    heads = kernel.symbols.get("net_namespace_list")
    nothing = StructArray(kernel, "struct fib_alias", np.zeros(0, dtype=np.uint64))
    if heads is None or kernel.types.get("struct tnode") is None:
        return np.zeros(0, dtype=np.uint32), nothing
    _, net = list_entries(kernel, [heads], "struct net", "list", what="network namespaces")
    keys: list[U32] = []
    leaves: list[U64] = []
    nodes = _roots(kernel, net)
    for _ in range(_KEY_BITS + 1):
        if not len(nodes):
            break
        node = StructArray(kernel, _NODE, np.unique(nodes))
        bits = node["bits"].int64.filled(0)
        keys.append(node["key"].values[node["key"].valid].astype(np.uint32))
        is_leaf = node["bits"].valid & (bits == 0)
        at = np.uint64(resolve(node.type, "leaf").hops[-1])
        leaves.append(node.addresses[is_leaf] + at)
        nodes = _children(kernel, node.addresses[~is_leaf], bits[~is_leaf])
    firsts, read = kernel.words(np.concatenate([nodes[:0], *leaves]), what=_WHAT)
    _, links = chain_nodes(kernel, firsts[read], what=_WHAT)
    at = np.uint64(resolve(nothing.type, "fa_list").hops[-1])
    return np.unique(np.concatenate([np.zeros(0, dtype=np.uint32), *keys])), StructArray(
        kernel, "struct fib_alias", links - at
    )


def _roots(kernel: Kernel, net: StructArray) -> U64:
    """The first node of each table's trie, uint64[n]."""
    table = net["ipv4.fib_table_hash"]
    count = _MANY if kernel.types.has_member("struct netns_ipv4", "fib_main") else _TWO
    firsts = table.values[table.true].astype(np.uint64)
    buckets = (firsts[:, None] + np.arange(count, dtype=np.uint64) * np.uint64(8)).reshape(-1)
    heads, read = kernel.words(buckets, what=_WHAT)
    _, links = chain_nodes(kernel, heads[read], what=_WHAT)
    kind = kernel.find_type("struct fib_table")
    tables = StructArray(kernel, kind, links - np.uint64(resolve(kind, "tb_hlist").hops[-1]))
    data = tables["tb_data"]
    # struct trie begins with the key_vector whose only child is the first node.
    root = np.unique(data.values[data.true].astype(np.uint64))
    found, read = kernel.words(root + np.uint64(_child_at(kernel)), what=_WHAT)
    known: U64 = found[read & (found != 0)]
    return known


def _children(kernel: Kernel, nodes: U64, bits: npt.NDArray[np.int64]) -> U64:
    good = bits <= _KEY_BITS
    count = kernel.budget.counts(np.left_shift(1, bits[good]), 8, "nodes of routing tables")
    owner = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    at = nodes[good][owner] + np.uint64(_child_at(kernel)) + step.astype(np.uint64) * np.uint64(8)
    found, read = kernel.words(at, what=_WHAT)
    known: U64 = found[read & (found != 0)]
    return known


def _child_at(kernel: Kernel) -> int:
    return int(resolve(kernel.find_type(_NODE), "tnode").hops[-1])

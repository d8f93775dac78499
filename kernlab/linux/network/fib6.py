"""Routes of version 6: the trees of every routing table in, their entries out (net/ipv6/ip6_fib.c)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.network.namespaces import net_namespaces
from kernlab.walk.lists import chain_nodes, hash_nodes

U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]

#: include/net/ip6_fib.h: FIB6_TABLE_HASHSZ, with and without CONFIG_IPV6_MULTIPLE_TABLES.
_MANY, _ONE = 256, 1
#: A bit of the address a level; a subtree by sources (CONFIG_IPV6_SUBTREES) may hang below each.
_DEEPEST = 2 * (128 + 1)
#: include/net/ip6_fib.h, RTN_RTINFO: only such nodes have routes of their own.
_HAS_ROUTES = 4
_NONE: U64 = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Fib6:
    """Entries of all trees, of equal lengths n: struct fib6_info, the number of the table and the struct net; by
    namespace, table and the shape of the tree, which is the order of their networks."""

    info: StructArray
    table: U32
    net: U64


def fib6(kernel: Kernel) -> Fib6:
    """Every entry of every table of version 6, siblings of several gateways each; none for a kernel without IPv6."""
    nets = net_namespaces(kernel)
    none = Fib6(nets[:0], np.zeros(0, dtype=np.uint32), _NONE)
    if not len(nets) or kernel.types.get("struct fib6_table") is None or not nets.has("ipv6.fib_table_hash"):
        return none
    start = nets["ipv6.fib_table_hash"]
    # fib6_has_custom_rules is there with the same option.
    count = _MANY if nets.has("ipv6.fib6_has_custom_rules") else _ONE
    rows = np.flatnonzero(start.true)
    heads = start.values[rows].astype(np.uint64)[:, None] + np.arange(count, dtype=np.uint64) * np.uint64(8)
    of, links = hash_nodes(kernel, heads.reshape(-1), what="routing tables of version 6")
    kind = kernel.find_type("struct fib6_table")
    table = StructArray(kernel, kind, links - np.uint64(resolve(kind, "tb6_hlist").hops[-1]))
    number = table["tb6_id"].filled(0).astype(np.uint32)
    net = nets.addresses[np.repeat(rows, count)[of]]
    owner = np.arange(len(table))
    nodes = table.follow("tb6_root").addresses
    leaves, owners = [_NONE], [np.zeros(0, dtype=np.int64)]
    # The bits of the address that the way to each node decides, the upper and the lower 64, and how many they are.
    high, low = np.zeros(len(nodes), dtype=np.uint64), np.zeros(len(nodes), dtype=np.uint64)
    places = [np.zeros((0, 3), dtype=np.uint64)]
    seen = _NONE
    node_type = kernel.find_type("struct fib6_node")
    most = kernel.budget.structs(node_type.size)
    with kernel.budget.walk("routes of version 6"):
        for depth in range(_DEEPEST):
            nodes, first = np.unique(nodes, return_index=True)
            owner, high, low = owner[first], high[first], low[first]
            fresh = ~np.isin(nodes, seen) & (nodes != 0)
            nodes, owner, high, low = nodes[fresh], owner[fresh], high[fresh], low[fresh]
            if not len(nodes) or len(seen) > most:
                break
            seen = np.concatenate([seen, nodes])
            node = StructArray(kernel, node_type, nodes)
            leaf = node["leaf"]
            used = leaf.true & node["fn_flags"].has(_HAS_ROUTES).true
            leaves.append(leaf.values[used].astype(np.uint64))
            owners.append(owner[used])
            level = np.full(int(used.sum()), depth, dtype=np.uint64)
            places.append(np.stack([high[used], low[used], level], axis=1))
            ways = ["left", "right", *(["subtree"] if node.has("subtree") else [])]
            below = [node[way].filled(0).astype(np.uint64) for way in ways]
            nodes, owner = np.concatenate(below), np.tile(owner, len(ways))
            # On the right is the network with that bit set.
            bit = node["fn_bit"].filled(0).astype(np.int64)
            one = np.uint64(1) << (np.uint64(63) - (bit & 63).astype(np.uint64))
            upper, lower = np.where(bit < 64, one, np.uint64(0)), np.where(bit < 64, np.uint64(0), one)
            high = np.concatenate([high | upper if way == "right" else high for way in ways])
            low = np.concatenate([low | lower if way == "right" else low for way in ways])
    info = kernel.find_type("struct fib6_info")
    link = int(resolve(info, "fib6_next").hops[-1])
    first_of, entries = chain_nodes(kernel, np.concatenate(leaves), what="routes of version 6", link=link)
    whose, place = np.concatenate(owners)[first_of], np.concatenate(places)[first_of]
    number, net = number[whose], net[whose]
    order = np.lexsort((place[:, 2], place[:, 1], place[:, 0], number, net))
    return Fib6(StructArray(kernel, info, entries[order]), number[order], net[order])

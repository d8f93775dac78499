"""Neighbours: which hardware address an address of the Internet has, as ARP and neighbour discovery know it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.network.endpoints import bytes_at, ipv4, ipv6
from kernlab.walk.lists import chain_nodes, hash_nodes

U64 = npt.NDArray[np.uint64]

#: The tables, their families, and the bytes of an address.
_TABLES = (("arp_tbl", 2, 4), ("nd_tbl", 10, 16))
#: A hash table is no larger than 2^31 buckets, and the budget bounds it further.
_MOST_SHIFT = 31
#: include/uapi/linux/neighbour.h, NUD_* and NTF_*
_STATES = {
    0: "NONE",
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    0x40: "NOARP",
    0x80: "PERMANENT",
}
_FLAGS = ("use", "self", "master", "proxy", "extern_learn", "offloaded", "sticky", "router")
_LONGEST_MAC = 32


@dataclass(frozen=True, slots=True)
class Neighbours:
    """All neighbours, of equal lengths n: struct neighbour, their families (AF_INET, AF_INET6), addresses as text."""

    neighbour: StructArray
    family: Column
    address: Column

    def __len__(self) -> int:
        return len(self.neighbour)


@fact
def find_neighbours(kernel: Kernel) -> Neighbours:
    """Every neighbour of every device and namespace, of version 4 first (net/core/neighbour.c)."""
    found, families, words = (
        [np.zeros(0, dtype=np.uint64)],
        [np.zeros(0, dtype=np.int64)],
        [Column.missing(0)],
    )
    for symbol, family, size in _TABLES:
        table = kernel.find_symbol(symbol)
        if table is None or kernel.types.get("struct neigh_table") is None:
            continue
        struct = StructArray(kernel, "struct neighbour", _entries(kernel, table))
        key = struct.addresses + np.uint64(resolve(struct.type, "primary_key").hops[-1])
        raw, status = kernel.gather(key, size, "struct neighbour")
        text = ipv4(raw.reshape(-1).view("<u4")) if size == 4 else ipv6(raw)
        found.append(struct.addresses)
        families.append(np.full(len(struct), family, dtype=np.int64))
        words.append(Column.of(text, status == 0, "text"))
    address = np.concatenate(found)
    kind = "struct neighbour" if len(address) else "struct list_head"
    return Neighbours(
        StructArray(kernel, kind, address),
        Column.of(np.concatenate(families)),
        Column.of(
            np.concatenate([word.values for word in words]),
            np.concatenate([word.valid for word in words]),
            "text",
        ),
    )


def _entries(kernel: Kernel, table: int) -> U64:
    """The addresses of all struct neighbour of one struct neigh_table."""
    hashed = StructArray(kernel, "struct neigh_table", [table]).follow("nht")
    shift = hashed["hash_shift"][0]
    # Linux commit a01a67ab2fff ("neighbour: Convert seq_file functions to use hlist") (in v6.13).
    twofold = hashed.has("hash_heads")
    start = hashed["hash_heads" if twofold else "hash_buckets"][0]
    if shift is None or not start or not 0 <= shift <= _MOST_SHIFT:
        return np.zeros(0, dtype=np.uint64)
    count = kernel.budget.count(1 << shift, 8, "buckets of neighbours")
    heads = np.uint64(start) + np.arange(count, dtype=np.uint64) * np.uint64(8)
    if twofold:
        _, nodes = hash_nodes(kernel, heads, what="neighbours")
        return container(kernel, "struct neighbour", "hash", nodes).addresses
    firsts, read = kernel.words(heads, what="buckets of neighbours")
    link = int(resolve(kernel.find_type("struct neighbour"), "next").hops[-1])
    _, nodes = chain_nodes(kernel, firsts[read], what="neighbours", link=link)
    return nodes


def states(neighbour: StructArray) -> Column:
    """`REACHABLE`, `STALE`, `PERMANENT` …: several bits joined by a bar."""
    number = neighbour["nud_state"]
    words = [
        _STATES.get(bits, "|".join(word for bit, word in _STATES.items() if bit and bits & bit))
        for bits in number.values.tolist()
    ]
    return Column.of(words, number.valid, "text")


def flags(neighbour: StructArray) -> Column:
    """`router`, `proxy` …, joined by commas; '' for none."""
    number = neighbour["flags"]
    words = [
        ",".join(word for bit, word in enumerate(_FLAGS) if bits >> bit & 1)
        for bits in number.values.tolist()
    ]
    return Column.of(words, number.valid, "text")


def macs(neighbour: StructArray) -> Column:
    """The hardware address, of as many bytes as the device's have; all zeros while it is not known."""
    size = neighbour["dev->addr_len"].int64
    words = np.full(len(neighbour), "", dtype=object)
    valid = size.valid.copy()
    for length in np.unique(
        size.values[size.valid & (size.values > 0) & (size.values <= _LONGEST_MAC)]
    ).tolist():
        rows = np.flatnonzero(size.valid & (size.values == length))
        raw, good = bytes_at(neighbour[rows], "ha", length)
        words[rows] = [":".join(f"{byte:02x}" for byte in row) for row in raw.tolist()]
        valid[rows] &= good
    return Column.of(words, valid)

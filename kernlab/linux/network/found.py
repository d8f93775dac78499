"""Every socket of the machine: hash tables of the protocols and open files in, struct sock_common out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.descriptors import descriptors
from kernlab.linux.network.names import INET, INET6
from kernlab.linux.network.namespaces import net_namespaces
from kernlab.walk.lists import hash_nodes
from kernlab.walk.rhashtable import rhashtable_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_NONE: U64 = np.zeros(0, dtype=np.uint64)

#: include/net/tcp_states.h
TIME_WAIT, LISTEN, REQUEST = 6, 10, 12
#: net/unix/af_unix.h, UNIX_HASH_SIZE; net/netlink/af_netlink.c, MAX_LINKS; include/net/ping.h, PING_HTABLE_SIZE.
_UNIX_BUCKETS, _NETLINK_PROTOCOLS, _PING_BUCKETS = 512, 32, 64


@dataclass(frozen=True, slots=True)
class Sockets:
    """All sockets, of equal lengths n, in the order of the tables in which they were found.

    `common` is struct sock_common, with which every kind of them begins. `full` are those with a struct sock, `waits`
    (struct inet_timewait_sock) and `requests` (struct request_sock) the others. `pid` and `fd` are of the holder with
    the lowest pid, missing where no process has it open.
    """

    common: StructArray
    full: Mask
    waits: Mask
    requests: Mask
    pid: Column
    fd: Column

    def __len__(self) -> int:
        return len(self.common)

    def rows(self, type_name: str, rows: I64) -> StructArray:
        """Some of the sockets as the struct that begins with their sock_common."""
        return StructArray(self.common.kernel, type_name, self.common.addresses[rows])


@fact
def find_sockets(kernel: Kernel) -> Sockets:
    """All sockets: of tcp, udp, udplite, raw, ping, unix, netlink and packet by their tables, in every network
    namespace, and those that processes have open, of any family, and whether they are bound or not.
    """
    if kernel.types.get("struct sock_common") is None or not len(net_namespaces(kernel)):
        none = np.zeros(0, dtype=bool)
        nothing = Column.missing(0, "int")
        return Sockets(net_namespaces(kernel)[:0], none, none, none, nothing, nothing)
    opened, pid, fd = _opened(kernel)
    ways: tuple[Callable[[Kernel], U64], ...] = (_tcp, _udp, _raw, _unix, _netlink, _packet)
    found = []
    for way in ways:
        try:
            found.append(way(kernel))
        except KernlabError as error:
            kernel.lost(f"sockets that no process has open may be missing: {error}")
    every = np.concatenate([_NONE, *found, opened])
    _, first = np.unique(every, return_index=True)
    every = every[np.sort(first)]
    common = StructArray(kernel, "struct sock_common", every)
    state = common["skc_state"]
    # Of other families the same numbers are other states.
    inet = np.isin(common["skc_family"].int64.filled(0), (INET, INET6))
    waits, requests = inet & (state == TIME_WAIT).true, inet & (state == REQUEST).true
    at = np.searchsorted(opened, every)
    at[at == len(opened)] = 0
    mine = opened[at] == every if len(opened) else np.zeros(len(every), dtype=bool)
    at = np.where(mine, at, 0) if len(opened) else at[:0]
    return Sockets(
        common,
        ~waits & ~requests,
        waits,
        requests,
        _of_holder(pid, at, mine),
        _of_holder(fd, at, mine),
    )


def _of_holder(values: I64, at: I64, mine: Mask) -> Column:
    if not len(values):
        return Column.missing(len(mine), "int")
    return Column.of(values[at], mine)


def _opened(kernel: Kernel) -> tuple[U64, I64, I64]:
    """The struct sock of each socket that is open, ascending; and the first process and descriptor that has it."""
    operations = kernel.find_symbol("socket_file_ops")
    if operations is None:
        return _NONE, np.zeros(0, np.int64), np.zeros(0, np.int64)
    table = descriptors(kernel)
    unique, of = np.unique(table.file.addresses, return_inverse=True)
    file = StructArray(kernel, "struct file", unique)
    is_socket = (file["f_op"] == operations).true
    rows = np.flatnonzero(is_socket)
    sock = np.zeros(len(unique), dtype=np.uint64)
    sock[rows] = file[rows].follow("private_data", "struct socket")["sk"].filled(0)
    sock_of = sock[of.reshape(-1)]
    held = np.flatnonzero(sock_of)
    pid = table.pid.int64.filled(0)
    order = held[np.lexsort((table.fd[held], pid[held], sock_of[held]))]
    found, first = np.unique(sock_of[order], return_index=True)
    return found, pid[order[first]], table.fd[order[first]]


def _tables(kernel: Kernel, symbol: str, path: str) -> U64:
    """The hash tables of a protocol: the one that all namespaces share, and those of namespaces with one of their own
    (Linux commits d1e5e6408b30, in v6.1, for tcp, and 9804985bf27f, in v6.2, for udp)."""
    shared = kernel.find_symbol(symbol)
    net = net_namespaces(kernel)
    own = net[path].filled(0).astype(np.uint64) if len(net) and net.has(path) else _NONE
    every = np.unique(np.concatenate([own, np.array([shared or 0], dtype=np.uint64)]))
    tables: U64 = every[every != 0]
    return tables


def _array(kernel: Kernel, start: Column, count: Column, kind: str, member: str, what: str) -> U64:
    """Where a member lies of each element of arrays of `kind`, of which `start` and `count` say where and how many."""
    struct = kernel.find_type(kind)
    there = start.true & count.valid
    counts = kernel.budget.counts(count.int64.values[there], struct.size, what)
    begin = np.repeat(start.values[there].astype(np.uint64), counts)
    inside = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    step: U64 = inside.astype(np.uint64) * np.uint64(struct.size)
    return begin + step + np.uint64(resolve(struct, member).hops[-1])


def _socks(kernel: Kernel, heads: U64, member: str, what: str, kind: str = "struct sock_common") -> U64:
    _, nodes = hash_nodes(kernel, heads, what=what)
    return container(kernel, kind, member, nodes).addresses


def _tcp(kernel: Kernel) -> U64:
    if kernel.find_symbol("tcp_hashinfo") is None or kernel.types.get("struct inet_hashinfo") is None:
        return _NONE
    table = StructArray(
        kernel, "struct inet_hashinfo", _tables(kernel, "tcp_hashinfo", "ipv4.tcp_death_row.hashinfo")
    )
    what = "connections of tcp"
    heads = _array(kernel, table["ehash"], table["ehash_mask"] + 1, "struct inet_ehash_bucket", "chain", what)
    connected = _socks(kernel, heads, "skc_nulls_node", what)
    # Linux commit cae3873c5b3a ("net: inet: Retire port only listening_hash") (in v5.19).
    if table.has("listening_hash"):
        _, bucket = table.elements("listening_hash")
        at = np.uint64(resolve(bucket.type, "nulls_head").hops[-1])
        heads = bucket.addresses + at
    else:
        heads = _array(
            kernel,
            table["lhash2"],
            table["lhash2_mask"] + 1,
            "struct inet_listen_hashbucket",
            "nulls_head",
            what,
        )
    return np.concatenate([_socks(kernel, heads, "skc_nulls_node", "listeners of tcp"), connected])


def _udp(kernel: Kernel) -> U64:
    what = "sockets of udp"
    # Linux commit 74f0cca1756a ("udplite: Don't cast sk to udp_sk") and its like took udplite out (in v7.1).
    names = ("udp_table", "udplite_table")
    every = [
        _tables(kernel, name, "ipv4.udp_table" if name == "udp_table" else "no table of its own")
        for name in names
    ]
    if kernel.types.get("struct udp_table") is None:
        return _NONE
    table = StructArray(kernel, "struct udp_table", np.concatenate(every))
    heads = _array(kernel, table["hash"], table["mask"] + 1, "struct udp_hslot", "head", what)
    return _socks(kernel, heads, "skc_node", what)


def _raw(kernel: Kernel) -> U64:
    heads = [_NONE]
    known = [
        address for name in ("raw_v4_hashinfo", "raw_v6_hashinfo") if (address := kernel.find_symbol(name))
    ]
    if known and kernel.types.get("struct raw_hashinfo") is not None:
        _, bucket = StructArray(kernel, "struct raw_hashinfo", known).elements("ht")
        heads.append(bucket.addresses)
    ping = kernel.find_symbol("ping_table")
    if ping is not None and kernel.types.get("struct ping_table") is not None:
        at = ping + resolve(kernel.find_type("struct ping_table"), "hash").hops[-1]
        heads.append(np.uint64(at) + np.arange(_PING_BUCKETS, dtype=np.uint64) * np.uint64(8))
    return _socks(kernel, np.concatenate(heads), "skc_node", "raw sockets")


def _unix(kernel: Kernel) -> U64:
    net = net_namespaces(kernel)
    buckets = np.arange(_UNIX_BUCKETS, dtype=np.uint64) * np.uint64(8)
    # Linux commit cf2f225e2653 ("af_unix: Put a socket into a per-netns hash table.") (in v6.0).
    if len(net) and net.has("unx.table.buckets"):
        start = net["unx.table.buckets"]
        tables = start.values[start.true].astype(np.uint64)
    else:
        # Linux commit 51bae889fe11 ("af_unix: Replace unix_table_lock with per-hash locks.") (in v5.17) moved it.
        shared = kernel.find_symbol("unix_socket_table")
        tables = np.array([] if shared is None else [shared], dtype=np.uint64)
    heads = (tables[:, None] + buckets).reshape(-1)
    return _socks(kernel, heads, "skc_node", "unix sockets")


def _netlink(kernel: Kernel) -> U64:
    where = kernel.find_symbol("nl_table")
    if where is None:
        return _NONE
    table, read = kernel.words(np.array([where], dtype=np.uint64), what="the tables of netlink")
    if not read[0] or not table[0]:
        return _NONE
    kind = kernel.find_type("struct netlink_table")
    step = np.arange(_NETLINK_PROTOCOLS, dtype=np.uint64) * np.uint64(kind.size)
    hashes = table + step + np.uint64(resolve(kind, "hash").hops[-1])
    _, sock = rhashtable_entries(kernel, hashes, "struct netlink_sock", "node", what="netlink sockets")
    return sock.addresses


def _packet(kernel: Kernel) -> U64:
    net = net_namespaces(kernel)
    if not len(net) or not net.has("packet.sklist"):
        return _NONE
    heads = net.follow("packet.sklist").addresses
    return _socks(kernel, heads, "skc_node", "packet sockets")

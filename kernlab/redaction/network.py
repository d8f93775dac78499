"""Addresses of this machine and of those it talked to: sockets, interfaces and tables in, addresses out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError, MemberNotFoundError
from kernlab.linux.network.fib4 import fib4
from kernlab.linux.network.fib6 import fib6
from kernlab.linux.network.nexthops import gateways, next_hops
from kernlab.redaction.found import Found
from kernlab.redaction.reading import complete_type
from kernlab.walk.lists import chain_nodes, list_entries
from kernlab.walk.rbtree import rbtree_entries

U64 = npt.NDArray[np.uint64]

#: Protocols with addresses of the Internet; time-waits and requests have slab caches of their own.
_PROTOCOLS = (
    *(
        f"{name}{end}"
        for name in ("TCP", "UDP", "RAW", "PING", "MPTCP", "SCTP", "DCCP")
        for end in ("", "v6")
    ),
    *("UDP-Lite", "UDPLITEv6", "L2TP/IP", "L2TP/IPv6"),
)
_MINI = tuple(f"{kind}_{name}" for kind in ("tw_sock", "request_sock") for name in _PROTOCOLS)
_INET, _INET6 = 2, 10
_MAC, _LONGEST_HARDWARE = 6, 32
_MOST_BUCKETS = 1 << 20
#: Different bytes of an address that is looked for everywhere: fe80::1 has four.
_FEWEST = 4


def addresses(found: Found) -> None:
    """Every IP and MAC address that the kernel keeps as a number; each is then looked for in all memory."""
    ways: tuple[Callable[[Found], None], ...] = (
        _sockets,
        _interfaces,
        _neighbours,
        _routes,
        _routes6,
        _peers,
        _connections,
    )
    failed: list[str] = []
    for way in ways:
        try:
            way(found)
        except MemberNotFoundError:
            # Another kernel's names: what is not there under this one is found where it is in use.
            continue
        except KernlabError as error:
            failed.append(str(error))
    if failed:
        raise KernlabError("; ".join(failed))


def _four(found: Found, structs: StructArray, *paths: str) -> None:
    """IPv4 addresses (network order) at members of structs, of those that this kernel's have."""
    for path in paths:
        if structs.has(path):
            column = structs[path]
            values = np.unique(column.values[column.valid].astype(np.uint32)).byteswap()
            found.ipv4.update(values.tolist())


def _sixteen(found: Found, structs: StructArray, *paths: str) -> None:
    """IPv6 addresses at members of structs."""
    for path in paths:
        if structs.has(path) and len(structs):
            start = structs.addresses + np.uint64(resolve(structs.type, path).hops[-1])
            rows, status = found.kernel.gather(start[structs.valid], 16, "")
            for row in np.unique(rows[status == 0], axis=0):
                _ipv6(found, row.tobytes())


def _ipv6(found: Found, address: bytes) -> None:
    new = found.map.addresses.ipv6(address)
    if address[:12] == b"\0" * 10 + b"\xff\xff":
        found.ipv4.add(int.from_bytes(address[12:], "big"))
        return
    # What is no unicast address, or has next to no digits, is too likely to be something else.
    if (address[0] >> 5 != 1 and address[0] < 0xFC) or len(set(address)) < _FEWEST:
        return
    found.literals.add(address, new, "IPv6 address", word=False)
    # The group in which others ask for it has its last three bytes.
    group = bytes.fromhex("ff0200000000000000000001ff") + address[13:]
    found.literals.add(group, found.map.addresses.ipv6(group), "IPv6 address", word=False)


def _mac(found: Found, address: bytes) -> None:
    new = found.map.addresses.mac(address)
    # What is no maker's own is too likely to be something else.
    if len(set(address)) > 2:
        found.literals.add(address, new, "MAC address", word=False)


def _sockets(found: Found) -> None:
    kernel, families = found.kernel, (_INET, _INET6)
    sock = StructArray(kernel, "struct sock_common", found.sockets(*_PROTOCOLS, *_MINI, family=families))
    _four(found, sock, "skc_daddr", "skc_rcv_saddr")
    six = (sock["skc_family"] == _INET6).true
    _sixteen(found, sock[np.flatnonzero(six)], "skc_v6_daddr", "skc_v6_rcv_saddr")
    inet = StructArray(kernel, "struct inet_sock", found.sockets(*_PROTOCOLS, family=families))
    _four(found, inet, "inet_saddr", "cork.fl.u.ip4.daddr", "cork.fl.u.ip4.saddr")
    pinet = inet.follow("pinet6") if inet.has("pinet6") else None
    if pinet is not None:
        pinet = pinet[np.flatnonzero(pinet.valid & (inet["sk.__sk_common.skc_family"] == _INET6).true)]
        _sixteen(found, pinet, "saddr", "daddr_cache")


def _interfaces(found: Found) -> None:
    kernel = found.kernel
    device = StructArray(kernel, "struct net_device", found.devices)
    for member in ("perm_addr", "broadcast"):
        _hardware(found, device.addresses + np.uint64(resolve(device.type, member).hops[-1]))
    own = device["dev_addr"]
    if own.kind == "address":
        _hardware(found, own.values[own.true].astype(np.uint64))
    for member in ("dev_addrs", "uc", "mc"):
        heads = device.follow(f"{member}.list").addresses
        _, listed = list_entries(kernel, heads, "struct netdev_hw_addr", "list", what="hardware addresses")
        _hardware(found, listed.addresses + np.uint64(resolve(listed.type, "addr").hops[-1]))
    four = device.follow("ip_ptr")
    first = four["ifa_list"]
    link = resolve(kernel.find_type("struct in_ifaddr"), "ifa_next").hops[-1]
    _, nodes = chain_nodes(kernel, first.values[first.true], what="addresses of interfaces", link=link)
    given = StructArray(kernel, "struct in_ifaddr", nodes)
    _four(found, given, "ifa_local", "ifa_address", "ifa_broadcast")
    if device.has("ip6_ptr"):
        six = device.follow("ip6_ptr")
        heads = six[np.flatnonzero(six.valid)].follow("addr_list").addresses
        _, given = list_entries(
            kernel, heads, "struct inet6_ifaddr", "if_list", what="addresses of interfaces"
        )
        _sixteen(found, given, "addr", "peer_addr")


def _hardware(found: Found, where: U64) -> None:
    rows, status = found.kernel.gather(where, _MAC, "")
    for row in np.unique(rows[status == 0], axis=0):
        _mac(found, row.tobytes())


def _neighbours(found: Found) -> None:
    kernel = found.kernel
    for name, size in (("arp_tbl", 4), ("nd_tbl", 16)):
        table = kernel.symbols.get(name)
        if table is None:
            continue
        tables = StructArray(kernel, "struct neigh_table", [table]).follow("nht")
        shift = tables["hash_shift"][0]
        if shift is None or not 0 <= shift < 32 or 1 << shift > _MOST_BUCKETS:
            continue
        # In v6.13 they became hlists of both ends, which begin with the first all the same.
        hashed = "hash_heads" if tables.has("hash_heads") else "hash_buckets"
        start = tables[hashed][0]
        if not start:
            continue
        buckets = np.uint64(start) + np.arange(1 << shift, dtype=np.uint64) * np.uint64(8)
        firsts, read = kernel.words(buckets, what="")
        kind = kernel.find_type("struct neighbour")
        link = resolve(kind, "hash" if tables.has("hash_heads") else "next").hops[-1]
        heads = firsts[read & (firsts != 0)]
        if tables.has("hash_heads"):
            _, nodes = chain_nodes(kernel, heads, what="neighbours")
            nodes = nodes - np.uint64(link)
        else:
            _, nodes = chain_nodes(kernel, heads, what="neighbours", link=link)
        key = nodes + np.uint64(resolve(kind, "primary_key").hops[-1])
        rows, status = kernel.gather(key, size, "")
        for row in rows[status == 0]:
            if size == 4:
                found.ipv4.add(int.from_bytes(row.tobytes(), "big"))
            else:
                _ipv6(found, row.tobytes())
        _hardware(found, nodes + np.uint64(resolve(kind, "ha").hops[-1]))


def _routes(found: Found) -> None:
    kernel = found.kernel
    fib = fib4(kernel)
    found.ipv4.update(fib.keys.tolist())
    info = fib.alias.follow("fa_info")
    info = StructArray(kernel, "struct fib_info", np.unique(info.addresses[info.valid]))
    _four(found, info, "fib_prefsrc")
    hop = next_hops(kernel, info, "fib_nh", info["fib_nhs"]).common
    # The structs of before v5.2 have one family each, and zeros for no gateway.
    if hop.has("nhc_gw_family"):
        _four(found, hop[np.flatnonzero((hop["nhc_gw_family"] == _INET).true)], "nhc_gw.ipv4")
    else:
        _four(found, hop, "nh_gw")
    base = info.addresses + np.uint64(resolve(info.type, "fib_nh").hops[-1])
    _four(found, StructArray(kernel, "struct fib_nh", base, info.valid), "nh_saddr")
    route = StructArray(
        kernel, "struct rtable", _cached_routes(found, "ip_dst_cache", "struct rtable", _INET)
    )
    _four(found, route, "rt_gw4", "rt_gateway")
    if kernel.types.get("struct rt6_info") is not None:
        six = StructArray(
            kernel, "struct rt6_info", _cached_routes(found, "ip6_dst_cache", "struct rt6_info", _INET6)
        )
        _sixteen(found, six, "rt6i_dst.addr", "rt6i_src.addr", "rt6i_gateway")


def _routes6(found: Found) -> None:
    """Networks of version 6 and the gateways to them. They are rewritten in their places, too: many have too few digits
    to be looked for everywhere."""
    kernel = found.kernel
    info = fib6(kernel).info
    if not len(info):
        return
    for member in ("fib6_dst.addr", "fib6_src.addr", "fib6_prefsrc.addr"):
        if info.has(member):
            _rewrite(found, info.addresses + np.uint64(resolve(info.type, member).hops[-1]))
    one = Column.of(np.ones(len(info), dtype=np.int64))
    hop = next_hops(kernel, info, "fib6_nh", one).common
    common = hop.has("nhc_gw_family")
    some = (hop["nhc_gw_family"] == _INET6).true if common else gateways(hop).true
    hop = hop[np.flatnonzero(some)]
    _rewrite(found, hop.addresses + np.uint64(resolve(hop.type, "nhc_gw" if common else "nh_gw").hops[-1]))


def _rewrite(found: Found, where: U64) -> None:
    """Addresses of version 6 at places in memory: each becomes another there, and is looked for elsewhere."""
    where = np.unique(where)
    rows, status = found.kernel.gather(where, 16, "")
    for place, row in zip(where[status == 0].tolist(), rows[status == 0], strict=True):
        address = row.tobytes()
        _ipv6(found, address)
        new = found.map.addresses.ipv6(address)
        if new != address:
            found.edits.write(place, new)


def _cached_routes(found: Found, cache: str, kind: str, family: int) -> U64:
    """Routes that were looked up. In a merged cache they are those whose operations name that very cache."""
    own = found.caches.of(cache)

    def is_route(routes: StructArray) -> npt.NDArray[np.bool_]:
        operations = routes.follow("dst.ops")
        of = operations["kmem_cachep"]
        return (operations["family"] == family).true & of.true & np.isin(of.filled(0).astype(np.uint64), own)

    return found.objects(cache, judge=is_route, kind=kind)


def _peers(found: Found) -> None:
    """Machines that were talked to (net/ipv4/inetpeer.c), by the trees of each network namespace."""
    kernel = found.kernel
    if kernel.types.get("struct inet_peer") is None:
        return
    for path, family, member in (("ipv4.peers", _INET, "daddr.a4.addr"), ("ipv6.peers", _INET6, "daddr.a6")):
        if not found.nets.has(path):
            continue
        base = found.nets.follow(path)
        root = base.addresses[base.valid] + np.uint64(resolve(base.type, "rb_root").hops[-1])
        _, peer = rbtree_entries(kernel, root, "struct inet_peer", "rb_node", what="machines talked to")
        mine = peer[np.flatnonzero((peer["daddr.family"] == family).true)]
        (_four if family == _INET else _sixteen)(found, mine, member)


def _connections(found: Found) -> None:
    """Connections that netfilter tracks; its types are a module's."""
    kernel = found.kernel
    kind = complete_type(kernel, "struct nf_conn", "nf_conntrack_alloc")
    if kind is None:
        return
    tracked = StructArray(kernel, kind, found.objects("nf_conntrack"))
    for way in (0, 1):
        family = tracked[f"tuplehash[{way}].tuple.src.l3num"]
        for side in ("src", "dst"):
            path = f"tuplehash[{way}].tuple.{side}.u3"
            _four(found, tracked[np.flatnonzero((family == _INET).true)], f"{path}.ip")
            _sixteen(found, tracked[np.flatnonzero((family == _INET6).true)], path)

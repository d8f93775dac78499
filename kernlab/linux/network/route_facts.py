"""Every route of the machine as columns: both versions, all tables, one row per next hop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.network.endpoints import bytes_at, ipv4, ipv6
from kernlab.linux.network.fib4 import fib4
from kernlab.linux.network.fib6 import fib6
from kernlab.linux.network.interfaces import device_names
from kernlab.linux.network.names import named
from kernlab.linux.network.namespaces import net_namespaces, numbers
from kernlab.linux.network.nexthops import NextHops, gateways, hop_member, next_hops

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: include/uapi/linux/rtnetlink.h: RTN_*, RTPROT_*, RT_SCOPE_*, RTNH_F_*
_TYPES = dict(
    enumerate(
        (
            *("unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable"),
            *("prohibit", "throw", "nat", "xresolve"),
        )
    )
)
_PROTOCOLS = {
    0: "unspec",
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    8: "gated",
    9: "ra",
    10: "mrt",
    11: "zebra",
    12: "bird",
    13: "dnrouted",
    14: "xorp",
    15: "ntk",
    16: "dhcp",
    17: "mrouted",
    18: "keepalived",
    42: "babel",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_HOP_FLAGS = ("dead", "pervasive", "onlink", "offload", "linkdown", "unresolved", "trap")
#: include/uapi/linux/rtnetlink.h, RTAX_MTU, which counts from 1.
_MTU = 2
#: include/uapi/linux/ipv6_route.h, RTF_GATEWAY, which the flags themselves held before v5.2.
_GATEWAY = 2


@dataclass(frozen=True, slots=True)
class Routes:
    """Columns of one version's routes, a row per next hop; `address` are struct fib_alias or fib6_info."""

    address: StructArray
    netns: Column
    table: Column
    destination: Column
    source_prefix: Column
    type: Column
    gateway: Column
    device: Column
    source: Column
    metric: Column
    protocol: Column
    scope: Column
    tos: Column
    mtu: Column
    hop: Column
    weight: Column
    nexthop_id: Column
    flags: Column
    flags6: Column
    refcount: Column

    def __len__(self) -> int:
        return len(self.address)


def routes4(kernel: Kernel) -> Routes | None:
    """Those of version 4, by table and network; None where there are none."""
    found = fib4(kernel)
    if not len(found.alias):
        return None
    order = np.lexsort((found.place, found.alias["tb_id"].values, _places(kernel, found.net)))
    alias, network, net = found.alias[order], found.network[order], found.net[order]
    info = alias.follow("fa_info")
    hops = next_hops(kernel, info, "fib_nh", info["fib_nhs"])
    row, common = hops.route, hops.common
    shorter = alias["fa_slen"].int64
    word = ipv4(network.byteswap())
    destination = Column.of(
        [f"{text}/{32 - least}" for text, least in zip(word.tolist(), shorter.values.tolist(), strict=True)],
        shorter.valid,
        "text",
    )
    source = info["fib_prefsrc"]
    # Linux commit 32ccf1107980 ("ipv4: Use dscp_t in struct fib_alias") (in v5.18); it keeps the bits' places.
    tos = alias.first("fa_dscp", "fa_tos")
    none = Column.of([""] * len(row), kind="text")
    return Routes(
        address=alias[row],
        netns=_netns(kernel, net)[row],
        table=alias["tb_id"].int64[row],
        destination=destination[row],
        source_prefix=none,
        type=named(alias["fa_type"], _TYPES)[row],
        gateway=gateways(common),
        device=_devices(kernel, net[row], common),
        source=Column.of(np.where(source.true, ipv4(source.values), ""), source.valid, "text")[row],
        metric=info["fib_priority"].int64[row],
        protocol=named(info["fib_protocol"], _PROTOCOLS)[row],
        scope=named(info["fib_scope"], _SCOPES)[row],
        tos=tos.int64[row],
        mtu=_mtu(info.follow("fib_metrics"))[row],
        **_of_hops(hops),
        flags6=Column.missing(len(row), "int"),
        refcount=Column.missing(len(row), "int"),
    )


def routes6(kernel: Kernel) -> Routes | None:
    """Those of version 6, by namespace and table; several gateways to one network are a route each, as the kernel has
    them. None where there are none."""
    # Version 6 has the next hops of version 4.
    if all(kernel.types.get(name) is None for name in ("struct fib_nh_common", "struct fib_nh")):
        return None
    found = fib6(kernel)
    if not len(found.info):
        return None
    order = np.argsort(_places(kernel, found.net), kind="stable")
    info, table, net = found.info[order], found.table[order], found.net[order]
    to, at = bytes_at(info, "fib6_dst.addr", 16)
    one = Column.of(np.ones(len(info), dtype=np.int64))
    hops = next_hops(kernel, info, "fib6_nh", one)
    row, common = hops.route, hops.common
    none = Column.of([""] * len(row), kind="text")
    return Routes(
        address=info[row],
        netns=_netns(kernel, net)[row],
        table=Column.of(table.astype(np.int64))[row],
        destination=_prefixes(ipv6(to), at, info["fib6_dst.plen"])[row],
        source_prefix=_sources(info)[row],
        type=named(info["fib6_type"], _TYPES)[row],
        gateway=gateways(common),
        device=_devices(kernel, net[row], common),
        source=_preferred(info)[row],
        metric=info["fib6_metric"].int64[row],
        protocol=named(info["fib6_protocol"], _PROTOCOLS)[row],
        scope=none,
        tos=Column.missing(len(row), "int"),
        mtu=_mtu(info.follow("fib6_metrics"))[row],
        **_of_hops(hops),
        flags6=(info["fib6_flags"].int64 & ~_GATEWAY)[row],
        # Linux commit f05713e0916c ("ipv6: convert fib6_ref to refcount_t") (in v5.2).
        refcount=info.first("fib6_ref.refs.counter", "fib6_ref.counter").int64[row],
    )


def _of_hops(hops: NextHops) -> dict[str, Column]:
    flags = hop_member(hops.common, "flags")
    unique, of = np.unique(flags.values, return_inverse=True)
    texts = [
        ",".join(word for bit, word in enumerate(_HOP_FLAGS) if bits >> bit & 1) for bits in unique.tolist()
    ]
    words = np.array(texts, dtype=object)[of.reshape(-1)] if texts else np.zeros(0, dtype=object)
    return {
        "hop": Column.of(hops.number.astype(np.int64)),
        "weight": hops.weight,
        "nexthop_id": hops.object_id,
        "flags": Column.of(words, flags.valid, "text"),
    }


def _places(kernel: Kernel, net: U64) -> I64:
    """Where each namespace stands among all."""
    every = net_namespaces(kernel).addresses
    order = np.argsort(every, kind="stable")
    return order[np.searchsorted(every[order], net)]


def _netns(kernel: Kernel, net: U64) -> Column:
    unique, of = np.unique(net, return_inverse=True)
    return numbers(StructArray(kernel, "struct net", unique))[of.reshape(-1)]


def _devices(kernel: Kernel, net: U64, common: StructArray) -> Column:
    """By the device itself; '' for none, as of a blackhole."""
    pointer = hop_member(common, "dev")
    name = hop_member(common, "dev->name").text
    none = (common.addresses == 0) | (pointer.valid & ~pointer.true)
    words = np.where(none, "", name.values)
    valid = name.valid | none
    # Only its number is left of a device that goes; version 6 had none before v5.2.
    if not (common.has("nhc_oif") or common.has("nh_oif")):
        return Column.of(words, valid, "text")
    number = hop_member(common, "oif")
    late = np.flatnonzero(~valid & number.valid)
    if len(late):
        found = device_names(kernel, net[late], number[late])
        words[late], valid[late] = found.values, found.valid & found.true
    return Column.of(words, valid, "text")


def _prefixes(words: npt.NDArray[np.object_], known: npt.NDArray[np.bool_], length: Column) -> Column:
    joined = [f"{word}/{size}" for word, size in zip(words.tolist(), length.values.tolist(), strict=True)]
    return Column.of(joined, known & length.valid, "text")


def _sources(info: StructArray) -> Column:
    """The network that packets must come from; '' for any (CONFIG_IPV6_SUBTREES)."""
    if not info.has("fib6_src"):
        return Column.of([""] * len(info), kind="text")
    raw, good = bytes_at(info, "fib6_src.addr", 16)
    length = info["fib6_src.plen"]
    made = _prefixes(ipv6(raw), good, length)
    return Column.of(np.where(length.true, made.values, ""), made.valid, "text")


def _preferred(info: StructArray) -> Column:
    raw, good = bytes_at(info, "fib6_prefsrc.addr", 16)
    length = info["fib6_prefsrc.plen"]
    return Column.of(np.where(length.true, ipv6(raw), ""), good & length.valid, "text")


def _mtu(metrics: StructArray) -> Column:
    """What the route itself says; missing where that is nothing."""
    mtu = metrics[f"metrics[{_MTU - 1}]"].int64
    return mtu.where(mtu.true)

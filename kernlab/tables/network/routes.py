"""Routes: every entry of every routing table, of both versions and all namespaces."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, empty, frame, nullable, table
from kernlab.linux.network.route_facts import routes4, routes6

_TEXT = ("destination", "source_prefix", "type", "gateway", "device", "source", "protocol", "scope", "flags")
_NUMBERS = ("netns", "table", "metric", "tos", "mtu", "hop", "weight", "nexthop_id", "flags6", "refcount")
_ORDER = (
    *(
        "netns",
        "table",
        "destination",
        "source_prefix",
        "type",
        "gateway",
        "device",
        "source",
        "metric",
        "protocol",
    ),
    *("scope", "tos", "mtu", "hop", "weight", "nexthop_id", "flags", "flags6", "refcount"),
)


@table
def routes(kernel: Kernel) -> pd.DataFrame:
    """One row per route and next hop, of version 4 first, by namespace, table and network.

    family, netns, table (254 is main, 255 local), destination (`10.0.0.0/8`, `::/0`), source_prefix of version 6 where
    a route is for packets from there alone, type (`unicast`, `local`, `broadcast`, `blackhole`, `unreachable` …),
    gateway ('' for none: the network is the device's own), device, source that packets get, metric, protocol (`kernel`,
    `static`, `ra` …), scope and tos of version 4, mtu where the route has one. hop counts a route's next hops from 0,
    weight is how much of the traffic each has; nexthop_id is the object that it comes from, 0 for none; flags are of
    the hop (`linkdown`, `onlink`, `dead` …). flags6 and refcount are of version 6, as /proc/net/ipv6_route has them but
    for RTF_GATEWAY (2). Mirrors net/ipv4/fib_trie.c, fib_semantics.c, net/ipv6/ip6_fib.c, net/ipv4/nexthop.c.

    >>> dump.routes.query("family == 'inet'")[["table", "destination", "type", "device", "source"]]
       table         destination       type device     source
    0    255         127.0.0.0/8      local     lo  127.0.0.1
    1    255        127.0.0.1/32      local     lo  127.0.0.1
    2    255  127.255.255.255/32  broadcast     lo  127.0.0.1
    """
    parts = [
        (family, kind, made)
        for family, kind, made in (
            ("inet", "struct fib_alias", routes4(kernel)),
            ("inet6", "struct fib6_info", routes6(kernel)),
        )
        if made is not None
    ]
    if not parts:
        if kernel.types.get("struct tnode") is None or kernel.find_symbol("init_net") is None:
            kernel.lost("this kernel has no routes (CONFIG_INET is off)")
        dtypes = {name: "Int64" if name in _NUMBERS else "str" for name in _ORDER}
        return empty(kernel, "routes", address="struct fib_alias", family="str", **dtypes)

    def joined(name: str) -> Column:
        columns = [getattr(made, name) for _, _, made in parts]
        kind = "text" if name in _TEXT else "int"
        return Column.of(
            np.concatenate([column.values if kind == "text" else column.int64.values for column in columns]),
            np.concatenate([column.valid for column in columns]),
            kind,
        )

    where = np.concatenate([made.address.addresses for _, _, made in parts])
    kinds = {kind for _, kind, _ in parts}
    columns = {name: joined(name) if name in _TEXT else nullable(joined(name)) for name in _ORDER}
    return frame(
        kernel,
        "routes",
        address=addresses(kernel, where, target=kinds.pop() if len(kinds) == 1 else ""),
        family=[family for family, _, made in parts for _ in range(len(made))],
        **columns,
    )

"""Neighbours: the ARP table, and what neighbour discovery knows of version 6."""

from __future__ import annotations

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.network import names
from kernlab.linux.network.namespaces import numbers_of
from kernlab.linux.network.neighbours import find_neighbours, flags, macs, states
from kernlab.linux.network.ticks import ago

_TIMES = ("confirmed", "updated", "used")
_COLUMNS = {
    "address": "struct neighbour",
    **dict.fromkeys(("family", "ip", "mac", "state", "flags", "device"), "str"),
    **dict.fromkeys(("netns", "probes", "queued_bytes", "refcount"), "Int64"),
    **dict.fromkeys(_TIMES, "timedelta64[ns]"),
}


@table(rows="struct neighbour")
def neighbours(kernel: Kernel) -> pd.DataFrame:
    """One row per neighbour: which hardware address an address of the network has, of all namespaces.

    family (`inet`, `inet6`), ip, mac (zeros while it is not known, '' where the device has none), state (`REACHABLE`,
    `STALE`, `INCOMPLETE`, `FAILED`, `PERMANENT`, `NOARP` …), flags (`router`, `proxy` …), device and netns. probes went
    out without an answer; queued_bytes of packets wait for one. confirmed, updated and used are how long ago each was,
    at the last tick. /proc/net/arp leaves out those in state NOARP. Mirrors net/core/neighbour.c.

    >>> dump.neighbours[["family", "ip", "device", "state"]].head(2)
    Empty DataFrame
    Columns: [family, ip, device, state]
    Index: []
    """
    found = find_neighbours(kernel)
    if not len(found):
        if kernel.find_symbol("arp_tbl") is None or kernel.types.get("struct neigh_table") is None:
            kernel.lost("this kernel has no neighbours (CONFIG_INET is off)")
        return empty(kernel, "neighbours", **_COLUMNS)
    neighbour = found.neighbour
    return frame(
        kernel,
        "neighbours",
        address=neighbour,
        family=names.family(found.family),
        ip=found.address,
        mac=macs(neighbour),
        state=states(neighbour),
        flags=flags(neighbour),
        device=neighbour["dev->name"],
        netns=nullable(numbers_of(kernel, neighbour, "dev->nd_net.net")),
        probes=nullable(neighbour["probes.counter"]),
        queued_bytes=nullable(neighbour["arp_queue_len_bytes"]),
        refcount=nullable(neighbour["refcnt.refs.counter"]),
        **{name: ago(kernel, neighbour[name], f"when neighbours were {name}").timedelta for name in _TIMES},
    )

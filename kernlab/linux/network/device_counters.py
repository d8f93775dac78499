"""What network devices counted, as /proc/net/dev shows it: by the function that each driver gives the kernel for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.network.scatter import scattered
from kernlab.util.addresses import wrapped
from kernlab.walk.cpus import percpu_many, possible_cpus

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: What is counted; each is a column of /proc/net/dev.
COUNTERS = (
    *("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "rx_fifo_errors", "rx_multicast"),
    *("tx_bytes", "tx_packets", "tx_errors", "tx_dropped", "tx_fifo_errors", "collisions"),
)
#: In struct net_device_stats, all of which each column is the sum of (net/core/net-procfs.c, dev_seq_printf_stats).
_IN_STATS = {
    "rx_dropped": ("rx_dropped", "rx_missed_errors"),
    "rx_multicast": ("multicast",),
}
#: Where NETDEV_ALIGN pads to, behind struct net_device.
_ALIGN = 32

Counted = dict[str, Column]


def counters(kernel: Kernel, device: StructArray) -> Counted:
    """Each of COUNTERS for every struct net_device; missing, and told, where a driver counts by itself in a way that is
    not known here. Mirrors net/core/dev.c, dev_get_stats."""
    found = {name: Column.missing(len(device), "int") for name in COUNTERS}
    asks, asks_old = device["netdev_ops->ndo_get_stats64"], device["netdev_ops->ndo_get_stats"]
    unknown: list[str] = []
    known: Callable[[Kernel, StructArray], Counted | None] | None
    for function in np.unique(asks.values[asks.valid]).tolist():
        rows = np.flatnonzero(asks.valid & (asks.values == function))
        if function:
            known = _WAYS.get(str(kernel.symbolize([function])[0]).partition("+")[0])
        else:
            known = _plain
            # A driver with the old function mostly gives the address of these very numbers.
            rows = rows[~asks_old.true[rows]]
        mine = device[rows]
        made = known(kernel, mine) if known is not None else None
        if made is None:
            unknown += [str(name) for name in mine["name"].tolist()]
            continue
        for counter in COUNTERS:
            part = made.get(counter, Column.of(np.zeros(len(rows), dtype=np.int64)))
            found[counter] = scattered(
                len(device), "int", (np.arange(len(device)), found[counter]), (rows, part)
            )
    unknown += [str(name) for name in device[np.flatnonzero(asks_old.true & ~asks.true)]["name"].tolist()]
    if unknown:
        kernel.lost(
            f"what {len(unknown):,} devices counted only their drivers know: {', '.join(unknown[:8])}"
        )
    for name, more in _core(kernel, device).items():
        found[name] = found[name] + more
    return found


def _plain(kernel: Kernel, device: StructArray) -> Counted:
    """struct net_device_stats in the device, and its CPUs' where the kernel keeps them."""
    sums = _stats(device)
    # Linux commit 34d21de99cea ("net: Move {l,t,d}stats allocation to core and convert veth & vrf") (in v6.8).
    if not device.has("pcpu_stat_type"):
        return sums
    kind = device["pcpu_stat_type"].int64
    for name, parts in (("LSTATS", _lstats), ("TSTATS", _tstats), ("DSTATS", _dstats)):
        number = kernel.types.enumerator_or_none(f"NETDEV_PCPU_STAT_{name}")
        rows = np.flatnonzero((kind == (-1 if number is None else number)).true)
        if len(rows):
            for counter, more in parts(kernel, device[rows]).items():
                zeros = Column.of(np.zeros(len(device), dtype=np.int64))
                every = (np.arange(len(device)), zeros)
                sums[counter] = sums[counter] + scattered(len(device), "int", every, (rows, more))
    return sums


def _stats(device: StructArray) -> Counted:
    sums: Counted = {}
    for name in COUNTERS:
        members = _IN_STATS.get(name, (name,))
        total = device[f"stats.{members[0]}"].int64
        for member in members[1:]:
            total = total + device[f"stats.{member}"]
        sums[name] = total
    return sums


def _percpu(
    kernel: Kernel, device: StructArray, pointer: str, kind: str, members: Mapping[str, str]
) -> Counted:
    """The sums over all CPUs of members of `kind`, which a __percpu pointer of each device leads to."""
    base = device[pointer]
    numbers = possible_cpus(kernel)
    rows = np.flatnonzero(base.true)
    where = percpu_many(kernel, base.values[rows].astype(np.uint64), numbers).reshape(-1)
    parts = StructArray(kernel, kind, where)
    owner = rows[np.repeat(np.arange(len(rows)), len(numbers))]
    every = np.arange(len(device))
    zeros = Column.of(np.zeros(len(device), dtype=np.int64), base.valid)
    return {
        name: scattered(
            len(device),
            "int",
            (every, zeros),
            (rows, _number(parts, member).added_by(owner, len(device))[rows]),
        )
        for name, member in members.items()
    }


def _number(parts: StructArray, member: str) -> Column:
    """A u64_stats_t, which wraps a local64_t, or the plain number that it was (before v5.4 everywhere)."""
    for path in (f"{member}.v.a.a.counter", f"{member}.v.a.counter", f"{member}.v.counter", f"{member}.v"):
        if parts.has(path):
            column = parts[path]
            if isinstance(column, Column):
                return column.int64
    return parts[member].int64


_TWO_WAYS = {name: name for name in ("rx_bytes", "rx_packets", "tx_bytes", "tx_packets")}


def _tstats(kernel: Kernel, device: StructArray) -> Counted:
    return _percpu(kernel, device, "tstats", "struct pcpu_sw_netstats", _TWO_WAYS)


def _dstats(kernel: Kernel, device: StructArray) -> Counted:
    drops = {"rx_dropped": "rx_drops", "tx_dropped": "tx_drops"}
    return _percpu(kernel, device, "dstats", "struct pcpu_dstats", {**_TWO_WAYS, **drops})


def _lstats(kernel: Kernel, device: StructArray) -> Counted:
    return _percpu(
        kernel, device, "lstats", "struct pcpu_lstats", {"tx_bytes": "bytes", "tx_packets": "packets"}
    )


def _loopback(kernel: Kernel, device: StructArray) -> Counted:
    sent = _lstats(kernel, device)
    return {**sent, "rx_bytes": sent["tx_bytes"], "rx_packets": sent["tx_packets"]}


def _tunnel(kernel: Kernel, device: StructArray) -> Counted:
    """net/core/dev.c, dev_get_tstats64"""
    sums = _stats(device)
    return {**sums, **{name: sums[name] + more for name, more in _tstats(kernel, device).items()}}


def _private(kernel: Kernel, device: StructArray, kind: str) -> StructArray | None:
    """What drivers have behind each struct net_device (netdev_priv); None where their types are not in the dump."""
    known = kernel.type_anywhere(kind)
    if known is None or not hasattr(known.strip(), "members"):
        return None
    size = wrapped((device.type.size + _ALIGN - 1) // _ALIGN * _ALIGN)
    return StructArray(kernel, known, device.addresses + size)


def _veth(kernel: Kernel, device: StructArray) -> Counted | None:
    """drivers/net/veth.c, veth_get_stats64: each end counts what it sent, and what XDP saw that came in."""
    own = _private(kernel, device, "struct veth_priv")
    if own is None:
        return None
    peer = own.follow("peer")
    back = _private(kernel, peer, "struct veth_priv")
    assert back is not None
    there = peer.valid
    other = StructArray(kernel, back.type, np.where(there, back.addresses, np.uint64(0)))
    mine, theirs = _veth_queues(kernel, device, own), _veth_queues(kernel, peer, other)
    # Linux commit 6f2684bf2b44 ("veth: Use tstats per-CPU traffic counters") (in v6.7): with what was redirected to it.
    count = _tstats if device.has("pcpu_stat_type") else _lstats
    sent, received = count(kernel, device), count(kernel, peer)
    dropped = own["dropped.counter"].int64
    zero = Column.of(np.zeros(len(device), dtype=np.int64))

    def beside(column: Column) -> Column:
        """Of the other end; nothing where there is none."""
        return Column.of(np.where(there, column.filled(0), 0), column.valid | ~there)

    return {
        "tx_bytes": sent["tx_bytes"] + beside(theirs["xdp_bytes"]),
        "tx_packets": sent["tx_packets"] + beside(theirs["xdp_packets"]),
        "tx_dropped": dropped + beside(theirs.get("peer_tq_xdp_xmit_err", zero)),
        "rx_bytes": mine["xdp_bytes"] + beside(received["tx_bytes"]) + sent.get("rx_bytes", zero),
        "rx_packets": mine["xdp_packets"] + beside(received["tx_packets"]) + sent.get("rx_packets", zero),
        "rx_dropped": mine["rx_drops"],
    }


def _veth_queues(kernel: Kernel, device: StructArray, own: StructArray) -> Counted:
    """What each receive queue counted, added up."""
    queues, count = own["rq"], device["num_rx_queues"].int64
    known = queues.true & count.valid
    kind = kernel.find_type("struct veth_rq")
    many = np.where(
        known, kernel.budget.counts(np.where(known, count.values, 0), kind.size, "queues of veth"), 0
    )
    owner = np.repeat(np.arange(len(device)), many)
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(many) - many, many)
    where = queues.values[owner].astype(np.uint64) + inside.astype(np.uint64) * np.uint64(kind.size)
    queue = StructArray(kernel, kind, where)
    return {
        name: queue[f"stats.vs.{name}"].int64.added_by(owner, len(device))
        for name in ("xdp_bytes", "xdp_packets", "rx_drops", "peer_tq_xdp_xmit_err")
        if queue.has(f"stats.vs.{name}")
    }


def _virtio(kernel: Kernel, device: StructArray) -> Counted | None:
    """drivers/net/virtio_net.c, virtnet_stats: each pair of queues counts."""
    own = _private(kernel, device, "struct virtnet_info")
    if own is None:
        return None
    sums = {
        name: column for name, column in _stats(device).items() if "error" in name or name == "rx_multicast"
    }
    pairs = own["max_queue_pairs"].int64
    for queue, prefix, kind in (("rq", "rx", "struct receive_queue"), ("sq", "tx", "struct send_queue")):
        struct = kernel.find_type(kind)
        start = own[queue]
        known = start.true & pairs.valid
        many = kernel.budget.counts(np.where(known, pairs.values, 0), struct.size, "queues of virtio_net")
        owner = np.repeat(np.arange(len(device)), many)
        inside = np.arange(len(owner)) - np.repeat(np.cumsum(many) - many, many)
        where = start.values[owner].astype(np.uint64) + inside.astype(np.uint64) * np.uint64(struct.size)
        found = StructArray(kernel, struct, where)
        for name in ("bytes", "packets", "drops"):
            if found.has(f"stats.{name}"):
                target = f"{prefix}_dropped" if name == "drops" else f"{prefix}_{name}"
                sums[target] = _number(found, f"stats.{name}").added_by(owner, len(device)).where(known)
    return sums


_WAYS: dict[str, Callable[[Kernel, StructArray], Counted | None]] = {
    "loopback_get_stats64": _loopback,
    "dummy_get_stats64": _lstats,
    "dev_get_tstats64": _tunnel,
    "ip_tunnel_get_stats64": _tunnel,
    "veth_get_stats64": _veth,
    "virtnet_stats": _virtio,
}


def _core(kernel: Kernel, device: StructArray) -> Counted:
    """Packets that the kernel itself dropped of each device."""
    # Linux commit 625788b58445 ("net: add per-cpu storage and net->core_stats") (in v5.18).
    if device.has("core_stats"):
        names = {"rx_dropped": "rx_dropped", "tx_dropped": "tx_dropped"}
        return _percpu(kernel, device, "core_stats", "struct net_device_core_stats", names)
    return {name: device[f"{name}.counter"].int64 for name in ("rx_dropped", "tx_dropped")}

"""Network devices of every network namespace: state, addresses, queues, and what they counted."""

from __future__ import annotations

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, empty, frame, nullable, table
from kernlab.linux.network import device_facts
from kernlab.linux.network.device_counters import COUNTERS, counters
from kernlab.linux.network.device_queues import queues
from kernlab.linux.network.interfaces import interfaces
from kernlab.linux.network.ticks import ago

_TEXT = ("flags", "operstate", "type", "mac", "ipv4", "ipv6", "driver", "master")
_COLUMNS = {
    "address": "struct net_device",
    "netns": "Int64",
    "index": "Int64",
    "name": "str",
    **dict.fromkeys(("up", "carrier"), "boolean"),
    **dict.fromkeys(_TEXT, "str"),
    **dict.fromkeys(("mtu", *COUNTERS), "Int64"),
    **dict.fromkeys(("tx_queues", "rx_queues", "tx_stopped", "queued_packets", "queued_bytes"), "Int64"),
    "last_tx": "timedelta64[ns]",
    **dict.fromkeys(("napi", "napi_scheduled"), "Int64"),
    "xdp_mode": "str",
    "xdp": "str",
    "xdp_program": "struct bpf_prog",
}


@table(rows="struct net_device")
def netdevs(kernel: Kernel) -> pd.DataFrame:
    """One row per network device and namespace, in the order of /proc/net/dev.

    netns (its namespace's number), index, name; up, carrier, flags (IFF_), operstate and type in the kernel's words;
    mac, ipv4 and ipv6 (addresses with their prefixes, joined by commas); driver of the hardware or kind of device
    (`veth`); master is the bridge or bond that it is a part of. The counters are those of /proc/net/dev: bytes,
    packets, errors, dropped (with what the hardware missed), of both ways.

    tx_stopped of the tx_queues may not be filled now; queued_packets and queued_bytes wait in their disciplines, and
    last_tx is how long before the last tick one of them began to send (missing where drivers do not note it). napi
    structs poll the device, napi_scheduled of them are about to. xdp is the name of the XDP program, xdp_mode where it
    runs: `skb`, `drv`, `hw`. Mirrors net/core/dev.c, net-procfs.c, net-sysfs.c.

    >>> dump.netdevs[["name", "operstate", "mtu", "ipv4", "rx_packets", "tx_packets"]]
      name operstate    mtu         ipv4  rx_packets  tx_packets
    0   lo   unknown  65536  127.0.0.1/8           0           0
    """
    found = interfaces(kernel)
    if not len(found):
        if kernel.find_symbol("init_net") is None:
            kernel.lost("this kernel has no network (CONFIG_NET is off)")
        return empty(kernel, "netdevs", **_COLUMNS)
    device, count = found.device, len(found)
    waiting = queues(kernel, device)
    counted = counters(kernel, device)
    mode, program, where = device_facts.xdp(kernel, device)
    return frame(
        kernel,
        "netdevs",
        address=device,
        netns=nullable(found.netns),
        index=nullable(device["ifindex"]),
        name=device["name"],
        up=nullable(device_facts.running(device)),
        carrier=nullable(~device["state"].has(1 << 2)),
        flags=device_facts.flags(device),
        operstate=device_facts.operstate(device),
        type=device_facts.kinds(device),
        mac=device_facts.macs(device),
        ipv4=device_facts.joined(count, *device_facts.addresses4(kernel, device)),
        ipv6=device_facts.joined(count, *device_facts.addresses6(kernel, device)),
        driver=device_facts.drivers(kernel, device),
        master=device_facts.masters(kernel, device),
        mtu=nullable(device["mtu"]),
        rx_bytes=nullable(counted["rx_bytes"]),
        rx_packets=nullable(counted["rx_packets"]),
        rx_errors=nullable(counted["rx_errors"]),
        rx_dropped=nullable(counted["rx_dropped"]),
        rx_fifo_errors=nullable(counted["rx_fifo_errors"]),
        rx_multicast=nullable(counted["rx_multicast"]),
        tx_bytes=nullable(counted["tx_bytes"]),
        tx_packets=nullable(counted["tx_packets"]),
        tx_errors=nullable(counted["tx_errors"]),
        tx_dropped=nullable(counted["tx_dropped"]),
        tx_fifo_errors=nullable(counted["tx_fifo_errors"]),
        collisions=nullable(counted["collisions"]),
        tx_queues=nullable(device["real_num_tx_queues"]),
        rx_queues=nullable(device["real_num_rx_queues"]),
        tx_stopped=nullable(waiting.stopped),
        queued_packets=nullable(waiting.packets),
        queued_bytes=nullable(waiting.bytes),
        last_tx=ago(kernel, waiting.started.where(waiting.started.true), "when devices sent last").timedelta,
        napi=nullable(waiting.napi),
        napi_scheduled=nullable(waiting.scheduled),
        xdp_mode=mode,
        xdp=program,
        xdp_program=addresses(kernel, where, device.valid, "struct bpf_prog"),
    )

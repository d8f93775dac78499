"""What network devices are: addresses, flags, drivers, masters, XDP programs; struct net_device in, columns out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.network.endpoints import bytes_at, ipv4, ipv6
from kernlab.linux.network.names import named
from kernlab.linux.network.scatter import scattered
from kernlab.walk.lists import chain_nodes, list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: include/uapi/linux/if.h
_FLAGS = (
    *("UP", "BROADCAST", "DEBUG", "LOOPBACK", "POINTOPOINT", "NOTRAILERS", "RUNNING", "NOARP", "PROMISC"),
    *("ALLMULTI", "MASTER", "SLAVE", "MULTICAST", "PORTSEL", "AUTOMEDIA", "DYNAMIC", "LOWER_UP", "DORMANT"),
    "ECHO",
)
_RUNNING, _LOWER_UP, _DORMANT = 1 << 6, 1 << 16, 1 << 17
#: Those that others have a say in (net/core/dev.c, dev_get_flags).
_TOLD = 1 << 8 | 1 << 9
#: include/linux/netdevice.h, enum netdev_state_t: is it up, has it no carrier, is it dormant?
_START, _NO_CARRIER, _IS_DORMANT = 1 << 0, 1 << 2, 1 << 4
#: include/uapi/linux/if.h, IF_OPER_*, and the one of a device that is up.
_STATES = dict(enumerate(("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")))
_DOWN, _UP = 2, 6
#: include/uapi/linux/if_arp.h, ARPHRD_*, of what is seen.
_TYPES = {
    1: "ether",
    24: "ieee1394",
    32: "infiniband",
    280: "can",
    512: "ppp",
    519: "rawip",
    768: "tunnel",
    769: "tunnel6",
    772: "loopback",
    776: "sit",
    778: "gre",
    801: "ieee80211",
    803: "radiotap",
    823: "ip6gre",
    824: "netlink",
    65534: "none",
}
_XDP_MODES = ("skb", "drv", "hw")
_LONGEST_MAC = 32


def running(device: StructArray) -> Column:
    """Is each device up (netif_running)?"""
    return device["state"].has(_START)


def operstate(device: StructArray) -> Column:
    """As /sys/class/net/NAME/operstate; one that is not up is down."""
    state = device["operstate"].int64
    up = running(device)
    return named(Column.of(np.where(up.values, state.values, _DOWN), state.valid & up.valid), _STATES)


def flags(device: StructArray) -> Column:
    """The IFF_ flags as the kernel tells them to `ip link`, joined by commas (net/core/dev.c, dev_get_flags)."""
    own, told, state, oper = (device[name] for name in ("flags", "gflags", "state", "operstate"))
    valid = own.valid & told.valid & state.valid & oper.valid
    bits = own.values.astype(np.int64) & ~(_TOLD | _RUNNING | _LOWER_UP | _DORMANT)
    bits |= told.values.astype(np.int64) & _TOLD
    up = (state.values & np.uint64(_START)) != 0
    works = np.isin(oper.values, (0, _UP))
    bits |= np.where(up & works, _RUNNING, 0)
    bits |= np.where(up & ((state.values & np.uint64(_NO_CARRIER)) == 0), _LOWER_UP, 0)
    bits |= np.where(up & ((state.values & np.uint64(_IS_DORMANT)) != 0), _DORMANT, 0)
    words = [",".join(name for bit, name in enumerate(_FLAGS) if mask >> bit & 1) for mask in bits.tolist()]
    return Column.of(words, valid, "text")


def kinds(device: StructArray) -> Column:
    """`ether`, `loopback` …: by what kind of hardware addresses they have."""
    return named(device["type"], _TYPES)


def macs(device: StructArray) -> Column:
    """`02:4b:4c:00:00:01`, of as many bytes as the device's addresses have; '' for none."""
    size = device["addr_len"].int64
    pointer = device["dev_addr"]
    valid = size.valid.copy()
    words = np.full(len(device), "", dtype=object)
    for length in np.unique(
        size.values[size.valid & (size.values > 0) & (size.values <= _LONGEST_MAC)]
    ).tolist():
        rows = np.flatnonzero(size.valid & (size.values == length))
        if pointer.kind == "address":
            raw, status = device.kernel.gather(pointer.filled(0)[rows], length, "MAC addresses")
            good = status == 0
        else:
            raw, good = bytes_at(device[rows], "dev_addr", length)
        words[rows] = [":".join(f"{byte:02x}" for byte in row) for row in raw.tolist()]
        valid[rows] &= good
    return Column.of(words, valid)


def addresses4(kernel: Kernel, device: StructArray) -> tuple[I64, Column, Column]:
    """All addresses of version 4: (device's row int64[m], address as text, length of the prefix), in their order.

    None for a kernel without CONFIG_INET.
    """
    if kernel.types.get("struct in_device") is None:
        return np.zeros(0, dtype=np.int64), Column.missing(0), Column.missing(0, "int")
    four = device.follow("ip_ptr", "struct in_device")
    first = four["ifa_list"]
    kind = kernel.find_type("struct in_ifaddr")
    link = int(resolve(kind, "ifa_next").hops[-1])
    owner, nodes = chain_nodes(kernel, first.filled(0), what="addresses of interfaces", link=link)
    given = StructArray(kernel, kind, nodes)
    local = given["ifa_local"]
    return owner, Column.of(ipv4(local.values), local.valid, "text"), given["ifa_prefixlen"]


def addresses6(kernel: Kernel, device: StructArray) -> tuple[I64, Column, Column]:
    """The same of version 6; none for a kernel without it."""
    none = np.zeros(0, dtype=np.int64), Column.missing(0), Column.missing(0, "int")
    if not device.has("ip6_ptr") or kernel.types.get("struct inet6_ifaddr") is None:
        return none
    six = device.follow("ip6_ptr", "struct inet6_dev")
    rows = np.flatnonzero(six.valid)
    heads = six[rows].follow("addr_list").addresses
    owner, given = list_entries(
        kernel, heads, "struct inet6_ifaddr", "if_list", what="addresses of interfaces"
    )
    raw, good = bytes_at(given, "addr", 16)
    return rows[owner], Column.of(ipv6(raw), good, "text"), given["prefix_len"]


def joined(count: int, owner: I64, address: Column, prefix: Column) -> Column:
    """`10.0.0.1/24,10.0.0.2/24` of each device."""
    words: list[list[str]] = [[] for _ in range(count)]
    for row, text, length in zip(owner.tolist(), address.tolist(), prefix.tolist(), strict=True):
        if text is not None:
            words[row].append(text if length is None else f"{text}/{length}")
    return Column.of([",".join(parts) for parts in words], kind="text")


def drivers(kernel: Kernel, device: StructArray) -> Column:
    """The driver of the hardware behind each device, or else the kind of device (`veth`, `bridge`); '' for neither."""
    real = c_strings(kernel, device["dev.parent->driver->name"], 64, what="names of drivers")
    made = c_strings(kernel, device["rtnl_link_ops->kind"], 64, what="kinds of devices")
    known = device["dev.parent"].valid & device["rtnl_link_ops"].valid
    words = np.where(real.valid, real.values, np.where(made.valid, made.values, ""))
    return Column.of(words, known, "text")


def masters(kernel: Kernel, device: StructArray) -> Column:
    """The name of the bridge, bond … that each device is a part of; '' for none (netdev_master_upper_dev_get)."""
    heads = device.follow("adj_list.upper").addresses
    owner, upper = list_entries(
        kernel, heads, "struct netdev_adjacent", "list", what="devices above network devices"
    )
    first = np.flatnonzero(upper["master"].true)
    # The master is the first of the list.
    rows, at = np.unique(owner[first], return_index=True)
    names = upper[first[at]].follow("dev")["name"].text
    every = (np.arange(len(device)), Column.of([""] * len(device), kind="text"))
    return scattered(len(device), "text", every, (rows, names))


def xdp(kernel: Kernel, device: StructArray) -> tuple[Column, Column, U64]:
    """(mode: `skb`, `drv`, `hw` or '', the program's name, its struct bpf_prog or 0) of each device.

    Where it has several the one in the hardware, else the one in the driver (net/core/dev.c, dev_xdp_prog).
    """
    count = len(device)
    found = np.zeros(count, dtype=np.uint64)
    mode = np.full(count, "", dtype=object)
    for number, word in enumerate(_XDP_MODES):
        if not device.has(f"xdp_state[{number}].prog"):
            break
        program = device[f"xdp_state[{number}].prog"].filled(0).astype(np.uint64)
        link = device[f"xdp_state[{number}].link->link.prog"]
        program = np.where(link.true, link.filled(0).astype(np.uint64), program)
        mode[program != 0] = word
        found = np.where(program != 0, program, found)
    none = found == 0
    if none.all():
        # Without BPF's system call nobody can load one, and the kernel does not know their names.
        return Column.of(mode, device.valid, "text"), Column.of(mode, device.valid, "text"), found
    name = StructArray(kernel, "struct bpf_prog", found)["aux->name"].text
    return (
        Column.of(mode, device.valid, "text"),
        Column.of(np.where(none, "", name.values), name.valid | none, "text"),
        found,
    )

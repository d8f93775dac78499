"""Sockets: every one of the machine, with what waits in it, who has it open, and what tcp thinks of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, empty, frame, nullable, table
from kernlab.linux.network import endpoints, names, queues
from kernlab.linux.network.found import Sockets, find_sockets
from kernlab.linux.network.interfaces import device_names
from kernlab.linux.network.namespaces import net_namespaces, numbers_of
from kernlab.linux.network.scatter import scattered
from kernlab.linux.network.tcp import connections

I64 = npt.NDArray[np.int64]

#: What a kernel without a network has in the table: its columns, in their order, and their dtypes.
_COLUMNS = {
    "address": "struct sock",
    **dict.fromkeys(("family", "protocol", "type", "state", "local", "remote", "device"), "str"),
    **dict.fromkeys(("rx_queue_bytes", "tx_queue_bytes", "backlog", "backlog_max", "drops"), "Int64"),
    **dict.fromkeys(("uid", "inode", "netns", "pid", "fd"), "Int64"),
    "peer": "struct sock",
    **dict.fromkeys(("peer_inode", "rcvbuf_bytes", "sndbuf_bytes", "rmem_bytes", "wmem_bytes"), "Int64"),
    **dict.fromkeys(("queued_bytes", "backlog_bytes", "error"), "Int64"),
    **dict.fromkeys(("congestion", "congestion_state"), "str"),
    **dict.fromkeys(("cwnd", "ssthresh", "mss"), "Int64"),
    **dict.fromkeys(("rtt", "rttvar", "rto"), "timedelta64[ns]"),
    **dict.fromkeys(("retransmits", "total_retransmits", "probes", "unacked", "lost"), "Int64"),
    "timer": "str",
    "timer_left": "timedelta64[ns]",
}


@table(rows="struct sock")
def sockets(kernel: Kernel) -> pd.DataFrame:
    """One row per socket of every network namespace: of tcp, udp, udplite, raw, ping, unix, netlink and packet all that
    their tables have, and of these and other families those that a process has open, bound or not.

    family (`inet6`), protocol (`tcp`, `tcp6`, `udp`, `raw6`, `unix` …), type (`stream`), state as /proc/net/tcp names
    it; local and remote are `10.0.0.1:80`, `[::1]:22`, a unix path (`@` begins an abstract one; remote is its peer's),
    of netlink the protocol and port (`route:1234`), of packet the protocol's number, of vsock context and port; device
    is what it is bound to. rx_queue_bytes and tx_queue_bytes as /proc/net has them, of unix sockets the bytes that wait
    in both directions; missing of listeners, of which backlog connections wait for accept() where backlog_max may: one
    more and it is full. drops are packets that had no room. uid is the owner's, pid and fd are of the lowest process
    that has it open, missing for none: it is not accepted yet, it is closed and not done, or it is the kernel's own.
    peer_inode is of the other end of a unix socket, whose address is peer.

    rcvbuf_bytes and sndbuf_bytes limit the memory rmem_bytes and wmem_bytes; queued_bytes is what the send queue takes,
    backlog_bytes what came in while somebody held the socket. Of tcp: congestion (its control's name), its state,
    cwnd and ssthresh in segments (missing while there is none), mss, rtt, rttvar, rto, retransmits (in a row),
    total_retransmits, probes (of a window of zero), unacked and lost segments; timer (`retransmit`, `probe`,
    `keepalive`, `time_wait`, `syn_ack`) and how long it had still to run.

    Rows in TIME_WAIT and SYN_RECV are no struct sock: their address is an inet_timewait_sock's or a request_sock's.
    Mirrors net/ipv4/tcp_ipv4.c, udp.c, raw.c, net/unix/af_unix.c, net/netlink/af_netlink.c, net/packet/af_packet.c.

    >>> listening = dump.sockets.query("state == 'LISTEN'")
    >>> listening[["protocol", "local", "backlog", "backlog_max", "pid", "fd"]]
      protocol      local  backlog  backlog_max  pid  fd
    0     tcp6  [::]:7777        0            1  234   3
    """
    found = find_sockets(kernel)
    if not len(found):
        if kernel.find_symbol("init_net") is None:
            kernel.lost("this kernel has no network (CONFIG_NET is off)")
        return empty(kernel, "sockets", **_COLUMNS)
    count = len(found)
    full = np.flatnonzero(found.full)
    sock = found.rows("struct sock", full).prefetch(
        *("sk_type", "sk_protocol", "sk_rcvbuf", "sk_sndbuf", "sk_backlog.rmem_alloc.counter"),
        *(
            "sk_wmem_alloc.refs.counter",
            "sk_wmem_queued",
            "sk_backlog.len",
            "sk_err",
            "sk_socket",
            "sk_uid.val",
        ),
        *("sk_ack_backlog", "sk_max_ack_backlog", "__sk_common.skc_family", "__sk_common.skc_state"),
    )

    def number(column: Column) -> object:
        return nullable(scattered(count, "int", (full, column)))

    tcp = connections(kernel, found, sock)
    local, remote, device, peer, peer_inode = _ends(kernel, found, sock)
    waiting, most = queues.backlog(found, sock)
    return frame(
        kernel,
        "sockets",
        address=addresses(kernel, found.common.addresses, found.common.valid, "struct sock"),
        family=names.family(found.common["skc_family"]),
        protocol=_protocols(found, sock),
        type=_types(found, sock),
        state=_states(found),
        local=local,
        remote=remote,
        device=device,
        rx_queue_bytes=nullable(queues.received(found, sock)),
        tx_queue_bytes=nullable(queues.sent(found, sock)),
        backlog=nullable(waiting),
        backlog_max=nullable(most),
        drops=number(queues.dropped(sock)),
        uid=number(sock["sk_uid.val"]),
        inode=number(_inodes(sock)),
        netns=nullable(numbers_of(kernel, found.common, "skc_net.net")),
        pid=nullable(found.pid),
        fd=nullable(found.fd),
        peer=peer,
        peer_inode=nullable(peer_inode),
        rcvbuf_bytes=number(sock["sk_rcvbuf"]),
        sndbuf_bytes=number(sock["sk_sndbuf"]),
        rmem_bytes=number(sock["sk_backlog.rmem_alloc.counter"]),
        wmem_bytes=number(sock["sk_wmem_alloc.refs.counter"] - 1),
        queued_bytes=number(sock["sk_wmem_queued"]),
        backlog_bytes=number(sock["sk_backlog.len"]),
        error=number(sock["sk_err"]),
        congestion=tcp.congestion,
        congestion_state=tcp.congestion_state,
        cwnd=nullable(tcp.cwnd),
        ssthresh=nullable(tcp.ssthresh),
        mss=nullable(tcp.mss),
        rtt=tcp.rtt.timedelta,
        rttvar=tcp.rttvar.timedelta,
        rto=tcp.rto.timedelta,
        retransmits=nullable(tcp.retransmits),
        total_retransmits=nullable(tcp.total_retransmits),
        probes=nullable(tcp.probes),
        unacked=nullable(tcp.unacked),
        lost=nullable(tcp.lost),
        timer=tcp.timer,
        timer_left=tcp.expires.timedelta,
    )


def _protocols(found: Sockets, sock: StructArray) -> Column:
    count = len(found)
    family = found.common["skc_family"]
    mini = np.flatnonzero(~found.full)
    # Only tcp's wait or are asked for in the tables that were walked.
    tcp = Column.of(np.full(len(mini), names.TCP, dtype=np.int64))
    number = scattered(count, "int", (np.flatnonzero(found.full), sock["sk_protocol"]), (mini, tcp))
    stream = Column.of(np.full(len(mini), names.STREAM, dtype=np.int64))
    kind = scattered(count, "int", (np.flatnonzero(found.full), sock["sk_type"]), (mini, stream))
    return names.protocol(number, family, kind)


def _types(found: Sockets, sock: StructArray) -> Column:
    mini = np.flatnonzero(~found.full)
    stream = Column.of(["stream"] * len(mini), kind="text")
    return scattered(
        len(found), "text", (np.flatnonzero(found.full), names.kind(sock["sk_type"])), (mini, stream)
    )


def _states(found: Sockets) -> Column:
    """A socket that waits for its end is in FIN_WAIT2 or TIME_WAIT, which it says elsewhere (tw_substate)."""
    waits = np.flatnonzero(found.waits)
    number = found.common["skc_state"]
    parts = [(np.arange(len(found)), number)]
    if len(waits) and found.common.kernel.types.get("struct inet_timewait_sock") is not None:
        parts.append((waits, found.rows("struct inet_timewait_sock", waits)["tw_substate"]))
    return names.state(scattered(len(found), "int", *parts), found.common["skc_family"])


def _inodes(sock: StructArray) -> Column:
    """The number of each socket's inode, 0 where no process ever had it (net/core/sock.c, sock_i_ino)."""
    behind = sock.follow("sk_socket")
    number = behind.container("struct socket_alloc", "socket")["vfs_inode.i_ino"].int64
    pointer = sock["sk_socket"]
    return Column.of(
        np.where(pointer.true, number.filled(0), 0), pointer.valid & (number.valid | ~pointer.true)
    )


def _ends(kernel: Kernel, found: Sockets, sock: StructArray) -> tuple[Column, Column, Column, Any, Column]:
    """(local, remote, device, peer, its inode) of every socket."""
    count, full = len(found), np.flatnonzero(found.full)
    family = found.common["skc_family"].int64.filled(-1)

    def of(*which: int) -> I64:
        return np.flatnonzero(np.isin(family, which))

    near: list[tuple[I64, Column]] = [(np.arange(count), Column.of([""] * count, kind="text"))]
    far = list(near)
    inet = of(names.INET, names.INET6)
    local, remote = endpoints.inet_ends(found, inet)
    near.append((inet, local))
    far.append((inet, remote))
    bound = found.common["skc_bound_dev_if"]
    unix, netlink, packet, vsock = (
        np.intersect1d(of(one), full) for one in (names.UNIX, names.NETLINK, names.PACKET, names.VSOCK)
    )
    peer = np.zeros(count, dtype=np.uint64)
    known, inode = np.zeros(count, dtype=bool), Column.missing(count, "int")
    if len(unix) and kernel.types.get("struct unix_sock") is not None:
        one = found.rows("struct unix_sock", unix)
        other = one.follow("peer")
        peer[unix], known[unix] = other.addresses, one["peer"].valid
        near.append((unix, endpoints.unix_paths(kernel, one)))
        name = endpoints.unix_paths(kernel, other.cast("struct unix_sock"))
        alone = one["peer"].valid & (other.addresses == 0)
        far.append((unix, Column.of(np.where(alone, "", name.values), name.valid | alone, "text")))
        inode = scattered(count, "int", (unix, _inodes(other).where(other.valid)))
    if len(netlink) and kernel.types.get("struct netlink_sock") is not None:
        local, remote = endpoints.netlink_ends(found.rows("struct netlink_sock", netlink))
        near.append((netlink, local))
        far.append((netlink, remote))
    if len(packet) and kernel.type_anywhere("struct packet_sock") is not None:
        one = found.rows("struct packet_sock", packet)
        near.append((packet, endpoints.packet_ends(one)))
        bound = scattered(count, "int", (np.arange(count), bound), (packet, one["ifindex"]))
    if len(vsock) and kernel.type_anywhere("struct vsock_sock") is not None:
        local, remote = endpoints.vsock_ends(found.rows("struct vsock_sock", vsock))
        near.append((vsock, local))
        far.append((vsock, remote))
    net = found.common["skc_net.net"].filled(0).astype(np.uint64) if found.common.has("skc_net.net") else None
    if net is None:
        net = np.repeat(net_namespaces(kernel).addresses[:1], count)
    device = device_names(kernel, net, bound)
    return (
        scattered(count, "text", *near),
        scattered(count, "text", *far),
        device,
        addresses(kernel, peer, known, "struct sock"),
        inode,
    )

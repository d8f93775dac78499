"""What waits in sockets: bytes received and not read, sent and not acknowledged, connections nobody accepted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.network.found import LISTEN, Sockets
from kernlab.linux.network.names import DGRAM, INET, INET6, TCP, UDP, UDPLITE, UNIX
from kernlab.linux.network.scatter import scattered
from kernlab.walk.lists import list_nodes

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def received(sockets: Sockets, sock: StructArray) -> Column:
    """Bytes that nobody read yet, as the kernel's own files count them; of unix sockets the data alone.

    tcp counts what its stream has, others the memory that the packets take (sk_rmem_alloc); missing of listeners.
    `sock` are the struct sock of all rows that are full.
    """
    kernel, count = sock.kernel, len(sockets)
    full = np.flatnonzero(sockets.full)
    family, protocol, state = _kinds(sock)
    listens = (state == LISTEN).true
    memory = sock["sk_backlog.rmem_alloc.counter"]
    parts = [(full, memory)]
    tcp = np.flatnonzero(is_tcp(family, protocol, sock) & ~listens)
    if len(tcp):
        stream = sockets.rows("struct tcp_sock", full[tcp])
        # Sequence numbers of 32 bits, which wrap.
        parts.append((full[tcp], _distance(stream["rcv_nxt"], stream["copied_seq"]).clip(0)))
    udp = np.flatnonzero(_inet(family) & np.isin(protocol.int64.filled(0), (UDP, UDPLITE)))
    if len(udp) and kernel.types.get("struct udp_sock") is not None:
        datagram = sockets.rows("struct udp_sock", full[udp])
        # net/ipv4/udp.c, udp_rqueue_get: what was read and is not given back yet.
        parts.append((full[udp], memory[udp] - datagram["forward_deficit"]))
    local = np.flatnonzero((family == UNIX).true & ~listens)
    parts.append((full[local], _unix_bytes(kernel, sock[local])))
    heard = full[np.flatnonzero(listens)]
    parts.append((heard, Column.missing(len(heard), "int")))
    return scattered(count, "int", *parts)


def sent(sockets: Sockets, sock: StructArray) -> Column:
    """Bytes that tcp has not had acknowledged; of others the memory of what was not sent yet (sk_wmem_alloc), or, of
    unix sockets, not read by the peer; missing of listeners."""
    full = np.flatnonzero(sockets.full)
    family, protocol, state = _kinds(sock)
    listens = (state == LISTEN).true
    # It begins at 1, so that the socket goes with the last packet.
    parts = [(full, sock["sk_wmem_alloc.refs.counter"] - 1)]
    tcp = np.flatnonzero(is_tcp(family, protocol, sock) & ~listens)
    if len(tcp):
        stream = sockets.rows("struct tcp_sock", full[tcp])
        parts.append((full[tcp], _distance(stream["write_seq"], stream["snd_una"])))
    heard = full[np.flatnonzero(listens)]
    parts.append((heard, Column.missing(len(heard), "int")))
    return scattered(len(sockets), "int", *parts)


def backlog(sockets: Sockets, sock: StructArray) -> tuple[Column, Column]:
    """Of listeners: how many connections wait for accept(), and how many may; a queue is full with one more."""
    full = np.flatnonzero(sockets.full)
    family, _, state = _kinds(sock)
    rows = np.flatnonzero((state == LISTEN).true)
    sock, family = sock[rows], family[rows]
    waiting, most = sock["sk_ack_backlog"], sock["sk_max_ack_backlog"]
    # Connections to unix sockets wait among what was received.
    local = (family == UNIX).true
    queued = sock["sk_receive_queue.qlen"]
    values = np.where(local, queued.int64.filled(0), waiting.int64.filled(0))
    waiting = Column.of(values, np.where(local, queued.valid, waiting.valid))
    count = len(sockets)
    return scattered(count, "int", (full[rows], waiting)), scattered(count, "int", (full[rows], most))


def dropped(sock: StructArray) -> Column:
    """Packets that each `struct sock` had no room for, or that were wrong (sk_drops_read)."""
    shared = sock["sk_drops.counter"].int64
    # Linux commit 51132b99f01c ("net: add sk->sk_drop_counters") (in v6.18): busy sockets count per NUMA node.
    if not sock.has("sk_drop_counters"):
        return shared
    pointer = sock["sk_drop_counters"]
    rows = np.flatnonzero(pointer.true)
    counters = sock[rows].follow("sk_drop_counters")
    own = counters["drops0.counter"] + counters["drops1.counter"]
    return scattered(len(sock), "int", (np.arange(len(sock)), shared), (rows, own))


def is_tcp(family: Column, protocol: Column, sock: StructArray) -> Mask:
    """Which of these sockets are tcp's own (struct tcp_sock), not raw ones that see its packets."""
    if sock.kernel.types.get("struct tcp_sock") is None:
        return np.zeros(len(sock), dtype=bool)
    mask: Mask = _inet(family) & (protocol == TCP).true & (sock["sk_type"] == 1).true
    return mask


def _inet(family: Column) -> Mask:
    return np.isin(family.int64.filled(0), (INET, INET6))


def _kinds(sock: StructArray) -> tuple[Column, Column, Column]:
    return sock["__sk_common.skc_family"], sock["sk_protocol"], sock["__sk_common.skc_state"]


def _distance(high: Column, low: Column) -> Column:
    """From one sequence number to another, as a signed number of 32 bits."""
    apart = high.values.astype(np.uint32) - low.values.astype(np.uint32)
    return Column.of(apart.view(np.int32).astype(np.int64), high.valid & low.valid)


def _unix_bytes(kernel: Kernel, sock: StructArray) -> Column:
    """The bytes in all packets that wait to be read, less what was read of the first."""
    heads = sock.follow("sk_receive_queue").addresses
    owner, nodes = list_nodes(kernel, heads, what="queues of unix sockets")
    packet = StructArray(kernel, "struct sk_buff", nodes)
    length = packet["len"].int64
    parms = kernel.types.get("struct unix_skb_parms")
    if parms is not None and kernel.types.has_member("struct unix_skb_parms", "consumed"):
        at = resolve(packet.type, "cb").hops[-1] + resolve(parms, "consumed").hops[-1]
        read, known = kernel.words(packet.addresses + np.uint64(at), 4, what="struct sk_buff")
        streams = (sock["sk_type"] != DGRAM).true[owner]
        length = length - Column.of(np.where(streams, read, 0).astype(np.int64), known | ~streams)
    return length.added_by(owner, len(sock)).where(sock.valid)

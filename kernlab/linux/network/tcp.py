"""What tcp thinks of its connections: windows, round trips, losses, and which timer runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.network.found import LISTEN, Sockets
from kernlab.linux.network.names import CONGESTION, named
from kernlab.linux.network.queues import is_tcp
from kernlab.linux.network.scatter import chosen, scattered
from kernlab.linux.network.ticks import left, lengths

I64 = npt.NDArray[np.int64]

#: include/net/inet_connection_sock.h, ICSK_TIME_*: retransmit, loss probe, reordering; 3 probes a window of zero.
_RETRANSMIT, _PROBE = (1, 4, 5, 6), 3
_WHAT = "how long timers of sockets have still to run"
#: include/net/tcp.h, TCP_INFINITE_SSTHRESH
_NO_THRESHOLD = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class Connections:
    """Columns of all sockets, missing of those that are not tcp's; times in ns.

    `timer` is `retransmit`, `probe` (of a window of zero), `keepalive`, `time_wait`, `syn_ack` or '', and `expires` how
    long it had still to run at the last tick; `ssthresh` is missing while there is none.
    """

    congestion: Column
    congestion_state: Column
    cwnd: Column
    ssthresh: Column
    mss: Column
    rtt: Column
    rttvar: Column
    rto: Column
    retransmits: Column
    total_retransmits: Column
    probes: Column
    unacked: Column
    lost: Column
    timer: Column
    expires: Column


def connections(kernel: Kernel, sockets: Sockets, sock: StructArray) -> Connections:
    """The state of tcp's sockets; `sock` are the struct sock of all rows that are full. Mirrors net/ipv4/tcp_ipv4.c,
    get_tcp4_sock, get_timewait4_sock, get_openreq4, and net/ipv4/tcp.c, tcp_get_info."""
    count, full = len(sockets), np.flatnonzero(sockets.full)
    if kernel.types.get("struct tcp_sock") is None:
        # Without CONFIG_INET nothing is tcp's.
        no, text = Column.missing(count, "int"), Column.missing(count)
        return Connections(text, text, no, no, no, no, no, no, no, no, no, no, no, text, no)
    family, protocol = sock["__sk_common.skc_family"], sock["sk_protocol"]
    mine = np.flatnonzero(is_tcp(family, protocol, sock))
    rows = full[mine]
    tcp = sockets.rows("struct tcp_sock", rows)
    base = tcp.follow("inet_conn")
    talks = np.flatnonzero((sock[mine]["__sk_common.skc_state"] != LISTEN).true)

    def numbers(column: Column, of: I64 = talks) -> Column:
        return scattered(count, "int", (rows[of], column[of]))

    threshold = tcp["snd_ssthresh"]
    requests, waits = np.flatnonzero(sockets.requests), np.flatnonzero(sockets.waits)
    asked = sockets.rows("struct request_sock", requests)
    timer, expires = _timers(kernel, base, sock[mine])
    waiting = sockets.rows("struct inet_timewait_sock", waits)
    ends = left(kernel, waiting["tw_timer.expires"], _WHAT)
    asks = left(kernel, asked["rsk_timer.expires"], _WHAT)
    return Connections(
        congestion=scattered(count, "text", (rows, base["icsk_ca_ops->name"].text)),
        congestion_state=scattered(
            count, "text", (rows[talks], named(base["icsk_ca_state"], CONGESTION)[talks])
        ),
        cwnd=numbers(tcp["snd_cwnd"]),
        ssthresh=numbers(threshold.where((threshold < _NO_THRESHOLD).true)),
        mss=numbers(tcp["mss_cache"]),
        # 0 until the first answer.
        rtt=numbers((tcp["srtt_us"] >> 3).where(tcp["srtt_us"].true) * 1000),
        rttvar=numbers((tcp["mdev_us"] >> 2) * 1000),
        rto=numbers(lengths(kernel, base["icsk_rto"], _WHAT)),
        retransmits=scattered(
            count,
            "int",
            (rows[talks], base["icsk_retransmits"][talks]),
            (requests, asked["num_timeout"]),
        ),
        total_retransmits=numbers(tcp["total_retrans"]),
        probes=numbers(base["icsk_probes_out"]),
        unacked=numbers(tcp["packets_out"]),
        lost=numbers(tcp["lost_out"]),
        timer=scattered(
            count,
            "text",
            (rows[talks], timer[talks]),
            (waits, _word("time_wait", waiting)),
            (requests, _word("syn_ack", asked)),
        ),
        expires=scattered(count, "int", (rows, expires), (waits, ends), (requests, asks)),
    )


def _word(word: str, structs: StructArray) -> Column:
    return Column.of([word] * len(structs), structs.valid, "text")


def _timers(kernel: Kernel, base: StructArray, sock: StructArray) -> tuple[Column, Column]:
    """Which timer runs of each struct inet_connection_sock, and how long still."""
    pending = base["icsk_pending"].int64
    # Linux commits 027536079347 and 08dfe370239e (in v6.19) put them into struct sock and in their own place.
    if sock.has("tcp_retransmit_timer"):
        resend = sock["tcp_retransmit_timer.expires"]
    else:
        resend = base.first("icsk_timeout", "icsk_retransmit_timer.expires")
    if base.has("icsk_keepalive_timer"):
        alive, armed = base["icsk_keepalive_timer.expires"], base["icsk_keepalive_timer.entry.pprev"]
    else:
        alive, armed = sock["sk_timer.expires"], sock["sk_timer.entry.pprev"]
    kinds = [np.isin(pending.values, _RETRANSMIT), pending.values == _PROBE, armed.true]
    word = chosen(kinds, ("retransmit", "probe", "keepalive"))
    busy = kinds[0] | kinds[1]
    when = Column.of(
        np.where(busy, resend.values, alive.values).astype(np.uint64),
        np.where(busy, resend.valid, alive.valid),
    )
    runs = pending.valid & armed.valid & (busy | kinds[2])
    return Column.of(word, pending.valid & armed.valid, "text"), left(kernel, when, _WHAT).where(runs)

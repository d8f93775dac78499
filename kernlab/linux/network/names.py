"""Names of what sockets are: families, protocols, types, states; numbers in, words out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column

I64 = npt.NDArray[np.int64]

INET, INET6, UNIX, NETLINK, PACKET, VSOCK = 2, 10, 1, 16, 17, 40


def _in_order(words: str) -> dict[int, str]:
    """Names of the numbers 0, 1, 2 …; `-` stands for one that has none."""
    return {number: word for number, word in enumerate(words.split()) if word != "-"}


#: include/linux/socket.h, AF_*
FAMILIES = _in_order(
    "unspec unix inet ax25 ipx appletalk netrom bridge atmpvc x25 inet6 rose decnet netbeui security key netlink packet"
    " ash econet atmsvc rds - irda pppox wanpipe llc ib mpls can tipc bluetooth iucv rxrpc isdn phonet ieee802154 caif"
    " alg nfc vsock kcm qipcrtr smc xdp mctp"
)
#: include/uapi/linux/in.h, IPPROTO_*, of those that have a socket type of their own.
_INET_PROTOCOLS = {
    6: "tcp",
    17: "udp",
    33: "dccp",
    115: "l2tp",
    132: "sctp",
    136: "udplite",
    256: "smc",
    262: "mptcp",
}
TCP, UDP, UDPLITE = 6, 17, 136

#: include/linux/net.h, enum sock_type
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
_TYPES = {
    STREAM: "stream",
    DGRAM: "dgram",
    RAW: "raw",
    4: "rdm",
    SEQPACKET: "seqpacket",
    6: "dccp",
    10: "packet",
}

#: include/net/tcp_states.h, by which unix and vsock go, too.
_STATES = _in_order(
    "- ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING SYN_RECV"
)
#: include/net/bluetooth/bluetooth.h, BT_*
_BLUETOOTH_STATES = _in_order("- CONNECTED OPEN BOUND LISTEN CONNECT CONNECT2 CONFIG DISCONN CLOSED")
#: Families with states of their own: caif, rxrpc, isdn, nfc and iucv have no names here.
_OTHER_STATES: dict[int, dict[int, str]] = {31: _BLUETOOTH_STATES, 32: {}, 33: {}, 34: {}, 37: {}, 39: {}}
#: include/uapi/linux/netlink.h
NETLINK_PROTOCOLS = _in_order(
    "route - usersock firewall sock_diag nflog xfrm selinux iscsi audit fib_lookup connector netfilter ip6_fw dnrtmsg"
    " kobject_uevent generic - scsitransport ecryptfs rdma crypto smc"
)
#: include/net/tcp.h, enum tcp_ca_state
CONGESTION = _in_order("Open Disorder CWR Recovery Loss")


def named(numbers: Column, names: dict[int, str]) -> Column:
    """The name of each number; the number itself as text where it has none."""
    unique, of = np.unique(numbers.int64.filled(0), return_inverse=True)
    words = np.array([names.get(number, str(number)) for number in unique.tolist()], dtype=object)
    return Column.of(words[of.reshape(-1)] if len(words) else words, numbers.valid, "text")


def family(number: Column) -> Column:
    """`inet`, `unix` … as the kernel's AF_ names."""
    return named(number, FAMILIES)


def kind(number: Column) -> Column:
    """`stream`, `dgram` …"""
    return named(number, _TYPES)


def state(number: Column, family: Column) -> Column:
    """`ESTABLISHED`, `LISTEN` …; a request that is being answered is SYN_RECV, as /proc/net/tcp has it.

    Families whose states are others have their own words, or the number where these are not known here.
    """
    words = named(number, _STATES)
    values = words.values.copy()
    for which, own in _OTHER_STATES.items():
        rows = np.flatnonzero((family == which).true)
        if len(rows):
            values[rows] = named(number[rows], own).values
    return Column.of(values, words.valid, "text")


def protocol(number: Column, family: Column, kind: Column) -> Column:
    """`tcp`, `tcp6`, `udp`, `raw6`, `unix`, `netlink` …: of other families the family's name."""
    keys = np.stack([number.int64.filled(-1), family.int64.filled(-1), kind.int64.filled(-1)], axis=1)
    unique, of = np.unique(keys, axis=0, return_inverse=True)
    words = np.array([_protocol(*key) for key in unique.tolist()], dtype=object)
    return Column.of(words[of.reshape(-1)] if len(words) else words, family.valid, "text")


def _protocol(number: int, family: int, kind: int) -> str:
    if family not in (INET, INET6):
        return FAMILIES.get(family, str(family))
    if kind == RAW:
        name = "raw"
    elif number in (1, 58):
        name = "ping"
    else:
        name = _INET_PROTOCOLS.get(number, str(number))
    return name + "6" * (family == INET6)

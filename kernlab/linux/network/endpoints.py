"""Where sockets' two ends are, as text: addresses and ports, paths of unix sockets, ports of netlink and others."""

from __future__ import annotations

import socket
import struct

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.network.found import Sockets
from kernlab.linux.network.names import INET6, NETLINK_PROTOCOLS, named
from kernlab.util import text

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: A `struct sockaddr_un` has no more; the first two bytes are its family.
_LONGEST_UNIX, _FAMILY_BYTES = 110, 2
#: include/uapi/linux/vm_sockets.h, VMADDR_CID_ANY and VMADDR_PORT_ANY.
_ANY = 0xFFFFFFFF


def ipv4(address: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.object_]:
    """Text of addresses as they lie in memory (network order), read as little-endian numbers."""
    unique, of = np.unique(address.astype(np.uint32), return_inverse=True)
    words = [socket.inet_ntop(socket.AF_INET, struct.pack("<I", one)) for one in unique.tolist()]
    return np.array(words, dtype=object)[of.reshape(-1)] if words else np.zeros(0, dtype=object)


def ipv6(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.object_]:
    """Text of addresses uint8[n, 16], the short way."""
    words = [socket.inet_ntop(socket.AF_INET6, row.tobytes()) for row in rows]
    result = np.empty(len(words), dtype=object)
    result[:] = words
    return result


def bytes_at(structs: StructArray, path: str, size: int) -> tuple[npt.NDArray[np.uint8], Mask]:
    """`size` bytes of a member in the structs themselves: (uint8[n, size], bool[n] of those that could be read)."""
    at = np.uint64(resolve(structs.type, path).hops[-1])
    rows, status = structs.kernel.gather(structs.addresses + at, size, structs.type.c_name)
    return rows, status == 0


def inet_ends(sockets: Sockets, rows: I64) -> tuple[Column, Column]:
    """(local, remote) of sockets of the Internet: `10.0.0.1:80`, `[::1]:22`; port 0 is none."""
    common = sockets.common[rows]
    six = (common["skc_family"] == INET6).true
    near, near_port = common["skc_rcv_saddr"], common["skc_num"]
    far = common["skc_daddr"]
    port = common["skc_dport"]
    far_port = Column.of(port.values.astype(np.uint16).byteswap(), port.valid)
    six_near, six_far = ("skc_v6_rcv_saddr", "skc_v6_daddr")
    ends = []
    for four, member, number in ((near, six_near, near_port), (far, six_far, far_port)):
        words = ipv4(four.values)
        valid = four.valid & number.valid
        if six.any() and common.has(member):
            those = common[np.flatnonzero(six)]
            found, read = bytes_at(those, member, 16)
            words[six] = np.array([f"[{word}]" for word in ipv6(found)], dtype=object)
            valid[six] &= read
        joined = [
            f"{word}:{which}" for word, which in zip(words.tolist(), number.values.tolist(), strict=True)
        ]
        ends.append(Column.of(joined, valid, "text"))
    return ends[0], ends[1]


def unix_paths(kernel: Kernel, sock: StructArray) -> Column:
    """What each `struct unix_sock` is bound to, as /proc/net/unix prints it: a path, `@` and an abstract name (its
    zeros as `@`, too), '' for none."""
    address = sock.follow("addr")
    length = address["len"].int64
    bound = address.valid & length.valid
    values = np.full(len(sock), "", dtype=object)
    known = sock["addr"].valid & (bound | ~address.valid)
    if bound.any():
        at = np.uint64(resolve(address.type, "name").hops[-1] + _FAMILY_BYTES)
        sizes = np.clip(length.values - _FAMILY_BYTES, 0, _LONGEST_UNIX)
        for size in np.unique(sizes[bound]).tolist():
            rows = np.flatnonzero(bound & (sizes == size))
            if not size:
                continue
            found, status = kernel.gather(address.addresses[rows] + at, size, "names of unix sockets")
            known[rows] &= status == 0
            values[rows] = [_unix_name(row.tobytes()) for row in found]
    return Column.of(values, known)


def _unix_name(raw: bytes) -> str:
    if raw[:1] == b"\0":
        return text.decode(raw.replace(b"\0", b"@"))
    return text.decode(raw.split(b"\0", 1)[0])


def netlink_ends(sock: StructArray) -> tuple[Column, Column]:
    """(local, remote) of `struct netlink_sock`: the protocol's name and the port, `route:1234`; 0 is the kernel's."""
    name = named(sock["sk.sk_protocol"], NETLINK_PROTOCOLS)
    ends = []
    for member in ("portid", "dst_portid"):
        port = sock[member]
        words = [f"{word}:{number}" for word, number in zip(name.values, port.values.tolist(), strict=True)]
        ends.append(Column.of(words, name.valid & port.valid, "text"))
    return ends[0], ends[1]


def packet_ends(sock: StructArray) -> Column:
    """What each `struct packet_sock` listens to: the protocol's number as /proc/net/packet has it, `0x0003`."""
    number = sock["num"]
    swapped = number.values.astype(np.uint16).byteswap()
    return Column.of([f"{one:#06x}" for one in swapped.tolist()], number.valid, "text")


def vsock_ends(sock: StructArray) -> tuple[Column, Column]:
    """(local, remote) of `struct vsock_sock`: `2:1024`, a context and a port; `*` is any."""
    ends = []
    for member in ("local_addr", "remote_addr"):
        cid, port = sock[f"{member}.svm_cid"], sock[f"{member}.svm_port"]
        words = [
            ":".join("*" if number == _ANY else str(number) for number in pair)
            for pair in zip(cid.values.tolist(), port.values.tolist(), strict=True)
        ]
        ends.append(Column.of(words, cid.valid & port.valid, "text"))
    return ends[0], ends[1]

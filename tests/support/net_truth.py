"""What guests said of their network: /proc/net/* as tuples and DataFrames, in the files' own words.

`prefix` is "net_" for the network namespace of process 1, or "p/PID/net_" for that of a process. As truth.py, this
shares no code with kernlab.
"""

from __future__ import annotations

import ipaddress

import pandas as pd
from support.truth import Truth

_STATES = (
    *(
        "",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
    ),
    *("LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV"),
)
_TIMERS = {0: "", 1: "retransmit", 2: "keepalive", 3: "time_wait", 4: "probe"}


def address(text: str) -> str:
    """0100007F and 32 digits for version 6, as words of the machine: little-endian."""
    raw = b"".join(int(text[at : at + 8], 16).to_bytes(4, "little") for at in range(0, len(text), 8))
    found = ipaddress.ip_address(raw)
    if found.version == 4:
        return str(found)
    mapped = found.ipv4_mapped
    return f"[::ffff:{mapped}]" if mapped else f"[{found}]"


def end(text: str) -> str:
    """0100007F:0016 → 127.0.0.1:22"""
    host, port = text.split(":")
    return f"{address(host)}:{int(port, 16)}"


def inet(truth: Truth, protocol: str, prefix: str = "net_") -> pd.DataFrame:
    """/proc/net/tcp, udp, raw … and their siblings of version 6: one row a socket.

    Of tcp's connections also timer, retransmits, rto, cwnd, ssthresh (missing where there is none), refs.
    """
    rows = []
    for line in truth.lines(prefix + protocol)[1:]:
        words = line.split()
        tx, rx = words[4].split(":")
        timer, left = words[5].split(":")
        row: dict[str, object] = {
            "local": end(words[1]),
            "remote": end(words[2]),
            "state": _STATES[int(words[3], 16)],
            "tx": int(tx, 16),
            "rx": int(rx, 16),
            "timer": _TIMERS[int(timer, 16)],
            "timer_left": int(left, 16),
            "retransmits": int(words[6], 16),
            "uid": int(words[7]),
            "probes": int(words[8]),
            "inode": int(words[9]),
        }
        if protocol.startswith("tcp") and len(words) > 13:
            row |= {"rto": int(words[12]), "cwnd": int(words[15]), "ssthresh": int(words[16])}
        if not protocol.startswith("tcp"):
            row["drops"] = int(words[12])
        rows.append(row)
    columns = ("local", "remote", "state", "tx", "rx", "timer", "retransmits", "uid", "probes", "inode")
    return pd.DataFrame(rows, columns=None if rows else list(columns))


def unix(truth: Truth, prefix: str = "net_") -> pd.DataFrame:
    """/proc/net/unix: type, state (SS_CONNECTED is 3), listening, inode, path ('' for none)."""
    rows = []
    for line in truth.lines(prefix + "unix")[1:]:
        words = line.split(" ", 1)[1].split(None, 6)
        rest = line.split(None, 7)
        rows.append(
            {
                "listening": int(words[2], 16) == 0x10000,
                "type": {1: "stream", 2: "dgram", 5: "seqpacket"}[int(words[3], 16)],
                "connected": int(words[4], 16) == 3,
                "inode": int(words[5]),
                "path": rest[7] if len(rest) > 7 else "",
            }
        )
    return pd.DataFrame(rows, columns=["listening", "type", "connected", "inode", "path"])


def netlink(truth: Truth, prefix: str = "net_") -> pd.DataFrame:
    """/proc/net/netlink: protocol (a number), port, rx, tx, drops, inode."""
    rows = []
    for line in truth.lines(prefix + "netlink")[1:]:
        words = line.split()
        rows.append(
            [int(words[1]), int(words[2]), int(words[4]), int(words[5]), int(words[8]), int(words[9])]
        )
    return pd.DataFrame(rows, columns=["protocol", "port", "rx", "tx", "drops", "inode"])


def packet(truth: Truth, prefix: str = "net_") -> pd.DataFrame:
    """/proc/net/packet: type, protocol (as printed), index of the device, rx, uid, inode."""
    rows = []
    for line in truth.lines(prefix + "packet")[1:]:
        words = line.split()
        rows.append(
            [
                {2: "dgram", 3: "raw"}[int(words[2])],
                words[3],
                int(words[4]),
                *map(int, (words[6], words[7], words[8])),
            ]
        )
    return pd.DataFrame(rows, columns=["type", "protocol", "index", "rx", "uid", "inode"])


def devices(truth: Truth, prefix: str = "net_") -> dict[str, dict[str, int]]:
    """/proc/net/dev by the device's name."""
    rx = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "rx_fifo_errors", "", "", "rx_multicast")
    tx = ("tx_bytes", "tx_packets", "tx_errors", "tx_dropped", "tx_fifo_errors", "collisions", "", "")
    found = {}
    for line in truth.lines(prefix + "dev")[2:]:
        name, _, counters = line.partition(":")
        numbers = map(int, counters.split())
        found[name.strip()] = {key: number for key, number in zip((*rx, *tx), numbers, strict=True) if key}
    return found


def arp(truth: Truth, prefix: str = "net_") -> list[tuple[str, str, str]]:
    """/proc/net/arp: (address, MAC, device)."""
    rows = [line.split() for line in truth.lines(prefix + "arp")[1:]]
    return [(row[0], row[3], row[5]) for row in rows]


def routes4(truth: Truth, prefix: str = "net_") -> list[tuple[str, str, str, int]]:
    """/proc/net/route, which has the first next hop of each route of the main table: (device, '' for none;
    destination; gateway, '' for none; metric)."""
    found = []
    for line in truth.lines(prefix + "route")[1:]:
        device, to, gateway, flags, _, _, metric, mask = line.split()[:8]
        length = bin(int(mask, 16)).count("1")
        via = address(gateway) if int(flags, 16) & 2 else ""
        found.append(("" if device == "*" else device, f"{address(to)}/{length}", via, int(metric)))
    return found


def routes6(truth: Truth, prefix: str = "net_") -> list[tuple[str, str, str, int, int, int]]:
    """/proc/net/ipv6_route: (device, destination, gateway, '' for none; metric, references, flags)."""
    found = []
    for line in truth.lines(prefix + "ipv6_route"):
        to, length, _, _, gateway, metric, references, _, flags, device = line.split()
        destination = f"{ipaddress.ip_address(bytes.fromhex(to))}/{int(length, 16)}"
        via = str(ipaddress.ip_address(bytes.fromhex(gateway))) if int(flags, 16) & 2 else ""
        found.append((device, destination, via, int(metric, 16), int(references, 16), int(flags, 16)))
    return found


def namespaces(truth: Truth) -> dict[int, str]:
    """The prefix of each network namespace that the truth has files of, by its number."""
    found = {}
    for name in truth.files:
        if not name.endswith("net_tcp"):
            continue
        prefix = name.removesuffix("tcp")
        pid = 1 if prefix == "net_" else int(name.split("/")[1])
        links = truth.text(f"p/{pid}/ns").splitlines()
        number = next(line for line in links if " net -> " in line or "net:[" in line).split("net:[")[1]
        found[int(number.rstrip("]"))] = prefix
    return found


def named_lines(truth: Truth, name: str) -> list[tuple[str, str]]:
    """A file of "NAME: contents" lines."""
    return [(line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in truth.lines(name)]

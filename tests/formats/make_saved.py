"""Writes saved machines whose every byte is known: VMware's state files, QEMU's migration stream.

It shares no code with kernlab. Layouts: crash's vmware_vmss.h, QEMU's migration/savevm.c and ram.c.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

PAGE = 4096
_SPAN = 80  # a group in the table of groups


def tag(name: str, value: bytes, *indexes: int) -> bytes:
    """A tag of a group, with its value in it."""
    kind = len(name) << 8 | len(indexes) << 6 | len(value)
    return struct.pack(f"<H{len(name)}s{len(indexes)}I", kind, name.encode(), *indexes) + value


def block(name: str, data: bytes, *indexes: int, padding: int = 0, packed: bool = False) -> bytes:
    """A tag whose value is a block behind it."""
    kind = len(name) << 8 | len(indexes) << 6 | (62 if packed else 63)
    head = struct.pack(f"<H{len(name)}s{len(indexes)}I", kind, name.encode(), *indexes)
    return head + struct.pack("<QQH", len(data), len(data), padding) + b"\xee" * padding + data


def state_file(groups: Mapping[str, Sequence[bytes]], magic: int = 0xBED2BED2) -> bytes:
    """A state file of groups of tags."""
    head = struct.pack("<III", magic, 8, len(groups))
    place = len(head) + _SPAN * len(groups)
    table, bodies = b"", b""
    for name, tags in groups.items():
        body = b"".join(tags) + b"\0\0"
        table += struct.pack("<64sQQ", name.encode(), place + len(bodies), len(body))
        bodies += body
    return head + table + bodies


def regions(rows: Sequence[tuple[int, int, int]]) -> list[bytes]:
    """Tags of regions: (page in the image, page in memory, pages) each."""
    found = [tag("regionsCount", struct.pack("<I", len(rows)))]
    for number, row in enumerate(rows):
        for name, value in zip(("regionPageNum", "regionPPN", "regionSize"), row, strict=True):
            found.append(tag(name, struct.pack("<I", value), number))
    return found


def stream(
    blocks: Mapping[str, Mapping[int, bytes | int]],
    sizes: Mapping[str, int],
    machine: str = "pc-i440fx-9.2",
    *,
    capabilities: bytes = b"",
    later: Sequence[tuple[str, int, bytes | int]] = (),
    tail: bytes = b"",
) -> bytes:
    """A stream of RAM blocks: the content of each page sent (a byte where it is filled with it), and sizes in bytes.

    `later` are pages that are sent once more in a section of their own, `tail` the state of devices.
    """
    out = bytearray(b"QEVM" + struct.pack(">I", 3))
    out += b"\x07" + struct.pack(">I", len(machine)) + machine.encode() + capabilities
    out += b"\x01" + struct.pack(">I", 2) + b"\x03ram" + struct.pack(">II", 0, 4)
    out += struct.pack(">Q", sum(sizes.values()) | 4)
    for name, size in sizes.items():
        out += bytes([len(name)]) + name.encode() + struct.pack(">Q", size)
    out += struct.pack(">Q", 0x10) + b"\x7e" + struct.pack(">I", 2)
    rows = [(name, number, data) for name, pages in blocks.items() for number, data in pages.items()]
    last = None
    for kind, part in ((2, rows), (3, later)):
        out += bytes([kind]) + struct.pack(">I", 2)
        for name, number, data in part:
            flags = (0x02 if isinstance(data, int) else 0x08) | (0x20 if name == last else 0)
            out += struct.pack(">Q", number * PAGE | flags)
            if name != last:
                out += bytes([len(name)]) + name.encode()
            out += bytes([data]) if isinstance(data, int) else data
            last = name
        out += struct.pack(">Q", 0x10) + b"\x7e" + struct.pack(">I", 2)
    return bytes(out) + tail

"""What this machine is called, and what the kernel itself says that is everybody's."""

from __future__ import annotations

import re

import numpy as np

from kernlab.debuginfo.member_path import resolve
from kernlab.redaction.found import Found
from kernlab.redaction.frames import Frames, Mask

#: Names that name no machine.
_NOBODYS = frozenset((b"", b"(none)", b"localhost", b"localdomain", b"none"))
_LEFT, _RIGHT = (
    re.compile(rb"[A-Za-z0-9][A-Za-z0-9._%+-]*\Z"),
    re.compile(rb"[A-Za-z][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*"),
)
#: Frames that are looked through at a time.
_BATCH = 1024

HOST = "host name"


def host_names(found: Found) -> None:
    """The names in every uts_namespace; they are looked for in all text, too, where they are no common words."""
    kernel = found.kernel
    kind = "struct uts_namespace"
    spaces = found.objects("uts_namespace")
    first = kernel.symbols.get("init_uts_ns")
    spaces = np.unique(np.append(spaces, np.uint64(first or 0)))
    spaces = spaces[spaces != 0]
    told = {str(found.kernel.file.header.get(name, "")).encode() for name in ("nodename", "domainname")}
    for name in sorted(told - _NOBODYS):
        host_name(found, name)
    for member in ("nodename", "domainname"):
        access = resolve(kernel.find_type(kind), f"name.{member}")
        rows, status = kernel.gather(spaces + np.uint64(access.hops[-1]), access.type.size, "names of hosts")
        for address, row, lost in zip(spaces.tolist(), rows, status.tolist(), strict=True):
            text, _, rest = row.tobytes().partition(b"\0")
            if lost or (text in _NOBODYS and not any(rest)):
                continue
            new = text if text in _NOBODYS else host_name(found, text)
            # What a longer name left behind goes with it.
            found.edits.write(address + access.hops[-1], new.ljust(access.type.size, b"\0"), HOST)


def host_name(found: Found, name: bytes) -> bytes:
    """What a host's or domain's name becomes: part by part, the last of several stays (org, com)."""
    known = found.host.get(name)
    if known is not None:
        return known
    parts = name.split(b".")
    last = len(parts) - (1 if len(parts) > 1 and parts[-1].isalpha() else 0)
    new = [found.name(part, HOST) if part else part for part in parts[:last]]
    found.host[name] = became = b".".join(new + parts[last:])
    found.map.note(HOST, name, became)
    if len(parts) > 1:
        found.literals.add(name, became, HOST)
    return became


def public_addresses(frames: Frames, constant: Mask) -> frozenset[bytes]:
    """The e-mail addresses in the kernel's own code and constants (bool[n] of `frames`): who wrote and who built it,
    which it says to everybody."""
    found: set[bytes] = set()
    indexes = frames.index[constant]
    size = frames.file.page_size
    for first in range(0, len(indexes), _BATCH):
        part = indexes[first : first + _BATCH]
        rows = np.empty((len(part), size), dtype=np.uint8)
        frames.file.read_into(part, rows)
        data = rows.tobytes()
        for place in np.flatnonzero(rows.reshape(-1) == ord("@")).tolist():
            left = _LEFT.search(data, max(0, place - 64), place)
            right = _RIGHT.match(data, place + 1)
            if left is not None and right is not None:
                found.add(left[0] + b"@" + right[0])
    return frozenset(found)

"""Serial numbers and UUIDs by which a machine can be known: strings of its firmware and of what its disks say of
themselves in, others of their length out."""

from __future__ import annotations

import uuid

import numpy as np

from kernlab.debuginfo.types import EnumType
from kernlab.linux.block.disks import disks
from kernlab.linux.block.hardware import hardware
from kernlab.redaction.found import Found
from kernlab.redaction.reading import text_at

SERIAL = "serial number"
_LONGEST = 256
#: A serial number of so many bytes is no part of other words.
_LONG_ENOUGH = 8
_SAYS_NOTHING = frozenset(
    (b"", b"none", b"not specified", b"default string", b"to be filled by o.e.m.", b"0", b"unknown")
)


def serial_numbers(found: Found) -> None:
    """Those of mainboard, chassis and product (drivers/firmware/dmi_scan.c, dmi_ident)."""
    kernel = found.kernel
    table, fields = kernel.symbols.get("dmi_ident"), kernel.types.get("enum dmi_field")
    if table is None or not isinstance(fields, EnumType):
        return
    for name, place in fields.enumerators.items():
        if not name.endswith(("_SERIAL", "_UUID", "_ASSET_TAG")):
            continue
        pointer, read = kernel.words([table + 8 * int(place)], what="")
        if not read[0] or not pointer[0]:
            continue
        text = text_at(kernel, np.array([pointer[0]], dtype=np.uint64), _LONGEST)[0]
        if text.strip().lower() in _SAYS_NOTHING:
            continue
        new = found.map.names.of(text)
        found.map.note(SERIAL, text, new)
        found.edits.write(int(pointer[0]), new, SERIAL)
        found.literals.add(text, new, SERIAL)
        if name.endswith("_UUID"):
            _identity(found, text)


def serials_of_disks(found: Found) -> None:
    """Those of nvme and SCSI disks, wherever they stand: in the driver's structs, pages of SCSI, names of nvme."""
    kernel = found.kernel
    if kernel.symbols.get("block_class") is None:
        return
    for word in sorted({text for text in hardware(kernel, disks(kernel)).serial.tolist() if text}):
        text = word.encode()
        if text.lower() in _SAYS_NOTHING:
            continue
        new = found.map.names.of(text)
        found.map.note(SERIAL, text, new)
        # Before it stands a length, that may be a letter's number; a short one would be found in other words.
        found.literals.add(text, new, SERIAL, word=len(text) < _LONG_ENOUGH)


def _identity(found: Found, text: bytes) -> None:
    """A UUID as 16 bytes, in both of their orders, and as text in the other case."""
    try:
        known = uuid.UUID(text.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return
    for other in (text.lower(), text.upper()):
        found.literals.add(other, found.map.names.of(other), SERIAL)
    for raw in (known.bytes, known.bytes_le):
        found.literals.add(raw, bytes(byte ^ 0x5A for byte in raw), SERIAL, word=False)

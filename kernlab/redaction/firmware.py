"""Serial numbers and UUIDs by which a machine can be known: strings of its firmware in, others of their length out."""

from __future__ import annotations

import uuid

import numpy as np

from kernlab.debuginfo.types import EnumType
from kernlab.redaction.found import Found
from kernlab.redaction.reading import text_at

SERIAL = "serial number"
_LONGEST = 256
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

"""ELF notes: bytes of a note section in, its notes out."""

from __future__ import annotations

import struct

from kernlab.formats.base import Note

NT_PRSTATUS = 1
#: A dump has a note or two per CPU, so no more than this.
_MOST_NOTES = 1 << 17


def parse_notes(data: bytes, offset: int) -> list[Note]:
    """The notes in `data`, which lies at `offset` of the file; what is cut off or senseless at its end is left out."""
    notes: list[Note] = []
    position = 0
    while position + 12 <= len(data) and len(notes) < _MOST_NOTES:
        name_size, desc_size, kind = struct.unpack_from("<III", data, position)
        start = position + 12
        desc = start + (name_size + 3 & ~3)
        end = desc + desc_size
        if end > len(data) or (not name_size and not desc_size):
            break
        name = data[start : start + name_size].rstrip(b"\0").decode("ascii", "backslashreplace")
        notes.append(Note(name, kind, data[desc:end], offset + desc))
        position = desc + (desc_size + 3 & ~3)
    return notes


def vmcoreinfo_of(notes: list[Note]) -> bytes | None:
    """The text of the VMCOREINFO note, if it is among them."""
    return next((note.desc.rstrip(b"\0") for note in notes if note.name == "VMCOREINFO"), None)

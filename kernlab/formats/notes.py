"""ELF notes: bytes of a note section in, its notes out."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

from kernlab.errors import DumpFormatError
from kernlab.formats.base import Note

NT_PRSTATUS = 1
NT_AUXV = 6  # only cores of processes have it
_BUILD_ID = 3  # NT_GNU_BUILD_ID
_XEN_CRASH_INFO = 0x1000001  # XEN_ELFNOTE_CRASH_INFO; above it are the notes of xl dump-core
#: A dump has a note or two per CPU, so no more than this.
MOST_NOTES = 1 << 17


def parse_notes(data: bytes, offset: int, order: Literal["little", "big"] = "little") -> list[Note]:
    """The notes in `data`, which lies at `offset` of the file; what is cut off or senseless at its end is left out."""
    head = struct.Struct("<III" if order == "little" else ">III")
    notes: list[Note] = []
    position = 0
    while position + 12 <= len(data) and len(notes) < MOST_NOTES:
        name_size, desc_size, kind = head.unpack_from(data, position)
        start = position + 12
        desc = start + (name_size + 3 & ~3)
        end = desc + desc_size
        if end > len(data) or (not name_size and not desc_size):
            break
        name = data[start : start + name_size].rstrip(b"\0").decode("ascii", "backslashreplace")
        notes.append(Note(name, kind, data[desc:end], offset + desc))
        position = desc + (desc_size + 3 & ~3)
    return notes


def note_bytes(name: str, kind: int, desc: bytes) -> bytes:
    """One note as it lies in a file, name and descriptor in whole words of 4 bytes."""
    named = name.encode("ascii", "replace") + b"\0"
    head = struct.pack("<III", len(named), len(desc), kind)
    return head + b"".join(part + bytes(-len(part) % 4) for part in (named, desc))


def vmcoreinfo_of(notes: list[Note]) -> bytes | None:
    """The text of the VMCOREINFO note, if it is among them."""
    return next((note.desc.rstrip(b"\0") for note in notes if note.name == "VMCOREINFO"), None)


def build_id_of(notes: list[Note]) -> str:
    """The build id of what was linked, hexadecimal; "" where no note has it."""
    for note in notes:
        # Xen's notes have one of the same number.
        if note.name == "GNU" and note.type == _BUILD_ID and note.desc:
            return note.desc.hex()
    return ""


def refuse_xen(path: Path, notes: list[Note]) -> None:
    """Raise DumpFormatError for dumps of a Xen hypervisor or of its guests, which have frame numbers of two kinds."""
    if any(note.name == "Xen" and note.type >= _XEN_CRASH_INFO for note in notes):
        raise DumpFormatError(
            f"{path} is a dump of a Xen machine, whose frames are numbered by the hypervisor; kernlab reads dumps of "
            "Linux on hardware and in KVM guests only"
        )

"""ELF vmcores (/proc/vmcore, makedumpfile -E, QEMU's dump-guest-memory): a file in, its segments out (elf(5))."""

from __future__ import annotations

from kernlab.formats.base import Format
from kernlab.formats.elf_headers import read_headers
from kernlab.formats.notes import NT_PRSTATUS
from kernlab.formats.segments import SegmentedFile
from kernlab.formats.source import Source


def open_elf(source: Source, zero_excluded: bool = False) -> SegmentedFile:
    """An ELF core of a machine's physical memory; of memory that it has no bytes for, `zero_excluded` reads zeros.

    Raises DumpFormatError for what is not a core of a machine's memory, or of one that kernlab does not read.
    """
    segments, notes, problems, machine = read_headers(source)
    cpus = sum(note.type == NT_PRSTATUS and note.name == "CORE" for note in notes)
    return SegmentedFile(
        "elf",
        source,
        segments,
        notes=notes,
        header={"cpus": cpus},
        problems=problems,
        machine=machine,
        zero_excluded=zero_excluded,
    )


FORMAT = Format("elf", "ELF cores", lambda start: start.startswith(b"\x7fELF"), open_elf)

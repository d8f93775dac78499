"""The two headers of a kdump file (disk_dump_header, kdump_sub_header): bytes in, checked numbers out."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal

from kernlab.errors import DumpFormatError
from kernlab.formats.base import MACHINES, PHYSICAL_END, READ_MACHINES, READ_MACHINES_ONLY
from kernlab.formats.notes import NT_PRSTATUS, parse_notes
from kernlab.formats.source import Source

Order = Literal["little", "big"]

# disk_dump_header up to nr_cpus, as a 64-bit machine lays it out (makedumpfile's diskdump_mod.h).
HEADER = struct.Struct("<8si390s6xqqIiiIIIIIIi")
UTS_FIELD = 65
UTS_NAMES = ("sysname", "nodename", "release", "version", "machine", "domainname")

# kdump_sub_header: each version of the header added to its end.
SUB_HEADER = struct.Struct("<QiiQQQQQQQQQQQ")
_SUB_FIELDS = (
    ("phys_base", 0),
    ("dump_level", 1),
    ("split", 2),
    ("start_pfn", 2),
    ("end_pfn", 2),
    ("offset_vmcoreinfo", 3),
    ("size_vmcoreinfo", 3),
    ("offset_note", 4),
    ("size_note", 4),
    ("offset_eraseinfo", 5),
    ("size_eraseinfo", 5),
    ("start_pfn_64", 6),
    ("end_pfn_64", 6),
    ("max_mapnr_64", 6),
)
_INCOMPLETE = 0x8  # DUMP_DH_COMPRESSED_INCOMPLETE

#: What QEMU writes of all machines but x86 and s390x, and since 10.0 of those, too: its dump code knows no name.
_UNTOLD_MACHINE = "Unknown"
#: Bytes of struct elf_prstatus and the byte order, by which the registers of a CPU tell the machine then.
_PRSTATUS = {
    (336, "little"): "x86_64",
    (336, "big"): "s390x",
    (376, "little"): "riscv64",
    (392, "little"): "aarch64",
    (480, "little"): "loongarch64",
    (504, "little"): "ppc64le",
    (504, "big"): "ppc64",
}

#: A machine that names itself no further.
_NARROW = "32-bit"

#: Where the block size stands in the header, which tells how it is laid out: (byte, order, bits of the machine).
_LAYOUTS: tuple[tuple[int, Order, int], ...] = (
    (428, "little", 64),
    (428, "big", 64),
    (416, "little", 32),
    (416, "big", 32),
)
_BLOCK_SIZES = (4096, 8192, 16384, 65536)

#: Notes and VMCOREINFO are a few KiB a CPU.
LARGEST_PIECE = 64 << 20


@dataclass(frozen=True)
class Header:
    """What the headers say, with every offset and size checked against the file's length where it is used."""

    version: int
    uts: dict[str, str]
    timestamp: int
    status: int
    block_size: int
    sub_blocks: int
    bitmap_blocks: int
    cpus: int
    max_pfn: int
    sub: dict[str, int]
    problems: tuple[str, ...] = ()

    @property
    def machine(self) -> str:
        """The architecture, as uname -m has it."""
        return self.uts["machine"]

    @property
    def sub_header_lost(self) -> bool:
        """Is there nothing where the sub-header should be? Since version 6 it says how many page frames there are."""
        return self.version >= 6 and not any(self.sub.values())

    @property
    def split(self) -> bool:
        """Is this one piece of a split dump?"""
        return bool(self.sub["split"])

    @property
    def start_pfn(self) -> int:
        """First page frame of a piece."""
        return self.sub["start_pfn_64"] or self.sub["start_pfn"]

    @property
    def end_pfn(self) -> int:
        """End of a piece, exclusive."""
        return self.sub["end_pfn_64"] or self.sub["end_pfn"]

    @property
    def incomplete(self) -> bool:
        """Did makedumpfile run out of room?"""
        return bool(self.status & _INCOMPLETE)

    @property
    def bitmap_offset(self) -> int:
        """Where the two bitmaps begin."""
        return (1 + self.sub_blocks) * self.block_size

    @property
    def bitmap_bytes(self) -> int:
        """Length of both bitmaps together."""
        return self.bitmap_blocks * self.block_size

    @property
    def vmcoreinfo(self) -> tuple[int, int]:
        """Offset and size of the VMCOREINFO text; (0, 0) without."""
        return self.sub["offset_vmcoreinfo"], self.sub["size_vmcoreinfo"]

    @property
    def notes(self) -> tuple[int, int]:
        """Offset and size of the ELF notes; (0, 0) without."""
        return self.sub["offset_note"], self.sub["size_note"]

    @staticmethod
    def piece(source: Source, where: tuple[int, int]) -> bytes:
        """The bytes at (offset, size), as far as the file has them."""
        offset, size = where
        return source.read(offset, min(size, LARGEST_PIECE)) if 0 < offset < source.size else b""

    def facts(self) -> dict[str, Any]:
        """What the file says of itself; empty fields (QEMU fills few) are left out."""
        facts: dict[str, Any] = {name: value for name, value in self.uts.items() if value}
        facts["timestamp"] = self.timestamp or None
        # QEMU writes 1 and leaves nothing out; nobody else runs without its note.
        facts["dump_level"] = (
            self.sub["dump_level"] if self.version >= 1 and not self.sub_header_lost else None
        )
        if not self.sub_header_lost:
            # An unsigned long that the kernel has as a signed one.
            facts["phys_base"] = (self.sub["phys_base"] + (1 << 63)) % (1 << 64) - (1 << 63)
        facts["header_version"] = self.version
        facts["cpus"] = self.cpus
        facts["max_pfn"] = self.max_pfn
        return facts


def read_header(source: Source) -> Header:
    """Read both headers. Raises DumpFormatError, saying which field cannot be."""
    path, size = source.path, source.size

    def damaged(what: str) -> DumpFormatError:
        return DumpFormatError(f"the header of {path} is damaged: {what}. Copy the dump again")

    if size < HEADER.size:
        raise DumpFormatError(
            f"{path} is cut short: its {size:,} bytes are not even a header ({HEADER.size} bytes). "
            "Copy the dump again"
        )
    (_, version, uts, seconds, _, status, block_size, sub_blocks, bitmap_blocks, max_mapnr, *_, cpus) = (
        HEADER.unpack(source.read(0, HEADER.size))
    )
    # Before anything else: other machines' headers have other sizes and another byte order, but strings are strings.
    names = _uts(uts)
    names["machine"] = machine = _machine(source, names["machine"])
    if machine == _UNTOLD_MACHINE:
        raise DumpFormatError(
            f"{path} does not say which machine it is of (its header has {machine!r}, as QEMU writes it, and there are "
            f"no registers of a CPU to tell); {READ_MACHINES_ONLY}"
        )
    if machine not in READ_MACHINES:
        if machine not in MACHINES and machine != _NARROW:
            raise damaged(f"it names {machine!r} as the machine" if machine else "it names no machine")
        raise DumpFormatError(f"{path} is a kdump of a {machine} machine; {READ_MACHINES_ONLY}")
    if not 0 <= version <= 100:
        raise damaged(f"its version is {version}")
    if block_size not in _BLOCK_SIZES:
        raise damaged(f"its block size is {block_size:,} bytes at offset 428")
    if not 0 < sub_blocks < 1 << 20 or 2 * block_size > size:
        raise DumpFormatError(
            f"{path} is cut short or its header damaged: it ends at byte {size:,}, inside its sub-header "
            f"({sub_blocks:,} blocks of {block_size:,} bytes). Copy the dump again"
        )
    raw = SUB_HEADER.unpack(source.read(block_size, SUB_HEADER.size))
    sub = {
        name: value if version >= since else 0 for (name, since), value in zip(_SUB_FIELDS, raw, strict=True)
    }
    if not 0 <= sub["dump_level"] <= 31 or sub["split"] not in (0, 1):
        raise damaged(
            f"its sub-header at byte {block_size:,} has dump level {sub['dump_level']}, split {sub['split']}"
        )
    max_pfn = sub["max_mapnr_64"] or max_mapnr
    first, end = (sub[f"{name}_64"] or sub[name] for name in ("start_pfn", "end_pfn"))
    if sub["split"] and not 0 <= first <= end <= max(max_pfn, 1):
        raise damaged(f"it is a piece of page frames {first:#x} to {end:#x}, but there are {max_pfn:#x}")
    if max_pfn > PHYSICAL_END // block_size:
        raise damaged(f"it claims {max_pfn:,} page frames, more than a machine has physical addresses")
    if not 0 < max_pfn <= bitmap_blocks // 2 * block_size * 8:
        raise damaged(
            f"it claims {max_pfn:,} page frames, but its bitmaps ({bitmap_blocks:,} blocks of {block_size:,} bytes) "
            f"have room for {bitmap_blocks // 2 * block_size * 8:,}"
        )
    problems = []
    for what, name in (("VMCOREINFO", "vmcoreinfo"), ("notes", "note")):
        offset, length = sub[f"offset_{name}"], sub[f"size_{name}"]
        if length > LARGEST_PIECE or offset > 1 << 62:
            problems.append(
                f"the sub-header of {path} puts {length:,} bytes of {what} at byte {offset:,}, which cannot be: that "
                "is damaged, and they were not read"
            )
            sub[f"offset_{name}"] = sub[f"size_{name}"] = 0
    return Header(
        version=version,
        uts=names,
        timestamp=seconds,
        status=status,
        block_size=block_size,
        sub_blocks=sub_blocks,
        bitmap_blocks=bitmap_blocks,
        cpus=cpus,
        max_pfn=max_pfn,
        sub=sub,
        problems=tuple(problems),
    )


def _machine(source: Source, named: str) -> str:
    """The machine as uname -m has it, by the header's own layout and the notes where the name alone does not say."""
    # QEMU names s390x in capitals.
    name = named.lower() if named.lower() in MACHINES else named
    if name not in (_UNTOLD_MACHINE, "x86_64"):
        return name
    laid_out = next(
        (
            (size, order, bits)
            for at, order, bits in _LAYOUTS
            if (size := int.from_bytes(source.read(at, 4), order)) in _BLOCK_SIZES
        ),
        None,
    )
    if laid_out is None:
        return name
    block_size, order, bits = laid_out
    if bits == 32:
        # QEMU's x86_64 writes the header that its guest would.
        return "i386" if name == "x86_64" else _NARROW
    if name == "x86_64" or source.size < 2 * block_size:
        return name
    return _of_notes(source, block_size, order) or name


def _of_notes(source: Source, block_size: int, order: Order) -> str | None:
    """The machine whose registers the first note holds: struct elf_prstatus differs in size."""
    layout = struct.Struct(SUB_HEADER.format.replace("<", "<" if order == "little" else ">"))
    sub = dict(zip(_SUB_FIELDS, layout.unpack(source.read(block_size, layout.size)), strict=True))
    raw = Header.piece(source, (sub["offset_note", 4], min(sub["size_note", 4], 4096)))
    notes = parse_notes(raw, 0, order)
    if not notes or notes[0].type != NT_PRSTATUS:
        return None
    return _PRSTATUS.get((len(notes[0].desc), order))


def _uts(raw: bytes) -> dict[str, str]:
    """struct new_utsname: six strings of 65 bytes."""
    fields = (raw[i * UTS_FIELD : (i + 1) * UTS_FIELD].split(b"\0")[0] for i in range(len(UTS_NAMES)))
    return {
        name: field.decode("utf-8", "backslashreplace") for name, field in zip(UTS_NAMES, fields, strict=True)
    }

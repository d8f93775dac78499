"""Writes dumps whose every byte is known: page frames or segments in, the bytes of a file in some format out.

It shares no code with kernlab. Layouts: makedumpfile's diskdump_mod.h, elf(5), LiME's src/lime.h, AVML's src/image.rs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

PAGE = 4096
VMCOREINFO = b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\nCRASHTIME=1700000000\n"
FLAGS = {"raw": 0, "zlib": 1, "lzo": 2, "snappy": 4, "zstd": 0x20}
INCOMPLETE = 8
KINDS = ["zlib", "lzo", "snappy", "zstd", "raw"]


def page(seed: int, kind: str = "text") -> bytes:
    if kind == "zero":
        return bytes(PAGE)
    if kind == "random":  # does not compress: stored raw
        return np.random.default_rng(seed).bytes(PAGE)
    return (b"page %d " % seed * PAGE)[:PAGE]


def some(count: int = 40) -> dict[int, bytes]:
    """Frames with holes between them; every 5th one is zero, every 7th does not compress."""
    return {
        3 * i + 1: page(i, "zero" if i % 5 == 4 else "random" if i % 7 == 6 else "text") for i in range(count)
    }


def note(name: bytes, kind: int, desc: bytes) -> bytes:
    """One ELF note."""

    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack("<III", len(name) + 1, len(desc), kind) + padded(name + b"\0") + padded(desc)


def notes(vmcoreinfo: bytes | None = VMCOREINFO, cpus: int = 2) -> bytes:
    """NT_PRSTATUS for each CPU, and VMCOREINFO."""
    each = [note(b"CORE", 1, bytes([cpu]) * 336) for cpu in range(cpus)]
    return b"".join(each) + (note(b"VMCOREINFO", 0, vmcoreinfo) if vmcoreinfo is not None else b"")


def compress(page: bytes, kind: str) -> tuple[bytes, int]:
    """A page as makedumpfile stores it: compressed, or raw where that is no longer; and its flags."""
    if kind == "zlib":
        packed = zlib.compress(page, 1)
    elif kind == "lzo":
        from lzallright import LZOCompressor

        packed = bytes(LZOCompressor().compress(page))
    elif kind == "snappy":
        from cramjam import snappy

        packed = bytes(snappy.compress_raw(page))
    elif kind == "zstd":
        import zstandard

        packed = zstandard.ZstdCompressor(level=1).compress(page)
    else:
        return page, FLAGS[kind]
    return (packed, FLAGS[kind]) if len(packed) < len(page) else (page, 0)


@dataclass
class Kdump:
    """A kdump file in parts, and where each part lies."""

    data: bytearray
    bitmap: int  # offset of the first of the two bitmaps
    bitmap_bytes: int  # both together
    table: int  # offset of the first page descriptor
    pages: int  # offset of the first page's data
    descriptors: int
    offsets: dict[int, int] = field(default_factory=dict)  # page frame -> offset of its data

    def descriptor(self, number: int) -> int:
        """Offset of a page descriptor."""
        return self.table + 24 * number


def kdump(
    frames: Mapping[int, bytes],
    *,
    excluded: Iterable[int] = (),
    kind: str = "zlib",
    version: int = 6,
    dump_level: int = 31,
    machine: bytes = b"x86_64",
    max_pfn: int | None = None,
    status: int | None = None,
    piece: tuple[int, int] | None = None,
    vmcoreinfo: bytes | None = VMCOREINFO,
    share_zeros: bool = True,
    room_for: int = 0,
    node: bytes = b"node",
    qemu: bool = False,
    block: int = PAGE,
) -> Kdump:
    """A kdump file with these page frames (number -> `block` bytes); `excluded` are RAM, but were not dumped.

    `room_for` more descriptors than pages leaves a gap of zeros behind the table. `piece` is the range of frames whose
    pages it holds, of a split dump. `qemu`: of the names the header has the machine only, and no time.
    """
    excluded = set(excluded)
    pfns = sorted(frames)
    top = max([*pfns, *excluded, 0]) + 1 if max_pfn is None else max_pfn
    half = -(-top // (8 * block)) * block
    ram, dumped = bytearray(half), bytearray(half)
    for pfn in {*pfns, *excluded}:
        ram[pfn // 8] |= 1 << pfn % 8
    for pfn in pfns:
        dumped[pfn // 8] |= 1 << pfn % 8

    # The notes lie in the same blocks as the sub-header, behind it, as makedumpfile has them.
    note_bytes = notes(vmcoreinfo)
    info_at = note_at = 0
    tail = b""
    if version >= 4:
        note_at, tail = block + 256, note_bytes
    if version >= 3 and vmcoreinfo is not None:
        info_at = block + 256 + len(tail)
        tail += vmcoreinfo
    sub_blocks = -(-(256 + len(tail)) // block)
    fields = [
        (0, "<Q", 0x1000000),
        (1, "<i", dump_level),
        (2, "<i", int(piece is not None)),
        (2, "<Q", piece[0] if piece else 0),
        (2, "<Q", piece[1] if piece else 0),
        (3, "<Q", info_at),
        (3, "<Q", len(vmcoreinfo) if info_at and vmcoreinfo else 0),
        (4, "<Q", note_at),
        (4, "<Q", len(note_bytes) if note_at else 0),
        (5, "<Q", 0),
        (5, "<Q", 0),
        (6, "<Q", piece[0] if piece else 0),
        (6, "<Q", piece[1] if piece else 0),
        (6, "<Q", top),
    ]
    # What a version does not have yet is another's: garbage here, which nobody may read.
    sub = b"".join(
        struct.pack(form, value) if version >= since else b"\x5a" * struct.calcsize(form)
        for since, form, value in fields
    )
    uts = b"".join(
        (b"" if qemu and text != machine else text).ljust(65, b"\0")
        for text in (b"Linux", node, b"6.1.0-test", b"#1 SMP", machine, b"(none)")
    )
    header = struct.pack(
        "<8si390s6xqqIiiIIIIIIi",
        *(
            b"KDUMP   ",
            version,
            uts,
            0 if qemu else 1_700_000_000,
            0,
            FLAGS[kind] if status is None else status,
            block,
            sub_blocks,
        ),
        *(2 * half // block, min(top, 2**32 - 1), 0, 0, 0, 0, 2),
    )
    front = header.ljust(block, b"\0") + (sub.ljust(256, b"\0") + tail).ljust(sub_blocks * block, b"\0")
    if piece is not None:
        # makedumpfile makes room for the descriptors of all pieces in each.
        room_for += sum(not piece[0] <= pfn < piece[1] for pfn in pfns)
        pfns = [pfn for pfn in pfns if piece[0] <= pfn < piece[1]]
    bitmap = len(front)
    table = bitmap + 2 * half
    pages = table + 24 * (len(pfns) + room_for)

    descriptors, body, offsets = bytearray(), bytearray(), {}
    zero: tuple[int, int, int] | None = None
    if share_zeros:
        # One page of zeros in front of all others, never compressed, whether or not a descriptor points to it.
        zero = pages, block, 0
        body += bytes(block)
    for pfn in pfns:
        page = frames[pfn]
        if zero is not None and not any(page):
            offset, size, flags = zero
        else:
            packed, flags = compress(page, kind)
            offset, size = pages + len(body), len(packed)
            body += packed
        offsets[pfn] = offset
        descriptors += struct.pack("<QIIQ", offset, size, flags, 0)
    data = bytearray(front + ram + dumped + descriptors + bytes(24 * room_for) + body)
    return Kdump(data, bitmap, 2 * half, table, pages, len(pfns), offsets)


def split(frames: Mapping[int, bytes], bounds: Iterable[int], **how: Any) -> list[bytes]:
    """The pieces of one split dump, whose ranges of frames these bounds divide."""
    top = how.setdefault("max_pfn", max([*frames, *how.get("excluded", ())]) + 1)
    edges = [0, *sorted(bounds), top]
    return [bytes(kdump(frames, piece=edge, **how).data) for edge in pairwise(edges)]


def flatten(
    data: bytes, records: Iterable[tuple[int, int]] | None = None, *, end: bool = True, step: int = 10_000
) -> bytes:
    """A flattened file (makedumpfile.h) whose records, (offset, size) each, say what lies where in `data`."""
    if records is None:
        records = [(at, min(step, len(data) - at)) for at in range(0, len(data), step)]
    parts = [struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")]
    for at, size in records:
        parts += [struct.pack(">qq", at, size), bytes(data[at : at + size])]
    if end:
        parts.append(struct.pack(">qq", -1, -1))
    return b"".join(parts)


@dataclass(frozen=True)
class Segment:
    """One PT_LOAD: `data` at physical address `start`, `size` bytes in memory (len(data) unless told)."""

    start: int
    data: bytes
    size: int | None = None
    virtual: int = 0
    offset: int | None = None  # where the header says the data is, if that is not where it is
    file_size: int | None = None


def elf(
    segments: Iterable[Segment],
    *,
    note_bytes: bytes | None = None,
    kind: int = 4,
    machine: int = 62,
    align: int = PAGE,
    many: bool = False,
) -> bytearray:
    """An ELF core of these segments; `many` writes their number as cores of more than 65,534 have it (PN_XNUM)."""
    segments = list(segments)
    note_bytes = notes() if note_bytes is None else note_bytes
    count = len(segments) + 1
    section = 64 if many else 0
    table = 64 + section
    at = table + 56 * count
    rows = [struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(note_bytes), len(note_bytes), 4)]
    at += len(note_bytes)
    body = bytearray(note_bytes)
    for segment in segments:
        body += bytes(-at % align)
        at += -at % align
        size = len(segment.data) if segment.size is None else segment.size
        offset = at if segment.offset is None else segment.offset
        stored = len(segment.data) if segment.file_size is None else segment.file_size
        rows.append(
            struct.pack("<IIQQQQQQ", 1, 7, offset, segment.virtual, segment.start, stored, size, align)
        )
        body += segment.data
        at += len(segment.data)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\2\1\1" + bytes(9), kind, machine, 1, 0, table, section, 0, 64, 56),
        *(0xFFFF if many else count, 64, int(many), 0),
    )
    extra = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0) if many else b""
    return bytearray(header + extra + b"".join(rows) + body)


def image_header(magic: bytes, version: int, start: int, size: int) -> bytes:
    """The header of a range of memory, as LiME and AVML have it."""
    return struct.pack("<4sIQQQ", magic, version, start, start + size - 1, 0)


def lime(segments: Iterable[Segment]) -> bytes:
    """A LiME image, version 1: each segment a range, in the order given."""
    return b"".join(image_header(b"EMiL", 1, each.start, len(each.data)) + each.data for each in segments)


def avml(segments: Iterable[Segment], block: int = 16 << 20) -> bytes:
    """An image that AVML compressed: each segment in blocks, those of zeros left out."""
    from cramjam import snappy

    parts = []
    for segment in segments:
        for at in range(0, len(segment.data), block):
            data = segment.data[at : at + block]
            if any(data):
                stream = bytes(snappy.compress(data))
                parts.append(image_header(b"AVML", 2, segment.start + at, len(data)))
                parts += [stream, struct.pack("<Q", len(stream))]
    return b"".join(parts)


def raw(segments: Iterable[Segment]) -> bytes:
    """An image in which a byte's address is its offset."""
    segments = list(segments)
    memory = bytearray(max(each.start + len(each.data) for each in segments))
    for each in segments:
        memory[each.start : each.start + len(each.data)] = each.data
    return bytes(memory)

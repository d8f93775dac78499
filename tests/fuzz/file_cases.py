"""Damage of a real kdump file: headers, bitmaps, descriptors, page data, notes, VMCOREINFO, its end.

file:6.12:header.block_size@428=00200000
file:6.12:cut=1048576
file:6.12:vmcoreinfo=LENGTH(zone.free_area)=-5
"""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any

import numpy as np

import kernlab
from fuzz.cases import MISSING, NONE, Damaged, Kind, within
from fuzz.files import DESCRIPTOR, Copy, FileOverlay, changed_frames
from fuzz.subjects import OPEN, Subject
from kernlab.formats import open_dump_file

SECONDS = 0.4

# makedumpfile's diskdump_mod.h: disk_dump_header and kdump_sub_header, (offset, bytes).
HEADER = {
    "signature": (0, 8),
    "version": (8, 4),
    "sysname": (12, 65),
    "nodename": (77, 65),
    "release": (142, 65),
    "utsversion": (207, 65),
    "machine": (272, 65),
    "domainname": (337, 65),
    "tv_sec": (408, 8),
    "tv_usec": (416, 8),
    "status": (424, 4),
    "block_size": (428, 4),
    "sub_hdr_size": (432, 4),
    "bitmap_blocks": (436, 4),
    "max_mapnr": (440, 4),
    "total_ram_blocks": (444, 4),
    "device_blocks": (448, 4),
    "written_blocks": (452, 4),
    "current_cpu": (456, 4),
    "nr_cpus": (460, 4),
}
_SUB = ("phys_base", "dump_level+split", "start_pfn", "end_pfn", "offset_vmcoreinfo", "size_vmcoreinfo")
_SUB += (
    "offset_note",
    "size_note",
    "offset_eraseinfo",
    "size_eraseinfo",
    "start_pfn_64",
    "end_pfn_64",
    "max_mapnr_64",
)
SUB_HEADER = {name: (8 * number, 8) for number, name in enumerate(_SUB)}

NUMBERS = (
    "-1",
    "-5",
    "0",
    "1",
    "64",
    "63",
    "100000000000",
    "100000000000000000000",
    "0x10",
    "",
    "junk",
    "999999999",
)
KINDS = (
    "header",
    "sub",
    "vmcoreinfo",
    "vmcoreinfo",
    "vmcoreinfo",
    "notes",
    "bitmap",
    "descriptor",
    "data",
    "data",
)
KINDS += ("cut", "huge", "bomb", "zeros")


class Layout:
    """Where the parts of a kdump file lie."""

    def __init__(self, subject: Subject):
        with subject.path.open("rb") as stream:
            head = stream.read(1 << 20)
            number = struct.Struct("<I").unpack_from
            self.block = number(head, 428)[0]
            self.bitmap = (1 + number(head, 432)[0]) * self.block
            self.bitmap_bytes = number(head, 436)[0] * self.block
            self.sub = self.block
            fields = struct.unpack_from("<13Q", head, self.block)
            self.vmcoreinfo, self.vmcoreinfo_bytes, self.notes, self.notes_bytes = fields[4:8]
            self.text = head[self.vmcoreinfo : self.vmcoreinfo + self.vmcoreinfo_bytes]
            self.table = self.bitmap + self.bitmap_bytes
            self.count = subject.file.frame_count
            self.pages = self.table + self.count * DESCRIPTOR.itemsize
            stream.seek(self.table)
            self.descriptors = np.frombuffer(stream.read(self.count * DESCRIPTOR.itemsize), dtype=DESCRIPTOR)
            self.size = stream.seek(0, 2)


_layouts: dict[str, Layout] = {}


def layout_of(subject: Subject) -> Layout:
    if subject.name not in _layouts:
        _layouts[subject.name] = Layout(subject)
    return _layouts[subject.name]


def _number(chance: random.Random, size: int) -> bytes:
    top = 1 << 8 * size
    value = chance.choice(
        (
            0,
            1,
            top - 1,
            top // 2,
            top // 2 - 1,
            1 << 33,
            1 << 46,
            chance.getrandbits(8 * size),
            chance.randrange(256),
        )
    )
    return int(value % top).to_bytes(size, "little")


def _patch(chance: random.Random, parts: Layout, kind: str) -> str:
    """One patch, as it stands in a case's name."""
    if kind in ("header", "sub"):
        fields, base = (HEADER, 0) if kind == "header" else (SUB_HEADER, parts.sub)
        name = chance.choice(sorted(fields))
        at, size = fields[name]
        data = chance.randbytes(size) if size > 8 else _number(chance, size)
        return f"{kind}.{name}@{base + at}={data.hex()}"
    if kind == "descriptor":
        number = chance.randrange(parts.count)
        field, at, size = chance.choice(
            (("offset", 0, 8), ("size", 8, 4), ("flags", 12, 4), ("page_flags", 16, 8))
        )
        return f"descriptor.{field}@{parts.table + 24 * number + at}={_number(chance, size).hex()}"
    ranges = {
        "notes": (parts.notes, parts.notes_bytes),
        "bitmap": (parts.bitmap, parts.bitmap_bytes),
        "data": (parts.pages, parts.size - parts.pages),
        "zeros": (parts.table, parts.size - parts.table),
    }
    start, length = ranges[kind]
    at = start + chance.randrange(max(length, 1))
    count = chance.choice((4096, 65536)) if kind == "zeros" else chance.choice((1, 4, 64))
    data = bytes(count) if kind == "zeros" else chance.randbytes(count)
    return f"{kind}@{at}={f'zeros*{count}' if kind == 'zeros' else data.hex()}"


def _line(chance: random.Random, text: bytes) -> str:
    """A change of one line of VMCOREINFO: KEY=value, KEY gone, a digit short, twice."""
    lines = [line for line in text.decode("latin-1").split("\n") if "=" in line]
    key, _, value = chance.choice(lines).partition("=")
    how = chance.randrange(5)
    if how == 0:
        return f"-{key}"
    if how == 1:
        return f"{key}={value[:-1]}"
    return f"{key}={chance.choice(NUMBERS)}"


def draw(subject: Subject, chance: random.Random) -> str | None:
    parts = layout_of(subject)
    kind, start = chance.choice(KINDS), f"file:{subject.name}"
    if kind == "vmcoreinfo":
        return f"{start}:vmcoreinfo={_line(chance, parts.text)}" if parts.text else None
    if kind == "cut":
        edges = (
            parts.block,
            parts.bitmap,
            parts.table,
            parts.pages,
            parts.size,
            chance.randrange(parts.size),
        )
        return f"{start}:cut={max(chance.choice(edges) + chance.randrange(-40, 40), 0)}"
    if kind == "huge":
        # The bitmaps' size and the number of frames, together, so that one bears the other out.
        frames = 1 << chance.randrange(24, 44)
        blocks = min(2 * (frames // 8 // parts.block), (1 << 32) - 1)
        said = {436: blocks.to_bytes(4, "little"), 440: min(frames, (1 << 32) - 1).to_bytes(4, "little")}
        said[parts.sub + 96] = frames.to_bytes(8, "little")
        return f"{start}:huge" + "".join(f"@{at}={data.hex()}" for at, data in said.items())
    if kind == "bomb":
        number = chance.randrange(parts.count)
        data = zlib.compress(bytes(1 << chance.randrange(13, 25)), 9)
        where = parts.table + 24 * number
        at = int(parts.descriptors["offset"][number])
        return f"{start}:bomb@{where + 8}={struct.pack('<II', len(data), 1).hex()}@{at}=bomb*{len(data)}"
    return f"{start}:{_patch(chance, parts, kind)}"


def _bytes(said: str) -> bytes:
    if said.startswith("zeros*"):
        return bytes(int(said[6:]))
    if said.startswith("bomb*"):
        # The zeros whose zlib stream has this length.
        wanted = int(said[5:])
        return next(
            data for bits in range(13, 25) if len(data := zlib.compress(bytes(1 << bits), 9)) == wanted
        )
    return bytes.fromhex(said)


def _text(parts: Layout, said: str) -> dict[int, bytes]:
    """VMCOREINFO with one line changed, in its own place: what no longer fits is cut."""
    key = (said[1:] if said.startswith("-") else said.partition("=")[0]).encode("latin-1")
    lines = []
    for line in parts.text.split(b"\n"):
        if line.partition(b"=")[0] != key:
            lines.append(line)
        elif not said.startswith("-"):
            lines.append(said.encode("latin-1"))
    data = b"\n".join(lines)[: parts.vmcoreinfo_bytes]
    return {parts.vmcoreinfo: data.ljust(parts.vmcoreinfo_bytes, b"\n")}


def _suspected(parts: Layout, writes: dict[int, bytes], cut: int | None) -> np.ndarray | None:
    """Which frames the patches may have changed; None for all, where a header or a bitmap is hit."""
    hit = np.zeros(parts.count, dtype=bool)
    start, size = parts.descriptors["offset"].astype(np.int64), parts.descriptors["size"].astype(np.int64)
    for at, data in writes.items():
        if at < parts.bitmap:
            return None
        if at < parts.table:
            # One bit more or less, and every descriptor may be another frame's.
            return np.arange(parts.count)
        end = at + len(data)
        first, last = (at - parts.table) // 24, -(-(end - parts.table) // 24)
        hit[max(first, 0) : max(last, 0)] = True
        hit |= (start < end) & (start + size > at)
    if cut is not None:
        hit |= start + size > cut
        hit[max((cut - parts.table) // 24, 0) :] = True
    return np.flatnonzero(hit)


def apply(subject: Subject, rest: list[str], slot: int) -> Damaged:
    parts, said = layout_of(subject), ":".join(rest)
    writes: dict[int, bytes] = {}
    cut = None
    if said.startswith("vmcoreinfo="):
        writes = _text(parts, said.partition("=")[2])
    elif said.startswith("cut="):
        cut = int(said[4:])
    else:
        for one in said.split("@")[1:]:
            at, _, data = one.partition("=")
            writes[int(at)] = _bytes(data)
    path = Copy(subject, slot).patch(writes, cut)
    suspected = _suspected(parts, writes, cut)
    damaged = Damaged(lambda: None, ())

    def look() -> Any:
        file = open_dump_file(path)
        gone, other = changed_frames(
            subject, file, np.zeros(0, dtype=np.int64) if suspected is None else suspected
        )
        touched = [*gone, *(() if suspected is None else suspected)]
        # Opening reads pages, too: where some of those are touched, all is read anew.
        opening = subject.reads.get(OPEN)
        if suspected is None or opening is None or opening.has_frame(np.asarray(touched, dtype=np.int64)):
            file.close()
            dump = kernlab.open(path)
        else:
            dump = FileOverlay(subject, file).dump()
        damaged.rule = MISSING if gone and not other and suspected is not None else NONE
        readers = subject.that_read_frames(gone) if gone else []
        if not readers or suspected is None:
            readers = sorted(subject.answers)
        damaged.steps = within(subject, readers, "info", said, SECONDS)
        return dump

    damaged.open = look
    return damaged


KIND = Kind("file", 15, draw, apply)

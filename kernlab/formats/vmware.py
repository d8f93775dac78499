"""VMware's saved machines: a state file (.vmss of a suspend, .vmsn of a snapshot) in, segments and registers out.

The memory lies in a .vmem file of the same name, or in the state file itself. A state file is a header (magic, version,
number of groups), a table of groups (a name of 64 bytes, place and size), and in each group tags: 2 bytes (length of
the name, number of indexes, size of the value), the name, the indexes of 4 bytes each, the value. No document of VMware
says so; it is read as crash's vmware_vmss.c and Volatility's vmware layer read it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFileError, DumpFormatError
from kernlab.formats.base import PHYSICAL_END, Format
from kernlab.formats.cpu_notes import made_notes
from kernlab.formats.register_sets import X86_64
from kernlab.formats.regular_file import open_regular
from kernlab.formats.segments import SEGMENT, SegmentedFile
from kernlab.formats.source import Source, open_source

_HEADER = struct.Struct("<III")
_GROUP = struct.Struct("<64sQQ")
#: Magic numbers, and what files with these are: of a 64-bit host, incomplete, and two that were read back once.
_MAGICS = (0xBED2BED2, 0xBED3BED3, 0xBAD1BAD1, 0xBAD2BAD2)
_MAGIC_32 = 0xBED0BED0
_BLOCK, _BLOCK_PACKED = 63, 62  # sizes of values that say: a block follows, or a compressed one
_BLOCK_HEAD = struct.Struct("<QQH")  # bytes in the file, bytes in memory, padding
_PAGE = 4096

#: No machine has so many groups, and no group that kernlab needs so many tags or bytes before its memory.
_MOST_GROUPS, _MOST_TAGS, _MOST_CPUS = 4096, 1 << 16, 8192
_AT_A_TIME = 1 << 16

#: Registers by VMware's names. As one block ("gpregs") they stand in this order, 8 bytes each.
_GENERAL = (
    *("rax", "rcx", "rdx", "rbx", "rbp", "rsp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
_KERNELS_NAME = {name: name.removeprefix("r") for name in _GENERAL[:8]} | {
    "rip": "ip",
    "eflags": "flags",
    "EFLAGS": "flags",
}
#: Segment registers by the second index of S and S.base64.
_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr")


class Tag(NamedTuple):
    """One tag of a group: its name, its indexes, its value, or where its block lies (`offset`, `size`)."""

    name: str
    indexes: tuple[int, ...]
    value: bytes
    offset: int = 0
    size: int = 0
    packed: bool = False


class _Window:
    """Bytes of a source by their offsets, read some tens of KiB at a time."""

    def __init__(self, source: Source):
        self._source, self._start, self._bytes = source, 0, b""

    def take(self, offset: int, size: int) -> bytes:
        """`size` bytes, fewer at the end of the file."""
        inner = offset - self._start
        if inner < 0 or inner + size > len(self._bytes):
            self._start, inner = offset, 0
            self._bytes = self._source.read(offset, max(size, _AT_A_TIME))
        return self._bytes[inner : inner + size]


def groups(source: Source) -> dict[str, tuple[int, int]]:
    """The groups of a state file by their names: where each lies, and how many bytes it has.

    Raises DumpFormatError for a file whose table of groups is cut or damaged, and for one of a 32-bit host.
    """
    magic, _, count = _HEADER.unpack(source.read(0, _HEADER.size).ljust(_HEADER.size, b"\0"))
    if magic == _MAGIC_32:
        raise DumpFormatError(
            f"{source.path} is a state file of an old 32-bit VMware host, which kernlab does not read; turn it into "
            "an ELF dump with vmss2core"
        )
    table = source.read(_HEADER.size, min(count, _MOST_GROUPS) * _GROUP.size)
    if not 0 < count <= _MOST_GROUPS or len(table) < count * _GROUP.size:
        raise DumpFormatError(
            f"{source.path} is damaged: a VMware state file of {count:,} groups and {source.size:,} bytes. Copy it "
            "again"
        )
    return {
        name.split(b"\0")[0].decode("ascii", "backslashreplace"): (place, size)
        for name, place, size in _GROUP.iter_unpack(table)
    }


def tags(source: Source, place: int) -> Iterator[Tag]:
    """The tags of the group at `place`, up to its end; what is cut ends it as well."""
    window = _Window(source)
    for _ in range(_MOST_TAGS):
        head = window.take(place, 2)
        if len(head) < 2 or head == b"\0\0":
            return
        kind = int.from_bytes(head, "little")
        name_size, index_count, size = kind >> 8, kind >> 6 & 3, kind & 0x3F
        place += 2
        named = window.take(place, name_size + 4 * index_count)
        if len(named) < name_size + 4 * index_count:
            return
        place += len(named)
        name = named[:name_size].decode("ascii", "backslashreplace")
        indexes = struct.unpack(f"<{index_count}I", named[name_size:])
        if size < _BLOCK_PACKED:
            value = window.take(place, size)
            if len(value) < size:
                return
            yield Tag(name, indexes, value)
            place += size
            continue
        block = window.take(place, _BLOCK_HEAD.size)
        if len(block) < _BLOCK_HEAD.size:
            return
        stored, in_memory, padding = _BLOCK_HEAD.unpack(block)
        place += _BLOCK_HEAD.size + padding
        yield Tag(name, indexes, b"", place, stored or in_memory, size == _BLOCK_PACKED)
        place += stored


class _Memory(NamedTuple):
    """What the memory group says: the block that holds memory, and regions (page in the image, page, pages)."""

    block: Tag | None
    regions: list[tuple[int, int, int]]


def _memory(source: Source, place: int) -> _Memory:
    block, count = None, 0
    regions: dict[str, dict[int, int]] = {"regionPageNum": {}, "regionPPN": {}, "regionSize": {}}
    for tag in tags(source, place):
        if tag.name == "Memory" and tag.size:
            block = tag
        elif tag.name == "regionsCount":
            count = int.from_bytes(tag.value, "little")
        elif tag.name in regions and tag.indexes:
            regions[tag.name][tag.indexes[0]] = int.from_bytes(tag.value, "little")
    known = sorted(set.intersection(*(set(numbers) for numbers in regions.values())))
    whole = [tuple(regions[name][number] for name in regions) for number in known if number < max(count, 1)]
    return _Memory(block, [(image, page, pages) for image, page, pages in whole if pages])


def _registers(source: Source, place: int) -> list[dict[str, int]]:
    """Registers of each CPU by the kernel's names, of those that the file has the instruction pointer of."""
    cpus: dict[int, dict[str, int]] = {}
    for tag in tags(source, place):
        if not tag.indexes or tag.indexes[0] >= _MOST_CPUS:
            continue
        own = cpus.setdefault(tag.indexes[0], {})
        value = tag.value or (source.read(tag.offset, tag.size) if 0 < tag.size <= _PAGE else b"")
        if tag.name == "gpregs" and len(value) == 8 * len(_GENERAL):
            own |= dict(zip(map(_kernels, _GENERAL), struct.unpack(f"<{len(_GENERAL)}Q", value), strict=True))
        elif tag.name == "CR64" and len(tag.indexes) > 1:
            own[f"cr{tag.indexes[1]}"] = int.from_bytes(value[:8], "little")
        elif tag.name in ("S", "S.base64") and tag.indexes[1:] and tag.indexes[1] < len(_SEGMENTS):
            name = _SEGMENTS[tag.indexes[1]] + ("_base" if tag.name == "S.base64" else "")
            own[name] = int.from_bytes(value[:8], "little")
        elif tag.name == "CR64" and len(value) >= 40:
            own |= {f"cr{number}": at for number, at in enumerate(struct.unpack_from("<5Q", value))}
        elif tag.name in _GENERAL or tag.name in _KERNELS_NAME:
            own[_kernels(tag.name)] = int.from_bytes(value[:8], "little")
    return [cpus[number] for number in sorted(cpus) if "cr3" in cpus[number]]


def _kernels(name: str) -> str:
    return _KERNELS_NAME.get(name, name)


def _image(source: Source) -> Source:
    """The .vmem beside a state file. Raises DumpFormatError where there is none that can be read."""
    path = source.path.with_suffix(".vmem")
    try:
        descriptor, size, _ = open_regular(path, 0)
    except DumpFileError as error:
        raise DumpFormatError(
            f"{source.path} is a VMware state file, and the memory of the machine lies in {path.name} beside it, which "
            f"cannot be read ({error.strerror}). Copy it here, too"
        ) from error
    return open_source(path, descriptor, size)


def _segments(memory: _Memory, start: int, size: int, path: Path) -> npt.NDArray[np.void]:
    """SEGMENT rows of an image of `size` bytes that begins at byte `start` of a file."""
    if not memory.regions:
        return np.array([(0, start, size, size)], dtype=SEGMENT)
    rows = [
        (page * _PAGE, start + image * _PAGE, pages * _PAGE, pages * _PAGE)
        for image, page, pages in memory.regions
    ]
    if any(physical + size > PHYSICAL_END for physical, _, size, _ in rows):
        raise DumpFormatError(f"{path} is damaged: it has memory beyond {PHYSICAL_END:#x}. Copy it again")
    return np.array(rows, dtype=SEGMENT)


def open_vmware(source: Source, zero_excluded: bool = False) -> SegmentedFile:
    """A suspended machine or a snapshot; `zero_excluded` changes nothing, as such files have all memory.

    `source` is the state file's. Raises DumpFormatError where the memory is missing, compressed, or not described.
    """
    del zero_excluded
    found = groups(source)
    if "memory" not in found:
        raise DumpFormatError(
            f"{source.path} is a VMware state file without the machine's memory: a snapshot taken without it"
        )
    memory = _memory(source, found["memory"][0])
    notes = made_notes(_registers(source, found["cpu"][0]), X86_64) if "cpu" in found else []
    if memory.block is not None:
        if memory.block.packed:
            raise DumpFormatError(
                f"{source.path} is a VMware state file with compressed memory, which kernlab does not unpack; resume "
                "the machine, and suspend it where mainMem.useNamedFile is not off: its memory is a .vmem then"
            )
        image, start, size = source, memory.block.offset, memory.block.size
    else:
        image = _image(source)
        start, size = 0, image.size
    try:
        segments = _segments(memory, start, size, source.path)
        return SegmentedFile("vmware", image, segments, notes=notes)
    except BaseException:
        if image is not source:
            image.close()
        raise


FORMAT = Format(
    "vmware",
    "VMware suspend and snapshot files",
    lambda start: len(start) >= 4 and int.from_bytes(start[:4], "little") in (*_MAGICS, _MAGIC_32),
    open_vmware,
)

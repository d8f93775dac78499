"""LiME memory images, version 1 (the LiME module's format=lime, AVML without --compress): a file in, segments out.

Such a file is ranges of physical memory one after another: a header (lime_mem_range_header in LiME's src/lime.h: magic,
version, first and last address, 8 reserved bytes) and then the memory as it was, without a list of them or an end.
LiME's other forms are no such files: format=padded is a raw image, and format=raw says of no byte where it lay.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.base import PHYSICAL_END, Format
from kernlab.formats.segments import SEGMENT, SegmentedFile
from kernlab.formats.source import Source

_HEADER = struct.Struct("<IIQQ8x")
HEADER_SIZE = _HEADER.size
#: A machine has tens of ranges, and AVML makes one of each 16 MiB; no file is searched for more of them than this.
MOST_RANGES = 1 << 20
#: AVML's MAX_BLOCK_SIZE (src/image.rs): it cuts ranges into blocks of this size, and leaves out those that are zeros.
_AVML_BLOCK = 16 << 20


class Kind(NamedTuple):
    """What the header of a range begins with."""

    name: str
    magic: int
    version: int

    @property
    def mark(self) -> bytes:
        """The first bytes of a file of this kind."""
        return self.magic.to_bytes(4, "little")


LIME = Kind("LiME", 0x4C694D45, 1)


class Range(NamedTuple):
    """Physical memory from `start` on, `size` bytes."""

    start: int
    size: int


def read_range(source: Source, at: int, kind: Kind) -> Range | str:
    """The range whose header lies at byte `at`, or what is wrong with it, to follow the file's name in a sentence."""
    head = source.read(at, HEADER_SIZE)
    if len(head) < HEADER_SIZE:
        return f"ends at byte {source.size:,}, inside the header of a range of memory"
    magic, version, first, last = _HEADER.unpack(head)
    if magic != kind.magic:
        return (
            f"has no header of a range of memory at byte {at:,}, where one should be, but {head[:4].hex(' ')}: what "
            "lies behind it is lost"
        )
    if version != kind.version:
        return (
            f"has a range of memory at byte {at:,} in version {version:,} of {kind.name}'s format; kernlab reads "
            f"version {kind.version}"
        )
    if not first <= last < PHYSICAL_END:
        return f"is damaged: the range of memory at byte {at:,} goes from {first:#x} to {last:#x}"
    return Range(first, last + 1 - first)


def with_zero_blocks(segments: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The segments, larger in memory where AVML left blocks of zeros out behind them: that is RAM, not a hole.

    Those at the end of a range cannot be told from the hole that follows.
    """
    start, size = segments["physical"][:-1], segments["size"][:-1]
    gap = (segments["physical"][1:] - (start + size)).view(np.int64)
    left_out = (size == _AVML_BLOCK) & (gap > 0) & (gap % _AVML_BLOCK == 0)
    size[left_out] += gap[left_out].astype(np.uint64)
    return segments


def open_lime(source: Source, zero_excluded: bool = False) -> SegmentedFile:
    """A LiME image; of blocks of zeros that AVML left out `zero_excluded` reads zeros.

    A file that is cut or damaged is opened as far as it goes. Raises DumpFormatError where that is nowhere.
    """
    rows: list[tuple[int, int, int, int]] = []
    at, damage = 0, None
    while at < source.size and damage is None:
        memory = read_range(source, at, LIME)
        if isinstance(memory, str):
            damage = memory
        elif len(rows) == MOST_RANGES:
            damage = f"has more than {MOST_RANGES:,} ranges of memory: those from byte {at:,} on are lost"
        else:
            rows.append((memory.start, at + HEADER_SIZE, memory.size, memory.size))
            at += HEADER_SIZE + memory.size
    if not rows:
        raise DumpFormatError(f"{source.path} {damage}. Copy the image again")
    segments = with_zero_blocks(np.array(rows, dtype=SEGMENT))
    return SegmentedFile("lime", source, segments, damage=damage, zero_excluded=zero_excluded)


FORMAT = Format("lime", "LiME images", lambda start: start.startswith(LIME.mark), open_lime)

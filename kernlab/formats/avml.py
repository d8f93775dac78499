"""AVML's compressed memory images, version 2 (microsoft/avml's src/image.rs, `avml acquire --compress`): segments out.

Such a file is blocks of physical memory of up to 16 MiB, one after another: a header as LiME's but for its magic, the
memory as a stream in Snappy's framing format, and the length of that stream (8 bytes, which kernlab has no need of).
Blocks of zeros are left out. Without --compress AVML writes LiME's format.
"""

from __future__ import annotations

import numpy as np

from kernlab.errors import DumpFormatError
from kernlab.formats.base import Format
from kernlab.formats.lime import HEADER_SIZE, MOST_RANGES, Kind, read_range, with_zero_blocks
from kernlab.formats.segments import SEGMENT, SegmentedFile
from kernlab.formats.snappy_file import STREAM_START, ChunkIndex, SnappyFile
from kernlab.formats.source import Source
from kernlab.util.progress import progress

AVML = Kind("AVML", 0x4C4D5641, 2)
_TRAILER = 8
_BLOCK_START = AVML.mark + AVML.version.to_bytes(4, "little")
#: Of a file with more damaged places than this the rest is not looked at.
_MOST_DAMAGE = 1000
#: Bytes at a time where the next block is looked for behind damage.
_WINDOW = 1 << 20


def open_avml(source: Source, zero_excluded: bool = False) -> SegmentedFile:
    """A compressed image of AVML; of blocks of zeros that it left out `zero_excluded` reads zeros.

    Behind damage the next block is looked for; a file that is cut is opened as far as it goes. Raises DumpFormatError
    where not one block can be read, MissingDependencyError without cramjam.
    """
    index, rows, stored = ChunkIndex(source), list[tuple[int, int, int, int]](), list[int]()
    damage: list[str] = []
    at = 0
    with progress(f"Reading the index of {source.path.name}", source.size, "B") as bar:
        while at < source.size and len(rows) < MOST_RANGES and len(damage) < _MOST_DAMAGE:
            before, begun, block = at, index.size, read_range(source, at, AVML)
            if isinstance(block, str):
                problem: str | None = block
            else:
                at, problem = index.add_stream(at + HEADER_SIZE, block.size)
                rows.append((block.start, begun, block.size, block.size))
                stored.append(min(index.size - begun, block.size))
            if problem is None:
                at += _TRAILER
            else:
                damage.append(problem)
                at = _next_block(source, at + 1)
            bar.advance(at - before)
    if not any(stored):
        raise DumpFormatError(f"{source.path} {damage[0]}. Copy the image again")
    if at < source.size:
        damage.append(f"is not read past byte {at:,}")
    segments = np.array(rows, dtype=SEGMENT)
    if not damage:
        # What was left out for its zeros cannot be told from what was lost to damage.
        segments = with_zero_blocks(segments)
    more = f" (and at {len(damage) - 1:,} more places)" if len(damage) > 1 else ""
    return SegmentedFile(
        "avml",
        SnappyFile(source, index),
        segments,
        stored=np.array(stored, dtype=np.uint64),
        damage=f"{damage[0]}{more}" if damage else None,
        zero_excluded=zero_excluded,
    )


def _next_block(source: Source, at: int) -> int:
    """Where the next block begins from byte `at` on, by its header and the start of its stream; or the file's end."""
    stream = HEADER_SIZE
    while at < source.size:
        window = source.read(at, _WINDOW + stream + len(STREAM_START))
        place = window.find(_BLOCK_START)
        while 0 <= place < _WINDOW:
            if window[place + stream : place + stream + len(STREAM_START)] == STREAM_START:
                return at + place
            place = window.find(_BLOCK_START, place + 1)
        at += _WINDOW
    return source.size


FORMAT = Format("avml", "AVML images", lambda start: start.startswith(AVML.mark), open_avml)

"""Any open dump file in, a kdump file out: version 6, zlib, as makedumpfile -c writes it.

    header | sub-header, notes, VMCOREINFO | bitmap of RAM | bitmap of what is kept | descriptors | pages

Everything is in blocks of the page's size. The same frames and facts give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.base import DumpFile, FrameStatus, Note
from kernlab.formats.kdump.header import HEADER, LARGEST_PIECE, SUB_HEADER, UTS_FIELD, UTS_NAMES
from kernlab.formats.kdump.pages import DESCRIPTOR, RAW, ZLIB
from kernlab.formats.notes import NT_PRSTATUS, note_bytes, vmcoreinfo_of
from kernlab.formats.page_codecs import zlib_compressor
from kernlab.util.files import naming, whole_file
from kernlab.util.progress import progress
from kernlab.util.threads import ahead

#: Page frames that the bitmaps are made of at a time, and pages that are read and packed together.
_FRAMES, _PAGES = 1 << 20, 512
#: Batches that wait to be written.
_AHEAD = 8
#: As far as x86-64 has physical memory with tables of four levels (64 TiB): bitmaps of 4 GiB.
_MOST_FRAMES = 1 << 34
#: Frames that a file claims for each that it keeps bytes of: a sparse file's holes would become descriptors.
_MOST_CLAIMED = 4096

_VERSION: Final = 6

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Written:
    """What a kdump file was made of: its frames, those of zeros, those that the first file had lost, its bytes."""

    frames: int
    zero_frames: int
    lost_frames: int
    file_bytes: int
    sha256: str


def write_kdump(
    file: DumpFile,
    path: Path,
    *,
    vmcoreinfo: bytes | None = None,
    notes: Sequence[Note] | None = None,
    dump_level: int | None = None,
) -> Written:
    """Write the frames that `file` has data of as a kdump file at `path`, which appears when all is written.

    `vmcoreinfo` (text), `notes` and `dump_level` replace those of the file; a note of VMCOREINFO becomes the text.
    Frames that turn out lost keep a descriptor without data, which readers report as such.
    Raises DumpFormatError for a file that claims more frames than can be listed, OSError with the path's name.
    """
    info = vmcoreinfo if vmcoreinfo is not None else file.vmcoreinfo
    kept = [note for note in (file.notes if notes is None else notes) if note.name != "VMCOREINFO"]
    level = file.header.get("dump_level") if dump_level is None else dump_level
    if file.frame_count > _MOST_CLAIMED * max(file.filled_count, 1024) or file.max_pfn > _MOST_FRAMES:
        raise DumpFormatError(
            f"{file.path} claims {file.frame_count:,} page frames, the last of them {file.max_pfn:#x}, and keeps "
            f"bytes of {file.filled_count:,}: a kdump file of that cannot be written"
        )
    front = _front(file, kept, info, level if isinstance(level, int) else 0)
    with whole_file(path) as place, naming(path), open(place, "w+b") as out:
        written = _Writer(file, out, front).write()
        out.flush()
        os.fsync(out.fileno())
        return written


class _Writer:
    """One kdump file while it is written."""

    def __init__(self, file: DumpFile, out: Any, front: bytes):
        self._file, self._out, self._front = file, out, front
        self._size = file.page_size
        self._half = bitmap_bytes(file.max_pfn, self._size)
        self._compress = zlib_compressor()
        self._zeros = bytes(self._size)

    def write(self) -> Written:
        """Every part, the front last: a file that is cut is not taken for a dump."""
        count = self._bitmaps()
        table = len(self._front) + 2 * self._half
        pages = table + count * DESCRIPTOR.itemsize
        # One page of zeros in front of all others, as makedumpfile has it.
        self._at(pages, self._zeros)
        end, done, zeros, lost = pages + self._size, 0, 0, 0
        with progress("Writing pages", count, " pages") as bar:
            for packed, flags, status in ahead(self._pack, self._batches(), _AHEAD):
                entries = np.zeros(len(packed), dtype=DESCRIPTOR)
                sizes = np.array([len(data) for data in packed], dtype=np.uint64)
                entries["offset"] = end + np.cumsum(sizes) - sizes
                entries["size"], entries["flags"] = sizes, flags
                is_zero, is_lost = (sizes == 0) & ~status, status
                entries["offset"][is_zero], entries["size"][is_zero] = pages, self._size
                entries[is_lost] = 0
                self._at(table + done * DESCRIPTOR.itemsize, entries.tobytes())
                self._at(end, b"".join(packed))
                end, done = end + int(sizes.sum()), done + len(packed)
                zeros, lost = zeros + int(is_zero.sum()), lost + int(is_lost.sum())
                bar.advance(len(packed))
        self._at(0, self._front)
        return Written(done, zeros, lost, end, self._digest())

    def _at(self, offset: int, data: bytes) -> None:
        self._out.seek(offset)
        self._out.write(data)

    def _digest(self) -> str:
        self._out.seek(0)
        digest: str = hashlib.file_digest(self._out, "sha256").hexdigest()
        return digest

    def _parts(self) -> Iterator[tuple[int, I64]]:
        """Where each page frame is, some at a time: the number of the first, DumpFile.find of all."""
        for first in range(0, self._file.max_pfn, _FRAMES):
            end = min(first + _FRAMES, self._file.max_pfn)
            yield first, self._file.find(np.arange(first, end, dtype=np.uint64))

    def _bitmaps(self) -> int:
        """Write both bitmaps, holes where nothing is set; the number of frames that are kept."""
        count, start = 0, len(self._front)
        for first, found in self._parts():
            for offset, bits in (
                (start, found != -int(FrameStatus.ABSENT)),
                (start + self._half, found >= 0),
            ):
                if bits.any():
                    self._at(offset + first // 8, np.packbits(bits, bitorder="little").tobytes())
            count += int((found >= 0).sum())
        return count

    def _batches(self) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]:
        """The kept pages uint8[n, page size] in the order of their frames, and which of them are lost."""
        for _, found in self._parts():
            there = found[found >= 0]
            for first in range(0, len(there), _PAGES):
                indices = there[first : first + _PAGES]
                pages = np.empty((len(indices), self._size), dtype=np.uint8)
                yield pages, self._file.read_into(indices, pages) != FrameStatus.PRESENT

    def _pack(
        self, batch: tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]
    ) -> tuple[list[bytes], npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
        """Each page packed, or as it is where that is no shorter; nothing for zeros and for lost pages."""
        pages, lost = batch
        packed, flags = [], np.zeros(len(pages), dtype=np.uint32)
        is_filled: list[bool] = (pages != 0).any(axis=1).tolist()
        for row, filled in enumerate(is_filled):
            raw = pages[row].tobytes() if filled else b""
            data = self._compress(raw) if filled else b""
            shorter = len(data) < len(raw)
            flags[row] = ZLIB if shorter else RAW
            packed.append(data if shorter else raw)
        return packed, flags, lost


def bitmap_bytes(max_pfn: int, block: int) -> int:
    """The length of one bitmap, in whole blocks."""
    return max(-(-max_pfn // (8 * block)), 1) * block


def _front(file: DumpFile, notes: Sequence[Note], info: bytes | None, level: int) -> bytes:
    """The header's block, and those of the sub-header with the notes and VMCOREINFO behind it."""
    block = file.page_size
    info = info.rstrip(b"\0") if info is not None else vmcoreinfo_of(file.notes)
    listed = b"".join(note_bytes(note.name, note.type, note.desc) for note in notes)
    at = block + SUB_HEADER.size + -SUB_HEADER.size % 4
    info_at = 0
    if info is not None:
        info_at = at + len(listed) + 12 + 12  # the note's head, and its name "VMCOREINFO" in whole words
        listed += note_bytes("VMCOREINFO", 0, info)
    if len(listed) > LARGEST_PIECE:
        raise DumpFormatError(
            f"{file.path} has {len(listed):,} bytes of notes, more than a kdump file may have"
        )
    base = file.header.get("phys_base")
    sub = SUB_HEADER.pack(
        (base if isinstance(base, int) else 0) % (1 << 64),
        *(level & 31, 0, 0, 0),
        *(info_at, len(info or b"")),
        *(at if listed else 0, len(listed)),
        *(0, 0, 0, 0, file.max_pfn),
    )
    behind = sub.ljust(at - block, b"\0") + listed
    blocks = -(-len(behind) // block)
    seconds = file.header.get("timestamp")
    cpus = file.header.get("cpus") or sum(note.type == NT_PRSTATUS for note in notes)
    header = HEADER.pack(
        *(b"KDUMP   ", _VERSION, _utsname(file, info)),
        *(seconds if isinstance(seconds, int) else 0, 0, ZLIB, block, blocks),
        *(2 * bitmap_bytes(file.max_pfn, block) // block, min(file.max_pfn, (1 << 32) - 1)),
        *(0, 0, 0, 0, cpus if isinstance(cpus, int) else 0),
    )
    return header.ljust(block, b"\0") + behind.ljust(blocks * block, b"\0")


def _utsname(file: DumpFile, info: bytes | None) -> bytes:
    """struct new_utsname of what the file says of itself; of a file that does not, the release of VMCOREINFO."""
    names = {name: str(file.header.get(name) or "") for name in UTS_NAMES}
    names["sysname"] = names["sysname"] or "Linux"
    names["machine"] = names["machine"] or file.machine
    if not names["release"] and info is not None:
        lines = info.decode("utf-8", "replace").split("\n")
        names["release"] = next((line[10:] for line in lines if line.startswith("OSRELEASE=")), "")
    most = UTS_FIELD - 1
    return b"".join(
        names[name].encode("utf-8", "replace")[:most].ljust(UTS_FIELD, b"\0") for name in UTS_NAMES
    )

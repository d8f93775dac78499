"""makedumpfile's kdump files: header, bitmaps and page descriptors in, decompressed page frames out."""

from __future__ import annotations

import mmap
import os
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError, TruncatedDumpWarning
from kernlab.formats.base import DumpFile, FrameStatus
from kernlab.formats.bitmap import Bitmap
from kernlab.formats.compression import BadPageError, Decompress, lzo_decompressor, zlib_decompressor
from kernlab.formats.kdump_header import Header, read_header
from kernlab.formats.notes import parse_notes, vmcoreinfo_of

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_DESCRIPTOR = np.dtype([("offset", "<u8"), ("size", "<u4"), ("flags", "<u4"), ("page_flags", "<u8")])

# page_desc.flags (makedumpfile's diskdump_mod.h)
_ZLIB, _LZO, _SNAPPY, _ZSTD = 0x1, 0x2, 0x4, 0x20
_FORMATS = {_ZLIB: "kdump-zlib", _LZO: "kdump-lzo", _SNAPPY: "kdump-snappy", _ZSTD: "kdump-zstd", 0: "kdump-raw"}

#: Frames a thread takes at a time: fewer gain nothing (benchmarks/decompress.py).
_BATCH = 512
_MOST_THREADS = 8


class KdumpFile(DumpFile):
    """A kdump file with zlib, LZO or raw pages (makedumpfile -c, -l, or neither; QEMU's come with a later issue)."""

    def __init__(self, path: Path, data: mmap.mmap):
        self.path = path
        self._data = data
        self._view = memoryview(data)
        header = read_header(path, data)
        self._refuse(header)
        self.page_size = header.block_size
        self.machine = header.machine
        self.notes = parse_notes(header.piece(data, header.notes), header.notes[0])
        info = header.piece(data, header.vmcoreinfo)
        self.vmcoreinfo = info.rstrip(b"\0") or vmcoreinfo_of(self.notes)
        self._ram, self._dumped = self._bitmaps(header)
        self.max_pfn = header.max_pfn
        self._told: list[str] = []
        self._damaged: dict[int, int] = {}  # frame -> offset of its data
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._descriptors = self._table(header)
        self.frame_count = self._dumped.count
        self._check_end(header)
        self.format = self._pages_format()
        self._decompress: dict[int, Decompress] = {}
        if self.format == "kdump-lzo":
            self._decompress[_LZO] = lzo_decompressor()
        self.header = header.facts() | {"file_bytes": len(data), "ram_frames": self._ram.count}

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        """What was found lost so far; pages that fail to decompress are counted as they are read."""
        with self._lock:
            damaged = dict(self._damaged)
        if not damaged:
            return list(self._told)
        first = min(damaged)
        pfn = int(self._dumped.select(np.array([first]))[0])
        return [
            *self._told,
            f"{len(damaged):,} pages of {self.path} are damaged and could not be decompressed: the first is page frame "
            f"{pfn:#x} at byte {damaged[first]:,}",
        ]

    def _refuse(self, header: Header) -> None:
        if header.machine != "x86_64":
            raise DumpFormatError(
                f"{self.path} is a kdump of a {header.machine or 'machine that its header does not name'}"
                f"{' machine' if header.machine else ''}; kernlab reads dumps of x86_64 machines only so far"
            )
        if header.split:
            raise DumpFormatError(
                f"{self.path} is one piece of a split dump (page frames {header.start_pfn:#x} to {header.end_pfn:#x}), "
                "which kernlab does not read yet; join the pieces: makedumpfile --reassemble PIECE… FILE"
            )

    def _bitmaps(self, header: Header) -> tuple[Bitmap, Bitmap]:
        """The frames that are RAM, and those of them that were dumped."""
        start, half = header.bitmap_offset, header.bitmap_bytes // 2
        end = start + 2 * half
        if end > len(self._data):
            raise DumpFormatError(
                f"{self.path} is cut short: it ends at byte {len(self._data):,}, inside its bitmaps (bytes {start:,} to "
                f"{end:,}), before any page. Nothing can be read from it; copy the dump again"
            )
        if header.max_pfn > half * 8:
            raise DumpFormatError(
                f"the header of {self.path} is damaged: it claims {header.max_pfn:,} page frames, but its bitmaps have "
                f"room for {half * 8:,}"
            )
        raw = np.frombuffer(self._data, dtype=np.uint8, count=2 * half, offset=start)
        return Bitmap(raw[:half], header.max_pfn), Bitmap(raw[half:], header.max_pfn)

    def _table(self, header: Header) -> npt.NDArray[np.void]:
        """The page descriptors: one per dumped frame, right after the bitmaps."""
        start, count = header.bitmap_offset + header.bitmap_bytes, self._dumped.count
        end = start + count * _DESCRIPTOR.itemsize
        if not count:
            raise DumpFormatError(f"the bitmap of {self.path} is empty or damaged: it names no page frame that was dumped")
        if end > len(self._data):
            raise DumpFormatError(
                f"{self.path} is cut short or its bitmap is damaged: it ends at byte {len(self._data):,}, inside the "
                f"descriptors of its {count:,} pages (bytes {start:,} to {end:,}), before any page. Copy the dump again"
            )
        table: npt.NDArray[np.void] = np.frombuffer(self._data, dtype=_DESCRIPTOR, count=count, offset=start)
        written = table["size"] > 0
        # All writers put the first page right behind the table, so its offset tells how long the table is.
        first = int(table["offset"][written].min()) if written.any() else end
        if first != end:
            raise DumpFormatError(
                f"the bitmap of {self.path} is damaged, or its page descriptors are: it names {count:,} page frames, "
                f"whose descriptors end at byte {end:,}, but the first page lies at byte {first:,}. Which page belongs "
                "where cannot be told; copy the dump again"
            )
        return table

    def _check_end(self, header: Header) -> None:
        """Say so where the file ends before its own descriptors say it should."""
        size = len(self._data)
        offset, length = self._descriptors["offset"], self._descriptors["size"].astype(np.uint64)
        cut = (offset > np.uint64(size)) | (length > np.uint64(size) - np.minimum(offset, np.uint64(size)))
        unwritten = length == 0
        if header.incomplete or unwritten.any():
            self._told.append(
                f"{self.path} is incomplete: makedumpfile ran out of room while it wrote it, and "
                f"{int(unwritten.sum()):,} of {self.frame_count:,} pages were never written"
            )
        if cut.any():
            first = int(np.flatnonzero(cut)[0])
            kept = self.frame_count - int(cut.sum())
            what = (
                f"{self.path} ends at byte {size:,}, but page descriptor {first:,} points to "
                f"{int(offset[first] + length[first]):,}. Reading on with {kept:,} of {self.frame_count:,} pages"
            )
            self._told.append(f"{what}; copy the dump again if the copy was cut short")
            warnings.warn(
                f"{what}; each table's attrs[\"problems\"] says what it misses.\n"
                "Copy the dump again if the copy was cut short.",
                TruncatedDumpWarning,
                stacklevel=2,
            )
        self._lost = cut | unwritten | (length > self.page_size)

    def _pages_format(self) -> str:
        used = self._descriptors["flags"][~self._lost]
        kinds = [flag for flag in (_ZLIB, _LZO, _SNAPPY, _ZSTD) if (used & flag).any()]
        for flag in (_SNAPPY, _ZSTD):
            if flag in kinds and (used & flag).sum() > len(used) // 100:
                raise DumpFormatError(
                    f"{self.path} has {_FORMATS[flag]} pages, which kernlab does not read yet; write it anew with zlib: "
                    "makedumpfile -c -d 31 FILE NEW"
                )
        return _FORMATS[kinds[0] if kinds else 0]

    def find(self, pfns: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """See DumpFile.find."""
        dumped = self._dumped.test(pfns)
        if dumped.all():
            return self._dumped.rank(pfns)
        found = np.full(len(pfns), -int(FrameStatus.ABSENT), dtype=np.int64)
        found[self._ram.test(pfns)] = -int(FrameStatus.EXCLUDED)
        found[dumped] = self._dumped.rank(pfns[dumped])
        return found

    def read_into(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """See DumpFile.read_into; requests of more than a batch are shared between threads."""
        if len(indices) < 2 * _BATCH or (workers := _workers()) < 2:
            return self._read_batch(indices, out)
        pool = self._pool(workers)
        starts = range(0, len(indices), _BATCH)
        parts = pool.map(lambda at: self._read_batch(indices[at : at + _BATCH], out[at : at + _BATCH]), starts)
        return np.concatenate(list(parts))

    def _pool(self, workers: int) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(workers, thread_name_prefix="kernlab-pages")
            return self._threads

    def _read_batch(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        status = np.where(self._lost[indices], np.uint8(FrameStatus.LOST), np.uint8(FrameStatus.PRESENT))
        rows = np.flatnonzero(status == FrameStatus.PRESENT)
        if len(rows) < len(indices):
            out[status != FrameStatus.PRESENT] = 0
        page = self._descriptors[indices[rows]]
        # File order reads ahead, and pages that share their data (makedumpfile keeps one zero page) come together.
        order = np.argsort(page["offset"], kind="stable")
        offsets, sizes = page["offset"][order].tolist(), page["size"][order].tolist()
        flags, targets = page["flags"][order].tolist(), rows[order].tolist()
        view, size = memoryview(out.reshape(-1)), self.page_size
        data, last, before = self._view, -1, 0
        for offset, length, flag, row in zip(offsets, sizes, flags, targets, strict=True):
            place = row * size
            if offset == last:
                view[place : place + size] = view[before : before + size]
                continue
            try:
                raw = data[offset : offset + length]
                bytes_ = self._decompressor(flag)(raw, size) if flag & (_ZLIB | _LZO | _SNAPPY | _ZSTD) else raw
                if len(bytes_) != size:
                    raise BadPageError(f"it has {len(bytes_):,} bytes")
                view[place : place + size] = bytes_
                last, before = offset, place
            except BadPageError:
                view[place : place + size] = bytes(size)
                status[row] = FrameStatus.LOST
                with self._lock:
                    self._damaged[int(indices[row])] = offset
        return status

    def _decompressor(self, flag: int) -> Decompress:
        kind = flag & (_ZLIB | _LZO | _SNAPPY | _ZSTD)
        known = self._decompress.get(kind)
        if known is None:
            if kind not in (_ZLIB, _LZO):
                raise BadPageError(f"its flags {flag:#x} name no compression that kernlab reads")
            known = self._decompress[kind] = zlib_decompressor() if kind == _ZLIB else lzo_decompressor()
        return known

    def close(self) -> None:
        """See DumpFile.close."""
        with self._lock:
            pool, self._threads = self._threads, None
        if pool is not None:
            pool.shutdown()
        # Arrays over the mapping (bitmaps, descriptors) keep it; it goes when they do.
        self._view.release()


def _workers() -> int:
    return min(len(os.sched_getaffinity(0)), _MOST_THREADS)



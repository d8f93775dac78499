"""makedumpfile's kdump files: header, bitmaps and page descriptors in, decompressed page frames out."""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError, TruncatedDumpWarning
from kernlab.formats.base import DumpFile, FrameStatus
from kernlab.formats.bitmap import Bitmap
from kernlab.formats.kdump_header import Header, read_header
from kernlab.formats.kdump_pages import LZO, SNAPPY, ZLIB, ZSTD, PageTable
from kernlab.formats.notes import parse_notes, refuse_xen, vmcoreinfo_of

_FORMATS = {ZLIB: "kdump-zlib", LZO: "kdump-lzo", SNAPPY: "kdump-snappy", ZSTD: "kdump-zstd"}

#: Frames a thread takes at a time; fewer gain nothing (benchmarks/decompress.py).
_BATCH = 512
_MOST_THREADS = 8


class KdumpFile(DumpFile):
    """A kdump file with zlib, LZO or raw pages (makedumpfile -c, -l, or neither)."""

    def __init__(self, path: Path, data: mmap.mmap):
        self.path = path
        header = read_header(path, data)
        if header.split:
            raise DumpFormatError(
                f"{path} is one piece of a split dump (page frames {header.start_pfn:#x} to {header.end_pfn:#x}), "
                "which kernlab does not read yet; join the pieces: makedumpfile --reassemble PIECE… FILE"
            )
        self.page_size = header.block_size
        self.machine = header.machine
        self.max_pfn = header.max_pfn
        self._told: list[str] = []
        self.notes = parse_notes(header.piece(data, header.notes), header.notes[0])
        refuse_xen(path, self.notes)
        self.vmcoreinfo = self._vmcoreinfo(header, data)
        self._ram, self._dumped, self._unknown = self._bitmaps(header, data)
        start = header.bitmap_offset + header.bitmap_bytes
        self._pages = PageTable(path, data, start, self._dumped.count, self.page_size)
        self.frame_count = self._pages.count
        self._check_end(header, len(data))
        self.format = self._pages_format(header)
        self.header = header.facts() | {"file_bytes": len(data), "ram_frames": self._ram.count}

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        """What was found lost so far; pages that fail to decompress are counted as they are read."""
        damaged, first, offset = self._pages.damaged()
        if not damaged:
            return list(self._told)
        pfn = int(self._dumped.select(np.array([first]))[0])
        return [
            *self._told,
            f"{self.path} has damaged pages, {damaged:,} of those read so far: the first is page frame {pfn:#x}, whose "
            f"data should lie at byte {offset:,}",
        ]

    def _vmcoreinfo(self, header: Header, data: mmap.mmap) -> bytes | None:
        """The text where the sub-header says it is, or else that of the note; the two are the same in a whole dump."""
        offset, size = header.vmcoreinfo
        text = header.piece(data, (offset, size)).rstrip(b"\0")
        if b"OSRELEASE=" not in text:
            text = vmcoreinfo_of(self.notes) or text
        if size and not text:
            self._told.append(
                f"{self.path} should have its VMCOREINFO at byte {offset:,}, but ends before that"
            )
        return text or None

    def _bitmaps(self, header: Header, data: mmap.mmap) -> tuple[Bitmap, Bitmap, bool]:
        """The frames that are RAM, those of them that were dumped, and whether the file ends inside these bitmaps."""
        start, half = header.bitmap_offset, header.bitmap_bytes // 2
        raw = np.frombuffer(data, dtype=np.uint8)[start : start + 2 * half]
        ram, dumped = Bitmap(raw[:half], header.max_pfn), Bitmap(raw[half:], header.max_pfn)
        unknown = dumped.bits < header.max_pfn
        if not dumped.count and not unknown:
            raise DumpFormatError(
                f"the bitmap of {self.path} (bytes {start + half:,} to {start + 2 * half:,}) is empty or damaged: "
                "it names no page frame that was dumped. Copy the dump again"
            )
        return ram, dumped, unknown

    def _check_end(self, header: Header, size: int) -> None:
        """Say so where the file ends before its own index says it should."""
        found = self._pages.survey
        if header.incomplete:
            self._told.append(
                f"{self.path} is incomplete: makedumpfile ran out of room while it wrote it, and "
                f"{found.unwritten:,} of {self.frame_count:,} pages were never written. Make room where dumps are saved"
            )
        elif found.unwritten:
            self._told.append(
                f"{self.path} has {found.unwritten:,} empty page descriptors among {self.frame_count:,}: the dump was "
                "not written to its end, or its descriptors are damaged"
            )
        if self._pages.end > size:
            where, whole = ("bitmaps", "page frames") if self._unknown else ("page descriptors", "pages")
            self._warn(
                f"{self.path} ends at byte {size:,}, inside its {where}, before the data of any page. Reading on "
                f"with its header and notes, and without any of its {whole}"
            )
        elif found.first_cut is not None:
            descriptor, end = found.first_cut
            self._warn(
                f"{self.path} ends at byte {size:,}, but page descriptor {descriptor:,} points to {end:,}. Reading on "
                f"with {self.frame_count - found.cut:,} of {self.frame_count:,} pages"
            )

    def _warn(self, what: str) -> None:
        self._told.append(f"{what}; copy the dump again if the copy was cut short")
        warnings.warn(
            f'{what}; each table\'s attrs["problems"] says what it misses.\n'
            "Copy the dump again if the copy was cut short.",
            TruncatedDumpWarning,
            stacklevel=5,
        )

    def _pages_format(self, header: Header) -> str:
        """By the pages themselves; by the header's status where none can be read."""
        flags = self._pages.survey.flags
        pages = int(flags.sum())
        if pages:
            # A page whose flags are damaged is not what the dump was written with.
            used = [kind for kind in _FORMATS if flags[kind] > pages // 100]
        else:
            used = [kind for kind in _FORMATS if header.status & kind]
        for kind in (SNAPPY, ZSTD):
            if kind in used:
                name = _FORMATS[kind].removeprefix("kdump-")
                raise DumpFormatError(
                    f"{self.path} has pages compressed with {name} (kdump-{name}), which kernlab does not read yet; "
                    "write it anew with zlib: makedumpfile -c -d 31 FILE NEW"
                )
        if LZO in used:
            self._pages.need(LZO)
        return _FORMATS[used[0]] if used else "kdump-raw"

    def find(self, pfns: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """See DumpFile.find."""
        dumped = self._dumped.test(pfns)
        if dumped.all() and self.frame_count == self._dumped.count:
            return self._dumped.rank(pfns)
        found = np.full(len(pfns), -int(FrameStatus.ABSENT), dtype=np.int64)
        found[self._ram.test(pfns)] = -int(FrameStatus.EXCLUDED)
        if self._unknown:
            # What the cut bitmaps cannot tell may have been dumped; what is no RAM was not.
            behind = (pfns >= np.uint64(self._dumped.bits)) & (pfns < np.uint64(self.max_pfn))
            known = pfns < np.uint64(self._ram.bits)
            found[behind & (self._ram.test(pfns) | ~known)] = -int(FrameStatus.LOST)
        rank = self._dumped.rank(pfns[dumped])
        found[dumped] = np.where(rank < self.frame_count, rank, -int(FrameStatus.LOST))
        return found

    def read_into(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """See DumpFile.read_into; zlib pages by the batch are shared between threads."""
        if out.shape != (len(indices), self.page_size) or not out.flags.c_contiguous:
            raise ValueError(
                f"out must be contiguous uint8[{len(indices)}, {self.page_size}], not {out.shape}"
            )
        workers = min(_workers(), len(indices) // _BATCH)
        # LZO and raw pages take so little time that handing Python's lock over costs more than a thread gains.
        if workers < 2 or self.format != "kdump-zlib":
            return self._pages.read(indices, out)
        return self._read_shared(indices, out, workers)

    def _read_shared(
        self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8], workers: int
    ) -> npt.NDArray[np.uint8]:
        """Batches taken in turn by this thread and `workers` - 1 more, which end with the request."""
        from concurrent.futures import ThreadPoolExecutor

        status = np.empty(len(indices), dtype=np.uint8)
        batches = iter(range(0, len(indices), _BATCH))

        def work(starts: Iterator[int]) -> None:
            for start in starts:
                part = slice(start, start + _BATCH)
                status[part] = self._pages.read(indices[part], out[part])

        # Leaving the block waits for the threads, whatever happened: nobody writes to `out` after this returns.
        with ThreadPoolExecutor(workers - 1, thread_name_prefix="kernlab-pages") as pool:
            helpers = [pool.submit(work, batches) for _ in range(workers - 1)]
            try:
                work(batches)
            except BaseException:
                for _ in batches:
                    continue
                raise
        for helper in helpers:
            helper.result()
        return status

    def close(self) -> None:
        """See DumpFile.close."""
        self._pages.close()


def _workers() -> int:
    return min(len(os.sched_getaffinity(0)), _MOST_THREADS)

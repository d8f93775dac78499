"""makedumpfile's kdump files: header, bitmaps and page descriptors in, decompressed page frames out."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kernlab.errors import DumpFormatError
from kernlab.formats.base import DumpFile, Format, FrameStatus, named, warn_lost
from kernlab.formats.kdump.bitmap import Bitmap, Part
from kernlab.formats.kdump.header import Header, read_header
from kernlab.formats.kdump.pages import LZO, SNAPPY, ZLIB, ZSTD, PageTable
from kernlab.formats.notes import parse_notes, refuse_xen, vmcoreinfo_of
from kernlab.formats.source import Source

_COMPRESSIONS = {ZLIB: "zlib", LZO: "lzo", SNAPPY: "snappy", ZSTD: "zstd"}

#: Frames a thread takes at a time; fewer gain nothing (benchmarks/decompress.py).
_BATCH = 512
_MOST_THREADS = 8


class KdumpFile(DumpFile):
    """A kdump file: pages with zlib, LZO, Snappy, Zstandard (makedumpfile -c, -l, -p, -z), or as they were.

    Of a split dump it is one piece: `piece` is then the range of frames that it has pages of, the others' are LOST.
    """

    def __init__(self, source: Source):
        self.path, self._source = source.path, source
        header = read_header(source)
        self.wrapping = source.wrapping
        self.piece = (header.start_pfn, header.end_pfn) if header.split else None
        self.page_size = header.block_size
        self.machine = header.machine
        self.max_pfn = header.max_pfn
        self._problems = [*header.problems]
        if header.sub_header_lost:
            self._problems.append(
                f"the sub-header of {self.path} (at byte {self.page_size:,}) is empty: dump level, CPU registers "
                "and the file's own VMCOREINFO are lost"
            )
        self.notes = parse_notes(header.piece(source, header.notes), header.notes[0])
        refuse_xen(self.path, self.notes)
        self.vmcoreinfo = self._vmcoreinfo(header, source)
        self._ram, self._of_all, self._dumped = self._bitmaps(header, source)
        self._unknown = self._of_all.bits < header.max_pfn
        start = header.bitmap_offset + header.bitmap_bytes
        reserved = self._of_all.count
        # makedumpfile 1.7.2 loses the bits of the last byte when it tries a second time in a full file system.
        spare = 7 if header.incomplete else 0
        self._pages = PageTable(source, start, self._dumped.count, self.page_size, reserved, spare)
        self.frame_count = self._pages.count
        self._check_end(header, source.size)
        self.compression = self._compression(header)
        self.format = named(f"kdump-{self.compression}", source.wrapping)
        self._problems[:0] = source.problems
        self.header = header.facts() | {"file_bytes": source.file_bytes, "ram_frames": self._ram.count}

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        """What was found lost so far; pages that fail to decompress are counted as they are read."""
        damaged, first, offset = self._pages.damaged()
        changed = self._source.since_opened()
        if not damaged:
            return [*self._problems, *changed]
        pfn = int(self._dumped.numbers(first, first + 1)[0])
        return [
            *self._problems,
            *changed,
            f"{self.path} has damaged pages, {damaged:,} of those read so far: the first is page frame {pfn:#x}, whose "
            f"data should lie at byte {offset:,}",
        ]

    def _vmcoreinfo(self, header: Header, source: Source) -> bytes | None:
        """The text where the sub-header says it is, or else that of the note; the two are the same in a whole dump."""
        offset, size = header.vmcoreinfo
        text = header.piece(source, (offset, size)).rstrip(b"\0")
        if b"OSRELEASE=" not in text:
            text = vmcoreinfo_of(self.notes) or text
        if size and not text:
            self._problems.append(
                f"{self.path} should have its VMCOREINFO at byte {offset:,}, but ends before that"
            )
        return text or None

    def _bitmaps(self, header: Header, source: Source) -> tuple[Bitmap, Bitmap, Bitmap | Part]:
        """The frames that are RAM, those that were dumped, and of these the ones that were dumped into this file."""
        start, half = header.bitmap_offset, header.bitmap_bytes // 2
        # No more of each than there are frames: a flattened file may have a hole behind that.
        ram, dumped = (
            Bitmap(source, start + first, header.max_pfn, digest=self.piece is not None)
            for first in (0, half)
        )
        if not dumped.count and dumped.bits == header.max_pfn:
            raise DumpFormatError(
                f"the bitmap of {self.path} (bytes {start + half:,} to {start + 2 * half:,}) is empty or damaged: "
                "it names no page frame that was dumped. Copy the dump again"
            )
        return ram, dumped, dumped if self.piece is None else Part(dumped, *self.piece)

    def _check_end(self, header: Header, size: int) -> None:
        """Say so where the file ends before its own index says it should."""
        survey = self._pages.survey
        if header.incomplete:
            self._problems.append(
                f"{self.path} is incomplete: makedumpfile ran out of room while it wrote it, and {survey.unwritten:,} "
                f"of {self.frame_count:,} pages were never written. Make room where dumps are saved"
            )
        elif survey.unwritten:
            self._problems.append(
                f"{self.path} has {survey.unwritten:,} empty page descriptors among {self.frame_count:,}: the dump was "
                "not written to its end, or its descriptors are damaged"
            )
        if self.piece is not None and not self._dumped.count and not self._unknown:
            return  # a piece whose range of frames was left out of the dump
        if self._pages.end > size:
            where, whole = ("bitmaps", "page frames") if self._unknown else ("page descriptors", "pages")
            warn_lost(
                self._problems,
                f"{self.path} ends at byte {size:,}, inside its {where}, before the data of any page. Reading on "
                f"with its header and notes, and without any of its {whole}",
            )
        elif self._unknown:
            warn_lost(
                self._problems,
                f"{self.path} lacks its bitmaps from page frame {self._dumped.bits:#x} on. Reading on without the page "
                f"frames after that",
            )
        elif self.frame_count < self._dumped.count:
            warn_lost(
                self._problems,
                f"{self.path} lacks its page descriptors from number {self.frame_count:,} on. Reading on with "
                f"{self.frame_count:,} of {self._dumped.count:,} pages",
            )
        elif survey.first_cut is not None:
            descriptor, end = survey.first_cut
            warn_lost(
                self._problems,
                f"{self.path} ends at byte {size:,}, but page descriptor {descriptor:,} points to {end:,}. Reading on "
                f"with {self.frame_count - survey.cut:,} of {self.frame_count:,} pages",
            )

    def _compression(self, header: Header) -> str:
        """By the pages themselves; by the header's status where none can be read."""
        flags = self._pages.survey.flags
        pages = int(flags.sum())
        if pages:
            # A page whose flags are damaged is not what the dump was written with.
            used = [kind for kind in _COMPRESSIONS if flags[kind] > pages // 100]
        else:
            used = [kind for kind in _COMPRESSIONS if header.status & kind]
        for kind in used:
            self._pages.need(kind)
        return _COMPRESSIONS[used[0]] if used else "raw"

    def dumped_elsewhere(self, first: int, end: int) -> int:
        """How many of the frames from `first` to `end` were dumped into other pieces of a split dump."""
        if self.piece is None:
            return 0
        return (
            Part(self._of_all, first, end).count
            - Part(self._of_all, max(first, self.piece[0]), min(end, self.piece[1])).count
        )

    def differs_from(self, other: KdumpFile) -> str | None:
        """In what two files cannot be of one dump, as far as both tell it; None where they agree."""
        for name in ("nodename", "release", "version", "machine", "dump_level", "cpus", "max_pfn"):
            mine, theirs = self.header.get(name), other.header.get(name)
            if mine != theirs:
                return f"their {name} is {mine!r} and {theirs!r}"
        if self.page_size != other.page_size:
            return f"their pages have {self.page_size:,} and {other.page_size:,} bytes"
        if self.vmcoreinfo and other.vmcoreinfo and self.vmcoreinfo != other.vmcoreinfo:
            return "they have different VMCOREINFO"
        if [note.desc for note in self.notes] != [note.desc for note in other.notes]:
            return "they have different notes (registers of the CPUs)"
        if (
            not self._unknown
            and not other._unknown
            and (self._ram.digest, self._of_all.digest)
            != (
                other._ram.digest,
                other._of_all.digest,
            )
        ):
            return "their bitmaps name different page frames"
        return None

    def find(self, pfns: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """See DumpFile.find."""
        rank = self._dumped.find(pfns)
        dumped = rank >= 0
        if self.frame_count == self._dumped.count and dumped.all():
            return rank
        indices = np.full(len(pfns), -int(FrameStatus.ABSENT), dtype=np.int64)
        indices[self._ram.test(pfns)] = -int(FrameStatus.EXCLUDED)
        if self._dumped is not self._of_all:
            indices[self._of_all.test(pfns)] = -int(FrameStatus.LOST)
        if self._unknown:
            # What the cut bitmaps cannot tell may have been dumped; what is not RAM was not.
            behind = (pfns >= np.uint64(self._dumped.bits)) & (pfns < np.uint64(self.max_pfn))
            is_known = pfns < np.uint64(self._ram.bits)
            indices[behind & (self._ram.test(pfns) | ~is_known)] = -int(FrameStatus.LOST)
        rank = rank[dumped]
        indices[dumped] = np.where(rank < self.frame_count, rank, -int(FrameStatus.LOST))
        return indices

    def present(self, most: int) -> Iterator[npt.NDArray[np.int64]]:
        """See DumpFile.present."""
        for first, end in self._pages.written():
            for begin in range(first, end, most):
                yield self._dumped.numbers(begin, min(begin + most, end))

    @property
    def filled_count(self) -> int:
        """See DumpFile.filled_count."""
        return sum(end - first for first, end in self._pages.written())

    def read_into(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """See DumpFile.read_into; zlib pages by the batch are shared between threads."""
        if out.shape != (len(indices), self.page_size) or not out.flags.c_contiguous:
            raise ValueError(
                f"out must be contiguous uint8[{len(indices)}, {self.page_size}], not {out.shape}"
            )
        workers = min(_workers(), len(indices) // _BATCH)
        # Other pages take so little time that handing Python's lock over costs more than a thread gains.
        if workers < 2 or self.compression != "zlib":
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


FORMAT = Format(
    "kdump",
    "kdump files",
    lambda start: start.startswith(b"KDUMP   "),
    lambda source, zero_excluded: KdumpFile(source),
)

"""A kernel in, which of its file's page frames are nobody else's business and which may hold text out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.formats.base import DumpFile
from kernlab.linux.page.chunk_kinds import PageKinds
from kernlab.linux.page.classifier import Kind
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.vmalloc import mapped_frames, vmalloc_space
from kernlab.memory.page_tables import PageTableWalker

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: The marks in page.mapping, and the one of pages that a driver can move (include/linux/page-flags.h).
_MARKS, _MOVABLE = np.uint64(3), np.uint64(2)

#: Frames that are asked for at a time.
_PIECE = 1 << 20

#: How the frames that are left out are counted, and their kinds.
LEFT_OUT = {
    "user page": (Kind.ANON, Kind.THP, Kind.SHMEM, Kind.FILE, Kind.SWAP_CACHE, Kind.HUGETLB, Kind.ZSMALLOC),
    "free page": (Kind.FREE, Kind.PCP, Kind.HWPOISON, Kind.UNACCEPTED, Kind.OFFLINE),
    "network page": (Kind.NETWORK,),
    "page of unknown use": (Kind.EXCLUDED,),
}

#: Parts of the kernel's image that are the same on every machine: no secret is in them, and much that looks like one.
_CONSTANT = (("_text", "_etext"), ("__start_rodata", "__end_rodata"))


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames that a file has data of, by number: pfn int64[n] ascending, and their indexes in the file int64[n]."""

    file: DumpFile
    pfn: I64
    index: I64

    @classmethod
    def of(cls, file: DumpFile) -> Frames:
        """All of a file's."""
        parts = [np.zeros(0, dtype=np.int64), *file.present(_PIECE)]
        pfn = np.unique(np.concatenate(parts))
        index = file.find(pfn.astype(np.uint64))
        there = index >= 0
        return cls(file, pfn[there], index[there])

    def mask(self) -> Mask:
        """One value for each frame index of the file, False."""
        return np.zeros(self.file.frame_count, dtype=bool)

    def rows(self, pfns: I64) -> I64:
        """Which row each of some frames is, -1 for those that the file lacks."""
        if not len(self.pfn):
            return np.full(len(pfns), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.pfn, pfns), len(self.pfn) - 1)
        return np.where(self.pfn[place] == pfns, place, -1)

    def indexes(self, pfns: I64) -> I64:
        """The index of each of some frames, of those that the file has."""
        rows = self.rows(pfns)
        return self.index[rows[rows >= 0]]


def kinds_of(kernel: Kernel, frames: Frames) -> npt.NDArray[np.uint8]:
    """What each frame is used for (`Kind`, uint8[n]); EXCLUDED where nothing tells.

    Raises KernlabError where nothing tells it of any.
    """
    kind = np.full(len(frames.pfn), Kind.EXCLUDED, dtype=np.uint8)
    told = False
    survey = PageSurvey(kernel)
    for chunk in survey:
        low, high = np.searchsorted(frames.pfn, (chunk.first_pfn, chunk.first_pfn + len(chunk)))
        kind[low:high] = np.where(_compressed(survey, chunk), Kind.ZSMALLOC, chunk.kind)[
            frames.pfn[low:high] - chunk.first_pfn
        ]
        told |= bool(chunk.valid.any())
    if not told:
        raise KernlabError("which of its pages are users' is not known: the dump holds no page structs")
    return kind


def _compressed(survey: PageSurvey, chunk: PageKinds) -> Mask:
    """Which frames of a chunk may be zsmalloc's where it has no page type of its own, as before v6.12.

    Those that a driver can move (PAGE_MAPPING_MOVABLE): zsmalloc's, z3fold's, a balloon's.
    """
    if "zsmalloc" in survey.layout.types:
        return np.zeros(len(chunk), dtype=bool)
    mapping = survey.layout.mapping(chunk.chunk)
    movable: Mask = survey.kernel.arch.is_kernel(mapping) & ((mapping & _MARKS) == _MOVABLE)
    found: Mask = movable & (chunk.kind == Kind.OTHER)
    return found


def constant(kernel: Kernel, frames: Frames) -> Mask:
    """Which frames (bool[n]) hold nothing but the kernel's code and constants."""
    found = np.zeros(len(frames.pfn), dtype=bool)
    page = kernel.page_size
    for begin, end in _CONSTANT:
        first, last = kernel.symbols.get(begin), kernel.symbols.get(end)
        if (
            first is None
            or last is None
            or not first < last <= first + kernel.layout.image_end - kernel.layout.image_start
        ):
            continue
        addresses = np.arange(-(-first // page) * page, last // page * page, page, dtype=np.uint64)
        physical, status = kernel.memory.translate(addresses)
        rows = frames.rows((physical[status == 0] // np.uint64(page)).astype(np.int64))
        found[rows[rows >= 0]] = True
    return found


def page_structs(kernel: Kernel, frames: Frames) -> Mask:
    """Which frames (bool[n]) hold the array of page structs, in which there is no text."""
    found = np.zeros(len(frames.pfn), dtype=bool)
    base = kernel.vmemmap
    # No further than the machine's memory: with four levels on x86-64 the kernel's image lies close behind.
    after = kernel.layout.image_start if kernel.layout.image_start > base else (1 << 64) - 1
    end = min(base + kernel.file.max_pfn * kernel.find_type("struct page").size, after)
    mapped = mapped_frames(kernel, np.array([base], dtype=np.uint64), np.array([end], dtype=np.uint64))
    # What begins before the array is mapped by an entry of the upper levels, which holds other things, too.
    inside = mapped.virtual >= np.uint64(base)
    for first, count in zip(mapped.pfn[inside].tolist(), mapped.frames[inside].tolist(), strict=True):
        low, high = np.searchsorted(frames.pfn, (first, first + count))
        found[low:high] = True
    return found


def kernel_tables(kernel: Kernel, frames: Frames) -> Mask:
    """Which frames (bool[n]) are the kernel's own page tables, whose numbers may look like text."""
    seen: list[U64] = []

    def read(addresses: U64, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        seen.append(addresses // np.uint64(kernel.page_size))
        return kernel.memory.gather(addresses, size, physical=True)

    walker = PageTableWalker(kernel.arch, read)
    top = np.array([kernel.layout.page_table], dtype=np.uint64)
    most = 4 * kernel.file.frame_count + (1 << 16)
    for _ in walker.walk(np.zeros(1, dtype=np.int64), top, kernel=True, most=most):
        continue
    found = np.zeros(len(frames.pfn), dtype=bool)
    rows = frames.rows(np.unique(np.concatenate(seen)).astype(np.int64))
    found[rows[rows >= 0]] = True
    return found


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each row of `Frames` the rows before and behind it: where memory lies side by side, and where it is mapped so
    (-1: none)."""

    before: tuple[I64, I64]
    behind: tuple[I64, I64]


def neighbours(kernel: Kernel, frames: Frames) -> Neighbours:
    """What goes on in which other frame: of the direct map, and of vmalloc."""
    count = len(frames.pfn)
    behind, before = np.full((2, count), -1, dtype=np.int64)
    rows = np.flatnonzero(np.diff(frames.pfn) == 1)
    behind[rows], before[rows + 1] = rows + 1, rows
    mapped_behind, mapped_before = np.full((2, count), -1, dtype=np.int64)
    space = vmalloc_space(kernel)
    if space is not None:
        start, end = (np.array([min(value, (1 << 64) - 1)], dtype=np.uint64) for value in space)
        mapped = mapped_frames(kernel, start, end)
        single = mapped.frames == 1
        virtual, row = mapped.virtual[single], frames.rows(mapped.pfn[single])
        next_to = np.flatnonzero(
            (np.diff(virtual) == np.uint64(kernel.page_size)) & (row[1:] >= 0) & (row[:-1] >= 0)
        )
        mapped_behind[row[next_to]] = row[next_to + 1]
        mapped_before[row[next_to + 1]] = row[next_to]
    return Neighbours((before, mapped_before), (behind, mapped_behind))

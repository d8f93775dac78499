"""Frames in, what each is used for out: by the page structs around them, and only where these do not tell by all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.linux.page.chunk_kinds import MAPPED
from kernlab.linux.page.classifier import Kind, classify
from kernlab.linux.page.layout import PageLayout
from kernlab.linux.page.mem_sections import sections
from kernlab.linux.page.own_zone import own_zones
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.page.vmemmap import CHUNK, PageChunk, compound_heads, page_type_is, read_pages
from kernlab.linux.zones import orders

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Kinds = npt.NDArray[np.uint8]

#: Of more blocks than this the page structs are not read one by one: all of them are gone through once.
_FEW = 64


def slab_heads_of(kernel: Kernel, frames: I64) -> tuple[U64, Mask]:
    """The page struct of the slab that each frame is part of: (uint64[n], bool[n]: False where of none)."""
    size = np.uint64(kernel.find_type("struct page").size)
    # What has no page struct lost none: NULL is told by nobody.
    known = sections(kernel).place(frames) >= 0
    where = np.where(known, np.uint64(kernel.vmemmap) + frames.astype(np.uint64) * size, np.uint64(0))
    pages, of = np.unique(where, return_inverse=True)
    rows, status = kernel.gather(pages, int(size), "page structs")
    heads = compound_heads(kernel, pages, PageChunk.of_rows(kernel, 0, rows, status == 0).links())
    tails = np.flatnonzero(heads != pages)
    if len(tails):
        rows[tails], status[tails] = kernel.gather(heads[tails], int(size), "page structs")
    slab = page_type_is(PageChunk.of_rows(kernel, 0, rows, status == 0), "slab")
    return heads[of], slab[of]


@dataclass(frozen=True, slots=True)
class FrameUse:
    """What frames are used for: `kind` uint8[n] (`Kind`), `mapping` uint64[n] of page cache and anonymous memory.

    `sure` bool[n]: False where only the lists of all pages could tell more than "other kernel", and were not asked.
    """

    kind: Kinds
    mapping: U64
    sure: Mask


def use_of_frames(kernel: Kernel, frames: I64, *, quick: bool = False) -> FrameUse:
    """What each frame int64[n] is used for, as `pages` says it; EXCLUDED where its page struct cannot be read.

    `quick`: without what takes a look at the page structs of all of memory, which is kept once it was made.
    """
    unique, of = np.unique(frames, return_inverse=True)
    block = _block(kernel)
    use = FrameUse(
        np.full(len(unique), Kind.EXCLUDED, dtype=np.uint8),
        np.zeros(len(unique), dtype=np.uint64),
        np.ones(len(unique), dtype=bool),
    )
    rows = np.arange(len(unique))
    if not quick and len(np.unique(unique // block)) > _FEW:
        rows = _by_survey(kernel, unique, use)
    if len(rows):
        _by_neighbours(kernel, unique, rows, use)
        other = rows[use.kind[rows] == Kind.OTHER]
        if quick:
            use.sure[other] = False
        elif len(other):
            pcp, owned, kinds = _listed(kernel)
            use.kind[other[np.isin(unique[other], pcp)]] = Kind.PCP
            other = other[use.kind[other] == Kind.OTHER]
            at = np.minimum(np.searchsorted(owned, unique[other]), max(len(owned) - 1, 0))
            hit = owned[at] == unique[other] if len(owned) else np.zeros(len(other), dtype=bool)
            use.kind[other[hit]] = kinds[at[hit]]
    return FrameUse(use.kind[of], use.mapping[of], use.sure[of])


@fact
def _listed(kernel: Kernel) -> tuple[I64, I64, Kinds]:
    """Frames that no page struct tells of: those on CPUs' free lists, and those that mappings know, with `Kind`."""
    survey = PageSurvey(kernel)
    (pcp, _, _), (owned, kinds) = survey.pcp, survey.owned
    return pcp, owned, kinds


@fact
def _layout(kernel: Kernel) -> PageLayout:
    return PageLayout(kernel)


def _block(kernel: Kernel) -> int:
    """Frames of the largest free block: what lies in one tells of all of them."""
    return 1 << _largest_order(kernel)


def _largest_order(kernel: Kernel) -> int:
    return orders(kernel) - 1


def _by_survey(kernel: Kernel, frames: I64, use: FrameUse) -> I64:
    """Fill in what a pass over all page structs says; the rows of frames that it does not meet."""
    met = np.zeros(len(frames), dtype=bool)
    for chunk in PageSurvey(kernel):
        low, high = np.searchsorted(frames, (chunk.first_pfn, chunk.first_pfn + len(chunk)))
        at = frames[low:high] - chunk.first_pfn
        use.kind[low:high], use.mapping[low:high], met[low:high] = chunk.kind[at], chunk.mapping_of(at), True
    return np.flatnonzero(~met)


def _by_neighbours(kernel: Kernel, frames: I64, rows: I64, use: FrameUse) -> None:
    """Fill in what the page structs of the blocks say in which some frames lie."""
    size = max(_block(kernel), kernel.page_size // kernel.find_type("struct page").size)
    blocks = np.unique(frames[rows] // size)
    cut = (
        np.flatnonzero((np.diff(blocks) > 1) | (blocks[1:] * size // CHUNK != blocks[:-1] * size // CHUNK))
        + 1
    )
    for run in np.split(blocks, cut):
        first, last = int(run[0]) * size, (int(run[-1]) + 1) * size
        inside = rows[(frames[rows] >= first) & (frames[rows] < last)]
        beyond = _of_run(kernel, frames, inside, use, first, last)
        if len(beyond):
            # A huge page of 1 GiB begins far before the block.
            start = first - first % CHUNK
            _of_run(kernel, frames, beyond, use, start, start + CHUNK)


def _of_run(kernel: Kernel, frames: I64, rows: I64, use: FrameUse, first: int, last: int) -> I64:
    """Fill in what the page structs from `first` to before `last` say; the rows whose heads lie outside of these."""
    layout, chunk = _layout(kernel), read_pages(kernel, first, last)
    found = classify(layout, chunk, largest_order=_largest_order(kernel))
    at = frames[rows] - first
    use.kind[rows] = found.kind[at]
    mapping = layout.mapping(chunk)[found.head_row[at]] & ~np.uint64(3)
    use.mapping[rows] = np.where(MAPPED[found.kind[at]], mapping, np.uint64(0))
    spans, pfns = own_zones(kernel), frames[rows]
    foreign = chunk.valid[at] & spans.outside(layout.flags(chunk)[at], pfns) & spans.reached(pfns)
    use.kind[rows[foreign]], use.mapping[rows[foreign]] = Kind.EXCLUDED, 0
    section = sections(kernel)
    place = section.place(frames[rows])
    if len(section.online):
        use.kind[rows[(place >= 0) & ~section.online[place]]] = Kind.OFFLINE
    heads = compound_heads(kernel, chunk.addresses[at], chunk.links()[at])
    outside = (heads < chunk.addresses[0]) & (found.head_row[at] == at)
    beyond: I64 = rows[outside & (np.uint64(kernel.vmemmap) <= heads)]
    return beyond

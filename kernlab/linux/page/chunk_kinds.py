"""A chunk of page structs and the kind of memory that each of its frames is: what a survey gives, one value a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from kernlab.linux.page.classifier import (
    KIND_NAMES,
    MAPPED_KINDS,
    Classified,
    Kind,
)
from kernlab.linux.page.vmemmap import PageChunk

if TYPE_CHECKING:
    from kernlab.linux.page.survey import PageSurvey

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

Number = TypeVar("Number", np.int8, np.int16)


#: bool[kinds]: of which kinds `page.mapping` says whose they are.
MAPPED: Mask = np.isin(np.arange(len(KIND_NAMES)), MAPPED_KINDS)


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of rows of a chunk that are memory of the machine."""

    rows: slice
    first_pfn: int

    def __len__(self) -> int:
        return int(self.rows.stop - self.rows.start)

    @property
    def last_pfn(self) -> int:
        """The frame behind the last one."""
        return self.first_pfn + len(self)


class PageKinds:
    """The frames of one chunk, one value each in every array; rows that are not memory of the machine among them.

    `pieces` are the runs of rows that are its memory. `kind` uint8 (`Kind`), `order` int8 and `head_row` int32 say
    which block a frame belongs to: a compound page or a free block (order 0 and its own row where to none). What
    could not be read (`valid` False) has the kind EXCLUDED and zeros elsewhere.
    """

    def __init__(self, survey: PageSurvey, chunk: PageChunk, pieces: list[Piece], found: Classified):
        self.survey = survey
        self.chunk = chunk
        self.pieces = pieces
        self.first_pfn = chunk.first_pfn
        self.kind = found.kind
        self.order = found.order
        self.head_row = found.head_row
        self.wild = found.wild
        self.valid = chunk.valid
        offline = survey.offline(self.first_pfn, len(chunk))
        if offline is not None:
            # What the memory map holds there was never made.
            self.kind[offline], self.order[offline] = Kind.OFFLINE, 0
            self.valid = chunk.valid & ~offline

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def unknown(self) -> int:
        """How many frames of memory have no page struct here, or none of their block's head."""
        if self.chunk.valid.all():
            return 0
        return sum(int((self.kind[piece.rows] == Kind.EXCLUDED).sum()) for piece in self.pieces)

    @property
    def pfns(self) -> I64:
        """Page frame numbers int64."""
        return np.arange(self.first_pfn, self.first_pfn + len(self), dtype=np.int64)

    @property
    def flags(self) -> U64:
        """`page.flags` as it is stored, node and zone among it."""
        return self.survey.layout.flags(self.chunk)

    @property
    def refcount(self) -> npt.NDArray[np.int32]:
        """`page._refcount` of the frame itself: the tails of a compound page have 0."""
        return self.survey.layout.refcount(self.chunk)

    @property
    def mapcount(self) -> npt.NDArray[np.int32]:
        """How often page tables map the frame (include/linux/mm.h, page_mapcount): its own mappings and those of the
        whole huge page that it is part of; 0 for pages with a type, which keep it in the same place.

        With CONFIG_NO_PAGE_MAPCOUNT a kernel counts no mappings of single pages of a large folio; there it is the
        count of whole mappings alone.
        """
        layout = self.survey.layout
        count = layout.mapcount(self.chunk) + np.int32(1)
        count[count < -127] = 0
        large = np.flatnonzero((self.order > 0) & MAPPED[self.kind])
        if len(large):
            head = self.head_row[large].astype(np.int64)
            count[large] += layout.entire_mapcount(self.chunk, head)
        np.maximum(count, 0, out=count)
        return count

    def mapping_of(self, rows: I64) -> U64:
        """The address_space (of anon pages the anon_vma) of rows, without its mark bits; 0 for kinds that have none."""
        # Tails have other things there; they belong to what their head belongs to.
        value = self.survey.layout.mapping(self.chunk)[self.head_row[rows]] & ~np.uint64(3)
        return np.where(MAPPED[self.kind[rows]], value, np.uint64(0))

    def slab_cache_of(self, rows: I64) -> U64:
        """The `struct kmem_cache` that rows are of, which are all slab pages."""
        return self.survey.layout.slab_cache(self.chunk, self.head_row[rows].astype(np.int64))

    @property
    def zone_code(self) -> npt.NDArray[np.int16]:
        """The frame's zone as an index into `PageSurvey.zone`; -1 where unknown."""
        return self.by_zone(self.survey.every_zone)

    def by_zone(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """What `values` say of the frame's zone, by its index; their last one where the zone is unknown."""
        survey = self.survey
        code = (self.flags >> np.uint64(survey.zone_shift)).view(np.int64)
        found: npt.NDArray[Number] = values[survey.zone_of_code][code]
        if not self.valid.all():
            found[~self.valid] = values[-1]
        return found

    @property
    def migratetype(self) -> npt.NDArray[np.int8]:
        """The type of the frame's pageblock, -1 where unknown."""
        survey = self.survey
        block = 1 << survey.pageblocks.order
        first = self.first_pfn - self.first_pfn % block
        starts = np.arange(first, self.first_pfn + len(self), block, dtype=np.int64)
        types = survey.pageblocks.of(survey.sections, starts, survey.sections.place(starts))
        skip = self.first_pfn - first
        return np.repeat(types, block)[skip : skip + len(self)]

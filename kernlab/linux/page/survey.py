"""What each page frame of the machine is used for: chunks of page structs in, kinds of memory out, frame by frame.

    for chunk in PageSurvey(kernel):      # at most 1 GiB of memory at a time
        chunk.kind, chunk.pfns, chunk.refcount …    # one value per frame

`tables.pages` makes the table of it (with `PageSurvey.scan`, in one pass), `tables.memory` the sums.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux import zones as zone_walk
from kernlab.linux.iomem import memory_frames
from kernlab.linux.page.chunk_kinds import PageKinds, Piece
from kernlab.linux.page.classifier import (
    Classified,
    Kind,
    classify,
    complete,
    spread,
)
from kernlab.linux.page.layout import PageLayout
from kernlab.linux.page.mem_sections import Sections, sections
from kernlab.linux.page.network import NetworkPages, NetworkSearch
from kernlab.linux.page.own_zone import own_zones, without, zone_codes
from kernlab.linux.page.owners import each_once, kernel_owned
from kernlab.linux.page.pageblocks import Pageblocks, pageblocks
from kernlab.linux.page.pcp_lists import Candidates, PcpSearch
from kernlab.linux.page.vmemmap import CHUNK, PageChunk, read_pages
from kernlab.util.threads import Spare, ahead, processors

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: Page structs that a survey holds from its first look at them to its second: those of 16 GiB of memory.
_KEPT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class _Look:
    """One chunk as it was read, and what its page structs alone say, where asked for; `foreign`, how many of these are
    none."""

    pieces: list[Piece]
    chunk: PageChunk
    found: Classified | None
    foreign: int


class PageSurvey:
    """All page frames of the machine, to be gone through in chunks; each pass reads the page structs again.

    What no page struct says is found first: which frames are memory, what hangs on the per-CPU free lists, what is
    mapped in the vmalloc area and by whom. All that could not be known is reported as lost.
    """

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.layout = PageLayout(kernel)
        self._kept: deque[_Look] = deque()
        self._network_pages: list[NetworkPages] = []
        self._pooled: I64 = np.zeros(0, dtype=np.int64)
        self.sections: Sections = sections(kernel)
        self.pageblocks: Pageblocks = pageblocks(kernel, self.sections)
        self.node = zone_walk.nodes(kernel)
        #: Every zone of every node, and the index of its node in `node`.
        self.zone_node, self.zone = zone_walk.zones(kernel, self.node)
        self.zone_shift, zone_bits, node_bits = zone_walk.flag_shifts(kernel)
        self.zone_of_code = zone_codes(self.node, self.zone_node, zone_bits, node_bits)
        self._spans = own_zones(kernel)
        #: int16[zones + 1]: the zones' indexes, and -1 for an unknown one.
        self.every_zone = np.append(np.arange(len(self.zone)), -1).astype(np.int16)
        self.largest_order = zone_walk.orders(kernel) - 1
        self.first, self.last = self._memory()
        #: What a pass leaves out, as the file holds no page struct of its chunks. Known once a pass has ended.
        self.left_out: list[Piece] = []
        #: Are all vmalloc areas known? Where not, what vmap maps may count as vmalloc. Known once `owned` is.
        self.areas_known = True

    def _memory(self) -> tuple[I64, I64]:
        """The frames of the machine that have page structs, as ranges: (first pfn, pfn behind the last)."""
        first, last = self.sections.ranges()
        memory = memory_frames(self.kernel)
        self._with_holes = memory is None
        if memory is None or not len(first):
            return first, last
        # Both are sorted and apart: each range of memory is cut by the runs of sections that it meets.
        starts, ends = [first[:0]], [first[:0]]
        for begin, end in zip(*(bounds.tolist() for bounds in memory), strict=True):
            low, high = np.searchsorted(last, begin, side="right"), np.searchsorted(first, end)
            starts.append(np.maximum(first[low:high], begin))
            ends.append(np.minimum(last[low:high], end))
        return np.concatenate(starts), np.concatenate(ends)

    @property
    def frames(self) -> int:
        """How many frames of memory there are."""
        return int((self.last - self.first).sum())

    @property
    def unheld(self) -> int:
        """How many frames are `left_out`."""
        return sum(map(len, self.left_out))

    @cached_property
    def owned(self) -> tuple[I64, npt.NDArray[np.uint8]]:
        """Frames that only the kernel's mappings and sk_buffs tell of: (pfn int64[m], ascending; `Kind` uint8[m])."""
        pfn, kind = self._mapped
        # The slabs of sk_buffs were looked for among all page structs.
        _ = self.pcp
        network = self._network.frames(self._network_pages)
        self._pooled = self._network.mapped_pools(self._network_pages)
        self._network_pages.clear()
        return each_once(
            np.concatenate([pfn, network]),
            np.concatenate([kind, np.full(len(network), Kind.NETWORK, dtype=np.uint8)]),
        )

    @property
    def pooled(self) -> I64:
        """The frames of page pools that network cards were given the addresses of, int64[n] ascending."""
        _ = self.owned
        return self._pooled

    @cached_property
    def _mapped(self) -> tuple[I64, npt.NDArray[np.uint8]]:
        found, self.areas_known = kernel_owned(self.kernel)
        return found

    @cached_property
    def _network(self) -> NetworkSearch:
        return NetworkSearch(self.kernel, self.layout)

    def offline(self, first: int, count: int) -> Mask | None:
        """Which of `count` frames lie in sections that are plugged in but not online; None for none."""
        frames = self.sections.frames
        numbers = np.arange(first // frames, (first + count - 1) // frames + 1, dtype=np.int64)
        place = self.sections.place(numbers * frames)
        off = (place >= 0) & ~self.sections.online[place]
        if not off.any():
            return None
        found: Mask = off[np.arange(first, first + count) // frames - numbers[0]]
        return found

    @cached_property
    def pcp(self) -> tuple[I64, npt.NDArray[np.int8], I64]:
        """The frames on the CPUs' own free lists: (pfn int64[m], ascending, order of the block, its first pfn)."""
        # What is not too much is kept for the pass that asked for this, and classified meanwhile.
        keep = self.frames * self.layout.size <= _KEPT_BYTES
        candidates = []
        for look in ahead(lambda pieces: self._look(pieces, keep), self._held_chunks(), processors()):
            candidates.append(self._search.candidates(look.chunk))
            self._network_pages.append(self._network.pages(look.chunk))
            if keep:
                self._kept.append(look)
        return self._on_lists(candidates)

    @cached_property
    def _search(self) -> PcpSearch:
        return PcpSearch(self.kernel, self.zone, self.pageblocks.order)

    def _on_lists(self, candidates: list[Candidates]) -> tuple[I64, npt.NDArray[np.int8], I64]:
        found = self._search.frames(candidates)
        frames, orders, heads = spread(found.pfns, found.orders, int(self.last.max(initial=0)))
        # Blocks do not overlap, but on a damaged list they may.
        by_frame = np.argsort(frames, kind="stable")
        return frames[by_frame], orders[by_frame], heads[by_frame]

    def _look(
        self, pieces: list[Piece], classified: bool, room: npt.NDArray[np.uint64] | None = None
    ) -> _Look:
        first, last = pieces[0].first_pfn - pieces[0].rows.start, pieces[-1].last_pfn
        chunk = read_pages(self.kernel, first, last, once=self._once, room=room)
        foreign = self._spans.foreign(self.layout, chunk, [(piece.rows, piece.first_pfn) for piece in pieces])
        offline = self.offline(first, len(chunk)) if len(foreign) else None
        if self._with_holes:
            foreign = foreign[self._spans.reached(foreign + first)]
        # What lies where no page struct was made yet is none of theirs.
        foreign = foreign if offline is None else foreign[~offline[foreign]]
        chunk = without(chunk, foreign)
        found = classify(self.layout, chunk, largest_order=self.largest_order) if classified else None
        return _Look(pieces, chunk, found, len(foreign))

    @cached_property
    def _once(self) -> bool:
        """Are the page structs more than the arena should be filled with?"""
        return self.kernel.memory.is_large(self.frames * self.layout.size)

    def __iter__(self) -> Iterator[PageKinds]:
        # The lists are searched among all page structs first.
        _ = self.pcp, self.owned
        kept, self._kept = self._kept, deque()
        again = ahead(lambda pieces: self._look(pieces, True), self._held_chunks(), processors())
        wild = lost = foreign = 0
        for look in self._drained(kept) if kept else again:
            found = look.found
            assert found is not None
            wild += found.wild
            foreign += look.foreign
            chunk = PageKinds(self, look.chunk, look.pieces, found)
            self._complete(chunk)
            lost += chunk.unknown
            yield chunk
        self._tell(wild, lost + self.unheld - foreign, foreign)

    @staticmethod
    def _drained(kept: deque[_Look]) -> Iterator[_Look]:
        while kept:
            yield kept.popleft()

    def _tell(self, wild: int, lost: int, foreign: int) -> None:
        if lost:
            self.kernel.lost(
                f"the page structs of {lost:,} of {self.frames:,} frames, or of the heads of their blocks, are not in "
                "the dump: what they hold is unknown, and counted as nothing else"
            )
        if foreign:
            self.kernel.lost(
                f"the page structs of {foreign:,} of {self.frames:,} frames name a zone that does not reach there, so "
                "something else lies where they should: what the frames hold is unknown, and counted as nothing else"
            )
        if wild:
            self.kernel.lost(
                f"{wild:,} free blocks claim an order that no block has; they count as single pages"
            )

    def _complete(self, chunk: PageKinds) -> None:
        """Add what the lists say to the kinds of one chunk."""
        first, last = chunk.first_pfn, chunk.first_pfn + len(chunk)
        (pcp, orders, heads), (owned, kinds) = self.pcp, self.owned
        low, high = np.searchsorted(pcp, (first, last))
        begin, end = np.searchsorted(owned, (first, last))
        complete(
            chunk.kind,
            chunk.order,
            chunk.head_row,
            chunk.valid,
            pcp=(pcp[low:high] - first, orders[low:high], heads[low:high] - first),
            owned=(owned[begin:end] - first, kinds[begin:end]),
        )

    def scan(self, use: Callable[[PageKinds, int], None]) -> None:
        """Go through all chunks once, in threads: `use(chunk, row)` gets each with the number of frames before it.

        Its kinds are what the page structs alone tell; what lists and mappings know is `pcp` and `owned` afterwards. A
        chunk is gone when `use` returns: its memory is used again.
        """
        rooms = Spare(lambda: np.empty(self._room, dtype=np.uint64))

        def work(place: tuple[list[Piece], int]) -> tuple[Candidates, NetworkPages, int, int, int]:
            pieces, row = place
            room = rooms.take()
            look = self._look(pieces, True, room)
            assert look.found is not None
            chunk = PageKinds(self, look.chunk, pieces, look.found)
            use(chunk, row)
            found = (
                self._search.candidates(look.chunk),
                self._network.pages(look.chunk),
                look.found.wild,
                chunk.unknown,
                look.foreign,
            )
            rooms.give(room)
            return found

        # Not beside the threads: they ask for Python's lock after every page, and would wait long for it.
        _ = self._search, self._network.caches, self._mapped
        looks = list(ahead(work, self._placed(), processors()))
        candidates, network, wild, lost, foreign = zip(*looks, strict=True) if looks else ([], [], [], [], [])
        self._tell(sum(wild), sum(lost) - sum(foreign), sum(foreign))
        self.pcp = self._on_lists(list(candidates))
        self._network_pages = list(network)

    @property
    def _room(self) -> int:
        """Words of the page structs of a whole chunk, and of the page before the first."""
        return (CHUNK * self.layout.size + self.kernel.page_size) // 8

    def _placed(self) -> Iterator[tuple[list[Piece], int]]:
        row = 0
        for pieces in self._chunks():
            yield pieces, row
            row += sum(map(len, pieces))

    def rows(self, pfns: I64) -> I64:
        """The place of each frame among all frames of memory, -1 for what is none."""
        before = np.cumsum(self.last - self.first) - (self.last - self.first)
        place = np.searchsorted(self.last, pfns, side="right")
        inside = place < len(self.last)
        inside[inside] = self.first[place[inside]] <= pfns[inside]
        found = np.full(len(pfns), -1, dtype=np.int64)
        found[inside] = before[place[inside]] + pfns[inside] - self.first[place[inside]]
        return found

    def _held_chunks(self) -> Iterator[list[Piece]]:
        """The chunks of whose page structs the file can hold any; all others are `left_out`."""
        first, last = self.sections.ranges(held=True)
        self.left_out = []
        for pieces in self._chunks():
            low, high = pieces[0].first_pfn, pieces[-1].last_pfn
            if np.searchsorted(last, low, side="right") < np.searchsorted(first, high):
                yield pieces
            else:
                self.left_out += pieces

    def _chunks(self) -> Iterator[list[Piece]]:
        """The pieces of memory of each chunk: what lies in one GiB, so that no block is cut."""
        per_page = self.kernel.page_size // self.layout.size
        together: list[Piece] = []
        for first, last in zip(self.first.tolist(), self.last.tolist(), strict=True):
            for begin in range(first - first % CHUNK, last, CHUNK):
                low, high = max(first, begin), min(last, begin + CHUNK)
                if together and together[0].first_pfn // CHUNK != begin // CHUNK:
                    yield together
                    together = []
                start = together[0].first_pfn - together[0].rows.start if together else low - low % per_page
                together.append(Piece(slice(low - start, high - start), low))
        if together:
            yield together

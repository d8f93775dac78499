"""The zone that a page struct names; one that does not reach to its frame is no page struct of that frame."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.page.layout import PageLayout
from kernlab.linux.page.vmemmap import PageChunk
from kernlab.linux.zones import Nodes, flag_shifts, managed_pages, nodes, unread_nodes, zones, zones_per_node

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Behind every frame.
_ANYWHERE = np.iinfo("i8").max


@dataclasses.dataclass(frozen=True, slots=True)
class ZoneSpans:
    """Where the zone that a page's flags name may lie: frames from `low` to before `high`, int64[codes] each, by the
    bits of the flags above `shift`."""

    shift: np.uint64
    low: I64
    high: I64

    def foreign(self, layout: PageLayout, chunk: PageChunk, memory: list[tuple[slice, int]]) -> I64:
        """The rows of a chunk whose page structs name a zone that does not reach to their frame (mm/mm_init.c,
        __init_single_page: each gets its zone and node when it is made).

        `memory` are the rows that are memory, in runs, and the first frame of each.
        """
        flags = layout.flags(chunk)
        rows: I64 = np.concatenate(
            [run.start + self._foreign(flags[run], first_pfn) for run, first_pfn in memory]
        )
        return rows[chunk.valid[rows]]

    def _foreign(self, flags: npt.NDArray[np.uint64], first_pfn: int) -> I64:
        code = flags >> self.shift
        least, most = int(code.min()), int(code.max())
        if least == most:
            # As mostly: all of one zone.
            outside = self.low[least] > first_pfn or self.high[least] < first_pfn + len(flags)
            if not outside:
                return np.zeros(0, dtype=np.int64)
        pfns = np.arange(first_pfn, first_pfn + len(flags), dtype=np.int64)
        return np.flatnonzero(self.outside(flags, pfns))

    def outside(self, flags: npt.NDArray[np.uint64], pfns: I64) -> Mask:
        """Which frames lie where the zone that their page's flags name does not reach."""
        place = (flags >> self.shift).view(np.int64)
        found: Mask = (pfns < self.low[place]) | (pfns >= self.high[place])
        return found

    def reached(self, pfns: I64) -> Mask:
        """Which frames lie within some zone. A hole that does not has page structs of the zone behind it (mm/mm_init.c,
        init_unavailable_range)."""
        low, high = np.unique(np.stack([self.low, self.high]), axis=1)
        # Of one that may lie anywhere nothing is known.
        some = (high > low) & (high < _ANYWHERE)
        low, high = low[some], np.maximum.accumulate(high[some])
        place = np.searchsorted(low, pfns, side="right") - 1
        found: Mask = place >= 0
        found[found] = pfns[found] < high[place[found]]
        return found


def zone_codes(node: Nodes, zone_node: I64, zone_bits: int, node_bits: int) -> npt.NDArray[np.int16]:
    """What the bits of a page's flags above its zone's first one mean: node and zone to an index of `zones`, or -1.

    `zone_node` is the index of each zone's node.
    """
    found = np.full(1 << (zone_bits + node_bits), -1, dtype=np.int16)
    numbers = node.numbers[zone_node]
    per_node = len(zone_node) // max(len(node), 1)
    code = (numbers << zone_bits) | (np.arange(len(zone_node)) % max(per_node, 1))
    known = (numbers >= 0) & (code < len(found))
    found[code[known]] = np.flatnonzero(known)
    return found


@fact
def own_zones(kernel: Kernel) -> ZoneSpans:
    """The spans of all zones of the machine."""
    node = nodes(kernel)
    zone_node, zone = zones(kernel, node)
    shift, zone_bits, node_bits = flag_shifts(kernel)
    return zone_spans(kernel, node, zone, zone_codes(node, zone_node, zone_bits, node_bits), shift, zone_bits)


def zone_spans(
    kernel: Kernel,
    node: Nodes,
    zone: StructArray,
    zone_of_code: npt.NDArray[np.int16],
    shift: int,
    zone_bits: int,
) -> ZoneSpans:
    """The spans of the zones, by the bits of a page's flags that name them: `zone_of_code` gives the index of each.

    A zone whose own numbers cannot be (mm/page_alloc.c: managed pages are some of the present ones, these some of the
    span) may lie anywhere, and so may one of a node that cannot be read.
    """
    with kernel.quiet():
        start, spanned = zone["zone_start_pfn"].int64, zone["spanned_pages"].int64
        present, managed = zone["present_pages"].int64, managed_pages(zone)
    known = start.valid & spanned.valid & present.valid & managed.valid
    first, count = start.filled(0), spanned.filled(0)
    most = kernel.arch.most_frames
    sane = known & (first >= 0) & (first <= most) & (count <= most)
    sane &= (managed.filled(0) >= 0) & (managed.filled(0) <= present.filled(0)) & (present.filled(0) <= count)
    # The index -1, of a code that names no zone, is the last element.
    low = np.append(np.where(sane, first, 0), 0)[zone_of_code]
    high = np.append(np.where(sane, first + count, _ANYWHERE), 0)[zone_of_code]
    code = np.arange(len(zone_of_code))
    lost = np.isin(code >> zone_bits, unread_nodes(kernel, node))
    high[lost & (code & (1 << zone_bits) - 1 < zones_per_node(kernel))] = _ANYWHERE
    return ZoneSpans(np.uint64(shift), low, high)


def without(chunk: PageChunk, rows: I64) -> PageChunk:
    """A chunk without some of its page structs, as if they could not be read: their words are zero."""
    if not len(rows):
        return chunk
    words, valid = chunk.words, chunk.valid.copy()
    words.flags.writeable = True
    words[:, rows] = 0
    words.flags.writeable = False
    valid[rows] = False
    return dataclasses.replace(chunk, valid=valid)

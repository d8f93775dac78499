"""All page frames in, how many of each group lie where out: counted chunk by chunk, so that 4 TB need no more room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.linux.page.chunk_kinds import Piece
from kernlab.linux.page.classifier import KIND_NAMES, Kind
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.zones import managed_pages, watermark, zone_names
from kernlab.plots.style import Theme

I64 = npt.NDArray[np.int64]

#: What a reader can tell apart at a glance: name, the theme's colour, the kinds of memory that it stands for.
GROUPS: tuple[tuple[str, str, tuple[Kind, ...]], ...] = (
    ("processes", "blue", (Kind.ANON, Kind.THP, Kind.HUGETLB, Kind.SWAP_CACHE)),
    ("shared memory", "sky", (Kind.SHMEM,)),
    ("page cache", "green", (Kind.FILE,)),
    ("slab", "orange", (Kind.SLAB, Kind.LARGE_KMALLOC)),
    ("page tables", "vermilion", (Kind.PAGE_TABLE,)),
    (
        "other kernel",
        "pink",
        (
            Kind.KERNEL_STACK,
            Kind.VMALLOC,
            Kind.VMAP,
            Kind.PERCPU,
            Kind.ZSMALLOC,
            Kind.NETWORK,
            Kind.OTHER,
        ),
    ),
    ("free", "quiet", (Kind.FREE, Kind.PCP)),
    ("not usable", "mute", (Kind.RESERVED, Kind.HWPOISON, Kind.UNACCEPTED, Kind.OFFLINE)),
    ("unknown", "unknown", (Kind.EXCLUDED,)),
)

#: The map of memory has no more cells.
MOST_CELLS = 1 << 17

#: uint8[kinds]: the group of each kind.
GROUP_OF = np.zeros(len(KIND_NAMES), dtype=np.uint8)
for _index, (_, _, _kinds) in enumerate(GROUPS):
    GROUP_OF[list(_kinds)] = _index


def colour(theme: Theme, group: int) -> str:
    """A group's colour."""
    return str(getattr(theme, GROUPS[group][1]))


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames counted: `kinds` int64[nodes, kinds] by NUMA node; `zones` int64[zones, groups] with their names (node and
    zone), and `free` int64[zones], what the allocator itself counts as free (not what CPUs keep); `cells` int64[cells,
    groups] of `per_cell` frames each, from frame 0 to before `end`.
    """

    kinds: I64
    nodes: list[int]
    zones: I64
    zone_names: list[str]
    free: I64
    cells: I64
    per_cell: int
    end: int
    watermarks: I64  # int64[zones, 4]: min, low, high, and the pages that the zone manages
    page_size: int  # in bytes


@fact
def count(kernel: Kernel) -> Frames:
    """Count all frames of the machine, into at most `MOST_CELLS` cells for the map of them."""
    survey = PageSurvey(kernel)
    end = int(survey.last.max()) if len(survey.last) else 1
    per_cell = 1
    while per_cell * MOST_CELLS < end:
        per_cell *= 2
    groups = len(GROUPS)
    cells = np.zeros((-(-end // per_cell), groups), dtype=np.int64)
    kinds = np.zeros((len(survey.node) + 1, len(KIND_NAMES)), dtype=np.int64)
    zones = np.zeros((len(survey.zone) + 1, groups), dtype=np.int64)
    free = np.zeros(len(survey.zone) + 1, dtype=np.int64)
    for chunk in survey:
        rows = np.concatenate([np.arange(piece.rows.start, piece.rows.stop) for piece in chunk.pieces])
        kind = chunk.kind[rows]
        group = GROUP_OF[kind].astype(np.int64)
        zone = chunk.zone_code[rows].astype(np.int64)
        # The index -1, of an unknown zone, is the last element: no node.
        node = np.append(survey.zone_node, len(survey.node))[zone]
        zone = np.where(zone >= 0, zone, len(survey.zone))
        free += np.bincount(zone[kind == Kind.FREE], minlength=len(free))
        cell = (rows + chunk.first_pfn) // per_cell
        base = int(cell[0]) if len(cell) else 0
        found = np.bincount((cell - base) * groups + group)
        width = -(-len(found) // groups)
        padded = np.zeros(width * groups, dtype=np.int64)
        padded[: len(found)] = found
        cells[base : base + width] += padded.reshape(width, groups)
        kinds += np.bincount(node * len(KIND_NAMES) + kind, minlength=kinds.size).reshape(kinds.shape)
        zones += np.bincount(zone * groups + group, minlength=zones.size).reshape(zones.shape)
    unknown = int(GROUP_OF[Kind.EXCLUDED])
    kinds[-1, Kind.EXCLUDED] += survey.unheld
    zones[-1, unknown] += survey.unheld
    cells[:, unknown] += np.diff(_frames_below(survey.left_out, np.arange(len(cells) + 1) * per_cell))
    numbers = survey.node.numbers.tolist()
    names = zone_names(kernel, survey.zone)
    if len(numbers) > 1:
        nodes = np.asarray(survey.zone_node).tolist()
        names = [f"node {numbers[node]} {name}" for node, name in zip(nodes, names, strict=True)]
    levels = (watermark(survey.zone, level) for level in range(3))
    marks = [mark.int64.filled(0) for mark in levels if mark is not None]
    marks.append(managed_pages(survey.zone).filled(0))
    watermarks = np.stack(marks, axis=1)
    return Frames(kinds, numbers, zones, names, free, cells, per_cell, end, watermarks, kernel.page_size)


def _frames_below(pieces: Sequence[Piece], bounds: I64) -> I64:
    """How many frames of some pieces of memory, ascending and apart, lie below each bound."""
    if not pieces:
        return np.zeros(len(bounds), dtype=np.int64)
    first = np.array([piece.first_pfn for piece in pieces])
    size = np.array([len(piece) for piece in pieces])
    place = np.maximum(np.searchsorted(first, bounds, side="right") - 1, 0)
    below: I64 = (np.cumsum(size) - size)[place] + np.clip(bounds - first[place], 0, size[place])
    return below

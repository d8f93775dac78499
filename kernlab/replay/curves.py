"""How events change memory between two readings: a recording in, bytes by kind added at each instant out.

Every page that is handed out or given back is an event (kmem:mm_page_alloc, mm_page_free); where all of them were
recorded a curve is exact. What a page was used for no event says: of one that was still in use at the crash the dump
does; of one given back since, the flags of its allocation as far as they go. Without them, what processes gained and
lost (kmem:rss_stat) gives the curve its form, no more. What the kernel counts as free are pages on no CPU's own list:
these come and go in batches (mm_page_alloc_zone_locked, mm_page_pcpu_drain), which tell it best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.linux.zones import orders
from kernlab.replay.end_state import kinds_of_frames
from kernlab.replay.kinds import ANON, FILE, FREE, KINDS, OTHER, SLAB, TABLES
from kernlab.replay.recording import Recording
from kernlab.traces.ftrace.numbers import Numbers

I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]

#: A column more than there are kinds: what is swapped out.
SWAP = len(KINDS)
#: Instants of a curve; of more events each step has several.
MOST_STEPS = 1 << 14
#: Frames that are followed one by one; where events name more, blocks count as their first frame.
_MOST_FRAMES = 1 << 23
#: include/linux/mmzone.h, enum migratetype.
_UNMOVABLE, _MOVABLE, _RECLAIMABLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Curve:
    """`total` int64[n + 1, kinds + 1] bytes gained since the beginning, of which row i + 1 holds from `time[i]` on, and
    `travelled` all that was gained and lost.

    By kind bool[kinds + 1]: `told`, does it tell anything of the kind? and `exact`, is every change in it, but for what
    pages of unknown use were?
    """

    time: I64
    total: I64
    travelled: I64
    exact: Mask
    told: Mask

    def at(self, times: I64, kind: int) -> I64:
        """What a kind had gained by each instant."""
        found: I64 = self.total[np.searchsorted(self.time, times, side="right"), kind]
        return found

    def way(self, times: I64, kind: int) -> I64:
        """What a kind had gained and lost in all by each instant."""
        found: I64 = self.travelled[np.searchsorted(self.time, times, side="right"), kind]
        return found


def curve_of(kernel: Kernel, recording: Recording) -> Curve | None:
    """The best curve that a recording gives; None where it says nothing of memory."""
    exact = np.zeros(len(KINDS) + 1, dtype=bool)
    pages = recording.complete("mm_page_alloc", "mm_page_free")
    parts = _of_processes(recording)
    if pages:
        parts = [*_of_pages(kernel, recording), *(part for part in parts if part[1] == SWAP)]
    exact[:SWAP] = pages
    batches = _of_batches(kernel, recording)
    if batches is not None:
        parts = [part for part in parts if part[1] != FREE]
        parts.append(batches)
        # Large blocks go past the CPUs' lists, and back: without their events the batches give the form alone.
        exact[FREE] = pages
    if not sum(len(time) for time, _, _ in parts):
        return None
    # What is no other kind's is the rest's.
    exact[OTHER] = exact[:OTHER].all()
    time = np.concatenate([time for time, _, _ in parts])
    kind = np.concatenate([np.full(len(time), kind, dtype=np.int64) for time, kind, _ in parts])
    return _stepped(time, kind, np.concatenate([change for _, _, change in parts]), exact)


#: Changes of one kind: when, which, and how many bytes each.
Part = tuple[I64, int, I64]


def _stepped(time: I64, kind: npt.NDArray[np.integer], change: I64, exact: Mask) -> Curve:
    """Changes (time, kind, bytes) as a curve of at most MOST_STEPS instants."""
    instants = np.unique(time)
    if len(instants) > MOST_STEPS:
        # Steps hold equally many instants; each counts from its last one on.
        instants = instants[np.unique(np.linspace(0, len(instants) - 1, MOST_STEPS).astype(np.int64))]
    width = len(KINDS) + 1
    step = np.searchsorted(instants, time)
    cell = step * width + kind
    # Sums of pages are far below 2^53.
    sums = np.bincount(cell, weights=change.astype(np.float64), minlength=len(instants) * width)
    steps = sums.astype(np.int64).reshape(-1, width)
    total, travelled = np.zeros((2, len(instants) + 1, width), dtype=np.int64)
    np.cumsum(steps, axis=0, out=total[1:])
    np.cumsum(np.abs(steps), axis=0, out=travelled[1:])
    told = exact | (np.bincount(kind, minlength=width) > 0)
    return Curve(instants, total, travelled, exact, told)


def _of_batches(kernel: Kernel, recording: Recording) -> Part | None:
    """What the free lists of zones lost and gained; None where not all of it was recorded."""
    if not recording.complete("mm_page_alloc_zone_locked", "mm_page_pcpu_drain"):
        return None
    taken, drained, freed = (
        _of_blocks(kernel, recording.events(name, "pfn", "order"))
        for name in ("mm_page_alloc_zone_locked", "mm_page_pcpu_drain", "mm_page_free")
    )
    # Blocks that no CPU keeps go to the zone at once (pcp_allowed_order, mm/page_alloc.c; before v5.13 all but single
    # pages).
    several = bool((drained.fields["order"] > 0).any())
    order = freed.fields["order"].astype(np.int64)
    freed = freed.take(order > _COSTLY if several else order > 0)
    if several:
        freed = freed.take(freed.fields["order"].astype(np.int64) != kernel.arch.huge_order)
    parts = [(taken, -1), (drained, 1), (freed, 1)]
    sizes = [sign * (np.int64(1) << one.fields["order"].astype(np.int64)) for one, sign in parts]
    return (
        np.concatenate([one.time for one, _ in parts]),
        FREE,
        np.concatenate(sizes) * kernel.page_size,
    )


#: include/linux/mmzone.h, PAGE_ALLOC_COSTLY_ORDER.
_COSTLY = 3


def _of_blocks(kernel: Kernel, events: Numbers) -> Numbers:
    """Events of blocks that there can be. An allocation that failed has no page; what else is left out is told."""
    order = events.fields["order"].astype(np.uint64)
    sound = order < np.uint64(orders(kernel))
    kernel.lost("page events are of blocks larger than any: they are left out", mask=~sound)
    return events.take(sound & (events.fields["pfn"].astype(np.uint64) < _NO_PAGE))


#: Page frame numbers have fewer bits; the kernel writes -1 for none.
_NO_PAGE = np.uint64(1 << 52)


def _of_pages(kernel: Kernel, recording: Recording) -> list[Part]:
    alloc = _of_blocks(kernel, recording.events("mm_page_alloc", "pfn", "order", "gfp_flags", "migratetype"))
    free = _of_blocks(kernel, recording.events("mm_page_free", "pfn", "order"))
    row = np.concatenate([alloc.row, free.row])
    by_row = np.argsort(row, kind="stable")

    def both(name: str) -> I64:
        parts = [one.fields[name].astype(np.int64) for one in (alloc, free)]
        joined: I64 = np.concatenate(parts)[by_row]
        return joined

    pfn, order = both("pfn"), both("order")
    time = np.concatenate([alloc.time, free.time])[by_row]
    given = (np.arange(len(row)) < len(alloc))[by_row]
    guess = np.full(len(row), OTHER, dtype=np.int8)
    guess[: len(alloc)] = _guess(
        kernel,
        alloc.fields["gfp_flags"].astype(np.int64),
        alloc.fields["migratetype"].astype(np.int64),
        alloc.fields["order"].astype(np.int64),
    )
    guess = guess[by_row]
    size = np.int64(1) << order
    weight = np.ones(len(row), dtype=np.int64)
    if size.sum() > _MOST_FRAMES:
        kernel.lost("replay: so many pages were handed out that blocks are followed by their first page only")
        size, weight = weight, size
    event = np.repeat(np.arange(len(row)), size)
    frame = pfn[event] + np.arange(len(event)) - np.repeat(np.cumsum(size) - size, size)
    kind, unknown = _kinds(kernel, frame, event, given, guess)
    amount = weight[event] * kernel.page_size
    if unknown.any():
        lost = int(amount[unknown].sum())
        kernel.lost(
            f"replay: pages of {lost:,} bytes in all were given back of which nothing tells what they had been used "
            "for: until then they count as other"
        )
    sign = np.where(given[event], amount, -amount)
    back = np.where(given, -1, 1) * (np.int64(1) << order) * kernel.page_size
    return [
        (time, FREE, back),
        *((time[event[kind == one]], one, sign[kind == one]) for one in range(len(KINDS)) if one != FREE),
    ]


def _kinds(kernel: Kernel, frame: I64, event: I64, given: Mask, guess: I8) -> tuple[I8, Mask]:
    """What each frame of each event was used for while it was out, and of which nothing is known."""
    order = np.argsort(frame, kind="stable")
    frames, is_given, guessed = frame[order], given[event[order]], guess[event[order]]
    same = np.append(frames[1:] == frames[:-1], False)[: len(frames)]
    kind = guessed.copy()
    # Still out at the crash: the dump knows.
    last = is_given & ~same
    at_end = kinds_of_frames(kernel, frames[last])
    kind[last] = np.where((at_end < 0) | (at_end == FREE), OTHER, at_end)
    # Given back: it was what it had been handed out as.
    before = np.append(False, same[:-1] & is_given[:-1])[: len(frames)]
    back = np.flatnonzero(~is_given & before)
    kind[back] = kind[back - 1]
    lost = ~is_given & ~before
    kind[lost] = OTHER
    found, unknown = np.empty_like(kind), np.empty(len(kind), dtype=bool)
    found[order], unknown[order] = kind, lost
    return found, unknown


def _guess(kernel: Kernel, flags: I64, migratetype: I64, order: I64) -> I8:
    """What pages were asked for, by the flags of their allocation.

    User memory can be moved: of files it is read ahead (readahead_gfp_mask) or about to be written, else anonymous, as
    huge pages are (GFP_TRANSHUGE_LIGHT).
    Slabs may be reclaimable; page tables are zeroed, charged, and neither vmalloc's nor movable (GFP_PGTABLE_USER).
    """
    zero, write, retry, account, high, quiet, huge = (
        flags & _gfp(kernel, name) != 0
        for name in ("ZERO", "WRITE", "NORETRY", "ACCOUNT", "HIGHMEM", "NOWARN", "NOMEMALLOC")
    )
    found = np.full(len(flags), OTHER, dtype=np.int8)
    movable = migratetype == _MOVABLE
    found[movable] = ANON
    found[movable & ~zero & (write | (retry & ~huge))] = FILE
    found[migratetype == _RECLAIMABLE] = SLAB
    found[(migratetype == _UNMOVABLE) & zero & account & ~high & ~quiet & (order == 0)] = TABLES
    return found


#: include/linux/gfp.h, before the flags became enumerators (in v6.10).
_GFP = {
    "HIGHMEM": 0x2,
    "ZERO": 0x100,
    "WRITE": 0x1000,
    "NOWARN": 0x2000,
    "NORETRY": 0x10000,
    "NOMEMALLOC": 0x80000,
    "ACCOUNT": 0x400000,
}


def _gfp(kernel: Kernel, name: str) -> int:
    bit = kernel.types.enumerator_or_none(f"___GFP_{name}_BIT")
    return _GFP[name] if bit is None else 1 << bit


def _of_processes(recording: Recording) -> list[Part]:
    """The form that resident sizes give: what anonymous memory processes gain is free no more. A filter of sizes leaves
    the form."""
    events = recording.events("rss_stat", "mm_id", "member", "size")
    member = events.fields["member"].astype(np.int64)
    names = recording.kernel.types.enumerator_or_none
    anon, swap = names("MM_ANONPAGES"), names("MM_SWAPENTS")
    if anon is None:
        return []
    size = events.fields["size"].astype(np.int64)
    key = events.fields["mm_id"].astype(np.int64) * 16 + member.clip(0, 15)
    order = np.argsort(key, kind="stable")
    change = np.zeros(len(order), dtype=np.int64)
    ordered = size[order]
    same = np.append(False, key[order][1:] == key[order][:-1])[: len(order)]
    change[order] = np.where(same, ordered - np.append(0, ordered[:-1])[: len(order)], 0)
    is_anon, is_swap = member == anon, member == (-1 if swap is None else swap)
    return [
        (events.time[is_anon], ANON, change[is_anon]),
        (events.time[is_anon], FREE, -change[is_anon]),
        (events.time[is_swap], SWAP, change[is_swap]),
    ]

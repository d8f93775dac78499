"""How events change memory between two readings: a recording in, bytes by kind added at each instant out.

Every page that is handed out or given back is an event (kmem:mm_page_alloc, mm_page_free); where all of them were
recorded a curve is exact. What a page was used for no event says: of one that was still in use at the crash the dump
does; of one given back since, the flags of its allocation as far as they go. Without them, what processes gained and
lost (kmem:rss_stat) gives the curve its form, no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.replay.end_state import kinds_of_frames
from kernlab.replay.kinds import ANON, FILE, FREE, KINDS, OTHER, SLAB
from kernlab.replay.recording import Recording

I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]

#: A column more than there are kinds: what is swapped out.
SWAP = len(KINDS)
#: Instants of a curve; of more events each step has several.
MOST_STEPS = 1 << 14
#: Frames that are followed one by one; where events name more, blocks count as their first frame.
_MOST_FRAMES = 1 << 23
_LARGEST_ORDER = 20
#: include/linux/mmzone.h, enum migratetype.
_MOVABLE, _RECLAIMABLE = 1, 2


@dataclass(frozen=True, slots=True)
class Curve:
    """`total` int64[n + 1, kinds + 1] bytes gained since the beginning, of which row i + 1 holds from `time[i]` on.

    `exact`: every change is in it, but for what pages of unknown use were; `told` are the kinds that it tells at all.
    """

    time: I64
    total: I64
    exact: bool
    told: Mask

    def at(self, times: I64, kind: int) -> I64:
        """What a kind had gained by each instant."""
        found: I64 = self.total[np.searchsorted(self.time, times, side="right"), kind]
        return found


def curve_of(kernel: Kernel, recording: Recording) -> Curve | None:
    """The best curve that a recording gives; None where it says nothing of memory."""
    if recording.complete("mm_page_alloc", "mm_page_free"):
        return _of_pages(kernel, recording)
    return _of_processes(recording)


def _stepped(time: I64, kind: npt.NDArray[np.integer], change: I64, exact: bool) -> Curve:
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
    total = np.zeros((len(instants) + 1, width), dtype=np.int64)
    np.cumsum(sums.astype(np.int64).reshape(-1, width), axis=0, out=total[1:])
    told = np.bincount(kind, minlength=width) > 0
    if exact:
        told[: len(KINDS)] = True
    return Curve(instants, total, exact, told)


def _of_pages(kernel: Kernel, recording: Recording) -> Curve:
    alloc = recording.events("mm_page_alloc", "pfn", "order", "gfp_flags", "migratetype")
    # An allocation that failed has no page.
    alloc = alloc.take(alloc.fields["pfn"].astype(np.uint64) < np.uint64(1 << 52))
    free = recording.events("mm_page_free", "pfn", "order")
    row = np.concatenate([alloc.row, free.row])
    by_row = np.argsort(row, kind="stable")

    def both(name: str) -> I64:
        parts = [one.fields[name].astype(np.int64) for one in (alloc, free)]
        joined: I64 = np.concatenate(parts)[by_row]
        return joined

    pfn, order = both("pfn"), both("order").clip(0, _LARGEST_ORDER)
    time = np.concatenate([alloc.time, free.time])[by_row]
    given = (np.arange(len(row)) < len(alloc))[by_row]
    guess = np.full(len(row), OTHER, dtype=np.int8)
    guess[: len(alloc)] = _guess(
        kernel,
        alloc.fields["gfp_flags"].astype(np.int64),
        alloc.fields["migratetype"].astype(np.int64),
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
    return _stepped(
        np.concatenate([time[event], time]),
        np.concatenate([kind.astype(np.int64), np.full(len(row), FREE, dtype=np.int64)]),
        np.concatenate([sign, np.where(given, -1, 1) * (np.int64(1) << order) * kernel.page_size]),
        exact=True,
    )


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


def _guess(kernel: Kernel, flags: I64, migratetype: I64) -> I8:
    """What pages were asked for, by the flags of their allocation: user memory can be moved, slabs reclaimed."""
    zero, write = (_gfp(kernel, name) for name in ("ZERO", "WRITE"))
    found = np.full(len(flags), OTHER, dtype=np.int8)
    movable = migratetype == _MOVABLE
    found[movable] = ANON
    found[movable & (flags & write != 0) & (flags & zero == 0)] = FILE
    found[migratetype == _RECLAIMABLE] = SLAB
    return found


#: include/linux/gfp.h, before the flags became enumerators (in v6.10).
_GFP = {"ZERO": 0x100, "WRITE": 0x1000}


def _gfp(kernel: Kernel, name: str) -> int:
    bit = kernel.types.enumerator_or_none(f"___GFP_{name}_BIT")
    return _GFP[name] if bit is None else 1 << bit


def _of_processes(recording: Recording) -> Curve | None:
    """The form that resident sizes give: what anonymous memory processes gain is free no more."""
    events = recording.events("rss_stat", "mm_id", "member", "size")
    if not len(events) or not recording.complete("rss_stat"):
        return None
    member = events.fields["member"].astype(np.int64)
    names = recording.kernel.types.enumerator_or_none
    anon, swap = names("MM_ANONPAGES"), names("MM_SWAPENTS")
    if anon is None:
        return None
    size = events.fields["size"].astype(np.int64)
    key = events.fields["mm_id"].astype(np.int64) * 16 + member.clip(0, 15)
    order = np.argsort(key, kind="stable")
    change = np.zeros(len(order), dtype=np.int64)
    ordered = size[order]
    same = np.append(False, key[order][1:] == key[order][:-1])[: len(order)]
    change[order] = np.where(same, ordered - np.append(0, ordered[:-1])[: len(order)], 0)
    is_anon, is_swap = member == anon, member == (-1 if swap is None else swap)
    return _stepped(
        np.concatenate([events.time[is_anon], events.time[is_anon], events.time[is_swap]]),
        np.concatenate(
            [
                np.full(int(is_anon.sum()), ANON),
                np.full(int(is_anon.sum()), FREE),
                np.full(int(is_swap.sum()), SWAP),
            ]
        ),
        np.concatenate([change[is_anon], -change[is_anon], change[is_swap]]),
        exact=False,
    )

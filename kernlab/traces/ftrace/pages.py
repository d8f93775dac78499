"""Sub-buffers of ftrace's ring buffer: bytes in, where each event lies and when it was recorded out.

Mirrors kernel/trace/ring_buffer.c (rb_event_length, rb_update_read_stamp). All sub-buffers of all CPUs are decoded
together, one event of each a round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.traces.ftrace.source import NATIVE, Machine

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

# include/linux/ring_buffer.h, enum ring_buffer_type: what type_len says beyond a length in words.
_LONG, _PADDING, _TIME_EXTEND, _TIME_STAMP = 0, 29, 30, 31

#: ring_buffer.c, TS_MSB: an absolute time stamp has 59 bits, the others are those of the time before it.
_HIGH = np.uint64(0xF8 << 56)
_LAP = np.uint64(1 << 59)


@dataclass
class Events:
    """Events in the order of their pages: one entry each.

    `page` is the row of the sub-buffer, `offset` and `size` are bytes of its payload from the sub-buffer's start,
    `time` is in the trace clock's units. `resume` is, for each page, the time at its `skip`, `damage` where in a page
    (bytes from its start) what followed made no sense, -1 where all did.
    """

    page: I64
    offset: I64
    size: I64
    time: U64
    resume: U64
    damage: I64
    #: Events that the page says were lost before its first: 0 none, -1 it does not say how many.
    missed: I64


def decode(pages: U8, skip: I64 | None = None, machine: Machine = NATIVE) -> Events:
    """The events of sub-buffers uint8[n, size].

    `skip` int64[n]: bytes of each one's data that were read already; their events are passed over, their times count.
    """
    count, size = pages.shape
    header = machine.header
    words = np.ascontiguousarray(pages).view(f"{machine.mark}u4")
    width = words.shape[1]
    flat = words.reshape(-1)
    time = np.ascontiguousarray(pages[:, :8]).view(f"{machine.mark}u8")[:, 0].astype(np.uint64)
    end = commits(pages, machine).clip(max=size - header) + header
    begin = np.full(count, header, dtype=np.int64) + (0 if skip is None else skip)
    resume = time.copy()
    damage = np.full(count, -1, dtype=np.int64)
    missed = _missed(pages, end, machine)
    found: list[tuple[I64, I64, I64, U64]] = []

    rows = np.flatnonzero(end > header)
    at = np.full(len(rows), header, dtype=np.int64)
    now = time[rows]
    while len(rows):
        index = rows * width + (at >> 2)
        head = flat[index].astype(np.int64)
        # A bit field of 5 and one of 27 bits: the first is the low end of the word, or the high one.
        kind, delta = (head >> 27, head & 0x7FF_FFFF) if machine.big else (head & 31, head >> 5)
        # What has a second word is longer than one; at the end of a page there is none to look at.
        room = end[rows] - at
        second = flat[np.where(room >= 8, index + 1, index)].astype(np.int64)
        own = (kind == _LONG) | (kind == _PADDING)
        length = np.where(own, second + 4, np.where(kind >= _TIME_EXTEND, 8, 4 + 4 * kind))
        # A page's end that no event fits in (rb_reset_tail) is padding without a delta.
        over = (kind == _PADDING) & (delta == 0)
        sound = (length <= room) & ((length & 3) == 0) & (length >= 4) & ((room >= 8) | ~(own | (kind >= 30)))
        wrong = ~sound & ~over
        damage[rows[wrong]] = at[wrong]

        stamp = (second.astype(np.uint64) << np.uint64(27)) + delta.astype(np.uint64)
        is_data = kind < _PADDING
        if (kind == _TIME_STAMP).any():
            absolute = stamp | (now & _HIGH)
            absolute = np.where((now & _HIGH != 0) & (absolute < now), absolute + _LAP, absolute)
            now = np.where(kind == _TIME_STAMP, absolute, now)
        step = np.where(is_data, delta.astype(np.uint64), np.where(kind == _TIME_EXTEND, stamp, np.uint64(0)))
        now = now + step

        good = sound & ~over
        after = at + length
        passed = good & (after <= begin[rows])
        resume[rows[passed]] = now[passed]
        wanted = good & is_data & (at >= begin[rows])
        if wanted.any():
            before = np.where(kind[wanted] == _LONG, 8, 4)
            found.append((rows[wanted], at[wanted] + before, length[wanted] - before, now[wanted]))
        going = good & (after < end[rows])
        rows, at, now = rows[going], after[going], now[going]
    if not found:
        none = np.zeros(0, dtype=np.int64)
        return Events(none, none, none, np.zeros(0, dtype=np.uint64), resume, damage, missed)
    page, offset, length, stamps = (np.concatenate(column) for column in zip(*found, strict=True))
    # Rounds came one after the other: within a page in order already.
    order = np.argsort(page, kind="stable")
    return Events(page[order], offset[order], length[order], stamps[order], resume, damage, missed)


#: ring_buffer.c: RB_MISSED_EVENTS, RB_MISSED_STORED.
_MISSED, _STORED = 1 << 31, 1 << 30


def commits(pages: U8, machine: Machine = NATIVE) -> I64:
    """Bytes of events in each sub-buffer; the marks above them (RB_MISSED_EVENTS, RB_MISSED_STORED) are taken off."""
    return _commit(pages, machine) & (_STORED - 1)


def _commit(pages: U8, machine: Machine) -> I64:
    # The low half of a long.
    at = 8 + (machine.word - 4 if machine.big else 0)
    low = np.ascontiguousarray(pages[:, at : at + 4]).view(f"{machine.mark}u4")
    return low[:, 0].astype(np.int64)


def _missed(pages: U8, end: I64, machine: Machine) -> I64:
    """Who reads a sub-buffer out (ring_buffer_read_page) is told what was lost before it: a long behind its events."""
    marks = _commit(pages, machine)
    missed = np.where(marks & _MISSED, -1, 0)
    for row in np.flatnonzero((marks & _MISSED != 0) & (marks & _STORED != 0)).tolist():
        raw = pages[row, end[row] : end[row] + machine.word].tobytes()
        if len(raw) == machine.word:
            missed[row] = min(int.from_bytes(raw, machine.order), (1 << 63) - 1)
    return missed

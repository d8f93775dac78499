"""Bytes of blktrace in, where its records begin out, all at once (`blktrace_headers` says what they hold).

Records of version 7 (`struct blk_io_trace`, include/uapi/linux/blktrace_api.h) and version 8 (`struct
blk_io_trace2`), in either byte order, lie back to back, each followed by `pdu_len` bytes of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: BLK_IO_TRACE_MAGIC with the version in its low byte.
MAGIC7, MAGIC8 = 0x65617407, 0x65617408

V7 = np.dtype(
    [
        ("magic", "<u4"),
        ("sequence", "<u4"),
        ("time", "<u8"),
        ("sector", "<u8"),
        ("bytes", "<u4"),
        ("action", "<u4"),
        ("pid", "<u4"),
        ("device", "<u4"),
        ("cpu", "<u4"),
        ("error", "<u2"),
        ("pdu_len", "<u2"),
    ]
)

#: struct blk_io_trace2 (in 7.2, not in 6.12): a wider action, and 12 bytes to spare at the end.
V8 = np.dtype(
    {
        "names": [
            "magic",
            "sequence",
            "time",
            "sector",
            "bytes",
            "pid",
            "action",
            "device",
            "cpu",
            "error",
            "pdu_len",
        ],
        "formats": ["<u4", "<u4", "<u8", "<u8", "<u4", "<u4", "<u8", "<u4", "<u4", "<u2", "<u2"],
        "offsets": [0, 4, 8, 16, 24, 28, 32, 40, 44, 48, 50],
        "itemsize": 64,
    }
)

#: Bytes looked at in one go: bounds what bytes full of magics can make of memory.
_WINDOW = 4 << 20
#: No record is longer.
_LONGEST = V8.itemsize + 0xFFFF
_SMALLEST = V7.itemsize
_PDU_LEN_7, _PDU_LEN_8 = 46, 50


@dataclass(frozen=True, slots=True)
class Scan:
    """Where the records of one stretch of bytes lie: `offsets` of their headers int64[k], in order.

    `version8` says which are of version 8 (None: none is), `swapped` that all are of the other byte order. `skipped`
    bytes between them belong to no record; `torn` bytes at the end are the beginning of one.
    """

    offsets: I64
    version8: Mask | None
    swapped: bool
    skipped: int
    torn: int

    def header_sizes(self) -> I64 | int:
        """Bytes of each record's header."""
        if self.version8 is None:
            return _SMALLEST
        return np.where(self.version8, V8.itemsize, V7.itemsize)


def scan(data: U8, start: int, end: int) -> Scan:
    """Find the records in data[start:end] (data uint8[n]).

    A record is one whose length leads to the next record, or to the end. Where the chain breaks (damage, a magic that
    only looks like one, a torn end) it is taken up at the next record that leads to another one.
    """
    swapped = _is_swapped(data, start, end)
    found: list[I64] = []
    versions: list[Mask] = []
    # Bytes of the records so far, and where the last of them begins and ends.
    covered, begin, last = 0, start, start
    at = start
    while at < end:
        window = _Window(at, min(at + _WINDOW, end), end)
        rows = _walk(data, window, swapped, (0,), strict=True)
        if rows is None:
            # Some record is not aligned to 4 bytes, or something is damaged: look at every byte.
            rows = _walk(data, window, swapped, (0, 1, 2, 3), strict=False)
        assert rows is not None
        starts, of_8, stops, at = rows
        if len(starts):
            covered += int((stops - starts).sum())
            begin, last = int(starts[-1]), int(stops[-1])
            # What a walk gives are parts of larger arrays.
            found.append(starts.copy())
            versions.append(of_8.copy())
    offsets, version8 = joined(found, np.int64), joined(versions, np.bool_)
    torn = 0
    if last > end:
        torn = end - begin
        covered -= last - begin
        offsets, version8 = offsets[:-1], version8[:-1]
    torn = torn or _is_start(data, last, end, swapped)
    skipped = end - start - covered - torn
    return Scan(offsets, version8 if version8.any() else None, swapped, skipped, torn)


def joined(parts: list[npt.NDArray[Any]], dtype: type[Any]) -> npt.NDArray[Any]:
    """All parts in one array, an empty one of `dtype` where there are none."""
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


@dataclass(frozen=True, slots=True)
class _Window:
    """Records that begin in [start, stop) are looked for; what they lead to may lie up to `reach`."""

    start: int
    stop: int
    end: int

    @property
    def reach(self) -> int:
        return min(self.stop + _LONGEST + _SMALLEST, self.end)


def _is_swapped(data: U8, start: int, end: int) -> bool:
    """Is this of the other byte order? The first record says so; if it is damaged, the more frequent magic."""
    first = bytes(data[start : min(start + 4, end)])
    for swapped in (False, True):
        if int.from_bytes(first, "big" if swapped else "little") in (MAGIC7, MAGIC8):
            return swapped
    counts = [0, 0]
    for at in range(start, end, _WINDOW):
        reach = min(at + _WINDOW, end)
        for swapped in (False, True):
            counts[swapped] += len(_candidates(data, at, reach, swapped, (0, 1, 2, 3)))
    return counts[1] > counts[0]


def _candidates(
    data: U8,
    start: int,
    end: int,
    swapped: bool,
    phases: tuple[int, ...],
    magics: tuple[int, ...] = (MAGIC7, MAGIC8),
) -> I64:
    """Every offset that holds one of the magics, at these distances from multiples of 4 (counted from `start`)."""
    kinds = [value.to_bytes(4, "big" if swapped else "little") for value in magics]
    wanted = [np.uint32(int.from_bytes(kind, "little")) for kind in kinds]
    found = []
    for phase in phases:
        count = (end - start - phase) // 4
        if count <= 0:
            continue
        words = np.frombuffer(data, dtype="<u4", count=count, offset=start + phase)
        hits = words == wanted[0]
        for other in wanted[1:]:
            hits |= words == other
        found.append(np.flatnonzero(hits) * 4 + (start + phase))
    if not found:
        return np.zeros(0, dtype=np.int64)
    return found[0] if len(found) == 1 else np.sort(np.concatenate(found))


def _walk(
    data: U8, window: _Window, swapped: bool, phases: tuple[int, ...], *, strict: bool
) -> tuple[I64, Mask, I64, int] | None:
    """The chain of records that begin in a window: (offset, is of version 8, where it ends) and where to go on.

    With `strict` None unless the chain is whole.
    """
    end = window.end
    offsets = _candidates(data, window.start, window.reach, swapped, phases)
    offsets = offsets[offsets + _SMALLEST <= end]
    version8 = data[offsets + (3 if swapped else 0)] == (MAGIC8 & 0xFF)
    mixed = bool(version8.any())
    if mixed:
        keep = offsets + np.where(version8, V8.itemsize, V7.itemsize) <= end
        offsets, version8 = offsets[keep], version8[keep]
    at = offsets + (np.where(version8, _PDU_LEN_8, _PDU_LEN_7) if mixed else _PDU_LEN_7)
    low, high = (1, 0) if swapped else (0, 1)
    stop = data[at + low].astype(np.int64)
    stop += data[at + high].astype(np.int64) << 8
    stop += offsets
    stop += np.where(version8, V8.itemsize, V7.itemsize) if mixed else V7.itemsize
    count = int(np.searchsorted(offsets, window.stop))
    if (
        count
        and offsets[0] == window.start
        and np.array_equal(stop[: count - 1], offsets[1:count])
        and (stop[count - 1] == end or (count < len(offsets) and stop[count - 1] == offsets[count]))
    ):
        return offsets[:count], version8[:count], stop[:count], int(stop[count - 1])
    if strict:
        return None
    ends = stop == end
    # What leads to a record that is cut off at the end leads somewhere, too.
    for row in np.flatnonzero((stop < end) & (stop > end - V8.itemsize)).tolist():
        ends[row] = _is_start(data, int(stop[row]), end, swapped) > 0
    chosen, go_on = _chain(offsets, stop, ends, window)
    return offsets[chosen], version8[chosen], stop[chosen], go_on


def _is_start(data: U8, at: int, end: int, swapped: bool) -> int:
    """Bytes of a record whose header is cut off at the end, 0 where there is something else."""
    left = bytes(data[at : min(at + 4, end)])
    kinds = [value.to_bytes(4, "big" if swapped else "little") for value in (MAGIC7, MAGIC8)]
    if 0 < end - at < V8.itemsize and any(kind.startswith(left) for kind in kinds):
        return end - at
    return 0


def _chain(offsets: I64, stop: I64, ends: Mask, window: _Window) -> tuple[I64, int]:
    """Which candidates are records of the window: rows reached from its start, each leading to the next.

    `ends` says which lead to the end of all. Runs of candidates that lead to each other are followed as one, and all
    runs together (pointer doubling), so that damage cannot make it slow. Returns (rows, offset where to go on).
    """
    count = len(offsets)
    if not count:
        return np.zeros(0, dtype=np.int64), window.stop
    following = np.searchsorted(offsets, stop)
    exact = (following < count) & (offsets[np.minimum(following, count - 1)] == stop)
    sound = exact | ends
    # A record that leads nowhere: go on at the next candidate that leads somewhere.
    next_sound = np.minimum.accumulate(np.where(sound, np.arange(count), count)[::-1])[::-1]
    after = np.append(next_sound[1:], count)
    target = np.where(exact, following, np.where(ends, count, after))
    # One that leads nowhere is still a record where it should be: the last one, or the one before the damage.
    first = 0 if offsets[0] == window.start else int(next_sound[0])
    if first >= count:
        return np.zeros(0, dtype=np.int64), window.stop
    straight = target == np.arange(1, count + 1)
    head = np.ones(count, dtype=bool)
    head[1:] = ~straight[:-1]
    run_of = np.cumsum(head) - 1
    leave = target[np.append(np.flatnonzero(head)[1:] - 1, count - 1)]
    runs = len(leave)
    jump = np.append(np.where(leave < count, run_of[np.minimum(leave, count - 1)], runs), runs)
    reached = np.zeros(runs + 1, dtype=bool)
    reached[run_of[first]] = True
    for _ in range(runs.bit_length()):
        reached[jump[reached]] = True
        jump = jump[jump]
    reached = reached[:runs]
    # A run is entered where the run before it leads to, which may be its middle.
    entry = np.zeros(runs, dtype=np.int64)
    entry[run_of[first]] = first
    leaving = leave[reached & (leave < count)]
    entry[run_of[leaving]] = leaving
    rows = np.flatnonzero(reached[run_of] & (np.arange(count) >= entry[run_of]))
    mine: I64 = rows[offsets[rows] < window.stop]
    go_on = window.stop
    if len(rows) > len(mine):
        go_on = int(offsets[rows[len(mine)]])
    elif len(mine) and ends[mine[-1]]:
        go_on = window.end
    # A length that reaches into the next record is not to be believed, nor is the rest of its record.
    if len(mine):
        next_start = np.append(offsets[rows[1:]], window.end + _LONGEST)[: len(mine)]
        mine = mine[stop[mine] <= next_start]
    return mine, go_on

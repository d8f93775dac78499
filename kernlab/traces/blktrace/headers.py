"""Where the records of blktrace begin in; what their headers hold, and their order in time, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from kernlab.traces.blktrace.counts import Key, Run, count, is_note
from kernlab.traces.blktrace.names import CGROUP, NOTE_MESSAGE
from kernlab.traces.blktrace.records import I64, U8, V7, V8, Mask, Scan
from kernlab.util.threads import in_threads

#: Headers taken apart in one go.
_BLOCK = 1 << 14
#: Records put in the order of time in one go.
_PIECE = 1 << 16


def headers(data: U8, offsets: I64, version8: Mask | None, swapped: bool) -> npt.NDArray[Any]:
    """The headers at `offsets` as a structured array in this machine's byte order, V7 or, if any is, V8."""
    if version8 is None:
        return _native(_rows(data, offsets, V7), swapped)
    out = np.zeros(len(offsets), dtype=V8)
    for dtype, mask in ((V7, ~version8), (V8, version8)):
        rows = np.flatnonzero(mask)
        out[rows] = widened(_native(_rows(data, offsets[rows], dtype), swapped))
    return out


class Rows:
    """Headers of many records, an array for each member: `rows["time"]`; `rows[index]` picks some of them.

    In this machine's byte order; `action` is uint64 where a record of version 8 is among them, else uint32.
    """

    def __init__(self, columns: dict[str, npt.NDArray[Any]]):
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["time"])

    @overload
    def __getitem__(self, key: str) -> npt.NDArray[Any]: ...
    @overload
    def __getitem__(self, key: npt.NDArray[Any]) -> Rows: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._columns[key]
        return Rows({name: column[key] for name, column in self._columns.items()})


def gather(data: U8, offsets: I64, version8: Mask | None, swapped: bool | Mask) -> Rows:
    """The headers at `offsets` as `Rows`; `swapped` may differ from record to record."""
    dtype = V7 if version8 is None else V8
    columns = {name: np.empty(len(offsets), dtype=dtype[name]) for name in _MEMBERS}
    # Whole headers at a time, few enough to stay in the processor's cache: each byte comes from memory once.
    for start in range(0, len(offsets), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = some_headers(data, offsets, version8, swapped, part)
        for name, column in columns.items():
            column[part] = rows[name]
    return Rows(columns)


def some_headers(
    data: U8, offsets: I64, version8: Mask | None, swapped: bool | Mask, part: slice
) -> npt.NDArray[Any]:
    """`headers` of a part of many records, whose byte order may differ."""
    wide = None if version8 is None else version8[part]
    if isinstance(swapped, bool):
        return headers(data, offsets[part], wide, swapped)
    foreign = swapped[part]
    rows = headers(data, offsets[part], wide, False)
    rows[foreign] = headers(data, offsets[part][foreign], None if wide is None else wide[foreign], True)
    return rows


_MEMBERS = tuple(name for name in V7.names or () if name != "magic")


def widened(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Headers of either version as V8; version 7 keeps its magic."""
    if rows.dtype == V8:
        return rows
    out = np.zeros(len(rows), dtype=V8)
    for name in V7.names or ():
        out[name] = rows[name]
    return out


def _native(rows: npt.NDArray[Any], swapped: bool) -> npt.NDArray[Any]:
    return rows.view(rows.dtype.newbyteorder()).astype(rows.dtype) if swapped else rows


def _rows(data: U8, offsets: I64, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """One row of `dtype` at each byte offset, aligned or not."""
    size = dtype.itemsize
    if not len(offsets):
        return np.zeros(0, dtype=dtype)
    every = np.ndarray((len(data) - size + 1,), dtype=f"V{size}", buffer=data, strides=(1,))
    return every[offsets].view(dtype)


@dataclass(slots=True)
class Headers:
    """What one look at the headers of a stream tells: `times` uint64[k] (ns); `notes` bool[k], which are notes of a
    process or the time (messages are events); `runs` how each CPU numbered its events, per device.
    """

    times: npt.NDArray[np.uint64]
    notes: Mask
    runs: dict[Key, Run]


def decode_headers(data: U8, found: Scan) -> Headers:
    """Look at all headers of a stream once, few enough at a time to stay in the processor's cache."""
    length = len(found.offsets)
    seen = Headers(np.empty(length, dtype=np.uint64), np.zeros(length, dtype=bool), {})
    for start in range(0, length, _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = some_headers(data, found.offsets, found.version8, found.swapped, part)
        seen.times[part] = rows["time"]
        action = rows["action"]
        note = is_note(action)
        count(seen.runs, rows, note)
        if note.any():
            note[note] = (action[note] & np.uint32(0xFFFF & ~CGROUP)) != NOTE_MESSAGE
            seen.notes[part] = note
    return seen


def in_time_order(
    times: Sequence[npt.NDArray[np.uint64]], *columns: Sequence[npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    """Each column, which has an array for each stream, as one array in the order of time; ties as the streams come.

    `times` has each stream's, uint64[k] ns.
    """
    streams = list(zip(times, *columns, strict=True))
    if not streams:
        raise ValueError("no streams")
    total = sum(len(stream) for stream in times)
    pieces = -(-total // _PIECE)
    if pieces < 2 or not all((stream[1:] >= stream[:-1]).all() for stream in times):
        order = np.argsort(np.concatenate(times), kind="stable")
        return [np.concatenate(column)[order] for column in columns]
    # A stretch of time after the other, which fits the processor's cache: of each stream it is a run of rows.
    longest = max(times, key=len)
    marks = longest[[len(longest) * piece // pieces for piece in range(1, pieces)]]
    cuts = np.array([[0, *np.searchsorted(stream, marks), len(stream)] for stream in times])
    starts = cuts.sum(axis=0).tolist()
    out = [np.empty(total, dtype=column[0].dtype) for column in columns]

    def sort(piece: int) -> None:
        runs = [slice(*cut) for cut in cuts[:, piece : piece + 2].tolist()]
        order = np.argsort(
            np.concatenate([s[run] for s, run in zip(times, runs, strict=True)]), kind="stable"
        )
        for column, whole in zip(columns, out, strict=True):
            part = np.concatenate([s[run] for s, run in zip(column, runs, strict=True)])
            whole[starts[piece] : starts[piece + 1]] = part[order]

    in_threads(sort, range(pieces))
    return out

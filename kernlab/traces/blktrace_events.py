"""A `BlkTrace` in, its DataFrame of events out, made block by block: a block of records fits the processor's caches.

Of millions of records, what costs is memory that is touched for the first time; so what is passed through on the way is
small and used again, and only the table itself is large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab import text
from kernlab.frames import lookup, nullable
from kernlab.frames.builder import build
from kernlab.traces.blktrace_names import (
    ACTIONS,
    CGROUP,
    NOTE_MESSAGE,
    NOTIFY,
    REMAP,
    SPLIT,
    UNPLUGS,
    device_name,
    rwbs,
)
from kernlab.traces.blktrace_records import I64, U8, Mask

if TYPE_CHECKING:
    from kernlab.traces.blktrace import BlkTrace

_BLOCK = 1 << 16


def event_columns(trace: BlkTrace) -> dict[str, Any]:
    """The columns of `BlkTrace.events`, notes of processes and of the time left out."""
    count = trace.record_count
    plain = {
        name: np.empty(count, dtype=dtype)
        for name, dtype in (
            ("time", np.int64),
            ("cpu", np.int32),
            ("sequence", np.int64),
            ("sector", np.uint64),
            ("bytes", np.int64),
            ("pid", np.int64),
            ("error", np.int16),
        )
    }
    devices, actions, kinds, pids = (_Codes(count) for _ in range(4))
    payloads: list[_Payloads] = []
    notes = [np.zeros(0, dtype=np.int64)]
    at = 0
    for first in range(0, count, _BLOCK):
        rows, starts = trace.block(first, first + _BLOCK)
        action = rows["action"]
        act = (action & np.uint32(0xFFFF & ~CGROUP)).astype(np.uint32)
        category = (action >> np.uint32(16)).astype(np.uint32)
        message = (category & np.uint32(NOTIFY)) != 0
        if message.any():
            keep = ~message | (act == NOTE_MESSAGE)
            notes.append(np.flatnonzero(~keep) + first)
            rows, starts, act, category, message = (
                part[keep] for part in (rows, starts, act, category, message)
            )
        part = slice(at, at + len(rows))
        for name, column in plain.items():
            column[part] = rows[name].view(np.int16) if name == "error" else rows[name]
        devices.put(part, rows["device"])
        pids.put(part, rows["pid"])
        # A message gets a code that no action has.
        actions.put(part, np.where(message, np.uint32(0), act) if message.any() else act)
        # Bit 31 is no category: whether there are bytes decides between R and N.
        key = category & np.uint32(0x7FFFFFFF)
        key |= (rows["bytes"] != 0).astype(np.uint32) << np.uint32(31)
        kinds.put(part, key)
        having = np.flatnonzero(rows["pdu_len"])
        if len(having):
            payloads.append(
                _Payloads(
                    having + at,
                    starts[having],
                    rows["pdu_len"][having].astype(np.int64),
                    act[having],
                    message[having],
                    (rows["action"][having] & np.uint32(CGROUP)) != 0,
                )
            )
        at += len(rows)
    # Where they are is known now: the names of processes need no second look at everything.
    trace.__dict__.setdefault("note_rows", np.concatenate(notes))
    plain = {name: column[:at] for name, column in plain.items()}
    codes, distinct = pids.cut(at)
    return {
        "timestamp": plain["time"].view("timedelta64[ns]"),
        "cpu": plain["cpu"],
        "sequence": plain["sequence"],
        "device": devices.categorical(at, device_name),
        "action": actions.categorical(at, lambda value: ACTIONS.get(value, str(value)) if value else "m"),
        "rwbs": kinds.categorical(at, lambda value: rwbs(value & 0x7FFFFFFF, bool(value >> 31))),
        "sector": plain["sector"],
        "bytes": plain["bytes"],
        "pid": plain["pid"],
        "comm": names_by_code(codes, distinct, trace.names_of(distinct)),
        "error": plain["error"],
        **_details(trace, at, _joined(payloads)),
    }


class _Codes:
    """Few distinct numbers, as a code per row and the numbers by code; put in block by block."""

    def __init__(self, count: int):
        self._codes: npt.NDArray[Any] = np.empty(count, dtype=np.int8)
        self._place: dict[int, int] = {}

    def put(self, part: slice, values: npt.NDArray[Any]) -> None:
        codes, distinct = pd.factorize(np.ascontiguousarray(values))
        place = self._place
        table = np.array([place.setdefault(value, len(place)) for value in distinct.tolist()], dtype=np.int64)
        if len(place) > np.iinfo(self._codes.dtype).max:
            self._codes = self._codes.astype(np.int16 if len(place) < 1 << 15 else np.int32)
        self._codes[part] = table[codes] if len(table) != 1 else table[0]

    def cut(self, count: int) -> tuple[npt.NDArray[Any], list[int]]:
        """(codes of the first `count` rows, number by code)."""
        return self._codes[:count], list(self._place)

    def categorical(self, count: int, name: Callable[[int], str]) -> pd.Categorical:
        """The names of the numbers, several of which may share one."""
        codes, distinct = self.cut(count)
        names = [name(value) for value in distinct]
        unique = list(dict.fromkeys(names))
        if len(unique) != len(names):
            place = {label: index for index, label in enumerate(unique)}
            codes = np.array([place[label] for label in names], dtype=codes.dtype)[codes]
        return pd.Categorical.from_codes(codes, categories=pd.Index(unique, dtype="str"))


class _Payloads:
    """Rows with bytes of their own: row, where these begin, how many, action, is a message, begins with a cgroup."""

    def __init__(
        self, row: I64, start: I64, size: I64, act: npt.NDArray[np.uint32], message: Mask, cgroup: Mask
    ):
        self.row, self.start, self.size = row, start, size
        self.act, self.message, self.cgroup = act, message, cgroup


def _joined(parts: Sequence[_Payloads]) -> _Payloads:
    def join(name: str, dtype: type[Any]) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts]) if parts else np.zeros(0, dtype=dtype)

    return _Payloads(
        join("row", np.int64),
        join("start", np.int64),
        join("size", np.int64),
        join("act", np.uint32),
        join("message", np.bool_),
        join("cgroup", np.bool_),
    )


def _details(trace: BlkTrace, count: int, found: _Payloads) -> dict[str, Any]:
    """What the bytes after some headers say: columns that are missing in all other rows."""
    groups = np.flatnonzero(found.cgroup & (found.size >= 8))
    order = ">u8" if trace.swapped else "<u8"
    cgroup = _gather(trace.data, found.start[groups], 8).view(order)[:, 0]
    # What follows the cgroup's id is the record's own.
    start, size = found.start + 8 * found.cgroup, np.maximum(found.size - 8 * found.cgroup, 0)

    def having(acts: Sequence[int], least: int) -> I64:
        return np.flatnonzero(np.isin(found.act, acts) & ~found.message & (size >= least))

    remap, split, unplug = having((REMAP,), 16), having((SPLIT,), 8), having(UNPLUGS, 8)
    pairs = _gather(trace.data, start[remap], 16)
    devices = _Codes(len(remap))
    devices.put(slice(None), pairs[:, :4].copy().view(">u4")[:, 0].astype(np.uint32))
    inner = devices.categorical(len(remap), device_name)
    codes = np.full(count, -1, dtype=inner.codes.dtype)
    codes[found.row[remap]] = inner.codes
    texts = np.flatnonzero(found.message)
    strings = [
        text.decode(trace.data[begin : begin + length].tobytes(), cut=True)
        for begin, length in zip(start[texts].tolist(), size[texts].tolist(), strict=True)
    ]

    def numbers(where: I64) -> npt.NDArray[Any]:
        return _gather(trace.data, start[where], 8).view(">u8")[:, 0]

    return {
        "from_device": pd.Categorical.from_codes(codes, categories=inner.categories),
        "from_sector": _sparse(count, found.row[remap], pairs[:, 8:].copy().view(">u8")[:, 0]),
        "new_sector": _sparse(count, found.row[split], numbers(split)),
        "depth": _sparse(count, found.row[unplug], numbers(unplug)),
        "cgroup": _sparse(count, found.row[groups], cgroup),
        "message": _few_strings(count, found.row[texts], strings),
    }


def _gather(data: U8, starts: I64, size: int) -> U8:
    if not len(starts):
        return np.zeros((0, size), dtype=np.uint8)
    every = np.ndarray((len(data) - size + 1,), dtype=f"V{size}", buffer=data, strides=(1,))
    return every[starts].view(np.uint8).reshape(len(starts), size)


def _sparse(count: int, rows: I64, values: npt.NDArray[Any]) -> Any:
    out, valid = np.zeros(count, dtype=np.uint64), np.zeros(count, dtype=bool)
    out[rows], valid[rows] = values, True
    return build("", "", nullable(out, valid))


def names_by_code(codes: npt.NDArray[Any], distinct: Sequence[int], names: Mapping[int, str]) -> Any:
    """`names[distinct[code]]` per row as a str column, missing where there is no name."""
    known = [number for number in distinct if number in names]
    place = {number: index for index, number in enumerate(known)}
    table = np.array([place.get(number, -1) for number in distinct] or [-1], dtype=np.int64)
    strings = [names[number] for number in known] or [""]
    return _by_blocks(len(codes), lambda part: lookup(table[codes[part]], strings))


def _few_strings(count: int, rows: I64, strings: Sequence[str]) -> Any:
    """A str column that is missing but in a few rows (ascending)."""
    nothing = lookup(np.full(min(_BLOCK, count), -1), [""])

    def block(part: slice) -> Any:
        first, last = np.searchsorted(rows, [part.start, part.stop])
        size = min(part.stop, count) - part.start
        if first == last:
            return nothing if size == len(nothing) else nothing[:size]
        codes = np.full(size, -1)
        codes[rows[first:last] - part.start] = np.arange(first, last)
        return lookup(codes, strings)

    return _by_blocks(count, block)


def _by_blocks(count: int, block: Callable[[slice], Any]) -> Any:
    parts = [block(slice(first, first + _BLOCK)) for first in range(0, count, _BLOCK)]
    if len(parts) < 2:
        return parts[0] if parts else lookup(np.zeros(0, dtype=np.int64), [""])
    return type(parts[0])._concat_same_type(parts)

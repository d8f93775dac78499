"""A `BlkTrace` in, its DataFrame of events out, made block by block: a block of records fits the processor's caches.

Of millions of records, what costs is memory that is touched for the first time; so what is passed through on the way is
small and used again, and only the table itself is large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.dataframes import lookup
from kernlab.traces.blktrace.counts import is_note
from kernlab.traces.blktrace.names import (
    ACTIONS,
    CGROUP,
    REMAP,
    SPLIT,
    UNPLUGS,
    device_name,
    rwbs,
)
from kernlab.traces.blktrace.records import I64, U8, Mask
from kernlab.util import text
from kernlab.util.threads import in_threads

if TYPE_CHECKING:
    from kernlab.traces.blktrace.trace import BlkTrace

#: Members that a note's header does not have.
_NOT_OF_NOTES = ("sequence", "sector", "bytes", "error")

_BLOCK = 1 << 16
_SMALL_NUMBERS = 1 << 16


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
    notes = trace.note_rows
    starts_of_blocks = range(0, count, _BLOCK)
    payloads: list[_Payloads | None] = [None] * len(starts_of_blocks)

    def fill(first: int) -> None:
        """One block's rows, put where they go: as many rows earlier as there are notes before."""
        rows, starts = trace.block(first, first + _BLOCK)
        before, after = np.searchsorted(notes, [first, first + _BLOCK]).tolist()
        if after > before:
            keep = np.ones(len(rows), dtype=bool)
            keep[notes[before:after] - first] = False
            rows, starts = rows[keep], starts[keep]
        at = first - before
        part = slice(at, at + len(rows))
        action = rows["action"]
        act = (action & np.uint32(0xFFFF & ~CGROUP)).astype(np.uint32)
        category = (action >> np.uint32(16)).astype(np.uint32)
        message = is_note(action)
        if message.any():
            # trace_note leaves these as they were in the buffer.
            for name in _NOT_OF_NOTES:
                rows[name][message] = 0
        for name, column in plain.items():
            column[part] = rows[name].view(np.int16) if name == "error" else rows[name]
        devices.put(part, _devices(trace.data, rows, starts, act, message))
        pids.put(part, rows["pid"])
        # A message gets a code that no action has.
        actions.put(part, np.where(message, np.uint32(0), act) if message.any() else act)
        # Whether there are bytes decides between R and N. (Bit 31 is not a category.)
        category <<= np.uint32(1)
        category |= rows["bytes"] != 0
        kinds.put(part, category)
        having = np.flatnonzero(rows["pdu_len"])
        if len(having):
            payloads[first // _BLOCK] = _Payloads(
                having + at,
                starts[having],
                rows["pdu_len"][having].astype(np.int64),
                act[having],
                message[having],
                (action[having] & np.uint32(CGROUP)) != 0,
            )

    in_threads(fill, starts_of_blocks)
    at = count - len(notes)
    plain = {name: column[:at] for name, column in plain.items()}
    codes, distinct = pids.cut(at)
    return {
        "timestamp": plain["time"].view("timedelta64[ns]"),
        "cpu": plain["cpu"],
        "sequence": plain["sequence"],
        "device": devices.categorical(at, device_name),
        "action": actions.categorical(at, lambda value: ACTIONS.get(value, str(value)) if value else "m"),
        "rwbs": kinds.categorical(at, lambda value: rwbs(value >> 1, bool(value & 1))),
        "sector": plain["sector"],
        "bytes": plain["bytes"],
        "pid": plain["pid"],
        "comm": names_by_code(codes, distinct, trace.names_of(distinct)),
        "error": plain["error"],
        **_details(trace, at, _joined([part for part in payloads if part is not None])),
    }


def _devices(
    data: U8, rows: npt.NDArray[Any], starts: I64, act: npt.NDArray[np.uint32], message: Mask
) -> npt.NDArray[np.uint32]:
    """The device that each record's sector belongs to: a remap names it itself (blk_io_trace_remap.device_to)."""
    cgroup = np.where(rows["action"] & np.uint32(CGROUP), 8, 0)
    remap = np.flatnonzero((act == REMAP) & ~message & (rows["pdu_len"] >= 16 + cgroup))
    found: npt.NDArray[np.uint32] = rows["device"]
    if len(remap):
        found = found.copy()
        found[remap] = _gather(data, starts[remap] + cgroup[remap] + 4, 4).view(">u4")[:, 0]
    return found


class _Codes:
    """Few distinct numbers, as a code per row and the numbers by code; put in block by block, by several threads."""

    def __init__(self, count: int):
        self._codes: npt.NDArray[Any] = np.empty(count, dtype=np.int8)
        self._place: dict[int, int] = {}
        #: The code of each small number, -1 where it was not met yet: most are found by looking here.
        self._known = np.full(_SMALL_NUMBERS, -1, dtype=np.int32)
        self._lock = Lock()

    def put(self, part: slice, values: npt.NDArray[Any]) -> None:
        if not len(values):
            return
        small = int(values.max()) < _SMALL_NUMBERS
        codes = self._known[values] if small else None
        if codes is None or codes.min() < 0:
            numbers, distinct = pd.factorize(np.ascontiguousarray(values), sort=True)
            with self._lock:
                place = self._place
                found = [place.setdefault(value, len(place)) for value in distinct.tolist()]
                if small:
                    self._known[distinct] = found
                if len(place) > np.iinfo(self._codes.dtype).max:
                    self._codes = self._codes.astype(np.int16 if len(place) < 1 << 15 else np.int32)
            codes = np.array(found, dtype=np.int32)[numbers]
        with self._lock:
            self._codes[part] = codes

    def cut(self, count: int) -> tuple[npt.NDArray[Any], list[int]]:
        """(codes of the first `count` rows, number by code, ascending)."""
        found, codes = list(self._place), self._codes[:count]
        numbers = sorted(found)
        if found != numbers:
            # Which thread met a number first is chance; the table must not show it.
            place = {number: code for code, number in enumerate(numbers)}
            codes = np.array([place[number] for number in found], dtype=codes.dtype)[codes]
        return codes, numbers

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
    # Where there is nothing, memory that was never touched costs nothing.
    out, missing = np.zeros(count, dtype=np.uint64), np.ones(count, dtype=bool)
    out[rows], missing[rows] = values, False
    return pd.arrays.IntegerArray(out, missing)


def names_by_code(codes: npt.NDArray[Any], distinct: Sequence[int], names: Mapping[int, str]) -> Any:
    """`names[distinct[code]]` per row as a str column, missing where there is no name."""
    known = [number for number in distinct if number in names]
    place = {number: index for index, number in enumerate(known)}
    table = np.array([place.get(number, -1) for number in distinct] or [-1], dtype=np.int64)
    strings = [names[number] for number in known] or [""]
    if pd.array(strings, dtype="str").dtype.storage == "pyarrow":
        return _arrow_strings(codes, table, strings)
    return _by_blocks(len(codes), lambda part: lookup(table[codes[part]], strings))


def _arrow_strings(codes: npt.NDArray[Any], table: I64, strings: Sequence[str]) -> Any:
    """`strings[table[code]]`, missing where that is -1.

    In memory from malloc: what Arrow's own pool gives is handed back to the kernel and touched anew with each block.
    """
    import pyarrow as pa
    from pyarrow import compute

    pool = pa.system_memory_pool()
    known = pa.array(strings, type=pa.large_string())

    def block(first: int) -> Any:
        rows = table[codes[first : first + _BLOCK]]
        missing = rows < 0
        return compute.take(known, pa.array(rows, mask=missing if missing.any() else None), memory_pool=pool)

    parts = in_threads(block, range(0, len(codes), _BLOCK))
    return pd.array(pa.chunked_array(parts, type=pa.large_string()), dtype="str")


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
    parts = in_threads(lambda first: block(slice(first, first + _BLOCK)), range(0, count, _BLOCK))
    if len(parts) < 2:
        return parts[0] if parts else lookup(np.zeros(0, dtype=np.int64), [""])
    return type(parts[0])._concat_same_type(parts)

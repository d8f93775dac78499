"""Where what a boot recorded as an address lies in the next: a kernel and its modules are put anywhere each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.traces.ftrace.fields import Records
from kernlab.traces.ftrace.formats import Field

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Most longs at the end of a record, such as a stack's (FTRACE_KSTACK_ENTRIES is less).
_MOST_LONGS = 1 << 13


@dataclass(frozen=True)
class Piece:
    """Addresses [start, end) of the boot before lie `delta` further on now; they are of `module`, '' the kernel."""

    start: int
    end: int
    delta: int
    module: str = ""


class Shift:
    """`apply(addresses)`: those of the boot before as those of this one; what is in no piece stays as it is."""

    def __init__(self, pieces: Sequence[Piece]):
        self.pieces = sorted(pieces, key=lambda piece: piece.start)
        self._start = np.array([piece.start for piece in self.pieces], dtype=np.uint64)
        self._end = np.array([piece.end for piece in self.pieces], dtype=np.uint64)
        self._delta = np.array([piece.delta % (1 << 64) for piece in self.pieces], dtype=np.uint64)

    def apply(self, addresses: U64) -> tuple[U64, I64]:
        """(addresses of this boot, the number of each one's piece, -1 where it is of none)."""
        if not self.pieces:
            return addresses, np.full(addresses.shape, -1, dtype=np.int64)
        piece = np.searchsorted(self._start, addresses, side="right").astype(np.int64) - 1
        piece = np.where((piece >= 0) & (addresses < self._end[piece]), piece, -1)
        return np.where(piece >= 0, addresses + self._delta[piece], addresses), piece

    def back(self, address: int, module: str) -> int | None:
        """Where an address of this boot was in the one before, None where that is not known."""
        for piece in self.pieces:
            if piece.module == module and piece.start <= address - piece.delta < piece.end:
                return address - piece.delta
        return None

    def records(self, records: Records, form: Sequence[Field]) -> Records:
        """Records of one event, with addresses of this boot in its fields; the ones given stay as they are."""
        size = records.size
        start = np.cumsum(size) - size
        total = int(size.sum())
        own = np.repeat(records.start - start, size) + np.arange(total)
        data = records.data[own]
        for field in form:
            places = _places(field, start, size)
            if not len(places):
                continue
            at = places[:, None] + np.arange(8)
            values = np.ascontiguousarray(data[at]).view("<u8")[:, 0]
            moved, _ = self.apply(values)
            data[at] = moved.astype("<u8").view(np.uint8).reshape(-1, 8)
        return Records(data, start, size, records.machine)


def _places(field: Field, start: I64, size: I64) -> I64:
    """Where what may be addresses lies: pointers and unsigned longs, alone or at a record's end, as a stack's."""
    none = np.zeros(0, dtype=np.int64)
    if field.is_dynamic or field.signed:
        return none
    if field.size == 8 and not field.is_array:
        return start[size >= field.offset + 8] + field.offset
    if field.is_array and field.element == "unsigned long":
        room = (size - field.offset) // 8
        longs = np.clip(room if not field.size else np.minimum(room, field.size // 8), 0, _MOST_LONGS)
        begin = np.repeat(start + field.offset - 8 * (np.cumsum(longs) - longs), longs)
        return begin + 8 * np.arange(int(longs.sum()))
    return none

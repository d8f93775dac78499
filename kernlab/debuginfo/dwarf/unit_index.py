"""Which unit an address lies in: by .debug_aranges, and by the units' own ranges for those it does not list."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.dwarf.ranges import code_of
from kernlab.debuginfo.dwarf.reading import Bytes, DebugInfoError, damage
from kernlab.debuginfo.dwarf.units import Header, Sections, Unit, headers

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


class UnitIndex:
    """Units of one file by address. `problems` has a sentence for each part that could not be read."""

    def __init__(self, sections: Sections, name: str):
        self._sections, self._file = sections, name
        self.problems: list[str] = []
        self._listed: set[int] = set()
        self._starts, self._ends, self._owner = self._from_aranges()
        self._is_whole = False
        self._headers: list[Header] | None = None

    def find(self, addresses: U64) -> I64:
        """Where the unit of each address begins in .debug_info, int64[n], -1 where there is none."""
        found = self._lookup(addresses)
        if (found < 0).any() and not self._is_whole:
            self._is_whole = True
            self._add_unlisted()
            found = self._lookup(addresses)
        return found

    def holder(self, entry: int) -> int:
        """Where the unit begins that a byte of .debug_info lies in. Raises ValueError where there is none."""
        for one in self._all():
            if one.offset <= entry < one.end:
                return one.offset
        raise ValueError(f"no unit holds byte {entry:,}")

    def _all(self) -> list[Header]:
        if self._headers is None:
            self._headers = []
            try:
                with damage(f"{self._file}: section .debug_info"):
                    for one in headers(self._sections(".debug_info")):
                        self._headers.append(one)
            except DebugInfoError as error:
                self.problems.append(f"{error}: what lies behind is not known")
        return self._headers

    def _lookup(self, addresses: U64) -> I64:
        if not len(self._starts):
            return np.full(len(addresses), -1, dtype=np.int64)
        at = np.searchsorted(self._starts, addresses, "right") - 1
        inside = (at >= 0) & (addresses < self._ends[at])
        return np.where(inside, self._owner[at], -1)

    def _from_aranges(self) -> tuple[U64, U64, I64]:
        data = self._sections(".debug_aranges")
        starts, ends, owners = [], [], []
        try:
            with damage(f"{self._file}: section .debug_aranges"):
                at = 0
                while at < len(data):
                    owner, pairs, at = _set(data, at)
                    self._listed.add(owner)
                    starts.append(pairs[:, 0])
                    ends.append(pairs[:, 0] + pairs[:, 1])
                    owners.append(np.full(len(pairs), owner, dtype=np.int64))
        except DebugInfoError as error:
            # The units' own ranges say it, too.
            self.problems.append(f"{error}: units are looked for one by one")
        return _sorted(starts, ends, owners)

    def _add_unlisted(self) -> None:
        """Add the units that .debug_aranges does not list (clang writes none), by what each says of itself."""
        starts, ends, owners = [self._starts], [self._ends], [self._owner]
        for one in self._all():
            if one.offset in self._listed or not one.has_code:
                continue
            try:
                with damage(f"{self._file}: the unit at byte {one.offset:,}"):
                    code = self._code(one)
            except DebugInfoError as error:
                self.problems.append(str(error))
                continue
            pairs = np.array(code, dtype=np.uint64).reshape(-1, 2)
            starts.append(pairs[:, 0])
            ends.append(pairs[:, 1])
            owners.append(np.full(len(pairs), one.offset, dtype=np.int64))
        self._starts, self._ends, self._owner = _sorted(starts, ends, owners)

    def _code(self, one: Header) -> list[tuple[int, int]]:
        unit = Unit.read(self._sections, one)
        return code_of(unit, unit.own)


def _set(data: Bytes, start: int) -> tuple[int, U64, int]:
    """One unit's addresses: (where it begins in .debug_info, uint64[n, 2] of starts and lengths, the next set)."""
    length, offset_size, at = struct.unpack_from("<I", data, start)[0], 4, start + 4
    if length == 0xFFFF_FFFF:
        length, offset_size, at = struct.unpack_from("<Q", data, at)[0], 8, at + 8
    end = at + length
    version, owner, size, segment = struct.unpack_from("<HIBB" if offset_size == 4 else "<HQBB", data, at)
    at += 4 + offset_size
    if end > len(data) or end < at or version != 2 or size != 8 or segment:
        raise ValueError(f"the addresses at byte {start:,} are not such")
    at += -(at - start) % (2 * size)
    count = max(end - at, 0) // (2 * size)
    pairs: U64 = np.frombuffer(data, "<u8", 2 * count, at).reshape(-1, 2).astype(np.uint64)
    return int(owner), pairs[pairs[:, 1] > 0], end


def _sorted(starts: list[U64], ends: list[U64], owners: list[I64]) -> tuple[U64, U64, I64]:
    if not starts:
        none = np.zeros(0, dtype=np.uint64)
        return none, none, np.zeros(0, dtype=np.int64)
    start, end, owner = np.concatenate(starts), np.concatenate(ends), np.concatenate(owners)
    order = np.argsort(start, kind="stable")
    return start[order], end[order], owner[order]

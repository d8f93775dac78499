"""Structs of which many members are wanted: their bytes are read in one go, members are cut out of them."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.paths import resolve
from kernlab.errors import MemberNotFoundError
from kernlab.structs import Column, Struct, StructArray

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class LoadedStructs(StructArray):
    """A StructArray whose bytes are here already: members within them are cut out, others read as ever.

    Scattered structs cost a translation, a look-up and a cache miss each per gather, whatever its size. A struct that
    could not be read in whole (cut at the end of a page that the dump lacks) is asked for each member by itself.
    """

    def __init__(self, structs: StructArray, rows: npt.NDArray[np.uint8], read: Mask):
        super().__init__(structs.kernel, structs.type, structs.addresses, structs.valid)
        self._rows = rows
        self._read_whole = read
        self._cut: dict[tuple[int, int], npt.NDArray[np.uint8]] = {}

    @overload
    def __getitem__(self, key: str) -> Column: ...
    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Struct: ...
    @overload
    def __getitem__(self, key: slice | npt.NDArray[Any]) -> StructArray: ...
    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, slice | np.ndarray):
            return LoadedStructs(found, self._rows[key], self._read_whole[key])
        return found

    def _bytes(self, addresses: U64, valid: Mask, size: int) -> tuple[npt.NDArray[np.uint8], Mask]:
        if not len(self) or len(addresses) != len(self):
            return super()._bytes(addresses, valid, size)
        offset = int(addresses[0]) - int(self.addresses[0])
        inside = 0 <= offset <= self._rows.shape[1] - size
        here = inside and bool((addresses - self.addresses == np.uint64(offset)).all())
        if not here:
            return super()._bytes(addresses, valid, size)
        place = offset, size
        if place not in self._cut:
            self._cut[place] = np.ascontiguousarray(self._rows[:, offset : offset + size])
        # Whoever asks may write into what comes back.
        rows = self._cut[place].copy()
        read = valid & self._read_whole
        cut = np.flatnonzero(valid & ~self._read_whole)
        if len(cut):
            rows[cut], read[cut] = super()._bytes(addresses[cut], valid[cut], size)
        if not read.all():
            rows[~read] = 0
        return rows, read


def loaded(structs: StructArray, members: tuple[str, ...]) -> StructArray:
    """The same structs with their bytes read, up to the last of the `members` that this kernel's type has."""
    size = max((end for name in members if (end := _end(structs, name))), default=0)
    if not len(structs) or not size:
        return structs
    rows, read = structs._bytes(structs.addresses, structs.valid, size)
    return LoadedStructs(structs, rows, read)


def _end(structs: StructArray, member: str) -> int:
    """Where a plain member ends in its struct; 0 for one that the type does not have."""
    try:
        access = resolve(structs.type, member)
    except MemberNotFoundError:
        return 0
    return int(access.hops[0] + access.type.size) if len(access.hops) == 1 else 0

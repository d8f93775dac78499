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
#: Offset and size of a member.
Place = tuple[int, int]

#: Structs that are read at a time.
_PIECE = 1 << 14


class LoadedStructs(StructArray):
    """A StructArray whose bytes are here already: members within them are cut out, others read as ever.

    Scattered structs cost a translation, a look-up and a cache miss each per gather, whatever its size. A struct that
    could not be read in whole (cut at the end of a page that the dump lacks) is asked for each member by itself.
    """

    def __init__(self, structs: StructArray, cuts: dict[Place, npt.NDArray[np.uint8]], read: Mask):
        super().__init__(structs.kernel, structs.type, structs.addresses, structs.valid)
        self._cuts = cuts
        self._read_whole = read

    @overload
    def __getitem__(self, key: str) -> Column: ...
    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Struct: ...
    @overload
    def __getitem__(self, key: slice | npt.NDArray[Any]) -> StructArray: ...
    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, slice | np.ndarray):
            cuts = {place: cut[key] for place, cut in self._cuts.items()}
            return LoadedStructs(found, cuts, self._read_whole[key])
        return found

    def _bytes(self, addresses: U64, valid: Mask, size: int) -> tuple[npt.NDArray[np.uint8], Mask]:
        if not len(self) or len(addresses) != len(self):
            return super()._bytes(addresses, valid, size)
        offset = int(addresses[0]) - int(self.addresses[0])
        cut_out = self._cuts.get((offset, size))
        if cut_out is None or not (addresses - self.addresses == np.uint64(offset)).all():
            return super()._bytes(addresses, valid, size)
        # Whoever asks may write into what comes back.
        rows = cut_out.copy()
        read = valid & self._read_whole
        cut = np.flatnonzero(valid & ~self._read_whole)
        if len(cut):
            rows[cut], read[cut] = super()._bytes(addresses[cut], valid[cut], size)
        if not read.all():
            rows[~read] = 0
        return rows, read


def loaded(structs: StructArray, members: tuple[str, ...]) -> StructArray:
    """The same structs with those `members` read that this kernel has and that lie in the struct itself."""
    places = {place for name in members if (place := _place(structs, name)) is not None}
    size = max((offset + width for offset, width in places), default=0)
    count = len(structs)
    if not count or not size:
        return structs
    cuts = {(offset, width): np.empty((count, width), dtype=np.uint8) for offset, width in places}
    read = np.empty(count, dtype=bool)
    # In pieces: what lies between the members is dropped while it is still in the processor's cache.
    for start in range(0, count, _PIECE):
        part = slice(start, start + _PIECE)
        rows, read[part] = structs._bytes(structs.addresses[part], structs.valid[part], size)
        for (offset, width), cut in cuts.items():
            if width in (1, 2, 4, 8) and not (offset | size) % width:
                cut.view(f"u{width}")[part, 0] = rows.view(f"u{width}")[:, offset // width]
            else:
                cut[part] = rows[:, offset : offset + width]
    return LoadedStructs(structs, cuts, read)


def _place(structs: StructArray, member: str) -> Place | None:
    """Offset and size of a plain member; None for one that the type does not have or that lies behind a pointer."""
    try:
        access = resolve(structs.type, member)
    except MemberNotFoundError:
        return None
    return (int(access.hops[0]), int(access.type.size)) if len(access.hops) == 1 else None

"""Structs of which many members are wanted: their bytes are read in one go, members are cut out of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.structs import Column, Struct, StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import MemberNotFoundError
from kernlab.memory import Located
from kernlab.util.threads import Spare, ahead, processors

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
#: Offset and size of a member.
Place = tuple[int, int]

#: Structs that are read at a time, and pages: 1 MiB.
_PIECE, _BATCH = 1 << 14, 256


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
    if not len(structs) or not size:
        return structs
    room = _Room(len(structs), places)
    rest = np.arange(len(structs))
    memory = structs.kernel.memory
    if memory.is_large(len(structs) * memory.page_size):
        pages = _Pages.of(structs, size)
        if memory.is_large(len(pages.located) * memory.page_size):
            pages.read_into(room)
            # What is left: structs on two pages, and what the dump lacks.
            rest = np.flatnonzero(structs.valid & ~room.read)
    # In pieces: what lies between the members is dropped while it is still in the processor's cache.
    for start in range(0, len(rest), _PIECE):
        rows = rest[start : start + _PIECE]
        found, room.read[rows] = structs._bytes(structs.addresses[rows], structs.valid[rows], size)
        room.put(rows, found, np.arange(len(rows)) * size)
    return LoadedStructs(structs, room.cuts, room.read)


class _Room:
    """Where the members of `count` structs are put: `cuts`, uint8[count, width] of each place; `read` bool[count]."""

    def __init__(self, count: int, places: set[Place]):
        self.cuts = {(offset, width): np.empty((count, width), dtype=np.uint8) for offset, width in places}
        self.read = np.zeros(count, dtype=bool)

    def put(
        self, rows: npt.NDArray[np.int64], memory: npt.NDArray[np.uint8], begins: npt.NDArray[np.int64]
    ) -> None:
        """Cut the members out of structs that begin at byte `begins[i]` of `memory`, for `rows[i]`."""
        flat = memory.reshape(-1)
        for (offset, width), cut in self.cuts.items():
            at = begins + offset
            if width in (1, 2, 4, 8) and not (int(np.bitwise_or.reduce(at)) | flat.nbytes) % width:
                cut.view(f"u{width}")[rows, 0] = flat.view(f"u{width}")[at // width]
            else:
                windows = np.lib.stride_tricks.sliding_window_view(flat, width)
                cut[rows] = windows[at]


@dataclass(frozen=True, slots=True)
class _Pages:
    """The pages on which structs lie: `rows` int64[m], those that lie on one page, in the order of their pages;
    `begins` int64[m], their offsets there; `ends` int64[p], where each page's rows end; `located` p pages."""

    kernel: Kernel
    rows: npt.NDArray[np.int64]
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    located: Located

    @classmethod
    def of(cls, structs: StructArray, size: int) -> _Pages:
        kernel = structs.kernel
        page = np.uint64(kernel.page_size)
        offsets = structs.addresses % page
        rows = np.flatnonzero(structs.valid & (offsets + np.uint64(size) <= page))
        number = structs.addresses[rows] // page
        order = np.argsort(number)
        rows, number = rows[order], number[order]
        last = np.flatnonzero(np.append(number[1:] != number[:-1], True)[: len(number)])
        located = kernel.locate(number[last] * page)
        return cls(kernel, rows, offsets[rows].astype(np.int64), last + 1, located)

    def read_into(self, room: _Room) -> None:
        """Read the pages past the arena, some at a time and in threads, and put the structs in that are on them."""
        page, count = self.kernel.page_size, len(self.located)
        buffers = Spare(lambda: np.empty((_BATCH, page), dtype=np.uint8))

        def work(start: int) -> None:
            buffer = buffers.take()
            part = slice(start, min(start + _BATCH, count))
            memory = buffer[: part.stop - start]
            status = self.kernel.memory.read_pages(self.located[part], memory, keep=False)
            first = int(self.ends[start - 1]) if start else 0
            of = slice(first, int(self.ends[part.stop - 1]))
            place = np.repeat(np.arange(part.stop - start), np.diff(self.ends[part], prepend=first))
            room.put(self.rows[of], memory, place * page + self.begins[of])
            room.read[self.rows[of]] = (status == 0)[place]
            buffers.give(buffer)

        for _ in ahead(work, range(0, count, _BATCH), processors()):
            pass


def _place(structs: StructArray, member: str) -> Place | None:
    """Offset and size of a plain member; None for one that the type does not have or that lies behind a pointer."""
    try:
        access = resolve(structs.type, member)
    except MemberNotFoundError:
        return None
    return (int(access.hops[0]), int(access.type.size)) if len(access.hops) == 1 else None

"""A value, some bytes or the address of something in; every place in memory where it stands out, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses as address_column
from kernlab.dataframes import frame, table
from kernlab.errors import KernlabError
from kernlab.linux.whatis.engine import what_lies_at
from kernlab.memory import Located
from kernlab.tables.memory.owner import owner_columns
from kernlab.util.addresses import in_text
from kernlab.util.progress import progress
from kernlab.util.threads import Spare, ahead, processors

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Frames read at a time: 1 MiB, so that what was just unpacked is searched while the processor's cache holds it.
_BLOCK = 256

_NOTHING: U64 = np.zeros(0, dtype=np.uint64)


@table
def search(kernel: Kernel, what: Any, *, size: int | str | None = None, limit: int = 100_000) -> pd.DataFrame:
    """Every place in the dump's memory that holds `what`, by physical address; one row each.

    `what`: an integer of any sign or a struct: 8 aligned bytes with that value, as pointers are stored; bytes or text
    (UTF-8): these bytes anywhere; several addresses (a list, an array, a column, a table with an address column): any
    of them.
    `size`: pointers to anywhere in [address, address + size) count; "object": in the whole slab object, symbol, stack
    or area that the address lies in.
    `limit`: the search ends after so many places, and says so.
    Columns: address, where it stands (in the direct map); value, what stands there (of integers); the others say what
    it lies in, as in `owner`. Frames that the dump lacks are not searched.

    >>> dump.search(b"Linux version 6.1")["kind"].value_counts().head(2)
    kind
    symbol    3
    Name: count, dtype: int64
    """
    if isinstance(what, str):
        if not what.isdecimal() and (address := in_text(what)) is not None:
            raise KernlabError(
                f"{what!r}: the address or these characters? search({address:#x}) finds what holds the address, "
                f"search({what.encode()!r}) the characters"
            )
        what = what.encode()
    needle: _Words | _Bytes
    if isinstance(what, bytes | bytearray | memoryview):
        needle = _Bytes(bytes(what), limit)
        if size is not None:
            raise KernlabError("size is for addresses: bytes are searched for as they are")
    else:
        needle = _Words(*_ranges(kernel, what, size))
    places = _scan(kernel, needle, limit)
    stands: U64 = places.physical + np.uint64(kernel.layout.direct_start)
    columns = owner_columns(what_lies_at(kernel, stands), stands, np.ones(len(stands), dtype=bool))
    if isinstance(needle, _Words):
        value = {"value": address_column(kernel, places.values)}
        columns = {"address": columns.pop("address")} | value | columns
    result = frame(kernel, "search", **columns)
    result.attrs["searched_bytes"] = places.searched * kernel.page_size
    return result


def _ranges(kernel: Kernel, what: Any, size: int | str | None) -> tuple[U64, U64]:
    """What the values searched for lie in: (first uint64[n], last uint64[n], inclusive), ascending and apart."""
    given = kernel.addresses(what)
    first = np.unique(given.values[~given.missing])
    last = first
    if size == "object":
        answers = what_lies_at(kernel, first)
        whole = answers.start != 0
        # The address may be one of the direct map and the owner told by another: pointers are to either.
        base = np.where(whole, first - answers.offset.astype(np.uint64), first)
        last = np.where(whole, base + np.maximum(answers.size, 1).astype(np.uint64) - np.uint64(1), first)
        first = base
    elif isinstance(size, str):
        raise KernlabError(f"size is a number of bytes or 'object', not {size!r}")
    elif size is not None:
        if size < 1:
            raise KernlabError(f"nothing lies in {size} bytes")
        last = np.where(
            first > np.uint64((1 << 64) - size), np.uint64((1 << 64) - 1), first + np.uint64(size - 1)
        )
    order = np.argsort(first, kind="stable")
    first, last = first[order], np.maximum.accumulate(last[order])
    return first, last


class _Words:
    """Values in one of many ranges, at multiples of 8."""

    overlap = 0

    def __init__(self, first: U64, last: U64):
        self.first, self.last = first, last

    def places(self, memory: bytearray, pfns: I64, page: int) -> tuple[U64, U64]:
        """Physical addresses in these frames, and what stands there."""
        words = np.frombuffer(memory, dtype="<u8", count=len(pfns) * page // 8)
        if not len(self.first):
            return _NOTHING, _NOTHING
        low, high = self.first[0], self.last[-1]
        # A value below the lowest wraps, and is above the highest then.
        at = np.flatnonzero(words == low if low == high else words - low <= high - low)
        value = words[at]
        if len(self.first) > 1:
            row = np.searchsorted(self.first, value, side="right") - 1
            at, value = at[value <= self.last[row]], value[value <= self.last[row]]
        return (pfns[at // (page // 8)] * page + at % (page // 8) * 8).astype(np.uint64), value


class _Bytes:
    """A sequence of bytes, anywhere, also across the border of two frames that follow each other."""

    overlap = 1

    def __init__(self, needle: bytes, limit: int):
        if not 0 < len(needle) <= 4096:
            raise KernlabError(f"{len(needle):,} bytes cannot be searched for: 1 to 4,096 can")
        self.needle, self.limit = needle, limit

    def places(self, memory: bytearray, pfns: I64, page: int) -> tuple[U64, U64]:
        """Physical addresses in these frames; no values."""
        found: list[int] = []
        end = len(pfns) * page
        at = memory.find(self.needle, 0, end)
        while at >= 0 and len(found) <= self.limit:
            found.append(at)
            at = memory.find(self.needle, at + 1, end)
        place = np.array(found, dtype=np.int64)
        first, last = place // page, (place + len(self.needle) - 1) // page
        # Frames that follow each other here need not do so in memory.
        place = place[pfns[last] - pfns[first] == last - first]
        address = (pfns[place // page] * page + place % page).astype(np.uint64)
        return address, np.zeros(len(address), dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class _Places:
    """What a search came by: physical addresses uint64[n], ascending; values uint64[n]; frames that were searched."""

    physical: U64
    values: U64
    searched: int


def _scan(kernel: Kernel, needle: _Words | _Bytes, limit: int) -> _Places:
    """Go through all frames of the dump, block by block in threads; it takes the memory of a few blocks."""
    page, memory = kernel.page_size, kernel.memory
    rooms = Spare(lambda: bytearray((_BLOCK + needle.overlap) * page))
    # What would push all else out of the arena goes past it.
    keep = not memory.is_large(kernel.file.filled_count * page)

    def work(pfns: I64) -> tuple[U64, U64, int, int]:
        room = rooms.take()
        rows = np.frombuffer(room, dtype=np.uint8, count=len(pfns) * page).reshape(-1, page)
        where = Located(kernel.file.find(pfns.astype(np.uint64)), np.zeros(len(pfns), dtype=np.uint8))
        good = memory.read_pages(where, rows, keep=keep) == 0
        asked = len(pfns)
        if not good.all():
            pfns = pfns[good]
            rows[: len(pfns)] = rows[good]
        place, value = needle.places(room, pfns, page)
        rooms.give(room)
        return place, value, len(pfns), asked

    places, values = [_NOTHING], [_NOTHING]
    total = searched = unread = 0
    last = -1
    with progress("Searching", kernel.file.filled_count * page, "B") as bar:
        for number, (place, value, read, asked) in enumerate(
            ahead(work, _blocks(kernel, needle.overlap), processors())
        ):
            # The frame that two blocks hold was searched already.
            fresh = place.astype(np.int64) > last
            place, value = place[fresh], value[fresh]
            last = int(place[-1]) if len(place) else last
            places.append(place)
            values.append(value)
            total += len(place)
            again = needle.overlap if number else 0
            searched += read - again
            unread += asked - read
            bar.advance((asked - again) * page)
            if total > limit:
                kernel.lost(
                    f"search: it ended after {limit:,} places, of {kernel.file.filled_count:,} frames {searched:,} "
                    "were searched; pass a larger limit to see more"
                )
                break
    if unread:
        kernel.lost(f"search: {unread:,} frames that the file should hold are cut off or damaged")
    return _Places(np.concatenate(places)[:limit], np.concatenate(values)[:limit], searched)


def _blocks(kernel: Kernel, overlap: int) -> Iterator[I64]:
    """The numbers of the frames in the dump, ascending, in blocks; each begins with the last `overlap` of the one
    before.
    """
    left = np.zeros(0, dtype=np.int64)
    for there in kernel.file.present(_BLOCK):
        block = np.concatenate([left, there])
        yield block
        left = block[len(block) - overlap :]

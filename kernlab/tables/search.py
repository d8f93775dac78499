"""A value, some bytes or the address of something in; every place in memory where it stands out, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.frames import addresses as address_column
from kernlab.frames import describe, table
from kernlab.kernel import Kernel
from kernlab.progress import progress
from kernlab.tables.owner import Finder, as_addresses

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Frames read at a time: 8 MiB.
_BLOCK = 2048
#: Frame numbers asked of the dump file at a time.
_STRETCH = 1 << 20


@table("Where a value, some bytes or pointers to something stand in memory, and whose they are.")
def search(kernel: Kernel, what: Any, *, size: int | str | None = None, limit: int = 100_000) -> pd.DataFrame:
    """Every place in the dump's memory that holds `what`, by physical address; one row each.

    `what`: an integer or a struct: 8 aligned bytes with that value, as pointers are stored; bytes or text (UTF-8):
    these bytes anywhere; several addresses (a list, an array, a column, a table with an address column): any of them.
    `size`: pointers to anywhere in [address, address + size) count; "object": in the whole slab object, symbol, stack
    or area that the address lies in.
    `limit`: the search ends after so many places, and says so.
    Columns: address, where it stands (in the direct map); value, what stands there (of integers); the others say what
    it lies in, as in `owner`. Frames that the dump lacks are not searched.
    """
    problems: list[str] = []
    if isinstance(what, str):
        what = what.encode()
    needle: _Words | _Bytes
    if isinstance(what, bytes | bytearray | memoryview):
        needle = _Bytes(bytes(what), limit)
        if size is not None:
            raise KernlabError("size is for addresses: bytes are searched for as they are")
    else:
        needle = _Words(*_ranges(kernel, what, size, problems))
    found, values, searched = _scan(kernel, needle, limit, problems)
    assert kernel.memory.layout is not None
    place = found + np.uint64(kernel.memory.layout.direct_start)
    finder = Finder(kernel, place, problems)
    finder.run()
    result = finder.frame(np.arange(len(place)), place)
    if isinstance(needle, _Words):
        result.insert(1, "value", pd.Series(address_column(kernel, values), copy=False))
    result.attrs.update(describe(kernel, "search", problems))
    result.attrs["searched_bytes"] = searched * kernel.page_size
    return result


def _ranges(kernel: Kernel, what: Any, size: int | str | None, problems: list[str]) -> tuple[U64, U64]:
    """What the values searched for lie in: (first uint64[n], last uint64[n], inclusive), ascending and apart."""
    first, _ = as_addresses(what)
    first = np.unique(first)
    last = first
    if size == "object":
        finder = Finder(kernel, first, problems)
        finder.run()
        whole = finder.start != 0
        # The address may be one of the direct map and the owner told by another: pointers are to either.
        base = np.where(whole, first - (finder.place - finder.start), first)
        last = np.where(whole, base + np.maximum(finder.size, 1).astype(np.uint64) - np.uint64(1), first)
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

    def places(self, rows: npt.NDArray[np.uint8], pfns: I64) -> tuple[U64, U64]:
        """Physical addresses in these frames, and what stands there."""
        words = rows.reshape(-1).view("<u8")
        if not len(self.first):
            return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64)
        at = np.flatnonzero((words >= self.first[0]) & (words <= self.last[-1]))
        value = words[at]
        if len(self.first) > 1:
            row = np.searchsorted(self.first, value, side="right") - 1
            at, value = at[value <= self.last[row]], value[value <= self.last[row]]
        frame = pfns[at // (rows.shape[1] // 8)].astype(np.uint64)
        inside = (at % (rows.shape[1] // 8)).astype(np.uint64) * np.uint64(8)
        return frame * np.uint64(rows.shape[1]) + inside, value


class _Bytes:
    """A sequence of bytes, anywhere, also across the border of two frames that follow each other."""

    def __init__(self, needle: bytes, limit: int):
        if not 0 < len(needle) <= 4096:
            raise KernlabError(f"{len(needle):,} bytes cannot be searched for: 1 to 4,096 can")
        self.needle, self.limit = needle, limit
        self.overlap = 1 if len(needle) > 1 else 0

    def places(self, rows: npt.NDArray[np.uint8], pfns: I64) -> tuple[U64, U64]:
        """Physical addresses in these frames; no values."""
        page = rows.shape[1]
        memory = rows.tobytes()
        found: list[int] = []
        at = memory.find(self.needle)
        while at >= 0 and len(found) <= self.limit:
            found.append(at)
            at = memory.find(self.needle, at + 1)
        place = np.array(found, dtype=np.int64)
        first, last = place // page, (place + len(self.needle) - 1) // page
        # Frames that follow each other here need not do so in memory.
        place = place[pfns[last] - pfns[first] == last - first]
        address = pfns[place // page] * page + place % page
        return address.astype(np.uint64), np.zeros(len(place), dtype=np.uint64)


def _scan(kernel: Kernel, needle: _Words | _Bytes, limit: int, problems: list[str]) -> tuple[U64, U64, int]:
    """(physical addresses uint64[n], ascending; values uint64[n]; how many frames were searched)."""
    found: list[U64] = [np.zeros(0, dtype=np.uint64)]
    values: list[U64] = [np.zeros(0, dtype=np.uint64)]
    total = searched = unread = 0
    last = -1
    page = np.uint64(kernel.page_size)
    with progress("Searching", kernel.file.frame_count * kernel.page_size, "B") as bar:
        for pfns in _blocks(kernel, needle.overlap):
            rows, status = kernel.memory.gather(
                pfns.astype(np.uint64) * page, kernel.page_size, physical=True
            )
            bad = status != 0
            if bad.any():
                unread += int(bad.sum())
                rows, pfns = rows[~bad], pfns[~bad]
            address, value = needle.places(rows, pfns)
            # The frame that two blocks hold was searched already.
            fresh = address.astype(np.int64) > last
            address, value = address[fresh], value[fresh]
            last = int(address[-1]) if len(address) else last
            found.append(address)
            values.append(value)
            total += len(address)
            searched += len(pfns)
            bar.advance(len(pfns) * kernel.page_size)
            if total > limit:
                problems.append(
                    f"search: it ended after {limit:,} places, of {kernel.file.frame_count:,} frames {searched:,} were "
                    "searched; pass a larger limit to see more"
                )
                break
    if unread:
        problems.append(f"search: {unread:,} frames that the file should hold are cut off or damaged")
    return np.concatenate(found)[:limit], np.concatenate(values)[:limit], searched


def _blocks(kernel: Kernel, overlap: int) -> Iterator[I64]:
    """The numbers of the frames in the dump, ascending, in blocks; each begins with the last `overlap` of the one
    before.
    """
    left = np.zeros(0, dtype=np.int64)
    for start in range(0, kernel.file.max_pfn, _STRETCH):
        pfns = np.arange(start, min(start + _STRETCH, kernel.file.max_pfn), dtype=np.uint64)
        there = pfns[kernel.file.find(pfns) >= 0].astype(np.int64)
        for first in range(0, len(there), _BLOCK):
            block = np.concatenate([left, there[first : first + _BLOCK]])
            yield block
            left = block[len(block) - overlap :] if overlap else left
